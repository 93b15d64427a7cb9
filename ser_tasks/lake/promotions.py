"""The default model of a lake: the bundle that nights score with where neither --model nor SER_MODEL names one.

Each promotion is a file of its own, ``promotions/000001.json`` and so on, and the one with the highest number counts; nothing is replaced,
so the folder is the history. The bundle itself is copied to ``bundles/<model id>/`` in the lake: it stays what it was when it was compared.
"""

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import Store, open_store

FOLDER, BUNDLES = "promotions/", "bundles/"
FILES = ("model.safetensors", "training_clips.txt", "MODEL_CARD.md", "LICENSE", "bundle.json")
"""The files of a bundle; the one without which it is none comes last."""
_KEY = re.compile(rf"{FOLDER}(\d{{6}})\.json")


@dataclass(frozen=True)
class Promotion:
    """One change of the default."""

    number: int
    model_id: str
    """The new default: name, version and content hash of its bundle."""
    replaces: str
    """The model id of the default before."""
    why: str
    """The comparison in one sentence, or that it was rolled back."""
    promoted_by: str
    promoted_at: str
    code_version: str


def read(lake: Store) -> list[Promotion]:
    """Every promotion, oldest first. Raises ValueError for a file that is none."""
    found = []
    for item in lake.list(FOLDER):
        if _KEY.fullmatch(item.key):
            try:
                found.append(Promotion(**json.loads(lake.read_bytes(item.key))))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{item.key} in {lake.uri} is no promotion ({error}): restore it, or delete it.") from None
    return sorted(found, key=lambda each: each.number)


def default_model(lake: Store) -> str | None:
    """Where the promoted bundle lies, as ``--model`` takes it; None where none was promoted."""
    promotions = read(lake)
    return uri_of(lake, promotions[-1].model_id) if promotions else None


def chosen_model(settings: Settings, lake: str, model: str | None = None) -> str:
    """The model of a run: the one that was named, else SER_MODEL, else the lake's promoted one, else the shipped default."""
    if model:
        return model
    if "model" in settings.model_fields_set:
        return settings.model
    return default_model(open_store(lake)) or settings.model


def uri_of(lake: Store, model_id: str) -> str:
    """The address of a bundle that was copied into the lake."""
    return f"{lake.uri.rstrip('/')}/{BUNDLES}{model_id}"


def copy_bundle(source: Store, lake: Store, model_id: str) -> None:
    """Copies a bundle's files into the lake. A copy that was killed is completed by the next; ``bundle.json`` comes last."""
    for name in FILES:
        if source.exists(name):
            lake.write_bytes(f"{BUNDLES}{model_id}/{name}", source.read_bytes(name))


def promote(lake: Store, model_id: str, replaces: str, why: str, promoted_by: str) -> Promotion:
    """Makes a bundle that lies in the lake its default. Raises ValueError where somebody else changed the default meanwhile."""
    promotions = read(lake)
    if promotions and promotions[-1].model_id != replaces:
        raise ValueError(f"The default of {lake.uri} is {promotions[-1].model_id} by now, not {replaces}: compare with that one.")
    number = promotions[-1].number + 1 if promotions else 1
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    made = Promotion(number, model_id, replaces, why, promoted_by, now, code_version())
    if not lake.create_bytes(f"{FOLDER}{number:06}.json", json.dumps(asdict(made), indent=1, ensure_ascii=False).encode()):
        raise ValueError(f"The default of {lake.uri} was changed meanwhile: compare again.")
    return made
