"""A transcript is held against the speech: right ones are taken, with their offset; other calls' are not."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ser_tasks.transcripts import Transcript, Turn, read_transcript
from ser_tasks.transcripts.align import MOST_OFFSET_S, align, shifted

WINDOW_S = 0.032
REAL = Path(os.environ.get("SER_DATA_DIR", "/nowhere")) / "calls_more"


def spoken(seed: int, seconds: float, channels: int = 2) -> tuple[np.ndarray, Transcript]:
    """Speech (channels, windows) of a dialogue, and its transcript, whose turns are off by 0.15 s."""
    rng = np.random.default_rng(seed)
    mask, turns, at = np.zeros((2, round(seconds / WINDOW_S)), bool), [], 0.8
    while at < seconds - 8:
        length = float(rng.uniform(0.6, 6))
        mask[len(turns) % 2, round(at / WINDOW_S) : round((at + length) / WINDOW_S)] = True
        start, end = max(0, at + rng.normal(0, 0.15)), at + length + rng.normal(0, 0.15)
        turns.append(Turn(start, max(start, end), None, "x", channel=len(turns) % 2 if channels > 1 else None))
        at += length + float(rng.uniform(0.2, 2))
    return (mask if channels > 1 else mask.any(axis=0, keepdims=True)), Transcript("made", tuple(turns))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("offset_s", [0, 0.2, 2, -2.5, 11.3, 25])
def test_the_right_transcript_is_taken_with_its_offset(channels, offset_s):
    for seed in range(5):
        speech, transcript = spoken(seed, 180, channels)
        found = align(shifted(transcript, offset_s), speech, WINDOW_S, 180)
        assert found.problem is None
        assert found.offset_s == pytest.approx(0 if abs(offset_s) < 0.4 else -offset_s, abs=0.3)


def test_another_calls_transcript_is_not():
    taken = 0
    for seed in range(60):
        speech, _ = spoken(seed, 60, 1)
        taken += align(spoken(1000 + seed, 60, 1)[1], speech, WINDOW_S, 60).problem is None
    assert taken == 0


def test_swapped_channels_do_not_fit():
    speech, transcript = spoken(3, 120)
    assert align(transcript, speech[::-1], WINDOW_S, 120).problem is not None


def test_what_cannot_be_held_against_anything_is_not_taken():
    speech, transcript = spoken(1, 60)
    assert align(Transcript("made", ()), speech, WINDOW_S, 60).problem == "it has no words"
    assert align(transcript, np.zeros_like(speech), WINDOW_S, 60).problem == "no speech was found in the recording"
    assert align(transcript, np.ones_like(speech), WINDOW_S, 60).problem is not None
    late = align(shifted(transcript, MOST_OFFSET_S + 15), np.pad(speech, ((0, 0), (0, 4000))), WINDOW_S, 188)
    assert "off by" in (late.problem or "")
    assert align(transcript, np.zeros((1, 0), bool), WINDOW_S, 0).problem is not None


def test_words_may_not_go_on_after_the_end():
    speech, transcript = spoken(1, 120)
    more = replace(transcript, turns=(*transcript.turns, Turn(125, 126, None, "x", channel=0)))
    assert align(more, speech, WINDOW_S, 120).problem == "its words go on to 126.0 s, and the recording lasts 120.0 s"


@pytest.mark.skipif(not REAL.exists(), reason="SER_DATA_DIR is not set")
def test_real_calls_take_their_own_transcript_alone(tmp_path):
    import soundfile as sf

    from ser_tasks.audio.activity import speech_mask
    from ser_tasks.audio.samples import Samples
    from ser_tasks.audio.vad import detect_speech, speech_spans

    texts = {name: read_transcript((REAL / f"callytics-csvd-{name}.srt").read_bytes()) for name in ("Call01", "Call02")}
    for name in texts:
        sound, _ = sf.read(REAL / f"callytics-csvd-{name}.wav", dtype="float32")
        with Samples(1, tmp_path) as call:
            call.push(sound[None])
            (found,) = detect_speech([call])
            speech = speech_mask(speech_spans(found.probabilities[0], call.samples), found.power.shape[1])[None]
        for other, transcript in texts.items():
            fit = align(transcript, speech, WINDOW_S, len(sound) / 8000)
            assert (fit.problem is None) == (name == other), (name, other, fit)
            assert name != other or fit.offset_s == 0
