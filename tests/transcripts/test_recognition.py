"""Windows of speech, what is recognised in them, and the real recogniser where SER_ASR_MODEL has a model."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ser_tasks.audio import open_audio
from ser_tasks.audio.samples import Samples, at_8_khz
from ser_tasks.audio.vad import Span, detect_speech, speech_spans
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.transcripts import faster_whisper
from ser_tasks.transcripts.recognition import WINDOW_S, RecogniserSpec, hash_of, recognised, windows

RATE = SAMPLING_RATE_HZ


def spans(*seconds):
    return [Span(int(start * RATE), int(end * RATE)) for start, end in seconds]


def found(seconds, duration_s):
    return list(windows(1, spans(*seconds), np.ones(duration_s * RATE // 256 + 1, np.float32), duration_s * RATE))


def test_windows_hold_speech_in_order_and_skip_silences():
    first, second = found([(1, 9), (100, 112), (200, 220)], 300)
    assert [(piece.start / RATE, piece.end / RATE) for piece in first.pieces] == [(0.8, 9.2), (99.8, 112.2)] and first.channel == 1
    assert [(piece.start / RATE, piece.end / RATE) for piece in second.pieces] == [(199.8, 220.2)]


def test_long_speech_is_cut_and_nothing_of_it_is_lost_or_heard_twice():
    made = found([(0, 100)], 100)
    pieces = [piece for window in made for piece in window.pieces]
    assert pieces[0].start == 0 and pieces[-1].end == 100 * RATE
    assert all(one.end == after.start for one, after in zip(pieces, pieces[1:], strict=False))
    assert all(sum(piece.seconds for piece in window.pieces) <= WINDOW_S for window in made)
    assert found([], 10) == []


def test_times_in_a_window_are_times_of_the_call():
    (window,) = found([(1, 9), (100, 112)], 120)
    assert window.in_call(0.2) == pytest.approx(1) and window.in_call(8.3) == pytest.approx(9.1)
    assert window.in_call(8.6) == pytest.approx(100) and window.in_call(99) == pytest.approx(112.2)


@dataclass
class Made:
    avg_logprob: float = -0.3
    no_speech_prob: float = 0.1
    compression_ratio: float = 1.4


@pytest.mark.parametrize(
    ("segment", "kept"),
    [(Made(), True), (Made(avg_logprob=-1.2), False), (Made(no_speech_prob=0.71), False), (Made(compression_ratio=3.7), False)],
)
def test_text_that_may_be_made_up_is_dropped(segment, kept):
    assert faster_whisper._is_kept(segment) is kept


def test_a_model_is_known_by_its_bytes_and_its_precision(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"one")
    first = hash_of(tmp_path, "int8")
    assert first == hash_of(tmp_path, "int8") != hash_of(tmp_path, "float16") and first.endswith("-int8")
    (tmp_path / "model.bin").write_bytes(b"other")
    assert hash_of(tmp_path, "int8") != first


REAL = pytest.mark.skipif("SER_ASR_MODEL" not in os.environ or "SER_DATA_DIR" not in os.environ, reason="no model, or no real audio")


@REAL
def test_a_real_model_hears_words_in_speech_and_none_in_music(tmp_path):
    pytest.importorskip("faster_whisper")
    spec = RecogniserSpec(os.environ["SER_ASR_MODEL"], "cpu", "real")
    data = Path(os.environ["SER_DATA_DIR"])
    call = samples_of(data / "calls_more" / "callytics-csvd-Call01.wav", tmp_path)
    (detected,) = detect_speech([call])
    heard = recognised(call, [speech_spans(each, call.samples) for each in detected.probabilities], detected.probabilities, None, spec)
    said = " ".join(turn.text for turn in heard.turns).lower()
    assert heard.language == "en" and "how may i assist you" in said and heard.turns[0].start_s == pytest.approx(3.45, abs=0.5)
    music = samples_of(data / "not_speech" / "hold-music-1.flac", tmp_path)
    eight_s = [Span(0, 8 * RATE)]  # as if the detector had taken it for speech
    everywhere = np.ones((music.channels, music.samples // 256 + 1), np.float32)
    assert recognised(music, [eight_s], everywhere, "en", spec).turns == ()


def samples_of(path, scratch):
    with open_audio(path, max_duration_s=600) as reader:
        call = Samples(reader.info.channels, scratch)
        for block in at_8_khz(reader.blocks(10), reader.info.sampling_rate_hz):
            call.push(block)
    return call
