"""Which line profile counts for a recording, and by what its segments are standardised."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_tasks.inference.base_rates import BaseRates
from ser_tasks.inference.line_profile import Line, LineProfile, Standards
from ser_tasks.inference.scores import shares_of, shares_text
from ser_tasks.lake import profiles
from ser_tasks.pipeline.extract import Batch, Extracted
from ser_tasks.storage import open_store


@dataclass(frozen=True)
class OnLine:
    """By what a call is scored: a line of a profile, or neither, where it is scored raw."""

    profile_id: str | None = None
    line: Line | None = None

    @property
    def name(self) -> str | None:
        return self.line.name if self.line else None


RAW = OnLine()


class ProfileBook:
    """The profiles of a run's model, from which each recording has one: the newest that counts for the time at which it was planned."""

    def __init__(self, of_model: Iterable[LineProfile], only: str | None = None):
        """``of_model``: oldest first. ``only``: the id of the one profile that counts for all recordings."""
        self._profiles = [profile for profile in of_model if only in (None, profile.profile_id)]
        self._always = only is not None

    def line_of(self, result: Extracted) -> OnLine:
        """By what a call is scored."""
        planned_at = result.recording.planned_at
        for profile in reversed(self._profiles):
            counts = self._always or profile.counts_from is None or (planned_at is not None and planned_at >= profile.counts_from)
            if counts:
                line = profile.line_of(line_facts(result))
                return OnLine(profile.profile_id, line) if line else RAW
        return RAW

    def standards(self, batch: Batch) -> Standards | None:
        """By what each segment of a batch that has frames is standardised; None where all are scored raw."""
        return standards_of(batch, [self.line_of(result).line for result in batch.extracted])


def standards_of(batch: Batch, line_of_each: Sequence[Line | None]) -> Standards | None:
    """By what each segment of a batch that has frames is standardised, given the line of each recording; None where all are scored raw."""
    rows: dict[int, int] = {}
    lines: list[Line] = []
    index: list[int] = []
    for result, line in zip(batch.extracted, line_of_each, strict=True):
        count = len(result.scored_segments)
        row = -1
        if count and line is not None:
            row = rows.setdefault(id(line), len(rows))
            if row == len(lines):
                lines.append(line)
        index += [row] * count
    if not lines:
        return None
    return Standards(
        np.array(index, np.int64),
        np.array([line.mean for line in lines], np.float32),
        np.array([line.deviation for line in lines], np.float32),
    )


def line_facts(result: Extracted) -> dict[str, Any]:
    """The facts of a call that may name its line."""
    facts = {fact: result.facts.get(fact) for fact in ("language", "queue")}
    info = result.info
    return facts | ({} if info is None else {"codec": info.codec, "container": info.container, "sampling_rate_hz": info.sampling_rate_hz})


def profile_rows(profile: LineProfile, code_version: str) -> list[dict[str, Any]]:
    """A profile as rows of the table ``profiles``."""
    return [
        {
            "profile_id": profile.profile_id,
            "model": profile.model_id,
            "made_at": profile.made_at,
            "counts_from": profile.counts_from,
            "by": ",".join(profile.by),
            "line": line.name,
            "recordings": line.recordings,
            "callers": line.callers,
            "segments": line.segments,
            "speech_s": line.speech_s,
            "refused": line.refused,
            "mean": None if line.mean is None else line.mean.tolist(),
            "deviation": None if line.deviation is None else line.deviation.tolist(),
            "usual_distance": line.usual_distance,
            "high_distance": line.high_distance,
            "base_rates": line.base_rates and shares_text(line.base_rates.rates),
            "base_rates_low": line.base_rates and shares_text(line.base_rates.low),
            "base_rates_high": line.base_rates and shares_text(line.base_rates.high),
            "base_rates_used": line.base_rates and line.base_rates.narrow,
            "run_id": profile.run_id,
            "code_version": code_version,
        }
        for line in profile.lines.values()
    ]


def profile_of_rows(rows: list[dict[str, Any]]) -> LineProfile:
    """A profile from its rows."""
    lines = {
        row["line"]: Line(
            name=row["line"],
            recordings=row["recordings"],
            callers=row["callers"],
            segments=row["segments"],
            speech_s=row["speech_s"],
            refused=row["refused"],
            mean=None if row["mean"] is None else np.array(row["mean"], np.float32),
            deviation=None if row["deviation"] is None else np.array(row["deviation"], np.float32),
            usual_distance=row["usual_distance"],
            high_distance=row["high_distance"],
            base_rates=_base_rates(row),
        )
        for row in rows
    }
    first = rows[0]
    by = tuple(filter(None, first["by"].split(",")))
    return LineProfile(first["profile_id"], first["model"], first["made_at"], first["counts_from"], by, lines, first["run_id"])


def _base_rates(row: dict[str, Any]) -> BaseRates | None:
    if row["base_rates"] is None:
        return None
    return BaseRates(*(shares_of(row[column]) for column in ("base_rates", "base_rates_low", "base_rates_high")))


@functools.lru_cache(maxsize=32)
def load_profile(lake_uri: str, key: str) -> LineProfile:
    """The profile of a part of a lake; each is read once in a process. Raises BrokenPartError, FileNotFoundError."""
    return profile_of_rows(profiles.read(open_store(lake_uri), key))
