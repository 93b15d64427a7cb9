"""Speech: the detector against Silero's own loop, stretches, segments, and what must not be taken for speech."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from silero_vad import get_speech_timestamps, load_silero_vad

from ser_tasks.audio import vad
from ser_tasks.audio.samples import Samples
from ser_tasks.audio.vad import WINDOW, Span, detect_speech, segments, speech_spans
from ser_tasks.schemas import SAMPLING_RATE_HZ
from tests.factories.calls import two_sided


def sound(samples: np.ndarray) -> Samples:
    call = Samples(len(samples), Path())
    call.push(samples)
    return call


def probabilities(samples: np.ndarray) -> np.ndarray:
    return detect_speech([sound(samples)])[0].probabilities


@pytest.fixture(scope="module")
def call():
    """Two channels of 16-bit samples."""
    samples = two_sided([("agent", 1, 5), ("customer", 4.5, 12), ("agent", 13, 19), ("customer", 20, 21)], 25, seed=1).T
    return np.rint(samples * 32768).astype(np.float32) / 32768


def test_probabilities_equal_those_of_silero_s_own_loop(call):
    ours = probabilities(call)
    detector = load_silero_vad()
    for channel, samples in enumerate(torch.from_numpy(call)):
        detector.reset_states()
        theirs = [detector(window, SAMPLING_RATE_HZ).item() for window in samples[: len(samples) // WINDOW * WINDOW].split(WINDOW)]
        np.testing.assert_allclose(ours[channel, : len(theirs)], theirs, atol=1e-4)


def test_digital_silence_is_encoded_once_and_changes_no_probability(call):
    """Windows of zeros after sound, and the first sound after them, have the context that Silero's own loop has."""
    samples = call.copy()
    samples[0, 10_000:60_123] = 0
    samples[1, :70_000] = 0
    ours = probabilities(np.concatenate([samples, np.zeros((1, samples.shape[1]), np.float32)]))
    detector = load_silero_vad()
    for channel, row in enumerate(torch.from_numpy(np.concatenate([samples, np.zeros_like(samples[:1])]))):
        detector.reset_states()
        theirs = [detector(window, SAMPLING_RATE_HZ).item() for window in row[: len(row) // WINDOW * WINDOW].split(WINDOW)]
        np.testing.assert_allclose(ours[channel, : len(theirs)], theirs, atol=1e-4)


def test_a_call_is_heard_alike_alone_and_in_any_company(call):
    """Bit for bit: a cut falls where the probability is least, and the last digit of two equal ones must not decide."""
    pieces = [call, call[1:], call[:, 3000:90_001], call[:, :70], call[:1, :60_000], call[:, :1], np.repeat(call, 3, axis=0)]
    together = detect_speech([sound(piece) for piece in pieces])
    for piece, result in zip(pieces, together, strict=True):
        alone = detect_speech([sound(piece)])[0]
        np.testing.assert_array_equal(result.probabilities, alone.probabilities)
        np.testing.assert_array_equal(result.power, alone.power)
        assert result.probabilities.shape == result.power.shape == (len(piece), -(-piece.shape[1] // WINDOW))
    np.testing.assert_array_equal(together[1].probabilities, together[0].probabilities[1:])


def test_digital_silence_in_other_channels_changes_no_bit(call):
    """Windows beside digital silence are gathered before they are encoded; the others are read where they are."""
    muted = call.copy()
    muted[0, 30_000:] = 0
    muted[1, :90_000] = 0
    muted[1, 90_300:] = 0  # one window of sound
    pieces = [call, muted, muted[:1], np.concatenate([muted[1:], call[:1]])]
    for piece, result in zip(pieces, detect_speech([sound(piece) for piece in pieces]), strict=True):
        np.testing.assert_array_equal(result.probabilities, detect_speech([sound(piece)])[0].probabilities)
    beside = detect_speech([sound(pieces[3])])[0].probabilities[1]
    np.testing.assert_array_equal(beside, probabilities(call)[0])


@pytest.mark.parametrize("step", [64, 192, 1024])
def test_the_length_of_a_step_changes_no_bit(call, step, monkeypatch):
    usual = detect_speech([sound(call), sound(call[:1, :50_000])])
    monkeypatch.setattr(vad, "_STEP", step)
    for result, expected in zip(detect_speech([sound(call), sound(call[:1, :50_000])]), usual, strict=True):
        np.testing.assert_array_equal(result.probabilities, expected.probabilities)
        np.testing.assert_array_equal(result.power, expected.power)
        assert result.same_signal == expected.same_signal


@pytest.mark.parametrize("windows", [1, 3, 63, 64, 65, 255, 256, 257, 300, 513])
def test_calls_end_anywhere_in_a_step(call, windows):
    """A step is cut to the longest call, and the samples before a window are those of the step before."""
    samples = call[:, : windows * WINDOW - 100]
    np.testing.assert_array_equal(probabilities(samples)[:, :-1], probabilities(call)[:, : windows - 1])
    assert probabilities(samples).shape == (2, windows)


def test_the_power_of_a_window_is_its_mean_square_also_of_the_last_short_one():
    tone = np.full((1, WINDOW + 10), 0.5, np.float32)
    np.testing.assert_allclose(detect_speech([sound(tone)])[0].power, 0.25, rtol=1e-6)
    assert detect_speech([]) == []


@pytest.mark.parametrize(("noise", "same"), [(0.0, True), (0.02, True), (0.2, False)])
def test_channels_that_barely_differ_are_one_signal(call, noise, same):
    mix = call.sum(axis=0)
    rng = np.random.default_rng(0)
    other = mix + noise * mix.std() * rng.standard_normal(len(mix)).astype(np.float32)
    assert detect_speech([sound(np.stack([mix, other]))])[0].same_signal == same
    assert not detect_speech([sound(mix[None])])[0].same_signal


def test_stretches_agree_with_silero_s_own_timestamps(call):
    detector = load_silero_vad()
    for channel, samples in enumerate(call):
        theirs = get_speech_timestamps(torch.from_numpy(samples), detector, sampling_rate=SAMPLING_RATE_HZ, min_silence_duration_ms=300)
        ours = speech_spans(probabilities(call)[channel], len(samples))
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert abs(mine.start - other["start"]) <= 2 * WINDOW
            assert abs(mine.end - other["end"]) <= 2 * WINDOW


def test_known_turns_are_found(call):
    found = speech_spans(probabilities(call)[1], call.shape[1])
    assert [(round(s.start / 8000), round(s.end / 8000)) for s in found] in ([(4, 12), (20, 21)], [(5, 12), (20, 21)])


def test_hysteresis_pauses_and_short_bursts():
    loud, mid, quiet = [0.9] * 10, [0.4] * 10, [0.1] * 10
    assert len(speech_spans(np.array(loud + mid + loud), 10**6)) == 1  # between the thresholds speech goes on
    assert len(speech_spans(np.array(mid + mid), 10**6)) == 0  # but does not begin
    assert len(speech_spans(np.array(loud + quiet + loud), 10**6)) == 2  # 320 ms of silence part two stretches
    assert len(speech_spans(np.array(loud + quiet[:9] + loud), 10**6)) == 1  # 288 ms do not
    assert speech_spans(np.array(quiet + [0.9] * 7 + quiet), 10**6) == []  # 224 ms of speech is none
    assert speech_spans(np.zeros(0), 0) == []


@hypothesis_settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 200), st.floats(0.2, 3), st.floats(0, 20), st.randoms(use_true_random=False))
def test_segments_tile_their_stretch_within_their_limits(start, seconds, min_s, more_s, random):
    max_s = 2 * min_s + more_s
    stretch = Span(start, start + int(seconds * 8000))
    p = np.array([random.random() for _ in range(stretch.end // WINDOW + 2)])
    found = segments(stretch, p, min_s, max_s)
    assert bool(found) == (stretch.seconds >= int(min_s * 8000) / 8000)
    if found:
        assert (found[0].start, found[-1].end) == (stretch.start, stretch.end)
        assert all(one.end == other.start for one, other in zip(found, found[1:], strict=False))
        assert all(min_s - 0.001 <= span.seconds <= max_s + 0.001 for span in found)


def test_a_long_stretch_is_cut_where_speech_is_least_sure():
    p = np.full(400, 0.9)
    p[160] = 0.1
    assert segments(Span(0, 80_000), p, 1, 6)[0].end == 160 * WINDOW


@pytest.mark.parametrize("seconds", [0.5, 30])
def test_silence_noise_and_tones_are_not_speech(seconds):
    rng = np.random.default_rng(0)
    t = np.arange(int(seconds * 8000)) / 8000
    sounds = [np.zeros_like(t), 1e-4 * rng.standard_normal(len(t)), 0.05 * rng.standard_normal(len(t))]
    sounds += [0.5 * np.sin(2 * np.pi * 425 * t) * (t % 1.0 < 0.5), 0.4 * np.sin(2 * np.pi * 1000 * t)]
    found = probabilities(np.array(sounds, np.float32))
    assert [speech_spans(p, len(t)) for p in found] == [[]] * len(sounds)


@pytest.fixture(scope="module")
def data() -> Path:
    if "SER_DATA_DIR" not in os.environ:
        pytest.skip("SER_DATA_DIR is not set: real audio is needed")
    return Path(os.environ["SER_DATA_DIR"])


def speech_s(path: Path) -> tuple[float, float]:
    """Seconds of speech found in a file, and its seconds."""
    samples, rate_hz = sf.read(path, dtype="float32")
    if rate_hz != SAMPLING_RATE_HZ:
        samples = soxr.resample(samples, rate_hz, SAMPLING_RATE_HZ)
    found = speech_spans(probabilities(samples[None])[0], len(samples))
    return sum(span.seconds for span in found), len(samples) / SAMPLING_RATE_HZ


def test_hold_music_and_beeps_hardly_count_as_speech(data):
    """MODEL.md: speech found in hold music and beeps; an IVR prompt is a voice, and is found as one."""
    for path in sorted((data / "not_speech").glob("*.flac")):
        found_s, total_s = speech_s(path)
        if path.name.startswith("hold-music") or path.name == "prompt-beep.flac":
            assert found_s / total_s < 0.05, path.name


def test_real_clips_of_speech_are_found(data):
    for corpus in ("emodb", "nemo", "ravdess"):
        clips = sorted((data / "emotion" / corpus).rglob("*.flac"))[::60]
        missed = [clip.name for clip in clips if speech_s(clip)[0] < 0.25]
        assert len(missed) <= 0.05 * len(clips), (corpus, missed)
