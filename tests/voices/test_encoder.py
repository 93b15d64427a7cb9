"""The encoder of voices: windows are at their own length, and independent of each other."""

import numpy as np
import pytest

from ser_tasks.audio.samples import Samples
from ser_tasks.audio.vad import Span
from ser_tasks.voices.encoder import log_mel, mood_free, voice_vectors
from tests.factories.mono import mixed, voice


@pytest.fixture
def call(tmp_path):
    with Samples(1, tmp_path) as samples:
        samples.push(mixed()[None])
        yield samples


SPANS = [Span(6000, 20000), Span(40000, 52000), Span(70000, 84000), Span(96000, 98000)]


def test_a_window_does_not_depend_on_others(call):
    together = voice_vectors(call, 0, SPANS)
    alone = np.concatenate([voice_vectors(call, 0, [span]) for span in SPANS])
    assert together.shape == (4, 192) and np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.abs(together - alone).max() < 1e-4


def test_voices_differ_more_than_their_words(call):
    vectors = voice_vectors(call, 0, SPANS[:3])  # agent, customer, agent
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.2


def test_loudness_is_no_voice(tmp_path):
    vectors = []
    for gain in (1.0, 0.3):
        with Samples(1, tmp_path) as samples:
            samples.push(gain * voice("agent", 2, 7)[None])
            vectors.append(voice_vectors(samples, 0, [Span(0, 16000)])[0])
    assert vectors[0] @ vectors[1] > 0.98


def test_frames_cover_the_window_and_nothing_else():
    assert log_mel(voice("agent", 1, 3)).shape == (98, 80)
    assert np.abs(log_mel(voice("agent", 1, 3)).mean(axis=0)).max() < 1e-4


def test_without_moods_vectors_keep_their_length(call):
    free = mood_free(voice_vectors(call, 0, SPANS))
    assert np.allclose(np.linalg.norm(free, axis=1), 1, atol=1e-5)
