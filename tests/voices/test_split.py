"""Windows of speech, and whose they are."""

import numpy as np
import pytest

from ser_tasks.audio.vad import WINDOW, Span
from ser_tasks.voices.split import split
from ser_tasks.voices.windows import LONGEST_S, windows


def people(turns: list[int], spread: float = 1.0, seed: int = 0, pause_s: float = 0.5) -> tuple[list[Span], np.ndarray]:
    """A window of 1.5 s for each turn, and vectors around one random direction for each person."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.standard_normal((64, 4)))[0].T
    vectors = centres[turns] + spread * rng.standard_normal((len(turns), 64)) / 8
    starts = np.arange(len(turns)) * (1.5 + pause_s) * 8000
    spans = [Span(int(start), int(start) + 12000) for start in starts]
    return spans, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def same(found: np.ndarray, turns: list[int]) -> float:
    """Share of windows with the right person, people mapped as they come."""
    pairs = {(one, other) for one, other in zip(found, turns, strict=True)}
    counts = {pair: sum((one, other) == pair for one, other in zip(found, turns, strict=True)) for pair in pairs}
    best = {one: max((count, pair) for pair, count in counts.items() if pair[0] == one)[1][1] for one in set(found)}
    return float(np.mean([best[one] == other for one, other in zip(found, turns, strict=True)]))


@pytest.mark.parametrize("number", [2, 3, 4])
def test_people_are_told_apart(number):
    turns = [(index // 2) % number for index in range(48)]
    spans, vectors = people(turns)
    found = split(spans, vectors, number)
    assert same(found.person, turns) == 1 and len(set(found.person)) == number
    assert found.certainty.min() > 0.99 and found.separation > 0.3


def test_a_voice_split_by_force_is_not_separate():
    spans, vectors = people([0] * 40)
    assert split(spans, vectors, 2).separation < 0.3


def test_time_decides_what_a_window_leaves_open():
    turns = [0] * 6 + [1] * 6
    spans, vectors = people(turns, pause_s=0.05)
    between = vectors[0] + vectors[-1]
    vectors[3] = between / np.linalg.norm(between)
    assert same(split(spans, vectors, 2).person, turns) == 1


@pytest.mark.parametrize(("count", "number"), [(0, 2), (1, 2), (2, 2), (3, 2), (3, 4), (5, 1)])
def test_few_windows_are_no_error(count, number):
    spans, vectors = people([index % 2 for index in range(count)])
    found = split(spans, vectors, number)
    assert found.person.shape == found.certainty.shape == (count,) and np.isfinite(found.certainty).all()


def test_the_same_call_gives_the_same_split():
    spans, vectors = people([0, 1, 1, 0] * 20, spread=3)
    one, other = split(spans, vectors, 2), split(spans, vectors, 2)
    assert (one.person == other.person).all() and (one.certainty == other.certainty).all()


def test_windows_of_four_hours_are_split_in_seconds():
    """More windows than are clustered: the others follow."""
    turns = [(index // 3) % 2 for index in range(6000)]
    spans, vectors = people(turns)
    assert same(split(spans, vectors, 2).person, turns) > 0.999


def test_windows_tile_speech_between_pauses():
    probabilities = np.full(400, 0.9, np.float32)
    probabilities[100:104] = 0.1  # 128 ms
    probabilities[200:202] = 0.1  # 64 ms: no pause
    found = windows(Span(10 * WINDOW, 300 * WINDOW), probabilities)
    assert found[0].start == 10 * WINDOW and found[-1].end == 300 * WINDOW
    gaps = [(after.start - before.end) // WINDOW for before, after in zip(found, found[1:], strict=False)]
    assert sorted(gaps)[-1] == 4 and sum(gaps) == 4
    assert all(0.5 < window.seconds <= LONGEST_S + 0.04 for window in found)


def test_speech_without_a_pause_is_cut_evenly():
    found = windows(Span(0, 63 * WINDOW), np.ones(63, np.float32))
    assert len(found) == 2 and abs(found[0].seconds - found[1].seconds) <= 0.033
