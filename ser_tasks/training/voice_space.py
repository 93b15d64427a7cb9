"""Learns the space in which one speaker's moods lie together (``voices/encoder.py``) from labelled clips of actors."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.numpy
from numpy.typing import NDArray

from ser_tasks.audio.samples import Samples
from ser_tasks.audio.vad import detect_speech, speech_spans
from ser_tasks.datasets.corpus import speaker_ids
from ser_tasks.datasets.telephone import mu_law, read_trimmed
from ser_tasks.voices.encoder import raw_vectors
from ser_tasks.voices.windows import windows

SHORTEST_S = 1.0
"""Shorter windows differ by their sounds more than by mood."""
MOODS = 5
"""Directions of moods that `mood_free` leaves out."""
SHRINK = 0.5
"""Weight of the round covariance. Chosen on two-speaker calls of the training speakers: 0.2 and 0.5 did alike."""


def vectors_of(clips: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
    """The encoder's vectors (windows, 192) of all clips' windows at telephone quality, and the speaker of each."""
    vectors, speakers = [], []
    with tempfile.TemporaryDirectory() as folder:
        for file, speaker in zip(clips["file"], speaker_ids(clips), strict=True):
            with Samples(1, Path(folder)) as call:
                call.push(mu_law(read_trimmed(file))[None])
                probabilities = detect_speech([call])[0].probabilities[0]
                found = [each for span in speech_spans(probabilities, call.samples) for each in windows(span, probabilities)]
                found = [each for each in found if each.seconds >= SHORTEST_S]
                if found:
                    vectors.append(raw_vectors(call, 0, found))
                    speakers += [speaker] * len(found)
    return np.concatenate(vectors), np.array(speakers, object)


def fit(vectors: NDArray[np.float32], speakers: NDArray[np.object_]) -> dict[str, NDArray[np.float32]]:
    """``mean`` (192,), ``transform`` (192, 192) and ``moods`` (192, MOODS) of vectors (windows, 192) with their speakers."""
    mean = vectors.mean(axis=0)
    unit = _unit(vectors - mean)
    within = _within(unit, speakers)
    covariance = within.T @ within / len(within)
    size = len(covariance)
    covariance = (1 - SHRINK) * covariance + SHRINK * np.trace(covariance) / size * np.eye(size)
    variances, axes = np.linalg.eigh(covariance)
    transform = axes / np.sqrt(variances)
    left = _within(_unit(unit @ transform), speakers)
    moods = np.linalg.eigh(left.T @ left).eigenvectors[:, -MOODS:]
    return {"mean": mean.astype(np.float32), "transform": transform.astype(np.float32), "moods": moods.astype(np.float32)}


def _within(rows: NDArray[np.floating], speakers: NDArray[np.object_]) -> NDArray[np.floating]:
    """Rows less the mean of their speaker."""
    return np.concatenate([rows[speakers == each] - rows[speakers == each].mean(axis=0) for each in np.unique(speakers)])


def _unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def write(clips: pd.DataFrame, file: Path) -> None:
    """Fits the space to clips and writes it as float16 safetensors."""
    fitted = fit(*vectors_of(clips))
    safetensors.numpy.save_file({name: np.ascontiguousarray(value.astype(np.float16)) for name, value in fitted.items()}, file)
