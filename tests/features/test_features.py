import os
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr

from ser_tasks.features import FEATURE_SETS, feature_set, features_of
from ser_tasks.features.spectrum import mel_filterbank

SPEECH_HZ = 8000


def rows_of(flat: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(flat, np.cumsum(lengths)[:-1])


def speech_like(seed: int, n_samples: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    envelope = np.interp(np.arange(n_samples), np.linspace(0, n_samples, 12), rng.uniform(0.001, 0.3, 12))
    drift, noise = 0.02 * np.cumsum(rng.standard_normal(n_samples)), 0.05 * rng.standard_normal(n_samples)
    return (envelope * (drift + noise)).astype(np.float32)


@pytest.fixture(scope="module")
def made_segments() -> list[np.ndarray]:
    lengths = [1, 2, 79, 80, 81, 500, 8000, 8080, 12345, 30001, 47999, 48000]
    return [speech_like(seed, n_samples) for seed, n_samples in enumerate(lengths)]


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """Real clips at 8 kHz, from the three corpora."""
    if "SER_DATA_DIR" not in os.environ:
        pytest.skip("SER_DATA_DIR is not set: real audio is needed")
    signals = []
    for path in sorted(Path(os.environ["SER_DATA_DIR"], "emotion").glob("*/*.flac"))[::150]:
        signal, sampling_rate = soundfile.read(path, dtype="float32")
        signals.append(soxr.resample(signal, sampling_rate, SPEECH_HZ))
    assert len(signals) > 20
    return signals


def test_mfcc40_of_real_clips_equals_librosa(clips):
    import librosa

    for clip, mfcc in zip(clips, rows_of(*features_of("mfcc40", {}, clips, SPEECH_HZ)), strict=True):
        upsampled = librosa.resample(clip, orig_sr=SPEECH_HZ, target_sr=22050)
        reference = librosa.feature.mfcc(y=upsampled, sr=22050, n_mfcc=40)
        assert mfcc.shape == reference.T.shape
        np.testing.assert_allclose(mfcc, reference.T, atol=1e-3, rtol=0)


def test_mfcc40_of_a_clip_that_ends_abruptly_equals_librosa(made_segments):
    """The step at the end has power in bands above the telephone's 4,000 Hz."""
    import librosa

    for segment, mfcc in zip(made_segments, rows_of(*features_of("mfcc40", {}, made_segments, SPEECH_HZ)), strict=True):
        upsampled = librosa.resample(segment, orig_sr=SPEECH_HZ, target_sr=22050)
        np.testing.assert_allclose(mfcc, librosa.feature.mfcc(y=upsampled, sr=22050, n_mfcc=40).T, atol=1e-3, rtol=0)


def test_mfcc40_at_22050_hz_is_not_resampled():
    import librosa

    signal = speech_like(0, 30000)
    flat, _ = features_of("mfcc40", {"n_mfcc": 13}, [signal], 22050)
    np.testing.assert_allclose(flat, librosa.feature.mfcc(y=signal, sr=22050, n_mfcc=13).T, atol=1e-3, rtol=0)


@pytest.mark.parametrize("n_mels", [4, 40, 64, 128])
def test_logmel8k_of_real_clips_equals_librosa(clips, n_mels):
    import librosa

    params = {"n_mels": n_mels, "subtract_mean": False}
    for clip, level_db in zip(clips, rows_of(*features_of("logmel8k", params, clips, SPEECH_HZ)), strict=True):
        mel = librosa.feature.melspectrogram(
            y=clip, sr=8000, n_fft=256, hop_length=80, n_mels=n_mels, fmin=50, fmax=4000, pad_mode="constant"
        )
        np.testing.assert_allclose(level_db, librosa.power_to_db(mel, top_db=60).T, atol=1e-3, rtol=0)


def test_mel32_of_real_clips_equals_the_speaker_encoders_input_at_16_khz(clips):
    """Resemblyzer's own input: librosa's mel power at 16 kHz, of which the lowest 32 of 40 bands begin below 4,000 Hz."""
    import librosa

    for clip, levels in zip(clips, rows_of(*features_of("mel32", {}, clips, SPEECH_HZ)), strict=True):
        upsampled = soxr.resample(clip, SPEECH_HZ, 16000)
        reference = librosa.feature.melspectrogram(y=upsampled, sr=16000, n_fft=400, hop_length=160, n_mels=40, pad_mode="constant").T
        assert not reference[:, 32:].any(axis=None) or reference[:, 32:].max() < 1e-3 * reference.max()
        power = 10 ** ((levels * 15 - 25) / 10)
        n_frames = min(len(power), len(reference))
        found, wanted = power[:n_frames, :28], reference[:n_frames, :28] / reference[:, :32].mean()
        loud = wanted > 1e-3
        assert np.abs(10 * np.log10(found[loud] / wanted[loud])).mean() < 0.2


@pytest.mark.parametrize("name", ["mel32", "whisper80"])
def test_sets_of_encoders_are_independent_of_gain(name):
    signal = speech_like(0, 30000)
    loud, _ = features_of(name, {}, [signal], SPEECH_HZ)
    quiet, _ = features_of(name, {}, [signal * np.float32(0.1)], SPEECH_HZ)
    np.testing.assert_allclose(quiet, loud, atol=1e-3)


def test_whisper80_of_real_clips_equals_whispers_input_at_its_level(clips):
    """Whisper's own scale of librosa's mel power at 16 kHz: log10, at most 8 below the highest, plus 4, divided by 4."""
    import librosa

    for clip, levels in zip(clips, rows_of(*features_of("whisper80", {}, clips, SPEECH_HZ)), strict=True):
        upsampled = soxr.resample(clip, SPEECH_HZ, 16000)
        mel = librosa.feature.melspectrogram(y=upsampled, sr=16000, n_fft=400, hop_length=160, n_mels=80, pad_mode="constant").T
        mel = np.maximum(mel * 10**-1.62 / mel.mean(), 1e-10)
        reference = (np.maximum(np.log10(mel), np.log10(mel.max()) - 8) + 4) / 4
        n_frames = min(len(levels), len(reference))
        np.testing.assert_allclose(levels[:n_frames], reference[:n_frames], atol=2e-3)


def test_logmel8k_is_independent_of_gain():
    signal = speech_like(3, 20000)
    loud, _ = features_of("logmel8k", {}, [signal], 8000)
    quiet, _ = features_of("logmel8k", {}, [signal * np.float32(0.1)], 8000)
    np.testing.assert_allclose(loud, quiet, atol=1e-3)
    assert abs(loud.mean()) < 1e-3 < loud.std()


def test_logmel8k_resamples_other_rates_to_8_khz():
    at_16_khz = speech_like(4, 32000)
    flat, lengths = features_of("logmel8k", {}, [at_16_khz], 16000)
    expected, _ = features_of("logmel8k", {}, [soxr.resample(at_16_khz, 16000, 8000, "HQ")], 8000)
    assert lengths.tolist() == [201]
    np.testing.assert_allclose(flat, expected, atol=1e-5)


@pytest.mark.parametrize(("rate_hz", "n_mels", "fmin_hz"), [(22050, 128, 0), (8000, 64, 50), (8000, 4, 50), (8000, 128, 50)])
def test_mel_filterbank_equals_librosa(rate_hz, n_mels, fmin_hz):
    import librosa

    reference = librosa.filters.mel(sr=rate_hz, n_fft=512, n_mels=n_mels, fmin=fmin_hz, fmax=rate_hz / 2)
    np.testing.assert_allclose(mel_filterbank(rate_hz, 512, n_mels, fmin_hz, rate_hz / 2), reference, atol=1e-7)


@pytest.mark.parametrize("name", FEATURE_SETS)
@pytest.mark.parametrize("sampling_rate", [8000, 16000, 22050])
def test_features_do_not_depend_on_other_segments(name, sampling_rate, made_segments):
    """Bit by bit: scores of a call must not move with what else a night holds."""
    shuffled = [made_segments[index] for index in np.random.default_rng(0).permutation(len(made_segments))] * 3
    flat, lengths = features_of(name, {}, shuffled, sampling_rate)
    assert flat.dtype == np.float32 and lengths.dtype == np.int64
    for segment, together in zip(shuffled, rows_of(flat, lengths), strict=True):
        alone, _ = features_of(name, {}, [segment], sampling_rate)
        np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_a_set_is_a_function_of_signal_and_sampling_rate(name, made_segments):
    chosen = FEATURE_SETS[name]
    signal = np.stack([made_segments[-1], made_segments[-1][::-1].copy()])
    features = chosen.function(signal, SPEECH_HZ)
    assert features.shape == (2, chosen.frames(48000, SPEECH_HZ), chosen.n_features({}))
    assert features.dtype == np.float32
    assert chosen.frames(48000, SPEECH_HZ) == pytest.approx(6 / chosen.hop_s, abs=1)


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_a_sample_that_is_not_finite_spoils_its_own_segment_only(name):
    segments = [speech_like(seed, 16000) for seed in range(3)]
    clean = rows_of(*features_of(name, {}, segments, SPEECH_HZ))
    segments[1] = segments[1].copy()
    segments[1][100] = np.nan
    spoilt = rows_of(*features_of(name, {}, segments, SPEECH_HZ))
    assert not np.isfinite(spoilt[1]).all()
    for index in (0, 2):
        np.testing.assert_allclose(spoilt[index], clean[index], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_digital_silence_gives_finite_features(name):
    flat, _ = features_of(name, {}, [np.zeros(8000, np.float32)], SPEECH_HZ)
    assert np.isfinite(flat).all()


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_no_segments_give_no_frames(name):
    flat, lengths = features_of(name, {}, [], SPEECH_HZ)
    assert flat.shape == (0, FEATURE_SETS[name].n_features({})) and lengths.shape == (0,)


def test_errors_name_the_value_and_the_choices():
    with pytest.raises(ValueError, match=r"Segment 1 has shape \(0,\)"):
        features_of("mfcc40", {}, [np.ones(5, np.float32), np.ones(0, np.float32)], SPEECH_HZ)
    with pytest.raises(ValueError, match="'mfcc41' is unknown: choose one of mfcc40, logmel8k"):
        feature_set("mfcc41")
    with pytest.raises(ValueError, match="no parameter n_mel: it has n_mels"):
        features_of("logmel8k", {"n_mel": 40}, [np.ones(5, np.float32)], SPEECH_HZ)
    with pytest.raises(ValueError, match="n_mfcc is 129"):
        features_of("mfcc40", {"n_mfcc": 129}, [np.ones(5, np.float32)], SPEECH_HZ)


def test_per_band_levels_are_independent_of_the_lines_spectrum_and_gain():
    """A tilt of 12 dB and a gain of -20 dB: only the leakage of the window and the floor below the peak remain of them."""
    signal = speech_like(3, 24000)
    tilted = 0.1 * np.convolve(signal, [1.0, 0.6], "same").astype(np.float32)
    for per_band, most in ((True, 0.6), (False, 8.0)):
        one, other = (features_of("logmel8k", {"per_band": per_band}, [line], SPEECH_HZ)[0] for line in (signal, tilted))
        assert np.abs(one.mean(axis=0)).max() < 1e-3 or not per_band
        assert np.abs(one - other).mean() < most and (np.abs(one - other).mean() > 1.0) != per_band


@pytest.mark.parametrize("name", [name for name, own in FEATURE_SETS.items() if own.bands_db])
def test_features_of_bands_are_features_again(name):
    chosen = FEATURE_SETS[name]
    params = chosen.complete({})
    flat, _ = features_of(name, params, [speech_like(4, 16000)], SPEECH_HZ)
    np.testing.assert_allclose(chosen.of_bands_db(chosen.bands_db(flat, params), params), flat, atol=1e-3)


def test_vector162_equals_librosa():
    """Each of the 162 values, as the published snippets compute them."""
    import librosa

    signal = speech_like(5, 30_000)
    flat, _ = features_of("vector162", {}, [signal], 22_050)
    stft = np.abs(librosa.stft(signal))
    reference = [
        librosa.feature.zero_crossing_rate(signal),
        librosa.feature.chroma_stft(S=stft, sr=22_050, tuning=0.0),
        librosa.feature.mfcc(y=signal, sr=22_050, n_mfcc=20),
        librosa.feature.rms(y=signal),
        librosa.feature.melspectrogram(y=signal, sr=22_050),
    ]
    np.testing.assert_allclose(flat, np.concatenate(reference).T, atol=2e-3, rtol=1e-3)
    of_two_ways, _ = features_of("vector180", {}, [signal], 22_050)
    np.testing.assert_allclose(of_two_ways[:, :40], librosa.feature.mfcc(y=signal, sr=22_050, n_mfcc=40).T, atol=2e-3)
    np.testing.assert_array_equal(of_two_ways[:, 40:], np.hstack([flat[:, 1:13], flat[:, 34:]]))


def voice_of(pitch_hz: float, formants_hz: tuple[float, ...]) -> np.ndarray:
    """A second at 8 kHz of pulses whose spectrum falls by 12 dB an octave, through resonators of 80 Hz, the last at 3,500 Hz."""
    pulses = np.zeros(8000)
    pulses[np.arange(0, 8000, 8000 / pitch_hz).astype(int)] = 1
    pulses = scipy.signal.lfilter([1], [1, -1.9, 0.9025], pulses)
    for hz in (*formants_hz, 3500.0):
        radius = np.exp(-np.pi * 80 / 8000)
        pulses = scipy.signal.lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hz / 8000), radius**2], pulses)
    return (0.1 * pulses / np.abs(pulses).max()).astype(np.float32)


