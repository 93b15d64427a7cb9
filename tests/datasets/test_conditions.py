"""Telephone conditions of clips."""

import numpy as np
import pytest

from ser_tasks.datasets.conditions import CONDITIONS, REFERENCE, SNR_DB, ConditionContext, packet_loss
from ser_tasks.datasets.telephone import mu_law
from tests.factories.calls import speechlike


def clip() -> np.ndarray:
    voice = speechlike(3.0, seed=1)
    return voice * np.float32(0.05 / voice.std())


def context(seed: int = 0) -> ConditionContext:
    return ConditionContext(np.random.default_rng(seed), [speechlike(seconds, seed=9) for seconds in (1.0, 5.0)])


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_returns_a_changed_clip_of_the_same_form(name):
    signal = clip()
    before = signal.copy()
    received = CONDITIONS[name](signal, context())
    assert received.dtype == np.float32 and received.ndim == 1 and np.isfinite(received).all()
    assert len(signal) <= len(received) < len(signal) + 2000  # MP3 and GSM end on a whole frame
    np.testing.assert_array_equal(signal, before)
    np.testing.assert_array_equal(received, CONDITIONS[name](signal, context()))
    assert name in ("8 kHz",) or np.abs(received[: len(signal)] - signal).max() > 1e-4


def test_the_reference_is_mu_law():
    np.testing.assert_array_equal(CONDITIONS[REFERENCE](clip(), context()), mu_law(clip()))
    assert next(iter(CONDITIONS)) == REFERENCE


@pytest.mark.parametrize("snr_db", SNR_DB)
@pytest.mark.parametrize("kind", ["noise", "babble"])
def test_noise_is_as_loud_as_its_name_says(kind, snr_db):
    signal = clip()
    added = CONDITIONS[f"{kind} {snr_db} dB"](signal, context()) - signal
    assert 10 * np.log10(np.var(signal) / np.var(added)) == pytest.approx(snr_db, abs=0.7)


def test_noise_has_the_clips_own_spectrum():
    signal = clip()
    added = CONDITIONS["noise 0 dB"](signal, context()) - signal
    bands = [np.square(np.abs(np.fft.rfft(x)))[: 3000 * 3].reshape(9, -1).sum(axis=1) for x in (signal, added)]
    assert np.corrcoef(np.log(bands[0]), np.log(bands[1]))[0, 1] > 0.9


def test_a_tenth_of_the_packets_is_lost_in_bursts():
    lost = []
    for seed in range(40):
        packets = packet_loss(clip(), context(seed)).reshape(-1, 160)
        lost.append((packets == 0).all(axis=1))
    lost = np.stack(lost)
    assert lost.mean() == pytest.approx(0.1, abs=0.02)
    assert (lost[:, 1:] & lost[:, :-1]).sum() / lost[:, :-1].sum() == pytest.approx(0.5, abs=0.08)


def test_babble_without_other_speakers_is_the_plain_reference():
    alone = ConditionContext(np.random.default_rng(0), [])
    np.testing.assert_array_equal(CONDITIONS["babble 0 dB"](clip(), alone), mu_law(clip()))
