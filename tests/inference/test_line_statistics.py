"""Line statistics: whose segments count, when a line refuses, and what its numbers are."""

import numpy as np
import pytest

from ser_tasks.inference.line_profile import LEAST_CALLERS, LEAST_SEGMENTS, MOST_OF_A_CALLER, line_names
from ser_tasks.inference.line_statistics import Sample, frame_statistics, line_of_sample


def sample(callers: list[int], seed: int = 0, features: int = 3) -> Sample:
    """Segments of callers, one call each; ``callers`` holds the number of segments of each."""
    caller = np.repeat(np.arange(len(callers)), callers)
    pooled = np.random.default_rng(seed).normal(5, 2, (len(caller), features)).astype(np.float32)
    return Sample(pooled, caller, caller, np.full(len(caller), 2.0))


def test_mean_and_deviation_are_those_of_the_segments():
    line = line_of_sample("all", given := sample([10] * 12))
    np.testing.assert_allclose(line.mean, given.pooled.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(line.deviation, given.pooled.std(axis=0), rtol=1e-5)
    assert (line.recordings, line.callers, line.segments, line.speech_s) == (12, 12, 120, 240.0)
    assert 0.5 < line.usual_distance < 1.1 and line.usual_distance < line.high_distance < 1.6


@pytest.mark.parametrize(
    ("callers", "refused"),
    [([6] * 5, None), ([6] * 4, "24 segments of 4 callers are too few"), ([8] * 4, "32 segments of 4 callers"), ([5] * 5, "25 segments")],
)
def test_a_line_needs_enough_segments_of_enough_callers(callers, refused):
    line = line_of_sample("all", sample(callers))
    assert (line.refused is None) == (refused is None)
    if refused:
        assert refused in line.refused and f"{LEAST_SEGMENTS} of {LEAST_CALLERS}" in line.refused
        assert line.mean is None and line.usual_distance is None


def test_one_angry_caller_is_never_a_line_of_his_own():
    assert "20 segments of 1 callers are too few" in line_of_sample("all", sample([400])).refused


def test_a_long_call_counts_no_more_than_another():
    line = line_of_sample("all", sample([500, 10, 10, 10, 10]))
    assert line.segments == MOST_OF_A_CALLER + 40


def test_segments_that_are_not_finite_are_left_out():
    given = sample([10] * 5)
    given.pooled[3] = np.nan
    line = line_of_sample("all", given)
    assert line.segments == 49 and np.isfinite(line.mean).all()


def test_the_order_of_the_segments_does_not_matter():
    given = sample([10] * 8)
    turned = line_of_sample("all", given.of(np.arange(len(given))[::-1]))
    np.testing.assert_allclose(turned.mean, line_of_sample("all", given).mean, rtol=1e-6)


def test_lines_go_from_narrow_to_wide():
    by = ("language", "codec")
    assert list(line_names({"language": "de", "codec": "ULAW"}, by)) == ["language=de,codec=ULAW", "language=de", "all"]
    assert list(line_names({"language": None, "codec": "ULAW"}, by)) == ["codec=ULAW", "all"]
    assert list(line_names({"language": "a,b=c", "codec": ""}, by)) == ["language=a_b_c", "all"]
    assert list(line_names({"language": "de"}, ())) == ["all"]


def test_statistics_of_frames_follow_from_those_of_segments():
    """Each segment has the same weight, whatever its length: no frame is kept for that."""
    rng = np.random.default_rng(0)
    segments = [rng.normal(rng.normal(3, 2, 4), rng.uniform(0.5, 2, 4), (length, 4)) for length in rng.integers(20, 400, 60)]
    pooled = np.array([np.concatenate([each.mean(axis=0), each.std(axis=0)]) for each in segments])
    line = line_of_sample("all", Sample(pooled.astype(np.float32), *[np.repeat(np.arange(6), 10)] * 2, np.ones(60)))
    mean, deviation = frame_statistics(line.mean[None], line.deviation[None])
    expected = np.mean([each.mean(axis=0) for each in segments], axis=0)
    np.testing.assert_allclose(mean[0], expected, rtol=1e-5)
    squares = np.mean([np.square(each - expected).mean(axis=0) for each in segments], axis=0)
    np.testing.assert_allclose(deviation[0], np.sqrt(squares), rtol=1e-4)
    _, constant = frame_statistics(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32))
    assert constant[0, 0] > 0  # a feature that never changes is divided by something
