"""Labelled corpora whose emotions are easy to classify: anger is a high square wave, neutral and fear a low sine; or all are voice-like."""

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from tests.factories.calls import speechlike

PITCHES_HZ = {"anger": 330, "happiness": 190, "neutral": 130, "sadness": 90}
LABELS = ("anger", "neutral")


def made_corpus(folder: Path, speakers: int = 6, first: int = 0) -> Path:
    """Four takes of three emotions by each speaker, each at another pitch, and the ``labels.csv``."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(first)
    rows = []
    for speaker in range(first, first + speakers):
        for emotion in (*LABELS, "fear"):
            for take in range(4):
                time_s = np.arange(int(8000 * rng.uniform(0.8, 1.6))) / 8000
                pitch_hz = (300 if emotion == "anger" else 120) * (1 + 0.03 * speaker)
                wave = np.sin(2 * np.pi * pitch_hz * time_s)
                signal = 0.1 * (np.sign(wave) if emotion == "anger" else wave) + 0.005 * rng.standard_normal(len(time_s))
                name = f"{speaker}_{emotion}_{take}.wav"
                soundfile.write(folder / name, signal, 8000)
                rows.append((name, f"s{speaker}", ["female", "male"][speaker % 2], emotion))
    pd.DataFrame(rows, columns=["file", "speaker", "gender", "emotion"]).to_csv(folder / "labels.csv", index=False)
    return folder


def speechlike_corpus(folder: Path, speakers: int = 6, first: int = 0) -> Path:
    """Three takes of four emotions by each speaker, which Silero takes for speech; an emotion's pitch is its own. With ``labels.csv``."""
    folder.mkdir(parents=True)
    rows = []
    for speaker in range(first, first + speakers):
        for emotion, pitch_hz in PITCHES_HZ.items():
            for take in range(3):
                name = f"{speaker}_{emotion}_{take}.wav"
                voice = speechlike(1.4 + 0.3 * take, 100 * speaker + len(rows), pitch_hz * (1 + 0.01 * speaker % 0.06))
                soundfile.write(folder / name, voice, 8000)
                rows.append((name, f"s{speaker}", ["female", "male"][speaker % 2], emotion, "en"))
    pd.DataFrame(rows, columns=["file", "speaker", "gender", "emotion", "language"]).to_csv(folder / "labels.csv", index=False)
    return folder
