"""The encoder of voices: windows are at their own length, and independent of each other."""

import numpy as np
import pytest
import torch

from ser_tasks.audio.samples import Samples
from ser_tasks.audio.vad import Span
from ser_tasks.models.campplus import BANDS, MOST_FRAMES, voice_states
from ser_tasks.voices import encoder
from ser_tasks.voices.encoder import AT_ONCE, FRAMES, HEARD, log_mel, mood_free, voice_vectors
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
    assert np.abs(together - alone).max() < 1e-5


def test_a_window_does_not_depend_on_how_many_there_are(call):
    """More than go through the encoder together, in another order."""
    many = [Span(6000 + 1600 * index, 14000 + 1600 * index + 640 * (index % 9)) for index in range(2 * AT_ONCE + 5)]
    forwards, backwards = voice_vectors(call, 0, many), voice_vectors(call, 0, many[::-1])[::-1]
    assert np.abs(forwards - backwards).max() < 1e-5
    assert np.abs(forwards[: AT_ONCE - 3] - voice_vectors(call, 0, many[: AT_ONCE - 3])).max() < 1e-5


def test_a_long_window_is_its_middle(call):
    long, middle, edge = voice_vectors(call, 0, [Span(70000, 84000), Span(77000 - HEARD // 2, 77000 + HEARD // 2), Span(70000, 78120)])
    assert np.abs(long - middle).max() < 1e-5 < np.abs(long - edge).max()


def test_both_precisions_give_the_same_voice():
    bands = torch.randn(AT_ONCE, FRAMES, BANDS, generator=torch.Generator().manual_seed(4)) * 3
    exact, rounded = voice_states(bands, torch.float32), voice_states(bands, torch.bfloat16)
    assert torch.nn.functional.cosine_similarity(exact, rounded).min() > 0.998


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("auto", torch.bfloat16)])
def test_the_setting_decides_where_the_processor_has_both(call, monkeypatch, precision, expected):
    used = []
    monkeypatch.setenv("SER_PRECISION", precision)
    monkeypatch.setattr(encoder, "computed_in", lambda: torch.bfloat16)
    monkeypatch.setattr(encoder, "voice_states", lambda bands, dtype: used.append(dtype) or torch.ones(len(bands), 192))
    voice_vectors(call, 0, SPANS)
    assert used == [expected]


def test_a_stretch_too_long_for_the_encoder_is_an_error():
    with pytest.raises(ValueError, match="201 frames are more than 200"):
        voice_states(torch.zeros(1, MOST_FRAMES + 1, BANDS))


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
