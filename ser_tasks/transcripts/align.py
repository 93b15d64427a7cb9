"""Holds a transcript against the speech that was found: is it this call's, and are its times those of the recording?

Both are masks over time: where the detector heard speech, and where the transcript has words. They are correlated at every shift of up to
FAR_S. Another call's transcript fits nowhere better than by chance; one with an offset fits best there. With channels in the transcript,
each is held against its own.

Measured on 40 composed calls of EMO-DB and RAVDESS and the two real calls with human transcripts, cut to 20 to 240 s, with turns off by
0.15 s (standard deviation): of right transcripts, 89 % are taken at 20 s, 98 % at 30 s and all from 60 s on; of other calls', 1 to 3 % at
20 s, 0.5 % at 30 s and none from 60 s on. Every offset found was right within 0.5 s from 30 s on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ser_tasks.transcripts.transcript import Transcript, Turn, Word

STEP_S = 0.128
"""Resolution: four windows of the detector."""
FAR_S = 60.0
"""Shifts are looked for up to there, both ways: chance is known from all of them."""
NEAR_S = 2.0
"""Shifts so near the best one say nothing of chance: turns last longer than that."""
MOST_OFFSET_S = 30.0
"""A larger offset is refused: it is more likely another call's transcript."""
EXACT_S = 0.4
"""Offsets up to this are none: services and people cut turns differently."""
SURE = ((0.5, 3.0), (0.7, -np.inf))
"""A transcript is this call's where its correlation, and how many deviations it lies above the mean of far shifts, reach one of these."""
SURE_OF_OFFSET = ((0.5, 5.0), (0.6, 3.0), (0.75, 2.0))
"""The same, where it fits best with an offset: of many shifts, one may fit by chance."""
CLOSE_ENOUGH = 0.02
"""No offset is taken that fits so little better than none."""
TIMED = 0.8
"""Share of a turn's words that must have times: else the turn's own count."""
AFTER_END_S = 1.0
"""Words may lie so far behind the recording's end."""

Mask = NDArray[np.bool_]
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """How a transcript fits the speech that was found."""

    offset_s: float
    """What was added to its times; 0 where they fit as they are."""
    correlation: float
    """Of the two masks at that offset, -1 to 1."""
    above_chance: float
    """Deviations above the mean of other shifts."""
    problem: str | None = None
    """Why the transcript must not be used."""


def align(transcript: Transcript, speech: Mask, window_s: float, duration_s: float) -> Alignment:
    """Holds a transcript against ``speech``, (channels, windows of ``window_s``), of a recording of ``duration_s`` seconds."""
    heard, stated = _rows(transcript, speech, window_s)
    if not stated.any():
        return Alignment(0.0, 0.0, 0.0, "it has no words")
    if not heard.any():
        return Alignment(0.0, 0.0, 0.0, "no speech was found in the recording")
    shifts, correlation = correlations(heard, stated)
    best = int(correlation.argmax())
    peak, offset_s = float(correlation[best]), float(shifts[best] * STEP_S)
    far = correlation[np.abs(shifts - shifts[best]) * STEP_S > NEAR_S]
    above = float((peak - far.mean()) / max(float(far.std()), 1e-3))
    zero = float(correlation[np.abs(shifts) * STEP_S <= EXACT_S].max())
    if abs(offset_s) <= EXACT_S or zero >= peak - CLOSE_ENOUGH:
        offset_s, peak = 0.0, zero
    found = Alignment(offset_s, peak, above)
    if not any(peak >= least and above >= deviations for least, deviations in (SURE_OF_OFFSET if offset_s else SURE)):
        return replace(found, problem=f"it may be another call's: its words fit the speech that was found too little ({peak:.2f} of 1)")
    if abs(offset_s) > MOST_OFFSET_S:
        return replace(found, problem=f"its times are off by {offset_s:+.1f} s, more than {MOST_OFFSET_S:.0f} s: it may be another call's")
    if transcript.end_s + offset_s > duration_s + AFTER_END_S:
        last_s = transcript.end_s + offset_s
        return replace(found, problem=f"its words go on to {last_s:,.1f} s, and the recording lasts {duration_s:,.1f} s")
    return found


