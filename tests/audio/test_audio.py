import os
import pickle
import struct
import sys
import tracemalloc
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ser_tasks.audio import MAX_AMPLITUDE, MAX_CHANNELS, AudioError, AudioInfo, open_audio
from tests.factories import audio as making

LONGEST_S = 3600.0
LOSSLESS = {"pcm16.wav", "pcm24.wav", "pcm32.wav", "float.wav", "double.wav", "extensible.wav", "w64.w64", "pcm16.flac", "pcm16.aiff"}
EVERY_FORMAT = [*making.SOUNDFILE_FORMATS, *making.PYAV_FORMATS, *making.RAW_FORMATS]


def read(path, max_duration_s=LONGEST_S, block_s=30.0):
    with open_audio(path, max_duration_s=max_duration_s) as reader:
        blocks = list(reader.blocks(block_s))
    return np.concatenate(blocks, axis=1), reader


def read_bytes(tmp_path: Path, data: bytes, name="call.wav", **kwargs):
    (tmp_path / name).write_bytes(data)
    return read(tmp_path / name, **kwargs)


def code_of(call, *args, **kwargs) -> str:
    with pytest.raises(AudioError) as caught:
        call(*args, **kwargs)
    assert str(caught.value).endswith(".")
    return caught.value.code


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Largest normalised correlation of two signals over shifts of up to 100 ms at 8 kHz (a codec delays)."""
    size = min(len(a), len(b)) - 1600
    middle = a[800 : 800 + size]
    shifted = np.lib.stride_tricks.sliding_window_view(b[: size + 1600], size)
    return float(np.max(shifted @ middle / (np.linalg.norm(shifted, axis=1) * np.linalg.norm(middle))))


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_every_format_gives_back_its_signal(tmp_path, name):
    source = making.signal(3)[: 1 if name in making.MONO_ONLY else 2]
    if name.startswith("narrow"):  # AMR models one voice: of a hum of many harmonics it keeps the sound, not the waveform
        source = 0.3 * np.sin(2 * np.pi * 400 * np.arange(24_000, dtype=np.float32) / 8_000)[np.newaxis]
    samples, reader = read(making.write(tmp_path / name, source))
    info = reader.info
    assert samples.dtype == np.float32
    assert samples.shape == (len(source), round(reader.seconds * info.sampling_rate_hz)) and info.channels == len(source)
    assert reader.seconds == pytest.approx(3, abs=0.1)
    assert reader.note is None
    if info.declared_s is not None:
        assert info.declared_s == pytest.approx(3, abs=0.3)
    step = info.sampling_rate_hz // making.RATE_HZ
    assert step * making.RATE_HZ == info.sampling_rate_hz
    for channel, row in enumerate(source):
        if name in LOSSLESS:
            np.testing.assert_allclose(samples[channel], row, atol=2**-14)
        else:
            assert correlation(row, samples[channel, ::step]) > 0.95


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_blocks_of_any_length_join_to_the_same_samples(tmp_path, name):
    path = making.write(tmp_path / name, making.signal(2))
    whole, reader = read(path)
    for block_s in (0.1, 0.7777):
        with open_audio(path, max_duration_s=LONGEST_S) as other:
            blocks = list(other.blocks(block_s))
        lengths = {block.shape[1] for block in blocks[:-1]}
        assert lengths == {round(block_s * reader.info.sampling_rate_hz)} and 0 < blocks[-1].shape[1] <= lengths.pop()
        np.testing.assert_allclose(np.concatenate(blocks, axis=1), whole, atol=1e-6)
        assert other.seconds == reader.seconds


def test_info_names_codec_and_container(tmp_path):
    expected = {
        "mulaw.wav": AudioInfo(8_000, 2, "ULAW", "WAV", 2.0),
        "gsm610.wav": AudioInfo(8_000, 1, "GSM610", "WAV", 2.0),
        "pcm16.flac": AudioInfo(8_000, 2, "PCM_16", "FLAC", 2.0),
        "opus.opus": AudioInfo(8_000, 2, "OPUS", "OGG", None),
        "aac.m4a": AudioInfo(16_000, 2, "AAC", "MOV", 2.0),
        "narrow.amr": AudioInfo(8_000, 1, "AMR_NB", "AMR", None),
        "raw.ulaw": AudioInfo(8_000, 1, "ULAW", "RAW", None),
    }
    assert {name: read(making.write(tmp_path / name, making.signal(2)))[1].info for name in expected} == expected


def test_the_content_counts_and_not_the_suffix(tmp_path):
    making.write(tmp_path / "layer3.mp3", making.signal(2)).rename(tmp_path / "call.wav")
    assert read(tmp_path / "call.wav")[1].info.codec == "MP3"
    making.write(tmp_path / "aac.m4a", making.signal(2)).rename(tmp_path / "call.mp3")
    assert read(tmp_path / "call.mp3")[1].info.codec == "AAC"
    making.write(tmp_path / "pcm16.wav", making.signal(2)).rename(tmp_path / "call.ulaw")
    assert read(tmp_path / "call.ulaw")[1].info.codec == "PCM_16"


def test_odd_file_names_are_only_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = making.write(tmp_path / "layer3.mp3", making.signal(1)).read_bytes()
    for name in ("concat:call.mp3", "http:call", "call 100% ü.mp3", "-call.mp3"):
        Path(name).write_bytes(data)
        assert read(name)[1].seconds == pytest.approx(1, abs=0.1)


def test_float_samples_over_full_scale_are_kept(tmp_path):
    loud = making.signal(1) * 8
    samples, _ = read_bytes(tmp_path, making.wav_bytes(loud, tag=3, bits=32))
    np.testing.assert_array_equal(samples, loud)
    assert 1 < samples.max() < MAX_AMPLITUDE


def test_an_mp3_without_a_length_header_is_read_to_its_end(tmp_path):
    """libsndfile guesses such a file's length from its first frames and stops there."""
    quiet = making.signal(20, channels=1)
    quiet[:, 16_000:144_000] = 0
    path = tmp_path / "vbr.mp3"
    with av.open(str(path), "w", format="mp3", options={"write_xing": "0"}) as out:
        track = out.add_stream("mp3", rate=making.RATE_HZ, layout="mono")
        track.codec_context.options = {"q": "2", "compression_level": "2"}
        track.codec_context.flags |= 2  # AV_CODEC_FLAG_QSCALE
        frame = av.AudioFrame.from_ndarray(quiet, format="fltp", layout="mono")
        frame.sample_rate = making.RATE_HZ
        track.codec_context.open()
        resampler = av.AudioResampler(track.codec_context.format, "mono", making.RATE_HZ, track.codec_context.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(track.encode(part))
        out.mux(track.encode())
    samples, reader = read(path)
    assert reader.info.declared_s is None
    assert reader.seconds == pytest.approx(20, abs=0.4)
    assert np.abs(samples[:, -8_000:]).max() > 0.05


# -- Bad and damaged recordings


def test_every_broken_file_gets_its_code_or_note(tmp_path):
    expected = making.broken_files(tmp_path / "broken", LONGEST_S)
    found, messages = {}, []
    for name in expected:
        try:
            samples, reader = read(tmp_path / "broken" / name)
        except AudioError as error:
            found[name] = error.code
            messages.append(str(error))
        else:
            assert np.isfinite(samples).all() and 1 <= reader.seconds < 6
            found[name] = (reader.note or "no note").split(":")[0]
    assert found == expected
    assert all(len(message) > 40 and str(tmp_path) not in message for message in messages)
    table = sys.modules["ser_tasks.audio"].__doc__
    assert {code for code in expected.values() if f"\n| {code} " not in table} == {"truncated"}


def test_a_missing_file_is_no_bad_audio(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_audio(tmp_path / "nothing.wav", max_duration_s=LONGEST_S)


def test_bad_audio_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(AudioError("empty", "The file is empty.")))
    assert (error.code, str(error), isinstance(error, ValueError)) == ("empty", "The file is empty.", True)


def test_channels_up_to_the_limit_are_read(tmp_path):
    many = making.signal(1, channels=MAX_CHANNELS)
    samples, _ = read_bytes(tmp_path, making.wav_bytes(many))
    np.testing.assert_allclose(samples, many, atol=2**-14)
    assert code_of(read_bytes, tmp_path, making.wav_bytes(making.signal(1, channels=MAX_CHANNELS + 1))) == "too_many_channels"


@pytest.mark.parametrize("data_size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_read_to_the_end_of_the_file(tmp_path, data_size):
    samples, reader = read_bytes(tmp_path, making.wav_bytes(making.signal(2), data_size=data_size))
    np.testing.assert_allclose(samples, making.signal(2), atol=2**-14)
    assert reader.note.startswith("the header gives no length") and reader.info.declared_s is None
    assert reader.info.codec == "PCM_16"


def test_a_flac_without_a_length_is_read_to_its_end(tmp_path):
    path = making.without_flac_length(making.write(tmp_path / "pcm16.flac", making.signal(5)))
    samples, reader = read(path)
    np.testing.assert_allclose(samples, making.signal(5), atol=2**-14)
    assert reader.note is None and reader.info.declared_s is None


def test_audio_that_the_header_leaves_out_is_read_and_noted(tmp_path):
    samples, reader = read_bytes(tmp_path, making.wav_bytes(making.signal(6), data_size=32_000))
    np.testing.assert_allclose(samples, making.signal(6), atol=2**-14)
    assert reader.note.startswith("the header ends the audio at 1.0 s, but 160,000 bytes follow that are no chunk: read as audio")
    tags = b"LIST" + struct.pack("<I", 40_000) + bytes(40_000)
    assert read_bytes(tmp_path, making.wav_bytes(making.signal(1)) + tags)[1].note is None


def test_a_wav_with_misplaced_chunks_says_so(tmp_path):
    """Some recorders leave out the padding byte after a tag of odd length; neither decoder finds the samples then."""
    data = making.wav_bytes(making.signal(2))
    at = data.index(b"data")
    with pytest.raises(AudioError, match="its chunks are misplaced") as caught:
        read_bytes(tmp_path, data[:at] + b"LIST" + struct.pack("<I", 5) + b"INFO!" + data[at:])
    assert caught.value.code == "no_samples"
    padded = data[:at] + b"LIST" + struct.pack("<I", 5) + b"INFO!\0" + data[at:]
    np.testing.assert_allclose(read_bytes(tmp_path, padded)[0], making.signal(2), atol=2**-14)


def test_24_bits_in_32_bit_containers_are_no_lie(tmp_path):
    samples = np.round(making.signal(1).T * 2**23).astype("<i4") << 8
    data = making.wav_bytes(making.signal(0), bits=24, block_bytes=8, data_size=samples.nbytes) + samples.tobytes()
    np.testing.assert_allclose(read_bytes(tmp_path, data)[0], making.signal(1), atol=1e-6)


def test_too_long_is_detected_from_the_header_and_from_the_samples(tmp_path):
    path = making.write(tmp_path / "pcm16.flac", making.signal(5))
    with pytest.raises(AudioError, match="The header promises 5 s; at most 4 s are read") as caught:
        open_audio(path, max_duration_s=4)
    assert caught.value.code == "too_long"
    making.without_flac_length(path)
    with open_audio(path, max_duration_s=4) as reader:
        durations_s: list[float] = []
        with pytest.raises(AudioError, match="More than 4 s of audio were decoded"):
            durations_s.extend(block.shape[1] / 8_000 for block in reader.blocks(1.0))
    assert sum(durations_s) == 4
    assert read(path, max_duration_s=5)[1].seconds == 5


def test_bad_samples_in_any_block_are_found(tmp_path):
    for value, code in ((np.nan, "not_finite"), (np.inf, "not_finite"), (-2 * MAX_AMPLITUDE, "not_scaled")):
        bad = making.signal(3)
        bad[1, -1] = value
        assert code_of(read_bytes, tmp_path, making.wav_bytes(bad, tag=3, bits=32), block_s=0.5) == code


def test_truncated_notes_state_both_lengths(tmp_path):
    path = making.cut(making.write(tmp_path / "mulaw.wav", making.signal(10)), 0.5)
    samples, reader = read(path)
    assert reader.note == "truncated: the header promises 10.0 s, 5.0 s could be read"
    assert reader.info.declared_s == pytest.approx(10, abs=0.01) and samples.shape[1] == pytest.approx(40_000, abs=100)


def test_damage_inside_a_flac_keeps_what_came_before(tmp_path):
    source = making.signal(10)
    data = bytearray(making.write(tmp_path / "pcm16.flac", source).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 30_000] = bytes(30_000)
    samples, reader = read_bytes(tmp_path, bytes(data), "call.flac")
    assert "damaged: " in reader.note and 3 < reader.seconds < 10
    np.testing.assert_allclose(samples[:, :24_000], source[:, :24_000], atol=2**-14)


def test_packets_that_cannot_be_decoded_leave_the_rest_in_place(tmp_path):
    making.write_with_pyav(tmp_path / "call.m4a", making.signal(10), making.RATE_HZ, ("ipod", "aac", 16_000))
    data = bytearray((tmp_path / "call.m4a").read_bytes())
    at = data.find(b"mdat") + len(data) // 3
    data[at : at + 200] = b"\xff" * 200
    samples, reader = read_bytes(tmp_path, bytes(data), "call.m4a")
    assert reader.note and "could not be decoded" in reader.note
    assert reader.seconds == pytest.approx(10, abs=0.2)
    assert correlation(making.signal(10)[0, -16_000:], samples[0, ::2][-16_000:]) > 0.95


def test_gaps_between_packets_are_silence(tmp_path):
    """Opus in a web call sends no packets during silence; later speech must keep its time."""
    making.write_with_pyav(tmp_path / "whole.webm", making.signal(6), making.RATE_HZ, ("webm", "libopus", 48_000))
    with av.open(str(tmp_path / "whole.webm")) as whole, av.open(str(tmp_path / "gaps.webm"), "w") as gaps:
        track = gaps.add_stream_from_template(whole.streams.audio[0])
        for packet in whole.demux(audio=0):
            if packet.dts is not None and not 2 < packet.pts * packet.time_base < 4:
                packet.stream = track
                gaps.mux(packet)
    samples, reader = read(tmp_path / "gaps.webm")
    assert reader.seconds == pytest.approx(6, abs=0.05)
    assert reader.note.endswith("s without packets were read as silence")
    assert np.abs(samples[:, 48_000 * 5 // 2 : 48_000 * 7 // 2]).max() == 0
    assert correlation(making.signal(6)[0, -12_000:], samples[0, ::6][-12_000:]) > 0.95


def test_a_video_is_read_for_its_sound(tmp_path):
    path = tmp_path / "meeting.mp4"
    making.write_with_pyav(path, making.signal(3), making.RATE_HZ, ("mp4", "aac", 16_000), video=True)
    samples, reader = read(path)
    assert reader.info.codec == "AAC" and correlation(making.signal(3)[1], samples[1, ::2]) > 0.95


def test_audio_tracks_are_channels(tmp_path):
    path = tmp_path / "tracks.mka"
    making.write_with_pyav(path, making.signal(2)[:1], making.RATE_HZ, ("matroska", "libopus", 48_000), tracks=2)
    samples, reader = read(path)
    assert reader.note == "2 audio tracks were read as 2 channels" and reader.info.channels == len(samples) == 2
    for channel in samples:
        assert correlation(making.signal(2)[0], channel[::6]) > 0.95


def test_a_playlist_opens_no_other_file(tmp_path):
    making.write(tmp_path / "aac.aac", making.signal(2))
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\naac.aac\n#EXT-X-ENDLIST\n"
    assert code_of(read_bytes, tmp_path, playlist, "call.m3u8") == "not_audio"
    assert code_of(read_bytes, tmp_path, b"ffconcat version 1.0\nfile aac.aac\n", "call.ffconcat") == "not_audio"


def test_blocks_can_be_read_once(tmp_path):
    with open_audio(making.write(tmp_path / "pcm16.wav", making.signal(1)), max_duration_s=LONGEST_S) as reader:
        list(reader.blocks())
        with pytest.raises(RuntimeError, match="open it again"):
            next(reader.blocks())


# -- Any damage at all

DAMAGED_FORMATS = [
    "pcm16.wav", "float.wav", "gsm610.wav", "ima_adpcm.wav", "rf64.wav", "pcm16.flac", "vorbis.ogg", "opus.opus", "layer3.mp3",
    "pcm16.aiff", "mulaw.au", "aac.m4a", "narrow.amr", "narrow.3gp", "opus.webm", "windows.wma", "raw.ulaw",
]  # fmt: skip


@cache
def whole_file(name: str) -> bytes:
    with TemporaryDirectory() as folder:
        return making.write(Path(folder, name), making.signal(1.5)).read_bytes()


@pytest.mark.parametrize("name", DAMAGED_FORMATS)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(keep=0.7, flips=[])
@given(
    keep=st.floats(0, 1),
    flips=st.lists(st.tuples(st.one_of(st.integers(0, 200), st.integers(0, 2**20)), st.integers(1, 255)), max_size=12),
)
def test_any_damage_gives_finite_blocks_or_a_reason(tmp_path, name, keep, flips):
    data = bytearray(whole_file(name))
    for at, mask in flips:
        data[at % len(data)] ^= mask
    (tmp_path / name).write_bytes(data[: round(len(data) * keep)])
    refused: AudioError | None = None
    try:
        with open_audio(tmp_path / name, max_duration_s=60) as reader:
            frames = 0
            for block in reader.blocks(0.5):
                assert block.dtype == np.float32 and block.shape[0] == reader.info.channels and block.shape[1] > 0
                assert np.isfinite(block).all()
                frames += block.shape[1]
            assert reader.seconds == frames / reader.info.sampling_rate_hz > 0
    except AudioError as error:
        refused = error
    assert refused is None or (refused.code and str(refused))


# -- Size


def test_a_four_hour_stereo_call_takes_little_memory(tmp_path):
    path = tmp_path / "long.wav"
    frames = 4 * 3600 * making.RATE_HZ
    header = making.wav_bytes(making.signal(0), tag=7, bits=8, data_size=2 * frames)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + 2 * frames)  # sparse: a zero byte is mu-law's most negative value
    tracemalloc.start()
    with open_audio(path, max_duration_s=4 * 3600) as reader:
        samples = sum(block.shape[1] for block in reader.blocks())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert samples == frames and reader.seconds == 4 * 3600 and reader.note is None
    assert peak_bytes < 20e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc for the process's resident memory")
def test_long_compressed_calls_do_not_grow_the_process(tmp_path):
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    paths = [making.silent_flac(tmp_path / "long.flac", 3600)]
    paths.append(making.without_flac_length(making.silent_flac(tmp_path / "unstated.flac", 3600)))
    before = resident_bytes()
    for path in paths:
        with open_audio(path, max_duration_s=3600) as reader:
            most = max(resident_bytes() for _ in reader.blocks())
        assert reader.seconds == 3600
        assert most - before < 50e6


# -- Real calls


def test_real_calls_are_read_whole():
    if "SER_DATA_DIR" not in os.environ:
        pytest.skip("SER_DATA_DIR is not set: real audio is needed")
    paths = [path for path in sorted(Path(os.environ["SER_DATA_DIR"], "calls").rglob("*")) if path.suffix in (".wav", ".flac")]
    assert len(paths) >= 6
    for path in paths:
        samples, reader = read(path)
        assert reader.note is None
        assert reader.seconds == pytest.approx(reader.info.declared_s, abs=1e-3) and reader.seconds > 5
        assert 0.001 < np.abs(samples).max() <= 1
    two_sided = read(next(path for path in paths if path.stem == "auto-repairs-40"))[1].info
    assert (two_sided.sampling_rate_hz, two_sided.channels, two_sided.codec) == (8_000, 2, "ULAW")
