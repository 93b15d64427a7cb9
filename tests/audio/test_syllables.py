"""Talk speed: syllables of a made-up voice, and of real calls with human transcripts."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser_tasks.audio.samples import Samples
from ser_tasks.audio.syllables import syllables
from ser_tasks.audio.vad import Span
from ser_tasks.transcripts import read_transcript
from tests.factories.calls import RATE_HZ, speechlike

REAL = Path(os.environ.get("SER_DATA_DIR", "/nowhere")) / "calls_more"


def samples_of(sound: np.ndarray, folder: Path) -> Samples:
    call = Samples(1, folder)
    call.push(np.atleast_2d(sound).astype(np.float32))
    return call


@pytest.mark.parametrize("gain", [1.0, 0.03])
def test_a_voice_with_4_2_syllables_a_second(tmp_path, gain):
    with samples_of(gain * speechlike(40, 3), tmp_path) as call:
        assert syllables(call, 0, [Span(0, 10 * RATE_HZ), Span(12 * RATE_HZ, call.samples)]) == pytest.approx(4.2 * 38, rel=0.12)


def test_silence_and_no_speech_have_none(tmp_path):
    with samples_of(np.zeros(RATE_HZ), tmp_path) as call:
        assert syllables(call, 0, []) == 0
        assert syllables(call, 0, [Span(0, RATE_HZ), Span(5, 9)]) == 0


@pytest.mark.skipif(not REAL.exists(), reason="SER_DATA_DIR is not set")
def test_syllables_follow_those_of_human_transcripts(tmp_path):
    counts = []
    for name in ("callytics-csvd-Call01", "callytics-csvd-Call02"):
        sound, rate_hz = sf.read(REAL / f"{name}.wav", dtype="float32")
        assert rate_hz == RATE_HZ
        with samples_of(sound, tmp_path) as call:
            for turn in read_transcript((REAL / f"{name}.srt").read_bytes()).turns:
                span = Span(int(turn.start_s * RATE_HZ), int(turn.end_s * RATE_HZ))
                counts.append((syllables(call, 0, [span]), len(re.findall("[aeiouy]+", turn.text.lower())), span.seconds))
    found, written, seconds = np.array(counts).T
    assert np.corrcoef(found, written)[0, 1] > 0.95
    assert np.corrcoef(found / seconds, written / seconds)[0, 1] > 0.7
