"""Broken recordings through the decoder: none crashes it, hangs it, takes much memory, or ends without a reason to act on."""

import io
import os
import re
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_tasks.audio import AudioError, open_audio
from ser_tasks.audio.header import read_header
from tests.factories import audio as making_audio
from tests.factories.broken_audio import Case, absurd_files, cases, good_files
from tests.support import fuzz_decoder
from tests.support.fuzz_decoder import HANG_S, decode_all

SEED = int(os.environ.get("SER_FAULT_SEED", "4"))
GROWN_BYTES = 100 << 20
"""What a process may take for broken files of some kB, over what it has when it starts to read them."""


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    good_files(folder)
    return folder


@pytest.fixture(scope="module")
def bases(base_folder):
    return {path.name: path.read_bytes() for path in sorted(base_folder.iterdir())}


def left_in(folder: Path) -> set[str]:
    """All that lies where the processes could have left something."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} - {
        "recordings",
        "scratch",
        "tmp",
        "cwd",
        "home",
        "stderr.txt",
    }


def check(answers, folder: Path) -> None:
    bad = [answer for answer in answers if answer.ended not in ("decoded", "bad_audio")]
    assert not bad, f"{len(bad)} of {len(answers)}; make one with making_broken.case_bytes(good_files(...), Case(...)): {bad[:5]}"
    assert left_in(folder) == set()
    assert max(answer.grown_bytes for answer in answers) < GROWN_BYTES


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.faults)])
def test_every_broken_file_is_decoded_or_refused_with_a_reason(count, base_folder, bases, tmp_path):
    answers = decode_all(cases(bases, count, SEED), tmp_path, base_folder)
    assert len(answers) == count
    check(answers, tmp_path)
    ended = [answer.ended for answer in answers]
    assert min(ended.count("decoded"), ended.count("bad_audio")) > count / 5  # neither all beyond reading nor hardly touched


def test_a_case_is_the_same_bytes_again(bases):
    from tests.factories.broken_audio import case_bytes

    made = [case_bytes(bases, case) for case in cases(bases, 200, SEED)]
    assert made == [case_bytes(bases, case) for case in cases(bases, 200, SEED)]
    assert made != [case_bytes(bases, case) for case in cases(bases, 200, SEED + 1)]
    assert len({data for _, data in made}) > 190


def test_a_planted_fault_is_noticed_and_the_rest_goes_on(base_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_decoder, "HANG_S", 3.0)
    planted = [Case(what, "planted", 0, 0) for what in ("crash", "none", "hang", "none", "memory", "file")]
    answers = decode_all(planted, tmp_path, base_folder)
    assert [answer.ended for answer in answers] == ["crashed", "decoded", "hung", "decoded", "decoded", "decoded"]
    assert "Aborted" in answers[0].details and answers[0].case == "Case('crash', 'planted', 0, 0)"
    assert answers[4].grown_bytes > GROWN_BYTES > answers[3].grown_bytes
    assert left_in(tmp_path) == {"cwd/left-behind"}


def test_absurd_headers_are_refused_before_they_cost_anything(base_folder, bases, tmp_path):
    expected = {name: code for name, (_, code) in absurd_files(bases).items()}
    answers = decode_all([Case(name, "absurd", 0, 0) for name in expected], tmp_path, base_folder)
    check(answers, tmp_path)
    found = [answer.ended if answer.ended == "decoded" else answer.details.partition(":")[0] for answer in answers]
    assert dict(zip(expected, found, strict=True)) == expected
    assert max(answer.seconds for answer in answers) < HANG_S / 2


# -- Bombs of silence: the reading ends at the longest duration, whatever the file holds


SILENT = ["pcm16.flac", "layer3.mp3", "opus.opus", "vorbis.ogg", "aac.aac", "aac.m4a", "narrow.amr", "opus.webm", "windows.wma", "raw.ulaw"]


def silence(path: Path, seconds: int) -> Path:
    if path.name not in making_audio.SOUNDFILE_FORMATS:
        return making_audio.write(path, np.zeros((1, seconds * 8_000), np.float32))
    container, subtype = making_audio.SOUNDFILE_FORMATS[path.name]
    with soundfile.SoundFile(path, "w", 8_000, 1, subtype, format=container) as out:
        for _ in range(seconds):  # libsndfile's Vorbis encoder puts a whole block on the stack
            out.write(np.zeros(8_000, np.float32))
    return path


@pytest.mark.parametrize("name", SILENT)
def test_silence_is_read_to_the_longest_duration_and_no_further(name, tmp_path):
    path = silence(tmp_path / name, 100)
    if name == "pcm16.flac":
        making_audio.without_flac_length(path)
    durations_s: list[float] = []
    with pytest.raises(AudioError) as caught, open_audio(path, max_duration_s=20) as reader:
        durations_s.extend(block.shape[1] / reader.info.sampling_rate_hz for block in reader.blocks(10.0))
    assert caught.value.code == "too_long"
    assert sum(durations_s) <= 20


@pytest.mark.parametrize("channels", [8, 9, 16])
def test_many_channels_are_read_by_pyav_too(channels, tmp_path):
    """Of planar samples PyAV reads pointers until a null pointer: more than 8 channels crashed the process."""
    path = tmp_path / "call.wav"
    hum = making_audio.signal(1, channels=channels)
    path.write_bytes(making_audio.wav_bytes(hum, data_size=0))  # no length: libsndfile does not open it
    with open_audio(path, max_duration_s=60) as reader:
        np.testing.assert_allclose(np.concatenate(list(reader.blocks()), axis=1), hum, atol=2**-14)
    assert reader.note.startswith("the header gives no length")


def test_a_block_takes_no_more_memory_at_many_channels_and_a_high_rate(tmp_path):
    path = tmp_path / "wide.wav"
    path.write_bytes(making_audio.wav_bytes(np.zeros((16, 192_000 * 4), np.float32), rate_hz=192_000))
    with open_audio(path, max_duration_s=60) as reader:
        blocks = list(reader.blocks(10.0))
    assert max(block.nbytes for block in blocks) <= 32 << 20
    assert sum(block.shape[1] for block in blocks) == 192_000 * 4


def test_a_rate_that_leaves_the_limits_on_the_way_ends_the_reading(tmp_path, monkeypatch):
    """1 Hz among frames of 8 kHz would be 8,000 times as many samples."""
    path = making_audio.write(tmp_path / "narrow.amr", making_audio.signal(2))
    from ser_tasks.audio import pyav_source

    class Slow:
        def __init__(self, frame):
            self.frame = frame

        def __getattr__(self, name):
            return 1 if name == "sample_rate" else getattr(self.frame, name)

    frames = pyav_source.PyAvSource.decoded_frames
    monkeypatch.setattr(
        pyav_source.PyAvSource, "decoded_frames", lambda self: (Slow(f) if n >= 75 else f for n, f in enumerate(frames(self)))
    )
    with open_audio(path, max_duration_s=60) as reader:
        seconds = sum(block.shape[1] for block in reader.blocks()) / 8_000
    assert seconds == pytest.approx(1.5)
    assert "the sampling rate changes from 8,000 to 1 Hz" in reader.note


def test_ffmpeg_has_a_limit_for_one_block_of_memory(base_folder):
    """The limit is set through the library that PyAV links: where that does not work, a header of 9 kB takes gigabytes."""
    import ctypes

    library = ctypes.CDLL(av.logging.__file__)
    library.av_malloc.restype = ctypes.c_void_p
    with open_audio(base_folder / "aac.m4a", max_duration_s=60):
        assert library.av_malloc(ctypes.c_size_t(40 << 20)) is None


# -- The header parser alone, on any bytes


name_of_chunk = st.sampled_from([b"fmt ", b"data", b"LIST", b"ds64", b"SSND", b"COMM", b"JUNK", b"\0\0\0\0"])
size_of_chunk = st.integers(0, 2**32 - 1) | st.integers(0, 64) | st.integers(2**32 - 64, 2**32 - 1)
chunk = st.builds(
    lambda name, size, content: name + size.to_bytes(4, "little") + content, name_of_chunk, size_of_chunk, st.binary(max_size=48)
)
beginning = st.sampled_from(
    [
        b"RIFF\0\0\0\0WAVE",
        b"RIFX\0\0\0\0WAVE",
        b"RF64\xff\xff\xff\xffWAVE",
        b"FORM\0\0\0\0AIFF",
        b".snd",
        b"OggS",
        b"ID3\4\0\0",
        b"\xff\xfb",
        b"",
    ]
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(beginning, st.lists(chunk, max_size=8), st.binary(max_size=64))
def test_any_header_is_read_or_refused(start, chunks, rest):
    data = start + b"".join(chunks) + rest
    try:
        header = read_header(io.BytesIO(data), len(data))
    except AudioError as error:
        advice = re.search(r"(Upload|Export|Split).*\.$", str(error))
        assert advice
    else:
        assert 0 <= header.available_bytes <= len(data) and 0 <= header.bytes_after <= len(data) and header.promised_bytes >= 0
        assert header.declared_s is None or header.declared_s >= 0


def test_a_chunk_that_leads_back_is_kept_from_libsndfile_and_accents_are_no_loss(tmp_path):
    """Two LIST chunks of -8 bytes hold libsndfile 1.2.2 for ever; a tag with accents may look like one, and is read by PyAV."""
    for tag, may_loop in ((b"Anruf f\xc3\xbcr uns", True), (b"call for us", False)):
        content = b"INFO" + b"INAM" + len(tag).to_bytes(4, "little") + tag + b"\0" * (len(tag) % 2)
        data = making_audio.wav_bytes(making_audio.signal(1))
        data = data[:36] + b"LIST" + len(content).to_bytes(4, "little") + content + data[36:]
        assert read_header(io.BytesIO(data), len(data)).may_loop == may_loop
        (tmp_path / "call.wav").write_bytes(data)
        with open_audio(tmp_path / "call.wav", max_duration_s=60) as reader:
            np.testing.assert_allclose(np.concatenate(list(reader.blocks()), axis=1), making_audio.signal(1), atol=2**-14)
        assert (reader.info.codec, reader.info.container, reader.note) == ("PCM_16", "WAV", None)


@pytest.mark.parametrize("name", [b"x\xff", b"new\nline", b"=1+1", b"; DROP TABLE x; --", b"a" * 250, b"-", b"pipe:0", b"%00"])
@pytest.mark.parametrize("base", ["pcm16.wav", "layer3.mp3", "raw.ulaw"])
def test_odd_names_are_only_names(name, base, bases, tmp_path):
    suffix = b".ul" if base == "raw.ulaw" else base[-4:].encode()
    path = tmp_path / os.fsdecode(name + suffix)
    path.write_bytes(bases[base])
    with open_audio(path, max_duration_s=60) as reader:
        assert sum(block.shape[1] for block in reader.blocks()) > 0
