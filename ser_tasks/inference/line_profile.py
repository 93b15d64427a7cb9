"""Line profiles: what speech on one's own lines is like, by which a model's input is standardised.

A line is a kind of call, such as one language over one codec. Its statistics are mean and deviation of pooled features over segments of
many callers, without labels: of a model's pooled states, or of means and deviations of the features that a network takes, from which those
of its frames follow (``line_statistics.frame_statistics``). A caller is never standardised by himself: an angry caller would vanish.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_tasks.inference.base_rates import BaseRates
from ser_tasks.inference.scores import shares_text

ALL = "all"
"""The widest line: every call of the sample."""
LEAST_SEGMENTS, LEAST_CALLERS = 30, 5
"""A line with fewer has no statistics of its own. (Measured: 30 segments lose less than .02 UA against hundreds, 2 callers .01 to .03.)"""
MOST_OF_A_CALLER = 20
"""Segments of one caller that count: a long call does not make the line."""
PROFILE_ID_HEX_DIGITS = 12


@dataclass(frozen=True)
class Line:
    """One line of a profile: its sample, and its statistics or the reason why it has none."""

    name: str
    """``all``, or its facts as ``language=de,codec=ULAW``."""
    recordings: int
    callers: int
    segments: int
    speech_s: float
    refused: str | None = None
    """Why it has no statistics."""
    mean: NDArray[np.float32] | None = None
    """(features,)"""
    deviation: NDArray[np.float32] | None = None
    """(features,), above 0."""
    usual_distance: float | None = None
    """Median over the sample's calls of the root mean square of their standardised features."""
    high_distance: float | None = None
    """What a tenth of the sample's calls exceed."""
    base_rates: BaseRates | None = None
    """Of its emotions; None where refused, and in older profiles."""

    @property
    def used_rates(self) -> Mapping[str, float] | None:
        """The base rates to which its calls are corrected; None where the estimate is too uncertain."""
        return self.base_rates.rates if self.base_rates and self.base_rates.narrow else None


@dataclass(frozen=True)
class LineProfile:
    """The lines of one sample of calls, for one model."""

    profile_id: str
    model_id: str
    made_at: datetime
    counts_from: datetime | None
    """Recordings planned from then on are scored by it. None: all recordings that had no profile before."""
    by: tuple[str, ...]
    """Facts that name a line, the most important first."""
    lines: Mapping[str, Line]
    """By name."""
    run_id: str

    def line_of(self, facts: Mapping[str, Any]) -> Line | None:
        """The narrowest line with statistics that a call of these facts belongs to; None where not even ``all`` has any."""
        for name in line_names(facts, self.by):
            line = self.lines.get(name)
            if line is not None and line.refused is None:
                return line
        return None


def line_names(facts: Mapping[str, Any], by: tuple[str, ...]) -> Iterator[str]:
    """The lines of a call, from narrow to wide: of all the facts that are known, of all but the last, and so on to ``all``."""
    known = [f"{fact}={_plain(facts[fact])}" for fact in by if facts.get(fact) not in (None, "")]
    for count in range(len(known), 0, -1):
        yield ",".join(known[:count])
    yield ALL


def facts_in(name: str) -> int:
    """The number of facts that name a line."""
    return 0 if name == ALL else name.count(",") + 1


def profile_id(model_id: str, by: tuple[str, ...], lines: Mapping[str, Line]) -> str:
    """The first 12 hexadecimal digits of the SHA-256 over the model, the facts and every line's statistics."""
    digest = hashlib.sha256(f"{model_id}\n{','.join(by)}\n".encode())
    for name, line in sorted(lines.items()):
        digest.update(f"{name} {line.segments} {line.callers} {line.refused}\n".encode())
        for values in (line.mean, line.deviation):
            if values is not None:
                digest.update(np.ascontiguousarray(values, "<f4").tobytes())
        if line.used_rates:
            digest.update(f"{shares_text(line.used_rates)}\n".encode())
    return digest.hexdigest()[:PROFILE_ID_HEX_DIGITS]


def _plain(value: object) -> str:
    """A fact's value without the two signs that part facts in a line's name."""
    return str(value).replace(",", "_").replace("=", "_")


@dataclass(frozen=True)
class Standards:
    """By what each segment of a file is standardised. Sent to the process that scores it."""

    index: NDArray[np.int64]
    """(segments,): the row of ``mean`` that counts for each segment; -1: none, it is scored raw."""
    mean: NDArray[np.float32]
    """(lines, features)"""
    deviation: NDArray[np.float32]
    """(lines, features)"""

    def of(self, members: NDArray[np.int64]) -> "Standards":
        """Those of some of the segments, in their order."""
        return Standards(self.index[members], self.mean, self.deviation)
