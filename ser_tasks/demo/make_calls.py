"""Makes the demo calls: ``python -m ser_tasks.demo.make_calls [FOLDER]``. Reads EMO-DB from ``$SER_DATA_DIR/emotion``.

A call has two channels at 8 kHz: channel 0 is the agent, channel 1 the customer. Each line is a recorded sentence of the voice, with the
level of its mood, since the corpus has one level for all. The telephone's band, line noise and the file format follow. The call's id is
the seed of the noise, and of the sentences those that most listeners recognised come first, so that the same versions of the encoders
make the same audio (but an Ogg file also holds a random number).
"""

import csv
import json
import os
import sys
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from ser_tasks.demo import CALLS as FOLDER
from ser_tasks.demo.dialogues import CALLS, Call
from ser_tasks.schemas import SAMPLING_RATE_HZ

CHANNELS = ("agent", "customer")
CORPORA = ("emotion/emodb", "emotion/emodb_more")
TELEPHONE_BAND_HZ = (300, 3_400)
SPEECH_LEVEL_DBFS = {"agent": -25.0, "customer": -26.0}
GAIN_DB = {"neutral": 0.0, "anger": 6.0, "anxiety": 2.0, "happiness": 3.0, "sadness": -3.0}
"""Level of a mood relative to neutral speech."""
NOISE_LEVEL_DBFS = -58.0
TAIL_S = 0.8
AAC_BIT_RATE = 20_000

SOUNDFILE_FORMATS = {  # suffix -> libsndfile's format, subtype, compression level
    ".opus": ("OGG", "OPUS", 0.965),
    ".ogg": ("OGG", "VORBIS", 1.0),
    ".mp3": ("MP3", "MPEG_LAYER_III", 0.6),
    ".flac": ("FLAC", "PCM_16", 1.0),
    ".wav": ("WAV", "ULAW", None),
}


def clips(data: Path) -> dict[tuple[str, str], list[Path]]:
    """The recorded sentences by voice and mood, those that most listeners recognised first. Raises FileNotFoundError without the corpus."""
    found: dict[tuple[str, str], list[tuple[float, str, Path]]] = {}
    for corpus in CORPORA:
        with (data / corpus / "labels.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                recognised = -float(row["human_recognised_pct"] or 0)
                found.setdefault((row["speaker"], row["emotion"]), []).append((recognised, row["file"], data / corpus / row["file"]))
    return {name: [path for *_, path in sorted(each)] for name, each in found.items()}


def chosen(call: Call, found: dict[tuple[str, str], list[Path]]) -> list[Path]:
    """The sentence of each line: the next one of its voice and mood. A call repeats one only where a voice has no more of that mood."""
    voices = {"agent": call.agent_voice, "customer": call.customer_voice}
    taken: dict[tuple[str, str], int] = {}
    sentences = []
    for role, mood, _ in call.lines:
        name = voices[role], mood
        sentences.append(found[name][taken.get(name, 0) % len(found[name])])
        taken[name] = taken.get(name, 0) + 1
    return sentences


def spoken(path: Path) -> NDArray[np.float32]:
    """A recorded sentence, float32 ``(samples,)`` at 8 kHz, in the telephone's band, with an RMS of 1 during speech."""
    samples, rate_hz = soundfile.read(path, dtype="float32")
    samples = soxr.resample(samples, rate_hz, SAMPLING_RATE_HZ)
    samples = sosfilt(butter(4, TELEPHONE_BAND_HZ, "bandpass", fs=SAMPLING_RATE_HZ, output="sos"), samples)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    return np.asarray(samples[loud[0] : loud[-1] + 1] / np.sqrt(np.mean(samples[loud] ** 2)), np.float32)


def signal(call: Call, found: dict[tuple[str, str], list[Path]]) -> NDArray[np.float32]:
    """Both sides of the call, float32 ``(2, samples)`` at 8 kHz; peaks are compressed below full scale (tanh)."""
    lines, end = [], 0
    for (role, mood, gap_s), path in zip(call.lines, chosen(call, found), strict=True):
        line = spoken(path) * 10 ** ((SPEECH_LEVEL_DBFS[role] + GAIN_DB[mood]) / 20)
        start = max(0, end + round(gap_s * SAMPLING_RATE_HZ))
        end = start + len(line)
        lines.append((CHANNELS.index(role), start, line))
    length = max(start + len(line) for _, start, line in lines) + round(TAIL_S * SAMPLING_RATE_HZ)
    noise = np.random.default_rng(zlib.crc32(call.call_id.encode())).standard_normal((2, length))
    mix = (noise * 10 ** (NOISE_LEVEL_DBFS / 20)).astype(np.float32)
    for channel, start, line in lines:
        mix[channel, start : start + len(line)] += line
    return np.asarray(0.9 * np.tanh(mix / 0.9), np.float32)


def write(path: Path, samples: NDArray[np.float32]) -> None:
    """Writes float32 ``(2, samples)`` in the format of the path's suffix."""
    if path.suffix == ".m4a":
        write_aac(path, samples)
        return
    container, subtype, compression_level = SOUNDFILE_FORMATS[path.suffix]
    with soundfile.SoundFile(
        path, "w", SAMPLING_RATE_HZ, len(samples), subtype, format=container, compression_level=compression_level
    ) as out:
        for start in range(0, samples.shape[1], SAMPLING_RATE_HZ):  # libsndfile's Vorbis encoder crashes on large blocks
            out.write(samples[:, start : start + SAMPLING_RATE_HZ].T)


def write_aac(path: Path, samples: NDArray[np.float32]) -> None:
    """Writes float32 ``(2, samples)`` as AAC in an m4a file."""
    with av.open(str(path), "w", format="ipod") as out:
        track = out.add_stream("aac", rate=SAMPLING_RATE_HZ, layout="stereo")
        track.codec_context.bit_rate = AAC_BIT_RATE
        frame_size = 1024
        for start in range(0, samples.shape[1], frame_size):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + frame_size]), "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLING_RATE_HZ, start, Fraction(1, SAMPLING_RATE_HZ)
            out.mux(track.encode(frame))
        out.mux(track.encode())


def sidecar(call: Call) -> dict[str, Any]:
    """The content of the call's sidecar."""
    return {
        "call_id": call.call_id,
        "started_at": call.started_at,
        "agent_id": call.agent_id,
        "customer_id": call.customer_id,
        "queue": call.queue,
        "language": call.language,
        "channels": {str(channel): role for channel, role in enumerate(CHANNELS)},
        "notice_given": call.notice_given,
    }


def make_calls(folder: Path) -> None:
    """Writes every call and its sidecar to ``folder``, and replaces files of the same calls."""
    data = Path(os.environ.get("SER_DATA_DIR") or ".")
    try:
        found = clips(data)
    except FileNotFoundError as error:
        raise SystemExit(
            f"There is no {error.filename}: set SER_DATA_DIR to the folder that holds EMO-DB in emotion/ (README.md)."
        ) from None
    for call in CALLS:
        path = folder / call.started_at[:10] / f"{call.call_id}{call.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{call.call_id}.*"):
            old.unlink()
        write(path, signal(call, found))
        path.with_suffix(".json").write_text(json.dumps(sidecar(call), indent=2) + "\n")


if __name__ == "__main__":
    make_calls(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
