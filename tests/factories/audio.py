"""Generated recordings: a seeded signal in every format that `ser_tasks.audio` reads, and broken files of every kind."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

RATE_HZ = 8_000

SOUNDFILE_FORMATS = {  # file name -> libsndfile's format, subtype
    "pcm8.wav": ("WAV", "PCM_U8"),
    "pcm16.wav": ("WAV", "PCM_16"),
    "pcm24.wav": ("WAV", "PCM_24"),
    "pcm32.wav": ("WAV", "PCM_32"),
    "float.wav": ("WAV", "FLOAT"),
    "double.wav": ("WAV", "DOUBLE"),
    "extensible.wav": ("WAVEX", "PCM_16"),
    "mulaw.wav": ("WAV", "ULAW"),
    "alaw.wav": ("WAV", "ALAW"),
    "gsm610.wav": ("WAV", "GSM610"),
    "ima_adpcm.wav": ("WAV", "IMA_ADPCM"),
    "ms_adpcm.wav": ("WAV", "MS_ADPCM"),
    "rf64.wav": ("RF64", "ULAW"),
    "w64.w64": ("W64", "PCM_16"),
    "pcm16.flac": ("FLAC", "PCM_16"),
    "vorbis.ogg": ("OGG", "VORBIS"),
    "opus.opus": ("OGG", "OPUS"),
    "layer3.mp3": ("MP3", "MPEG_LAYER_III"),
    "pcm16.aiff": ("AIFF", "PCM_16"),
    "mulaw.au": ("AU", "ULAW"),
    "pcm16.caf": ("CAF", "PCM_16"),
    "nist.sph": ("NIST", "ULAW"),
}
PYAV_FORMATS = {  # file name -> FFmpeg's container, codec, sampling rate, channels (None: as in the signal)
    "aac.m4a": ("ipod", "aac", 16_000, None),
    "aac.aac": ("adts", "aac", 16_000, None),
    "narrow.amr": ("amr", "libopencore_amrnb", 8_000, 1),
    "narrow.3gp": ("3gp", "libopencore_amrnb", 8_000, 1),
    "opus.webm": ("webm", "libopus", 48_000, None),
    "opus.mka": ("matroska", "libopus", 48_000, None),
    "windows.wma": ("asf", "wmav2", 16_000, None),
}
RAW_FORMATS = {"raw.ulaw": "ULAW", "raw.ul": "ULAW", "raw.alaw": "ALAW", "raw.vox": "VOX_ADPCM", "raw.gsm": "GSM610", "raw.sln": "PCM_16"}
BIT_RATES = {"wmav2": 48_000, "libopencore_amrnb": 12_200}
MONO_ONLY = {"gsm610.wav", "narrow.amr", "narrow.3gp", *RAW_FORMATS}


def signal(seconds: float, sampling_rate_hz: int = RATE_HZ, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Float32 ``(channels, samples)``: a voice-like hum of moving pitch, another one on each channel, peak below 0.5."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * sampling_rate_hz)) / sampling_rate_hz
    rows = []
    for channel in range(channels):
        pitch_hz = 140 + 70 * channel + 25 * np.sin(2 * np.pi * (0.7 + 0.2 * channel) * time_s)
        phase = 2 * np.pi * np.cumsum(pitch_hz) / sampling_rate_hz
        voice = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 7))
        rows.append(0.12 * voice * (0.6 + 0.4 * np.sin(2 * np.pi * 1.7 * time_s + channel)))
    return np.stack(rows).astype(np.float32)


def write(path: Path, samples: np.ndarray, sampling_rate_hz: int = RATE_HZ) -> Path:
    """Writes ``(channels, samples)`` in the format of the file's name in the tables above."""
    if path.name in PYAV_FORMATS:
        container, codec, rate_hz, channels = PYAV_FORMATS[path.name]
        write_with_pyav(path, samples[:channels], sampling_rate_hz, (container, codec, rate_hz))
    elif path.name in RAW_FORMATS:
        soundfile.write(path, samples[0], sampling_rate_hz, format="RAW", subtype=RAW_FORMATS[path.name], endian="LITTLE")
    else:
        container, subtype = SOUNDFILE_FORMATS[path.name]
        samples = samples[:1] if path.name in MONO_ONLY else samples
        soundfile.write(path, samples.T, sampling_rate_hz, format=container, subtype=subtype)
    return path


