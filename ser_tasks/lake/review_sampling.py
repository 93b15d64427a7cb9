"""Draws review samples: calls to judge, from three strata, each with the probability with which it is drawn.

A stratum's calls are drawn at random without replacement, so a call's inclusion probability is the number drawn over the number there are,
whatever its score; a stretch's is that of its call times the stretches drawn over those there are. With its inverse as weight, a sum over
the sample is right on average for all calls of the period: Horvitz and Thompson, Journal of the American Statistical Association 47 (1952).
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from ser_tasks.lake import reviews
from ser_tasks.schemas import STRATA
from ser_tasks.settings import code_version

Rows = list[dict[str, Any]]
Query = Callable[[str, dict[str, Any]], Rows]

CALLS, MAX_CALLS = 20, 500
"""Calls of a sample unless another number is asked for, and the most."""
STRETCHES = 2
"""Stretches drawn from each call."""
SHARES = {"top": 0.5, "uncertain": 0.25, "random": 0.25}
"""How a sample is divided among the strata."""

FRAME = """
    WITH frame AS (
        SELECT recording_id, etag, call_id, day, version, model, call_date, coalesce(call_anger, peak_anger) AS score,
            sure_anger(call_anger, share_anger, share_unsure, scored_speech_s) AS certain
        FROM counted_calls
        WHERE call_date BETWEEN $first AND $last AND ($all_queues OR list_contains($queues::VARCHAR[], coalesce(queue, '')))
            AND outcome = 'scored' AND emotion_role NOT IN ('agent', 'unknown') AND coalesce(call_anger, peak_anger) IS NOT NULL
    ), ranked AS (
        SELECT
            *,
            certain IS NOT NULL AND row_number() OVER (
                PARTITION BY ($last::DATE - call_date) // 7 ORDER BY certain DESC NULLS LAST, score DESC, recording_id
            ) <= 10 AS listed
        FROM frame
    ), near AS (
        SELECT *, row_number() OVER (PARTITION BY listed ORDER BY abs(score - 0.5), recording_id) AS nearness,
            count(*) OVER (PARTITION BY listed) AS others
        FROM ranked
    )
    SELECT *, CASE WHEN listed THEN 'top' WHEN nearness <= ceil(others / 4) THEN 'uncertain' ELSE 'random' END AS stratum
    FROM near ORDER BY recording_id
    """
"""The calls of a period with the stratum of each. On the list to hear are, as on the page Today, the ten calls of each seven days, counted
back from the last day, that are angriest for certain (sure_anger). Uncertain is the quarter of the others nearest to 0.5."""

SCORED_STRETCHES = """
    SELECT recording_id, channel, start_s, end_s, coalesce(anger_score, p_anger) AS score
    FROM segments
    WHERE day BETWEEN $first AND $last AND list_contains($ids, recording_id)
        AND emotion IS NOT NULL AND role NOT IN ('agent', 'unknown')
    ORDER BY recording_id, channel, start_s
    """


@dataclass(frozen=True)
class Sample:
    """A sample that was drawn and not yet stored."""

    rows: Rows
    """Rows of ``review_samples``: each call, and after it the stretches that were drawn from it."""
    day: date
    """The day folder of its oldest call."""

    @property
    def calls(self) -> int:
        return sum(row["channel"] is None for row in self.rows)


def draw(
    query: Query,
    first: date,
    last: date,
    drawn_by: str,
    queues: Sequence[str] = (),
    calls: int = CALLS,
    rng: random.Random | None = None,
) -> Sample:
    """Draws a sample from the calls of a period, of these queues (an empty name: without a queue) or of all.

    ``query`` answers SQL over the views, with the rows that may be seen. Raises ValueError for a number of calls out of range, and where
    the period has no scored call.
    """
    if not 1 <= calls <= MAX_CALLS:
        raise ValueError(f"A sample has 1 to {MAX_CALLS} calls, not {calls}.")
    rng = rng or random.SystemRandom()
    frame = query(FRAME, {"first": first, "last": last, "all_queues": not queues, "queues": list(queues)})
    if not frame:
        raise ValueError(f"No scored call from {first} to {last} could be drawn: choose another period or other queues.")
    by_stratum: dict[str, Rows] = defaultdict(list)
    for row in frame:
        by_stratum[row["stratum"]].append(row)
    numbers = allocated({stratum: len(by_stratum[stratum]) for stratum in STRATA}, calls)
    drawn = [row for stratum in STRATA for row in rng.sample(by_stratum[stratum], numbers[stratum])]
    rng.shuffle(drawn)
    days = [row["day"] for row in drawn]
    stretches: dict[str, Rows] = defaultdict(list)
    wanted = {"first": min(days), "last": max(days), "ids": [row["recording_id"] for row in drawn]}
    for row in query(SCORED_STRETCHES, wanted):
        stretches[row["recording_id"]].append(row)
    common = {
        "sample_id": reviews.new_id(),
        "drawn_at": datetime.now(UTC),
        "drawn_by": drawn_by,
        "first_date": first,
        "last_date": last,
        "queues": reviews.queues_text(queues),
        "code_version": code_version(),
    }
    rows = []
    for position, call in enumerate(drawn, 1):
        size, number = len(by_stratum[call["stratum"]]), numbers[call["stratum"]]
        of_call = common | {name: call[name] for name in ("recording_id", "etag", "call_id", "stratum", "model")}
        of_call |= {"position": position, "stratum_calls": size, "stratum_drawn": number}
        whole = {"channel": None, "start_s": None, "end_s": None, "score": call["score"], "inclusion_probability": number / size}
        rows.append(of_call | whole)
        there = stretches[call["recording_id"]]
        some = rng.sample(there, min(STRETCHES, len(there)))
        for each in sorted(some, key=lambda each: each["start_s"]):
            place = {name: each[name] for name in ("channel", "start_s", "end_s", "score")}
            rows.append(of_call | place | {"inclusion_probability": number / size * len(some) / len(there)})
    return Sample(rows, min(days))


def allocated(sizes: dict[str, int], calls: int) -> dict[str, int]:
    """Calls to draw from each stratum: by SHARES, at least one where there is one; what a small stratum lacks goes to the others."""
    numbers = {stratum: min(size, max(1, round(calls * SHARES[stratum]))) for stratum, size in sizes.items()}
    while sum(numbers.values()) > calls:
        numbers[max(numbers, key=lambda stratum: numbers[stratum])] -= 1
    for stratum in ("random", "uncertain", "top"):
        numbers[stratum] += min(sizes[stratum] - numbers[stratum], calls - sum(numbers.values()))
    return numbers
