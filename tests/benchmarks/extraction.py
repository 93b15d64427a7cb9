"""CPU-seconds an audio-hour of decoding, by format, and of features, by model: each the least of several, in a process with one thread.

python -m tests.benchmarks.extraction CALL [TIMES]    # a recording of a whole call, such as one of two channels

The call is written anew in every format. Its features are those of all of its speech, on every channel, as under the policy `everyone`.
An hour of a call of two channels is two hours of a channel.
"""

import io
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import av
import numpy as np
import soundfile
import soxr

from ser_tasks.audio import open_audio
from ser_tasks.audio.samples import at_8_khz
from ser_tasks.audio.vad import detect_speech, segments, speech_spans
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.inference.bundle_files import shipped_bundles
from ser_tasks.pipeline import extract
from ser_tasks.pipeline.listing import Recording
from ser_tasks.pipeline.spec import make_spec
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store

SOUNDFILE_FORMATS = {
    "G.711 mu-law, WAV": ("ulaw.wav", "WAV", "ULAW", 8_000),
    "G.711 A-law, WAV": ("alaw.wav", "WAV", "ALAW", 8_000),
    "G.711 mu-law, raw": ("raw.ulaw", "RAW", "ULAW", 8_000),
    "16 bit, WAV": ("pcm16.wav", "WAV", "PCM_16", 8_000),
    "8 bit, WAV": ("pcm8.wav", "WAV", "PCM_U8", 8_000),
    "16 bit at 16 kHz, WAV": ("pcm16-16k.wav", "WAV", "PCM_16", 16_000),
    "FLAC at 16 kHz": ("16k.flac", "FLAC", "PCM_16", 16_000),
    "GSM, WAV, a mix": ("gsm.wav", "WAV", "GSM610", 8_000),
}
PYAV_FORMATS = {"MP3 at 16 kHz": ("16k.mp3", "libmp3lame", 16_000), "Opus": ("48k.webm", "libopus", 48_000)}
MIX = {"GSM610"}
"""Subtypes of one channel."""


def written(signal: np.ndarray, folder: Path) -> dict[str, Path]:
    """The files by name of their format, of a float32 signal at 8 kHz (channels, samples)."""
    paths = {}
    for name, (file, container, subtype, rate_hz) in SOUNDFILE_FORMATS.items():
        paths[name] = folder / file
        samples = resampled(signal.mean(axis=0, keepdims=True) if subtype in MIX else signal, rate_hz)
        soundfile.write(paths[name], samples.T, rate_hz, format=container, subtype=subtype)
    for name, (file, codec, rate_hz) in PYAV_FORMATS.items():
        paths[name] = folder / file
        samples = np.ascontiguousarray(resampled(signal, rate_hz).T.reshape(1, -1))
        layout = "stereo" if len(signal) == 2 else "mono"
        with av.open(str(paths[name]), "w") as out:
            stream = cast(av.AudioStream, out.add_stream(codec, rate=rate_hz, layout=layout))
            frame = av.AudioFrame.from_ndarray(samples, "flt", layout)
            frame.sample_rate = rate_hz
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                out.mux(packet)
    return paths


def resampled(signal: np.ndarray, rate_hz: int) -> np.ndarray:
    return signal if rate_hz == SAMPLING_RATE_HZ else soxr.resample(signal.T, SAMPLING_RATE_HZ, rate_hz).T


def main(call: str, times: str = "7") -> None:
    vars(extract)["time"] = SimpleNamespace(perf_counter=time.process_time)  # its clocks count CPU-seconds here
    extract.start_worker()
    with tempfile.TemporaryDirectory() as temporary:
        scratch, store = Path(temporary), Path(temporary) / "calls"
        store.mkdir()
        with open_audio(call, max_duration_s=10 * 3600) as reader:
            blocks = list(at_8_khz(reader.blocks(), reader.info.sampling_rate_hz))
        paths = written(np.concatenate(blocks, axis=1), store)
        settings = Settings(policy="everyone", raw_channels={".ulaw": len(blocks[0])})
        spec = make_spec(str(store), str(scratch / "lake"), settings)

        def extracted(path: Path) -> extract.Extracted:
            return extract.Extracted(Recording("id", store_etag(store, path.name), path.name, path.name, None, "chunk", 0.0))

        print(f"{times} times each, load {os.getloadavg()[0]:.1f}\nCPU-seconds an audio-hour of decoding:")
        for name, path in paths.items():
            found = []
            for _ in range(int(times)):
                result = extracted(path)
                with extract._decode(result, spec, scratch, lambda stage: None) as samples:
                    found.append(result.seconds["decode"] / result.audio_s * 3600)
            print(f"  {name:24} {samples.channels} {min(found):7.3f}", flush=True)
        result = extracted(paths["G.711 mu-law, WAV"])
        with extract._decode(result, spec, scratch, lambda stage: None) as samples:
            detected = detect_speech([samples])[0]
            to_score = [
                (extract.Segment(channel, "unknown", 0, 0, 0, None, None), span)
                for channel, probabilities in enumerate(detected.probabilities)
                for stretch in speech_spans(probabilities, samples.samples)
                for span in segments(stretch, probabilities, settings.min_segment_s, settings.max_segment_s)
            ]
            speech_h = sum(span.seconds for _, span in to_score) / 3600
            print(
                f"CPU-seconds an audio-hour of features ({speech_h / result.audio_s * 3600:.2f} hours of speech, {len(to_score)} segments):"
            )
            for name in shipped_bundles():
                bundle = load_bundle(name)
                of_model = replace(spec, feature_set=bundle.feature_set, feature_params=bundle.feature_params)
                found = []
                for _ in range(int(times)):
                    begun = time.process_time()
                    extract._write_frames(to_score, samples, of_model, io.BytesIO(), None)
                    found.append((time.process_time() - begun) / result.audio_s * 3600)
                print(f"  {name:12} {bundle.feature_set:12} {min(found):7.3f}", flush=True)


def store_etag(store: Path, key: str) -> str:
    return next(item.etag for item in open_store(str(store)).list() if item.key == key)


if __name__ == "__main__":
    main(*sys.argv[1:])