@pytest.mark.parametrize(("pitch_hz", "formants_hz"), [(100.0, (700.0, 1200.0, 2500.0)), (210.0, (350.0, 2100.0, 2900.0))])
def test_pitch_and_formants_of_a_made_voice(pitch_hz, formants_hz):
    values, _ = features_of("pitch_formants", {}, [voice_of(pitch_hz, formants_hz)], SPEECH_HZ)
    middle = values[5:-5]
    assert np.abs(middle[:, 0] / pitch_hz - 1).max() < 0.03 and (middle[:, 1] > 0.75).all()
    np.testing.assert_allclose(np.median(middle[:, 3:6], axis=0), formants_hz, rtol=0.1)  # prediction draws towards harmonics


def test_noise_has_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    values, _ = features_of("pitch_formants", {}, [noise], SPEECH_HZ)
    assert (values[:, 0] == 0).mean() > 0.95
    np.testing.assert_allclose(values[5:-5, 2], -20, atol=1.5)


@pytest.mark.parametrize("band", [0, 3, 17, 31])
def test_a_tone_lies_in_its_wavelet_packet(band):
    """The leaves are in the order of frequency, 125 Hz each."""
    tone = np.sin(2 * np.pi * (62.5 + 125 * band) / 8000 * np.arange(8000)).astype(np.float32)
    chosen = FEATURE_SETS["wavelet_packet"]
    levels_db = chosen.bands_db(features_of("wavelet_packet", {}, [tone], SPEECH_HZ)[0][5:-5], {}).mean(axis=0)
    assert levels_db.argmax() == band


def test_short_term_features_of_a_tone():
    """800 Hz of 4,000: crossings, centroid and roll-off lie there, spread and entropy of the spectrum are small."""
    tone = np.sin(2 * np.pi * 800 / 8000 * np.arange(16_000)).astype(np.float32)
    values, _ = features_of("short_term34", {}, [tone], SPEECH_HZ)
    crossings, energy, entropy, centroid, spread, spectral_entropy, flux, roll_off, *_ = values[3:-3].mean(axis=0)
    assert crossings == pytest.approx(0.2, abs=0.01) and energy == pytest.approx(0.5 / tone.max() ** 2, abs=0.01)
    assert entropy == pytest.approx(np.log2(10), abs=0.05) and centroid == pytest.approx(0.2, abs=0.02)
    assert spread < 0.05 and spectral_entropy < 0.1 and flux < 1e-3 and roll_off == pytest.approx(0.2, abs=0.02)
    assert values[3:-3, 21:33].mean(axis=0).argmax() == 7, "800 Hz lies nearest to G, 784 Hz"
