"""CREMA-D: ``AudioWAV/1001_DFA_ANG_XX.wav``, its actors in ``VideoDemographics.csv`` (Cao et al., 2014)."""

import re
from pathlib import Path

import pandas as pd

from ser_tasks.datasets.corpus import Layout

LABELS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness"}


def _notes(folder: Path) -> dict[str, str]:
    """Sex by actor, from the list of actors in the folder or its parent."""
    for directory in (folder, folder.parent):
        if (directory / "VideoDemographics.csv").is_file():
            actors = pd.read_csv(directory / "VideoDemographics.csv", dtype=str)
            return dict(zip(actors["ActorID"], actors["Sex"], strict=True))
    return {}


def _facts(name: re.Match[str], sexes: dict[str, str]) -> dict[str, str | None]:
    speaker = name["speaker"]
    return {"speaker": speaker, "gender": sexes.get(speaker), "label": LABELS[name["label"]], "sentence": name["sentence"]}


CREMA_D = Layout(
    "crema_d",
    "en",
    r"(?P<speaker>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<label>ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX|X)",
    _facts,
    _notes,
)
