"""The opt-out list in a night: calls of people on it end as withheld, those that were scored before included.

Who called is known once a recording's facts are read, so new calls are withheld between extraction and scoring. Scored calls are
withheld when the night plans, once for each person who is new on the list: ``opt_outs/applied.json`` in the lake knows them by keyed marks.
What was withheld once stays so, under other models and in later uploads, too.
"""

import dataclasses
import json
import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import date

import duckdb
import numpy as np
from pydantic import SecretStr

from ser_tasks.calls.opt_out import OptOut
from ser_tasks.calls.policy import REMEDIES
from ser_tasks.lake import erased, held, ledger, parts, withheld
from ser_tasks.pipeline.extract import Batch, Extracted
from ser_tasks.settings import Settings
from ser_tasks.storage import Store

log = logging.getLogger(__name__)

CODE = "opted_out"
APPLIED = "opt_outs/applied.json"
"""Marks of the people on the list whose scored calls were withheld. Where it is missing, no call of the lake was ever opted out."""


def withhold_scored(lake: Store, listed: OptOut, settings: Settings, search_all: bool = False) -> int:
    """Withholds the scored calls of people who are new on the list (``search_all``: of all). Returns their number.

    Calls on hold stay as they are until the hold is released. Without SER_PSEUDONYM_KEY the lake does not know whose calls it has.
    """
    if not listed.people and not lake.exists(APPLIED):
        return 0
    key = settings.pseudonym_key
    people = {} if listed.salt or key is None else {erased.mark(key, CODE, person): person for person in listed.people}
    before = set(json.loads(lake.read_bytes(APPLIED))) if lake.exists(APPLIED) else set()
    new = {mark: person for mark, person in people.items() if search_all or mark not in before}
    try:
        count, on_hold = _withhold_calls_of(lake, new.values(), settings.pseudonym_keys())
    except (duckdb.Error, UnicodeDecodeError, parts.BrokenPartError) as error:  # the next night tries again
        log.warning("Calls of people who opted out may keep their emotion, since a part can't be read (ser doctor names it): %s", error)
        count, on_hold = 0, True
    applied = {mark for mark in people if mark in before or not on_hold}
    if applied != before or not lake.exists(APPLIED):
        lake.write_bytes(APPLIED, json.dumps(sorted(applied), indent=0).encode())
    return count


def _withhold_calls_of(lake: Store, people: Iterable[str], keys: Sequence[SecretStr]) -> tuple[int, bool]:
    """Withholds the scored calls of people, by pseudonym. Returns their number, and whether others are on hold and stay."""
    scored = withheld.scored_recordings(lake, people)
    on_hold = scored & held.held_recordings(lake) if scored else frozenset()
    return withheld.withhold(lake, dict.fromkeys(scored - on_hold, CODE), keys), bool(on_hold)


def withheld_before(lake: Store, days: Collection[date]) -> frozenset[str]:
    """Ids of the recordings of these days that were withheld for the list, under any model. Parts that can't be read are left out."""
    found: set[str] = set()
    if not days or not lake.exists(APPLIED):
        return frozenset()
    for day in ledger.list_days(lake, sorted(days)):
        for item in day.outcomes:
            try:
                rows = parts.read(lake, item.key, "outcomes", ["recording_id", "reason_code"]).to_pylist()
            except (parts.BrokenPartError, FileNotFoundError):
                continue
            found |= {row["recording_id"] for row in rows if row["reason_code"] == CODE}
    return frozenset(found)


def without_opted_out(batch: Batch, listed: OptOut, settings: Settings) -> Batch:
    """The batch of one file, with the calls of people on the list withheld. Their frames are removed: they are never scored."""
    theirs = [
        result
        for result in batch.extracted
        if result.outcome in (None, "no_speech", "withheld")
        and result.info is not None
        and listed.includes(result.facts.get("customer_id"), settings)
    ]
    if not theirs:
        return batch
    if batch.frames_files:
        kept = np.repeat(
            [all(result is not each for each in theirs) for result in batch.extracted for segment in result.segments if segment.frames],
            batch.lengths,
        )
        (file,) = batch.frames_files
        frames = np.fromfile(file, np.float32).reshape(len(kept), -1)[kept]
        frames.tofile(file)
        batch = dataclasses.replace(batch, frames_files=batch.frames_files if len(frames) else ())
    for result in theirs:
        _withhold(result)
    return batch


def _withhold(result: Extracted) -> None:
    result.end("withheld", CODE, f"No policy scores it: {REMEDIES[CODE]}.")
    for segment in result.segments:
        segment.frames, segment.not_scored_reason = 0, CODE
