"""Files that hold more than the first decode: appended and chained recordings, further chunks and tracks, late starts, headerless audio."""

import re
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from ser_tasks.audio import AudioError, open_audio
from ser_tasks.audio import sections as sections_module
from ser_tasks.audio.sections import _BLOCK_BYTES, find_sections
from ser_tasks.audio.soundfile_source import may_be_interleaved
from tests.factories import audio as making


def read(path: Path, **options):
    with open_audio(path, max_duration_s=60, **options) as reader:
        blocks = list(reader.blocks(1.0))
    return np.concatenate(blocks, axis=1), reader


def appended(folder: Path, name: str, *signals: np.ndarray) -> Path:
    """Whole files of these signals, one after the other."""
    data = [making.write(folder / name, samples).read_bytes() for samples in signals]
    (folder / name).write_bytes(b"".join(data))
    return folder / name


EXACT = ["pcm16.wav", "pcm24.wav", "float.wav", "extensible.wav", "w64.w64", "pcm16.flac", "pcm16.aiff", "pcm16.caf"]
CODED = ["mulaw.wav", "rf64.wav", "ima_adpcm.wav", "gsm610.wav", "mulaw.au", "nist.sph", "vorbis.ogg", "opus.opus"]
FFMPEG = ["aac.m4a", "aac.aac", "narrow.amr", "narrow.3gp", "opus.webm", "opus.mka", "layer3.mp3"]


@pytest.mark.parametrize("name", [*EXACT, *CODED, *FFMPEG])
def test_appended_recordings_are_read_to_the_end(name, tmp_path):
    signals = making.signal(2), making.signal(3, seed=1), making.signal(1.5, seed=2)
    samples, reader = read(appended(tmp_path, name, *signals))
    assert reader.seconds == pytest.approx(6.5, abs=0.5)
    whole = np.concatenate(signals, axis=1)
    if name in EXACT:
        np.testing.assert_allclose(samples, whole, atol=2**-14)
    step = reader.info.sampling_rate_hz // 8_000
    tail = samples[0, -int(1.2 * reader.info.sampling_rate_hz) :: step]  # of the last recording, within the delays of the encoders
    shifts = [np.corrcoef(tail[1_000:7_000], whole[0, len(whole[0]) - 8_600 + s :][:6_000])[0, 1] for s in range(-1_500, 2_400, 2)]
    assert max(shifts) > (0.5 if name.startswith("narrow") else 0.9)
    if name in {*EXACT, *CODED, "aac.m4a", "narrow.amr", "opus.webm"}:
        assert reader.note.startswith("3 recordings one after the other in the file were read as one: the second begins at 2.")


def test_a_recording_of_another_rate_that_follows_is_resampled_and_one_of_other_channels_is_noted(tmp_path):
    path = tmp_path / "call.wav"
    second = making.signal(2, 16_000)
    path.write_bytes(making.wav_bytes(making.signal(2)) + making.wav_bytes(second, rate_hz=16_000))
    samples, reader = read(path)
    assert samples.shape == (2, 32_000) and "2 recordings" in reader.note
    assert np.corrcoef(samples[0, 17_000:31_000], second[0, 2_000:30_000:2])[0, 1] > 0.99
    path.write_bytes(making.wav_bytes(making.signal(2)) + making.wav_bytes(making.signal(3)[:1]))
    samples, reader = read(path)
    assert samples.shape == (2, 16_000)
    assert "48,044 bytes, that was not read: it has 1 channels, the first 2" in reader.note


def test_chained_opus_with_another_layout_is_noted(tmp_path):
    path = tmp_path / "opus.opus"
    first = making.write(path, making.signal(2)).read_bytes()
    path.write_bytes(first + making.write(path, making.signal(2)[:1]).read_bytes())
    samples, reader = read(path)
    assert reader.seconds == pytest.approx(2, abs=0.1) and "another recording follows at byte" in reader.note


