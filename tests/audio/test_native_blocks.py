"""Decoding without conversions: each sample is the one that libsndfile and FFmpeg make with them."""

import struct

import av
import numpy as np
import pytest
import soundfile

from ser_tasks.audio import open_audio
from ser_tasks.audio.samples import float_32
from tests.factories import audio as making

CODES = bytes(range(256)) * 40


def native(path, raw_channels=None, block_s=0.35) -> np.ndarray:
    with open_audio(path, max_duration_s=60, raw_channels=raw_channels) as reader:
        return np.concatenate(list(reader.native_blocks(block_s)), axis=1)


def mu_law(code: int) -> int:
    """ITU-T G.711, table 2a, in 16 bits."""
    inverted = ~code & 0xFF
    size = (((inverted & 15) << 3) + 132 << (inverted >> 4 & 7)) - 132
    return -size if inverted & 128 else size


def a_law(code: int) -> int:
    """ITU-T G.711, table 1a, in 16 bits."""
    even = code ^ 0x55
    size, segment = (even & 15) << 4, even >> 4 & 7
    size = size + 8 if segment == 0 else size + 0x108 << segment - 1
    return size if even & 128 else -size


def g711_file(tag: int, kind: str, channels: int) -> bytes:
    """All codes, 40 times, in a WAV with this kind of header."""
    order = ">" if kind == "RIFX" else "<"
    fmt = struct.pack(order + "HHIIHHH", tag, channels, 8000, 8000 * channels, channels, 8, 0)
    if kind == "extensible":
        fmt = struct.pack("<HHIIHH", 0xFFFE, channels, 8000, 8000 * channels, channels, 8)
        fmt += struct.pack("<HHIH14s", 22, 8, (1 << channels) - 1, tag, bytes.fromhex("000000001000800000aa00389b71"))
    chunks = [(b"fmt ", fmt), (b"fact", struct.pack(order + "I", len(CODES) // channels))]
    if kind == "tags":
        chunks.insert(1, (b"LIST", b"INFOISFT" + struct.pack("<I", 4) + b"made"))
    body = b"WAVE" + b"".join(name + struct.pack(order + "I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    size = {"pipe": 0xFFFFFFFF, "cut": len(CODES) + 4000}.get(kind, len(CODES))
    body += b"data" + struct.pack(order + "I", size) + CODES
    return (b"RIFX" if kind == "RIFX" else b"RIFF") + struct.pack(order + "I", len(body)) + body


@pytest.mark.parametrize(("tag", "decoded"), [(7, mu_law), (6, a_law)])
@pytest.mark.parametrize("kind", ["plain", "RIFX", "extensible", "tags", "pipe", "cut"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_code_of_g711_is_decoded_by_its_table(tmp_path, tag, decoded, kind, channels):
    path = tmp_path / "call.wav"
    path.write_bytes(g711_file(tag, kind, channels))
    wanted = np.array([decoded(code) for code in CODES]).reshape(-1, channels).T
    read = native(path)
    np.testing.assert_array_equal(read.astype(np.float64) * (1 if read.dtype == np.int16 else 32768), wanted)
    assert kind != "plain" or read.dtype == np.int16


@pytest.mark.parametrize(("suffix", "decoded"), [(".ulaw", mu_law), (".alaw", a_law)])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_code_of_headerless_g711_is_decoded_by_its_table(tmp_path, suffix, decoded, channels):
    path = tmp_path / f"call{suffix}"
    path.write_bytes(CODES)
    read = native(path, raw_channels=channels)
    wanted = np.array([decoded(code) for code in CODES])
    np.testing.assert_array_equal(read, wanted.reshape(-1, len(read)).T)
    assert read.dtype == np.int16


@pytest.mark.parametrize("name", [*making.SOUNDFILE_FORMATS, *making.RAW_FORMATS])
def test_native_blocks_are_libsndfiles_float32(tmp_path, name):
    """Those of no more than 16 bits in 16 bits, and in float32 the same as libsndfile's own."""
    path = making.write(tmp_path / name, making.signal(2, channels=1 if name in making.MONO_ONLY else 2))
    raw = {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": making.RAW_FORMATS[name]} if name in making.RAW_FORMATS else {}
    own = soundfile.read(path, dtype="float32", always_2d=True, **raw)[0].T
    read = native(path)
    if read.dtype == np.int16:
        np.testing.assert_array_equal(float_32(read), own)
    fine = ("pcm24.wav", "pcm32.wav", "float.wav", "double.wav", "vorbis.ogg", "opus.opus", "layer3.mp3")
    fine += ("extensible.wav", "rf64.wav")  # read by FFmpeg: bytes of their headers may be a chunk that libsndfile reads for ever
    assert (read.dtype == np.float32) == (name in fine)


@pytest.mark.parametrize("name", ["opus.webm", "aac.m4a", "narrow.amr", "layer3.mp3", "pcm16.mka", "mulaw.mka"])
def test_frames_that_are_not_converted_are_what_ffmpeg_converts_them_to(tmp_path, name):
    if name in making.PYAV_FORMATS or name in making.SOUNDFILE_FORMATS:
        path = making.write(tmp_path / name, making.signal(2, channels=1 if name in making.MONO_ONLY else 2))
    else:
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            stream = out.add_stream({"pcm16.mka": "pcm_s16le", "mulaw.mka": "pcm_mulaw"}[name], rate=8000, layout="stereo")
            samples = np.ascontiguousarray(making.signal(2).T.reshape(1, -1) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
            frame.sample_rate = 8000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                out.mux(packet)
    with av.open(str(path)) as container:
        frames = [frame for packet in container.demux(container.streams.audio[0]) for frame in packet.decode()]
        to_float = av.AudioResampler("flt", frames[0].layout, frames[0].sample_rate)
        channels = frames[0].layout.nb_channels
        converted = [made.to_ndarray().reshape(-1, channels) for frame in frames for made in to_float.resample(frame)]
    np.testing.assert_array_equal(float_32(native(path)), np.concatenate(converted).T)