def shifted(transcript: Transcript, offset_s: float) -> Transcript:
    """The transcript with ``offset_s`` added to its times; what would lie before the start is cut off there."""
    if not offset_s:
        return transcript

    def at(time_s: float | None) -> float | None:
        return None if time_s is None else max(0.0, time_s + offset_s)

    def word(each: Word) -> Word:
        return replace(each, start_s=at(each.start_s), end_s=at(each.end_s))

    def turn(each: Turn) -> Turn:
        start_s, end_s = max(0.0, each.start_s + offset_s), max(0.0, each.end_s + offset_s)
        return replace(each, start_s=start_s, end_s=end_s, words=tuple(map(word, each.words)))

    redact = tuple((max(0.0, start + offset_s), max(0.0, end + offset_s)) for start, end in transcript.redact)
    return replace(transcript, turns=tuple(map(turn, transcript.turns)), redact=redact)


def spans_of(turns: Sequence[Turn]) -> list[tuple[float, float]]:
    """Where words lie, seconds: by the words' own times where all of a turn's have them, else by the turn's."""
    spans: list[tuple[float, float]] = []
    for turn in turns:
        timed = [(w.start_s, w.end_s) for w in turn.words if w.start_s is not None and w.end_s is not None and w.end_s > w.start_s]
        if timed and len(timed) >= TIMED * len(turn.words):
            spans += timed
        else:
            spans.append((turn.start_s, turn.end_s))
    return spans


def _rows(transcript: Transcript, speech: Mask, window_s: float) -> tuple[Rows, Rows]:
    """Speech and words in steps, (rows, steps): by channel where the transcript has all of the recording's, else of anybody."""
    channels = {turn.channel for turn in transcript.turns}
    by_channel = len(speech) > 1 and None not in channels and channels == set(range(len(speech)))
    heard = speech if by_channel else np.any(speech, axis=0)[None, :]
    steps = max(1, int(np.ceil(speech.shape[1] * window_s / STEP_S)))
    per_step = round(STEP_S / window_s)
    padded = np.zeros((len(heard), steps * per_step), bool)
    padded[:, : heard.shape[1]] = heard[:, : steps * per_step]
    in_steps = padded.reshape(len(heard), steps, per_step).mean(axis=2)
    length = max(steps, int(np.ceil(transcript.end_s / STEP_S)) + 1)
    stated = np.zeros((len(heard), length))
    for row in range(len(heard)):
        for start_s, end_s in spans_of([turn for turn in transcript.turns if not by_channel or turn.channel == row]):
            stated[row, int(start_s / STEP_S) : max(int(start_s / STEP_S) + 1, round(end_s / STEP_S))] = 1
    longer = np.zeros((len(heard), length))
    longer[:, :steps] = in_steps
    return longer, stated


def correlations(heard: Rows, stated: Rows) -> tuple[NDArray[np.intp], Rows]:
    """Shifts of ``stated``, in steps, and the correlation with ``heard`` at each; both (rows, steps). What is shifted out is lost."""
    steps = heard.shape[1]
    far = min(round(FAR_S / STEP_S), steps - 1)
    size = 1 << (2 * steps - 1).bit_length()
    heard = heard - heard.mean()
    product = np.fft.irfft((np.fft.rfft(heard, size) * np.conj(np.fft.rfft(stated, size))).sum(axis=0), size)
    shifts = np.arange(-far, far + 1)
    within = np.concatenate([[0.0], np.cumsum(stated.sum(axis=0))])
    squares = np.concatenate([[0.0], np.cumsum((stated**2).sum(axis=0))])
    first, last = np.clip(-shifts, 0, steps), np.clip(steps - shifts, 0, steps)
    mean = (within[last] - within[first]) / stated.size
    spread = np.sqrt(np.maximum((squares[last] - squares[first]) / stated.size - mean**2, 1e-12) * max(float(heard.var()), 1e-12))
    correlation: Rows = product[shifts] / stated.size / spread
    return shifts, correlation