def test_a_broken_second_recording_is_noted_and_bad_samples_in_it_are_found(tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(making.wav_bytes(making.signal(2)) + making.wav_bytes(making.signal(2), rate_hz=1))
    samples, reader = read(path)
    assert samples.shape[1] == 16_000 and "that was not read: The header says 1 Hz" in reader.note
    bad = making.signal(2)
    bad[0, 9_000] = np.nan
    path.write_bytes(making.wav_bytes(making.signal(2), tag=3, bits=32) + making.wav_bytes(bad, tag=3, bits=32))
    with pytest.raises(AudioError) as caught:
        read(path)
    assert caught.value.code == "not_finite"


def test_the_longest_duration_counts_over_all_recordings_of_a_file(tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(making.wav_bytes(making.signal(2)) * 3)
    with pytest.raises(AudioError) as caught, open_audio(path, max_duration_s=5) as reader:
        list(reader.blocks())
    assert caught.value.code == "too_long"


def test_more_recordings_than_allowed_are_noted(tmp_path, monkeypatch):
    from ser_tasks.audio import reader as reader_module

    monkeypatch.setattr(sections_module, "MAX_SECTIONS", 3)
    monkeypatch.setattr(reader_module, "MAX_SECTIONS", 3)
    path = tmp_path / "call.wav"
    path.write_bytes(making.wav_bytes(making.signal(1)) * 5)
    samples, reader = read(path)
    assert samples.shape[1] == 24_000 and "more than 3 recordings lie in the file: the rest was not read" in reader.note


def test_a_mark_across_two_blocks_of_the_search_is_found(tmp_path):
    for pad in range(-12, 13):
        data = making.wav_bytes(np.zeros((1, (_BLOCK_BYTES - 44 + pad * 2) // 2)))
        path = tmp_path / "call.wav"
        path.write_bytes(data + making.wav_bytes(making.signal(1)))
        with path.open("rb") as file:
            assert find_sections(file, path.stat().st_size) == [(0, len(data)), (len(data), path.stat().st_size)]


def test_a_second_data_chunk_is_read(tmp_path):
    one, two = making.wav_bytes(making.signal(2)), making.wav_bytes(making.signal(3, seed=1))
    tags = b"LIST" + struct.pack("<I", 10) + bytes(10)
    for between in (b"", tags):
        (tmp_path / "call.wav").write_bytes(one + between + two[36:])
        samples, reader = read(tmp_path / "call.wav")
        np.testing.assert_allclose(samples, np.concatenate([making.signal(2), making.signal(3, seed=1)], axis=1), atol=2**-14)


@pytest.mark.parametrize("name", ["mulaw.au", "pcm16.aiff", "pcm16.caf"])
def test_audio_after_the_end_that_the_header_names_is_noted(name, tmp_path):
    path = making.write(tmp_path / name, making.signal(4))
    path.write_bytes(path.read_bytes() + np.random.default_rng(0).bytes(200_000))
    assert "were not read" in read(path)[1].note or read(path)[1].seconds > 6


@pytest.mark.parametrize("name", ["pcm16.wav", "mulaw.au", "pcm16.flac", "vorbis.ogg", "aac.m4a"])
def test_an_id3_tag_before_any_format_is_skipped(name, tmp_path):
    path = making.write(tmp_path / name, making.signal(3))
    path.write_bytes(2 * (b"ID3\3\0\0\0\0\2\0" + bytes(256)) + path.read_bytes())
    samples, reader = read(path)
    assert reader.seconds == pytest.approx(3, abs=0.2) and reader.note is None


def with_tracks(path: Path, tracks: list[tuple[np.ndarray, int, float]], container="webm", codec="libopus") -> Path:
    """A file with an audio track of each (mono signal, its rate, its start in seconds), the packets interleaved."""
    with av.open(str(path), "w", format=container) as out:
        streams = [out.add_stream(codec, rate=rate_hz, layout="mono") for _, rate_hz, _ in tracks]
        packets = []
        for stream, (signal, rate_hz, start_s) in zip(streams, tracks, strict=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(signal[None]), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, 0
            encoder = stream.codec_context
            encoder.open()
            resampler = av.AudioResampler(encoder.format, "mono", rate_hz, encoder.frame_size or None)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                packets += stream.encode(part)
            packets += stream.encode()
            for packet in packets:
                if packet.stream is stream:
                    packet.pts += round(start_s / packet.time_base)
                    packet.dts = packet.pts
        for packet in sorted(packets, key=lambda packet: packet.pts * packet.time_base):
            out.mux(packet)
    return path


@pytest.mark.parametrize(("container", "codec", "rate_hz"), [("webm", "libopus", 48_000), ("mp4", "aac", 16_000)])
def test_audio_that_starts_late_keeps_the_clock_of_the_file(container, codec, rate_hz, tmp_path):
    path = with_tracks(tmp_path / "call", [(making.signal(4, rate_hz)[0], rate_hz, 5.0)], container, codec)
    samples, reader = read(path)
    assert reader.seconds == pytest.approx(9, abs=0.2)
    assert re.fullmatch(r"the audio begins at (5\.0|4\.9) s of the file's clock: .*", reader.note)  # AAC: less its priming
    assert np.abs(samples[0, : int(4.8 * rate_hz)]).max() == 0 < np.abs(samples[0, int(5.2 * rate_hz) :]).max()


def test_a_track_that_begins_late_stays_beside_the_other(tmp_path):
    early, late = making.signal(6, 48_000)[0], making.signal(3, 48_000, seed=1)[0]
    samples, reader = read(with_tracks(tmp_path / "call.webm", [(early, 48_000, 0.0), (late, 48_000, 2.0)]))
    assert samples.shape[0] == 2 and reader.seconds == pytest.approx(6, abs=0.1)
    assert np.corrcoef(samples[0, 10_000:200_000], early[10_000:200_000])[0, 1] > 0.95
    shifts = [np.corrcoef(samples[1, 100_000:200_000], late[4_000 + s : 104_000 + s])[0, 1] for s in range(-700, 701, 4)]
    assert max(shifts) > 0.95
    assert np.abs(samples[1, : int(1.9 * 48_000)]).max() == np.abs(samples[1, int(5.2 * 48_000) :]).max() == 0


def test_tracks_of_two_rates_become_channels_of_one(tmp_path):
    tracks = [(making.signal(3, 16_000)[0], 16_000, 0.0), (making.signal(3, 48_000, seed=1)[0], 48_000, 0.0)]
    samples, reader = read(with_tracks(tmp_path / "call.mp4", tracks, "mp4", "aac"))
    assert reader.info.sampling_rate_hz == 16_000 and samples.shape[0] == 2
    assert reader.seconds == pytest.approx(3, abs=0.2)


def test_more_tracks_than_channels_allowed_are_refused(tmp_path):
    path = tmp_path / "tracks.mka"
    making.write_with_pyav(path, making.signal(1), 8_000, ("matroska", "libopus", 48_000), tracks=9)
    with pytest.raises(AudioError) as caught:
        read(path)
    assert caught.value.code == "too_many_channels"


@pytest.mark.parametrize(("suffix", "subtype"), [(".raw", "PCM_16"), (".sln", "PCM_16"), (".ulaw", "ULAW"), (".alaw", "ALAW")])
def test_headerless_audio_has_the_channels_that_are_stated(suffix, subtype, tmp_path):
    path = tmp_path / f"call{suffix}"
    hum = making.signal(3)
    soundfile.write(path, hum.T, 8_000, format="RAW", subtype=subtype, endian="LITTLE")
    samples, reader = read(path, raw_channels=2)
    assert reader.info.channels == 2 and samples.shape == hum.shape
    np.testing.assert_allclose(samples, hum, atol=0.02)


def test_a_statement_that_the_samples_contradict_is_not_believed(tmp_path):
    soundfile.write(tmp_path / "call.sln", making.signal(3)[0], 8_000, format="RAW", subtype="PCM_16", endian="LITTLE")
    assert read(tmp_path / "call.sln", raw_channels=2)[1].info.channels == 1
    one, other = making.signal(3)
    silent = np.zeros_like(one)
    for pair in ([one, other], [one, one], [silent, one], [one, silent], [one, -one], [one, 0.1 * one]):
        assert may_be_interleaved(np.stack(pair).T.ravel(), 2)
    assert not may_be_interleaved(one, 2) and not may_be_interleaved(one, 3)


def test_a_raw_file_of_unknown_channels_is_refused_with_what_to_do(tmp_path):
    soundfile.write(tmp_path / "call.raw", making.signal(1)[0], 8_000, format="RAW", subtype="PCM_16", endian="LITTLE")
    with pytest.raises(AudioError, match="SER_RAW_CHANNELS") as caught:
        read(tmp_path / "call.raw")
    assert caught.value.code == "not_audio"
    assert read(tmp_path / "call.raw", raw_channels=1)[1].seconds == 1


def test_asterisk_s_wide_formats_have_their_rate(tmp_path):
    soundfile.write(tmp_path / "call.sln16", making.signal(2, 16_000)[0], 16_000, format="RAW", subtype="PCM_16", endian="LITTLE")
    assert read(tmp_path / "call.sln16")[1].info.sampling_rate_hz == 16_000
