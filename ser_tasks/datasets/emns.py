"""EMNS: ``raw_webm/<any name>.webm``, one English speaker, by the list ``metadata.csv`` with ``|`` between its columns, of which
utterance, emotion, gender, audio_recording and user_id are read (Noriy et al., 2023; openslr.org/136)."""

import re
from pathlib import Path

import pandas as pd

from ser_tasks.datasets.corpus import Layout

NEEDED = {"emotion", "audio_recording", "user_id"}


def _notes(folder: Path) -> dict[str, dict[str, str | None]]:
    """Facts of each listed file, by its name without suffix: the owners have it as ``.webm``, and others as ``.wav``."""
    facts: dict[str, dict[str, str | None]] = {}
    for path in sorted(folder.rglob("metadata.csv")):
        rows = pd.read_csv(path, sep="|", dtype=str, on_bad_lines="skip")
        if NEEDED - set(rows.columns):
            continue
        rows = rows.reindex(columns=["audio_recording", "user_id", "gender", "emotion", "utterance"]).dropna(subset=["audio_recording"])
        for file, speaker, gender, label, sentence in rows.astype(object).where(rows.notna(), None).to_numpy().tolist():
            facts[Path(file).stem] = {"speaker": speaker, "gender": gender, "label": label, "sentence": sentence}
    return facts


def _facts(name: re.Match[str], notes: dict[str, dict[str, str | None]]) -> dict[str, str | None] | str:
    return notes.get(name["file"], "not in metadata.csv")


EMNS = Layout("emns", "en", r"(?P<file>[^/]+)", _facts, _notes, listed=True)