def write_with_pyav(
    path: Path, samples: np.ndarray, sampling_rate_hz: int, encoding: tuple[str, str, int], *, video=False, tracks=1, **options: str
) -> None:
    """Encodes ``(channels, samples)`` with FFmpeg. ``encoding`` is the container, the codec and the sampling rate of the file.

    ``video`` adds a picture track, ``tracks`` repeats the audio, ``options`` go to the container.
    """
    container, codec, rate_hz = encoding
    layout = "mono" if len(samples) == 1 else "stereo"
    with av.open(str(path), "w", format=container, options=options) as out:
        pictures = out.add_stream("mpeg4", rate=5, width=32, height=32, pix_fmt="yuv420p") if video else None
        sounds = [out.add_stream(codec, rate=rate_hz, layout=layout) for _ in range(tracks)]
        for sound in sounds:
            if codec in BIT_RATES:
                sound.codec_context.bit_rate = BIT_RATES[codec]
            sound.codec_context.open()
        if video:
            for count in range(10):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * count, np.uint8), format="rgb24")
                out.mux(pictures.encode(picture))
            out.mux(pictures.encode())
        for sound in sounds:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = sampling_rate_hz, 0, Fraction(1, sampling_rate_hz)
            encoder = sound.codec_context
            resampler = av.AudioResampler(encoder.format, layout, rate_hz, encoder.frame_size or None)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                out.mux(sound.encode(part))
            out.mux(sound.encode())


def wav_bytes(samples: np.ndarray, *, tag=1, channels=None, rate_hz=RATE_HZ, bits=16, block_bytes=None, data_size=None) -> bytes:
    """A WAV of ``(channels, samples)`` as 16-bit values (``tag`` 3: float32), with these header fields, which may be wrong."""
    data = (samples.T.astype("<f4") if tag == 3 else np.round(samples.T * 32767).astype("<i2")).tobytes()
    channels = len(samples) if channels is None else channels
    block_bytes = channels * bits // 8 if block_bytes is None else block_bytes
    fmt = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block_bytes % 2**32, block_bytes, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data) if data_size is None else data_size)
    return b"RIFF" + struct.pack("<I", min(len(body) + len(data), 2**32 - 1)) + body + data


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def silent_flac(path: Path, seconds: float) -> Path:
    """A FLAC of digital silence: 0.1 MB an hour."""
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, "PCM_16", format="FLAC") as out:
        for start_s in range(0, round(seconds), 600):
            out.write(np.zeros(round(RATE_HZ * min(600, seconds - start_s)), np.int16))
    return path


def without_flac_length(path: Path) -> Path:
    """Sets the total samples in a FLAC's STREAMINFO to 0, which means unknown (RFC 9639, section 8.2)."""
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    return path


