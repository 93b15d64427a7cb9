"""Withdrawn consent: a call whose newest version is withheld for the caller's refusal loses its emotion in every version.

Refusals are the rows of ``sql/staging/refused.sql``. The views show none of the emotion from the night on that read the refusal.
``withdraw`` takes it out of the older parts: their rows stay, as those of a withheld call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from ser_tasks.calls.opt_out import OptOut
from ser_tasks.lake import catalog, read_only
from ser_tasks.lake.withheld import without_emotion
from ser_tasks.maintenance import erasure, holds, rewriting
from ser_tasks.maintenance.compaction import LISTING_S, READING_S
from ser_tasks.maintenance.rewriting import Rewritten
from ser_tasks.pipeline.opt_out import withhold_scored
from ser_tasks.settings import Settings
from ser_tasks.storage import Store


@dataclass(frozen=True)
class Withdrawn:
    """Recordings whose consent was withdrawn, and the days with parts that still have their emotion."""

    codes: Mapping[str, str]
    """Reason codes by recording_id."""
    days: frozenset[date]

    @property
    def recordings(self) -> frozenset[str]:
        return frozenset(self.codes)

    def summary(self) -> str:
        """How many they are, in one line."""
        return f"{len(self.codes)} recordings whose consent was withdrawn have emotion in older versions."


def find(lake: Store) -> Withdrawn:
    """The recordings with emotion in some part, though their newest version is a refusal; without held ones."""
    query = """
        WITH emotion AS (
            SELECT day, recording_id FROM parts.outcomes WHERE outcome = 'scored'
            UNION SELECT day, recording_id FROM parts.call_emotions WHERE outcome = 'scored' OR emotion_role IS NOT NULL
            UNION SELECT day, recording_id FROM parts.segments WHERE emotion IS NOT NULL OR confidence IS NOT NULL
            UNION SELECT day, recording_id FROM parts.reviews
            UNION SELECT day, recording_id FROM parts.review_samples
        )
        SELECT day, recording_id, refusal FROM emotion JOIN refused USING (recording_id)
        """
    with catalog.connect(lake.uri) as connection:
        rows = read_only.query(connection, query).to_pylist()
    held = holds.held_recordings(lake) if rows else frozenset()
    rows = [row for row in rows if row["recording_id"] not in held]
    return Withdrawn({row["recording_id"]: row["refusal"] for row in rows}, frozenset(row["day"] for row in rows))


def apply_opt_out(lake: Store, listed: OptOut, settings: Settings) -> int:
    """Withholds the scored calls of the people on the list, as the next night would. Returns how many had emotion."""
    return withhold_scored(lake, listed, settings, search_all=True)


def names(lake: Store, found: Withdrawn) -> set[str]:
    """What pages may call these recordings."""
    return erasure.names_of(lake, found.recordings)


def withdraw(lake: Store, found: Withdrawn, listing_s: float = LISTING_S, reading_s: float = READING_S) -> Rewritten:
    """Takes these recordings' emotion out of every part and quarantined part, and blanks the pages and alerts that name them.

    Waits ``listing_s`` and ``reading_s`` seconds for running queries where a part is replaced.
    """
    if not found.codes:
        return Rewritten()
    change = without_emotion(found.codes)
    erasure.clean(lake, names(lake, found), change, erasure.Erasure(), write=True)
    return rewriting.rewrite(lake, found.days, change, listing_s, reading_s)
