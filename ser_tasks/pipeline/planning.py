"""Listing and planning at the start of a night. Those of a large store take a process of their own, whose memory ends with them."""

import logging
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ser_tasks.apart import ProcessLostError, run_apart
from ser_tasks.lake import erased, manifest
from ser_tasks.lake.key_chain import LakeKeys
from ser_tasks.pipeline import ingest, listing_ahead
from ser_tasks.pipeline.listing import Listing
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store

log = logging.getLogger(__name__)


class PlanningLostError(RuntimeError):
    """The process that lists and plans ended before it had answered."""


@dataclass(frozen=True)
class Planning:
    """What is to be planned. It holds no model, so that the process which it is sent to loads none of their modules."""

    recordings_uri: str
    lake_uri: str
    settings: Settings
    keys: LakeKeys
    day: date | None
    """The only day to list; None: all."""
    version: str
    """The ``version=`` folder of the run's parts."""
    run_id: str
    plan_new: bool
    """Whether new recordings are planned, or only what was planned before is looked at."""
    database: Path
    """Where the listing is kept; it must not exist."""


def list_and_plan(wanted: Planning) -> tuple[Listing, ingest.Plan]:
    """Lists the recordings of a run and plans them: the listing, settled, and the plan.

    Raises PlanningLostError where a process of its own was killed, else what ``Listing`` and ``ingest.plan`` raise.
    """
    recordings = open_store(wanted.recordings_uri)
    if listing_ahead.is_large(recordings):
        listing_ahead.forget(recordings)
        listing, plan = _apart(wanted)
    else:
        listing, plan = _list_and_plan(wanted)
    if plan.without_hash:
        log.warning(ingest.WITHOUT_HASH, plan.without_hash)
    return listing, plan


def _apart(wanted: Planning) -> tuple[Listing, ingest.Plan]:
    try:
        planned: tuple[Listing, ingest.Plan] = run_apart(_listing_to_send, wanted)
    except ProcessLostError as error:
        raise PlanningLostError(
            f"The process that lists and plans ended with exit code {error.exitcode}, as where a system without memory kills it: nothing "
            "was scored yet, and nothing is lost. Run again, with more memory."
        ) from None
    return planned


def _listing_to_send(wanted: Planning) -> tuple[Listing, ingest.Plan]:
    listing, plan = _list_and_plan(wanted)
    listing.database.close()
    return listing, plan


def _list_and_plan(wanted: Planning) -> tuple[Listing, ingest.Plan]:
    recordings, lake = open_store(wanted.recordings_uri), open_store(wanted.lake_uri)
    deleted, gone = manifest.deleted_days(lake), erased.read(lake, *wanted.keys.people)
    listing = Listing(recordings, wanted.settings, wanted.database, wanted.day, deleted, gone, wanted.keys.recordings)
    plan = ingest.plan(listing, lake, wanted.version, wanted.settings, wanted.run_id, wanted.plan_new)
    listing.settle()
    return listing, plan