def broken_files(folder: Path, longest_s: float = 6 * 3600) -> dict[str, str]:
    """Writes broken and odd files; file name -> the code of the expected `AudioError`, or ``truncated`` for a readable one with a note.

    The ``too_long`` files last longer than ``longest_s``: pass the longest duration that is allowed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hum = signal(6)
    expected: dict[str, str] = {}
    files = _no_audio_files() | _bad_header_files(hum) | _bad_sample_files() | _damaged_files(folder, hum)
    for name, (code, data) in files.items():
        (folder / name).write_bytes(data)
        expected[name] = code
    write_with_pyav(folder / "pictures_only.mp4", hum, RATE_HZ, ("mp4", "aac", 16_000), video=True, tracks=0)
    expected["pictures_only.mp4"] = "not_audio"
    soundfile.write(folder / "rate_2000.flac", hum.T, 2_000)
    expected["rate_2000.flac"] = "bad_sampling_rate"

    silent_flac(folder / "hours_of_silence.flac", longest_s + 60)
    expected["hours_of_silence.flac"] = "too_long"
    (folder / "hours_in_secret.flac").write_bytes((folder / "hours_of_silence.flac").read_bytes())
    without_flac_length(folder / "hours_in_secret.flac")
    expected["hours_in_secret.flac"] = "too_long"

    for name in (
        *("pcm16.wav", "mulaw.wav", "gsm610.wav", "ima_adpcm.wav", "rf64.wav"),
        *("pcm16.flac", "vorbis.ogg", "opus.opus", "layer3.mp3"),
    ):
        cut(write(folder / name, hum), 0.6).rename(folder / f"cut_{name}")
        expected[f"cut_{name}"] = "truncated"
    write_with_pyav(folder / "cut_aac.m4a", hum, RATE_HZ, ("ipod", "aac", 16_000), movflags="+faststart")
    cut(folder / "cut_aac.m4a", 0.6)
    expected["cut_aac.m4a"] = "truncated"
    return expected


def _no_audio_files() -> dict[str, tuple[str, bytes]]:
    """Files without audio; file name -> code, content."""
    rng = np.random.default_rng(7)
    return {
        "zero_bytes.wav": ("empty", b""),
        "zero_bytes.ulaw": ("empty", b""),
        "noise_of_bytes.wav": ("not_audio", rng.bytes(20_000)),
        "text.wav": ("not_audio", b"Dear team, the recording of this call is missing.\n" * 40),
        "page.mp3": ("not_audio", b"<!DOCTYPE html><html><body>403 Forbidden</body></html>" * 5),
        "archive.wav": ("not_audio", b"PK\x03\x04" + rng.bytes(5_000)),
        "picture.wav": ("not_audio", b"\x89PNG\r\n\x1a\n" + rng.bytes(5_000)),
        "playlist.m4a": ("not_audio", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.ts\n#EXT-X-ENDLIST\n"),
        "web_picture.wav": ("not_audio", b"RIFF" + struct.pack("<I", 1_000) + b"WEBPVP8 " + rng.bytes(1_000)),
        "zeros.wav": ("not_audio", bytes(10_000)),
    }


def _bad_header_files(hum: np.ndarray) -> dict[str, tuple[str, bytes]]:
    """Files whose header is wrong or has no samples; file name -> code, content."""
    return {
        "no_channels.wav": ("no_channels", wav_bytes(hum, channels=0, block_bytes=2)),
        "many_channels.wav": ("too_many_channels", wav_bytes(hum, channels=300)),
        "rate_0.wav": ("bad_sampling_rate", wav_bytes(hum, rate_hz=0)),
        "rate_4e9.wav": ("bad_sampling_rate", wav_bytes(hum, rate_hz=4_000_000_000)),
        "rate_1000.wav": ("bad_sampling_rate", wav_bytes(hum, rate_hz=1_000)),
        "header_only.wav": ("no_samples", wav_bytes(hum[:, :0])),
        "header_and_tags.wav": ("no_samples", wav_bytes(hum[:, :0]) + b"LIST\x0c\x00\x00\x00INFOISFT\x00\x00\x00\x00"),
        "half_a_header.wav": ("no_samples", wav_bytes(hum)[:30]),
        "header_only.au": ("no_samples", b".snd" + struct.pack(">IIIII", 24, 0, 1, RATE_HZ, 1)),
        "mono_frames_in_stereo.wav": ("header_lies", wav_bytes(hum, block_bytes=2)),
        "no_bits.wav": ("header_lies", wav_bytes(hum, bits=0, block_bytes=4)),
    }


def _bad_sample_files() -> dict[str, tuple[str, bytes]]:
    """Files whose samples are no sound; file name -> code, content."""
    nan, infinite = signal(6), signal(6)
    nan[0, 30_000], infinite[0, 30_000] = np.nan, -np.inf
    return {
        "nan.wav": ("not_finite", wav_bytes(nan, tag=3, bits=32)),
        "infinite.wav": ("not_finite", wav_bytes(infinite, tag=3, bits=32)),
        "integers_as_floats.wav": ("not_scaled", wav_bytes(signal(6) * 32768, tag=3, bits=32)),
    }


def _damaged_files(folder: Path, hum: np.ndarray) -> dict[str, tuple[str, bytes]]:
    """Files that are cut off too early to be used; file name -> code, content."""
    whole = write(folder / "aac.m4a", hum).read_bytes()
    whole_flac = write(folder / "pcm16.flac", hum).read_bytes()
    for name in ("aac.m4a", "pcm16.flac"):
        (folder / name).unlink()
    return {
        "index_missing.m4a": ("decode_error", whole[: len(whole) // 2]),
        "first_half_second.flac": ("decode_error", whole_flac[: len(whole_flac) // 13]),
    }
