"""Copies in other voices: pitch, formants and speed are shifted, by the clip alone."""

import numpy as np
import pytest
import scipy.signal
from rich.progress import Progress

from ser_tasks.datasets import read_corpora, speaker_ids
from ser_tasks.evaluation.plan import Plan
from ser_tasks.training.feature_cache import features_key, pool_of
from ser_tasks.training.pooled_states import copies_of
from ser_tasks.training.recipe import recipe_of
from ser_tasks.training.voices import FORMANTS, SPEED, other_voice, shift_formants
from tests.factories.speakers import made_corpus

RATE_HZ, PITCH_HZ, FORMANT_HZ = 8000, 125, 1000
SILENT = Progress(disable=True)


@pytest.fixture(scope="module")
def vowel() -> np.ndarray:
    """One second of pulses at 125 Hz through a resonance at 1 kHz."""
    pulses = np.zeros(RATE_HZ)
    pulses[:: RATE_HZ // PITCH_HZ] = 1
    radius = np.exp(-np.pi * 120 / RATE_HZ)
    return (0.05 * scipy.signal.lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * FORMANT_HZ / RATE_HZ), radius**2], pulses)).astype(
        np.float32
    )


def formant_hz(signal: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)))) ** 2
    frequency = np.fft.rfftfreq(len(signal), 1 / RATE_HZ)
    near = (frequency > 500) & (frequency < 1800)
    return float((spectrum * frequency)[near].sum() / spectrum[near].sum())


def pitch_hz(signal: np.ndarray) -> float:
    correlation = np.correlate(signal, signal, "full")[len(signal) - 1 :]
    lags = np.arange(RATE_HZ // 300, RATE_HZ // 80)
    return RATE_HZ / float(lags[correlation[lags].argmax()])


@pytest.mark.parametrize("factor", [0.85, 1.2])
def test_formants_are_shifted_and_pitch_length_and_level_are_not(vowel, factor):
    shifted = shift_formants(vowel, factor)
    assert shifted.dtype == np.float32 and len(shifted) == len(vowel)
    moved = (formant_hz(shifted) / formant_hz(vowel) - 1) / (factor - 1)
    assert 0.5 < moved < 1.1  # a resonance as narrow as this one is smoothed: the envelope moves by the factor, its peak by less
    assert pitch_hz(shifted) == pytest.approx(PITCH_HZ, rel=0.02)
    assert np.sqrt(np.mean(shifted**2)) == pytest.approx(np.sqrt(np.mean(vowel**2)), rel=1e-3)


def test_another_voice_has_another_speed_and_pitch_within_their_ranges(vowel):
    voices = [other_voice(vowel, np.random.default_rng(seed)) for seed in range(12)]
    speeds = np.array([len(vowel) / len(voice) for voice in voices])
    assert SPEED[0] * 0.99 < speeds.min() < 0.9 and 1.1 < speeds.max() < SPEED[1] * 1.01
    np.testing.assert_allclose([pitch_hz(voice) for voice in voices], PITCH_HZ * speeds, rtol=0.03)
    formants = np.array([formant_hz(voice) for voice in voices]) / formant_hz(vowel)
    assert FORMANTS[0] * 0.98 < formants.min() < 0.95 and 1.05 < formants.max() < FORMANTS[1] * 1.02
    assert abs(np.corrcoef(speeds, formants)[0, 1]) < 0.5  # they are drawn apart
    np.testing.assert_array_equal(other_voice(vowel, np.random.default_rng(3)), voices[3])


def test_a_factor_of_one_changes_nothing(vowel):
    np.testing.assert_allclose(shift_formants(vowel, 1.0), vowel, atol=1e-5)


@pytest.mark.parametrize("signal", [np.zeros(4000, np.float32), np.full(90, 0.1, np.float32), np.zeros(1, np.float32)])
def test_silence_and_short_clips_stay_finite(signal):
    assert np.isfinite(other_voice(signal, np.random.default_rng(0))).all()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return read_corpora([made_corpus(tmp_path_factory.mktemp("data") / "made", speakers=3)])[0].clips


def test_copies_in_other_voices_depend_on_no_other_speaker(clips, tmp_path):
    """So that those of the training side hold nothing of the test side, and no clip of it has any."""
    recipe = recipe_of("cnn_lstm", voices=2)
    some = clips[speaker_ids(clips) == speaker_ids(clips).iloc[0]]
    together = pool_of(clips, recipe, Plan(cache=tmp_path / "all", workers=1), SILENT)
    alone = pool_of(some, recipe, Plan(cache=tmp_path / "some", workers=1), SILENT)
    assert len(together.lengths) == 1 + recipe.copies + 2 == len(alone.lengths)
    for number, clip in enumerate(clips.index.get_indexer(some.index)):
        for copy in (recipe.copies + 1, recipe.copies + 2):
            np.testing.assert_allclose(
                together.features(clip, copy).astype(np.float32), alone.features(number, copy).astype(np.float32), atol=0.3
            )
    plain = recipe_of("cnn_lstm")
    assert features_key(clips, plain) != features_key(clips, recipe)


def test_states_of_other_voices_come_after_the_noisy_copies(clips, tmp_path):
    plan, some = Plan(cache=tmp_path, workers=1), clips.iloc[:8]
    plain = copies_of(some, "ge2e_lr", recipe_of("ge2e_lr"), plan, SILENT)
    states = copies_of(some, "ge2e_lr", recipe_of("ge2e_lr", voices=2), plan, SILENT)
    assert states.shape == (5, 8, 512)
    np.testing.assert_array_equal(states[:3], plain)
    distances = np.linalg.norm(states[3:] - states[0], axis=2)
    assert (distances > 0).all() and np.linalg.norm(states[3] - states[4], axis=1).min() > 0
