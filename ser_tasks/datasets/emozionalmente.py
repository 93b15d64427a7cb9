"""Emozionalmente: ``audio/<any name>.wav``, 431 Italians and 18 sentences, by their list ``metadata/samples.csv`` (columns file_name,
emotion_expressed, sentence, actor) and that of the actors, ``metadata/users.csv`` (Catania and Garzotto; zenodo.org/records/6569824)."""

import re
from pathlib import Path

import pandas as pd

from ser_tasks.datasets.corpus import Layout


def _notes(folder: Path) -> dict[str, dict[str, str | None]]:
    """Facts of each listed file, by its name without suffix."""
    facts: dict[str, dict[str, str | None]] = {}
    for path in sorted(folder.rglob("metadata/samples.csv")):
        samples = pd.read_csv(path, dtype=str)
        if not {"file_name", "emotion_expressed", "actor"} <= set(samples.columns):
            continue
        users = path.with_name("users.csv")
        people = pd.read_csv(users, dtype=str).reindex(columns=["username", "gender"]) if users.is_file() else pd.DataFrame()
        genders: dict[str, str] = dict(people.dropna().itertuples(index=False))
        samples = samples.reindex(columns=["file_name", "emotion_expressed", "actor", "sentence"]).dropna(subset=["file_name"])
        for file, label, actor, sentence in samples.astype(object).where(samples.notna(), None).to_numpy().tolist():
            facts[Path(file).stem] = {"speaker": actor, "gender": genders.get(actor), "label": label, "sentence": sentence}
    return facts


def _facts(name: re.Match[str], notes: dict[str, dict[str, str | None]]) -> dict[str, str | None] | str:
    return notes.get(name["file"], "not in metadata/samples.csv")


EMOZIONALMENTE = Layout("emozionalmente", "it", r"audio/(?P<file>[^/]+)", _facts, _notes, listed=True)
