"""A lake's default model is replaced only by a better one: compared on clips of callers whom neither of the two heard."""

from pathlib import Path

from ser_tasks.evaluation.compare_bundles import Comparison, compare_bundles
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import Bundle, load_bundle
from ser_tasks.inference.bundle_files import uri_of_bundle
from ser_tasks.lake import promotions
from ser_tasks.lake.promotions import Promotion
from ser_tasks.storage import Store, open_store


class NotBetterError(Exception):
    """The new model is not better than the default. The text is the comparison."""


def promote(lake: Store, model: str, data: list[Path], by: str, plan: Plan | None = None) -> Promotion:
    """Compares a bundle with the lake's default, and makes it the default if it is better.

    Raises NotBetterError where it is not; ValueError where it is the default already, and where the data have too few callers whom neither
    heard; and the errors of a bundle that does not load.
    """
    old_uri = uri_of_bundle(promotions.default_model(lake) or "default")
    old, new = load_bundle(old_uri), load_bundle(model)
    if old.model_id == new.model_id:
        raise ValueError(f"{new.model_id} is the default of {lake.uri} already.")
    compared: Comparison = compare_bundles(old_uri, model, data, plan)
    if not compared.better:
        raise NotBetterError(f"{compared.summary()}.")
    for bundle, uri in ((old, old_uri), (new, model)):  # the old one, too: a rollback needs it
        _keep(lake, bundle, uri)
    return promotions.promote(lake, new.model_id, old.model_id, compared.summary(), by)


def roll_back(lake: Store, by: str) -> Promotion:
    """Makes the default before the last promotion the default again. Raises ValueError where there was none.

    Several rollbacks in a row go further back; the history keeps all of it.
    """
    history: list[str] = []
    for each in promotions.read(lake):
        if each.why == ROLLED_BACK:
            history.pop()
        else:
            history.append(each.replaces)
    if not history:
        raise ValueError(f"Nothing was promoted in {lake.uri}, or all of it was rolled back.")
    current = promotions.read(lake)[-1].model_id
    return promotions.promote(lake, history[-1], current, ROLLED_BACK, by)


ROLLED_BACK = "rolled back"
"""``why`` of a promotion that undoes another."""


def _keep(lake: Store, bundle: Bundle, uri: str) -> None:
    if open_store(uri_of_bundle(uri)).uri != open_store(promotions.uri_of(lake, bundle.model_id)).uri:
        promotions.copy_bundle(open_store(uri_of_bundle(uri)), lake, bundle.model_id)
