"""Made-up calls with known truth, and a small model with random weights: what end-to-end tests need and no repository should hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch

from ser_tasks.features import feature_set
from ser_tasks.inference.bundle import Bundle, save_bundle
from ser_tasks.models import make_model

RATE_HZ = 8000


def speechlike(seconds: float, seed: int, f0_hz: float = 130.0) -> np.ndarray:
    """A voice-like buzz with syllables and formants, float32 (samples,): Silero takes it for speech."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    pitch = f0_hz * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * t + rng.uniform(0, 6)) + 0.02 * np.sin(2 * np.pi * 5 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    vowel = 2 * np.pi * 2.1 * t + rng.uniform(0, 6)
    first, second = 500 + 250 * np.sin(vowel), 1500 + 500 * np.cos(vowel * 0.7)
    sound = np.zeros_like(t)
    for harmonic in range(1, 25):
        frequency = harmonic * pitch
        gain = np.exp(-(((frequency - first) / 150) ** 2)) + 0.6 * np.exp(-(((frequency - second) / 200) ** 2)) + 0.02
        sound += np.where(frequency < 3800, gain, 0) * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 4.2 * t + rng.uniform(0, 6)) + 0.6, 0, 1)
    sound = sound * syllables + 0.002 * rng.standard_normal(len(t))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def two_sided(turns: list[tuple[str, float, float]], seconds: float, seed: int = 0) -> np.ndarray:
    """A call (samples, 2), agent and customer, from turns (who, from_s, to_s); background noise at -70 dB."""
    rng = np.random.default_rng(seed)
    call = (3e-4 * rng.standard_normal((int(seconds * RATE_HZ), 2))).astype(np.float32)
    for number, (who, from_s, to_s) in enumerate(turns):
        voice = speechlike(to_s - from_s, seed * 1000 + number, 110.0 if who == "agent" else 190.0)
        first = int(from_s * RATE_HZ)
        call[first : first + len(voice), 0 if who == "agent" else 1] += voice
    return call


def write_call(folder: Path, name: str, call: np.ndarray, facts: dict[str, Any] | None = None, **options: Any) -> Path:
    """Writes a call as ``<folder>/<name>`` (mu-law WAV unless told) and its facts as the sidecar beside it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, call, options.pop("rate_hz", RATE_HZ), **({"subtype": "ULAW"} | options if path.suffix == ".wav" else options))
    if facts is not None:
        path.with_suffix(".json").write_text(json.dumps(facts))
    return path


TWO_SIDED = {"channels": {"0": "agent", "1": "customer"}}


def tiny_bundle(
    folder: Path, name: str = "tiny", model: str = "cnn_lstm", features: str = "logmel8k", seed: int = 0, **fields: Any
) -> Path:
    """A bundle with random weights of a listed model, saved in ``folder/name``."""
    torch.manual_seed(seed)
    labels = fields.pop("labels", ("anger", "happiness", "neutral", "sadness"))
    params = {"n_mels": 40} if features == "logmel8k" else {}
    n_features = feature_set(features).n_features(params)
    bundle = Bundle(
        name=name,
        version="1",
        model=model,
        labels=labels,
        feature_set=features,
        feature_set_version=feature_set(features).version,
        feature_params=params,
        mean=(0.0,) * n_features,
        std=(20.0,) * n_features,
        temperature=fields.pop("temperature", 0.1),
        unsure_below=fields.pop("unsure_below", 0.4),
        target_error=0.5,
        licence="none: random weights",
        module=make_model(model, len(labels), n_features).eval(),
        **fields,
    )
    return save_bundle(bundle, folder / name)


def night_of(recordings: Path | str, lake: Path | str, bundle: Path | str, workers: Any = None, **options: Any) -> Any:
    """A night that is not begun. ``workers`` is a number or a WorkerPool; options are settings, policy, and those of ``make_spec``."""
    from ser_tasks.pipeline.run import Night
    from ser_tasks.pipeline.spec import make_spec, run_settings
    from ser_tasks.settings import Settings

    settings = run_settings(options.pop("settings", None) or Settings(), str(bundle), options.pop("policy", None))
    pool, count = (None, workers or 1) if isinstance(workers, int | None) else (workers, 1)
    spec = make_spec(str(recordings), str(lake), settings, "cpu", count, **options)
    return Night(spec, settings.pseudonym_key, pool, settings.old_pseudonym_keys)


def run_night(recordings: Path | str, lake: Path | str, bundle: Path | str, workers: Any = None, **options: Any) -> dict[str, Any]:
    """A whole night without Prefect: every chunk's two stages, checks, the run's row. Returns the row, with its checks."""
    with night_of(recordings, lake, bundle, workers, **options) as night:
        for day, chunk_id in night.list_and_plan().chunks:
            night.publish(night.extract(day, chunk_id))
        checks = night.check()
        return night.write_run(checks) | {"checks": checks}
