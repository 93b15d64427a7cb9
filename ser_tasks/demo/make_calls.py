"""Generates the demo calls: ``python -m ser_tasks.demo.make_calls [FOLDER]``. Needs the program espeak-ng (Debian: espeak-ng).

A call has two channels at 8 kHz: channel 0 is the agent, channel 1 the customer. espeak-ng speaks each line, with the speed, pitch
and level of its mood. The telephone's band, line noise and the file format follow. The call's id is the seed of the noise, so the same
versions of espeak-ng and the encoders generate the same audio (but an Ogg file also holds a random number).
"""

import json
import shutil
import subprocess
import sys
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
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
TELEPHONE_BAND_HZ = (300, 3_400)
SPEECH_LEVEL_DBFS = {"agent": -25.0, "customer": -27.0}
NOISE_LEVEL_DBFS = -68.0
TAIL_S = 0.8
AAC_BIT_RATE = 20_000


@dataclass(frozen=True)
class Mood:
    """How a line is spoken: espeak-ng's speed and pitch (0 to 99), and the level relative to calm speech."""

    words_per_minute: int = 165
    pitch: int = 45
    gain_db: float = 0.0


MOODS = {
    "calm": Mood(),
    "tense": Mood(180, 55, 3),
    "angry": Mood(205, 70, 7),
    "furious": Mood(220, 82, 10),
    "sad": Mood(125, 30, -5),
    "afraid": Mood(205, 75, -1),
    "sorry": Mood(145, 40, -2),
    "surprised": Mood(185, 78, 4),
    "pleased": Mood(178, 65, 3),
}

SOUNDFILE_FORMATS = {  # suffix -> libsndfile's format, subtype, compression level
    ".opus": ("OGG", "OPUS", 0.965),
    ".ogg": ("OGG", "VORBIS", 1.0),
    ".mp3": ("MP3", "MPEG_LAYER_III", 0.85),
    ".flac": ("FLAC", "PCM_16", 1.0),
    ".wav": ("WAV", "ULAW", None),
}


def synthesise(text: str, voice: str, mood: Mood) -> NDArray[np.float32]:
    """The spoken text, float32 ``(samples,)`` at 8 kHz, in the telephone's band, with an RMS of 1 during speech."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "line.wav")
        options = ["-v", voice, "-s", str(mood.words_per_minute), "-p", str(mood.pitch), "-w", str(path)]
        subprocess.run(["espeak-ng", *options, text], check=True)
        samples, rate_hz = soundfile.read(path, dtype="float32")
    samples = soxr.resample(samples, rate_hz, SAMPLING_RATE_HZ)
    samples = sosfilt(butter(4, TELEPHONE_BAND_HZ, "bandpass", fs=SAMPLING_RATE_HZ, output="sos"), samples)
    loud = samples[np.abs(samples) > 0.02 * np.abs(samples).max()]
    samples = samples[np.flatnonzero(np.abs(samples) >= np.abs(loud).min())[0] :]
    return np.asarray(samples / np.sqrt(np.mean(loud**2)), np.float32)


def signal(call: Call) -> NDArray[np.float32]:
    """Both sides of the call, float32 ``(2, samples)`` at 8 kHz; peaks are compressed below full scale (tanh)."""
    voices = {"agent": call.agent_voice, "customer": call.customer_voice}
    lines, end = [], 0
    for role, mood_name, gap_s, text in call.lines:
        mood = MOODS[mood_name]
        level_db = SPEECH_LEVEL_DBFS[role] + mood.gain_db
        line = synthesise(text, voices[role], mood) * 10 ** (level_db / 20)
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
    if shutil.which("espeak-ng") is None:
        raise SystemExit("The program espeak-ng is not installed: run `apt-get install espeak-ng` first.")
    for call in CALLS:
        path = folder / call.started_at[:10] / f"{call.call_id}{call.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{call.call_id}.*"):
            old.unlink()
        write(path, signal(call))
        path.with_suffix(".json").write_text(json.dumps(sidecar(call), indent=2) + "\n")


if __name__ == "__main__":
    make_calls(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
