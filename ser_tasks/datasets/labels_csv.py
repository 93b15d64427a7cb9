"""Folders of clips with a ``labels.csv``: your own labelled calls, or any corpus."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ser_tasks.datasets.clip import clip_name
from ser_tasks.datasets.corpus import TAXONOMY_ONLY, Corpus, corpus_of

NEEDED = ("file", "speaker", "emotion")
SENTENCE_COLUMNS = ("sentence", "sentence_id", "text")
"""Columns that identify the spoken words; the first that the file has is used."""
PART = ("start_s", "end_s", "channel")


def read_labels_csv(folder: Path, beyond: Mapping[str, str] = TAXONOMY_ONLY) -> Corpus:
    """The corpus in ``folder``, named after it, from its ``labels.csv``: columns file (relative to the folder), speaker, emotion,
    and optionally gender, language, licence, arousal, valence, dominance, and one of sentence, sentence_id or text. With any of
    start_s, end_s (seconds from the start of the file) and channel (from 0) a row labels that part of a longer recording. ``beyond``: see
    ``corpus_of``.

    Raises ``FileNotFoundError`` for a missing file, and ``ValueError`` for a missing column or an invalid start, end or channel.
    """
    folder = Path(folder).resolve()
    path = folder / "labels.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a folder of clips with a labels.csv.")
    rows = pd.read_csv(path, dtype=str)
    if missing := sorted(set(NEEDED) - set(map(str, rows.columns))):
        raise ValueError(f"{path} has no column {', '.join(missing)}: it needs {', '.join(NEEDED)}.")
    rows = rows.rename(columns={"emotion": "label"})
    sentence = next((column for column in SENTENCE_COLUMNS if column in rows), None)
    files = [
        clip_name(folder / name, start_s, end_s, channel) if isinstance(name, str) else None
        for name, start_s, end_s, channel in _parts(rows, path)
    ]
    rows = rows.assign(sentence=rows[sentence] if sentence else None, file=pd.Series(files, index=rows.index, dtype=object))
    return corpus_of(folder.name, rows, Counter(), beyond)


def _parts(rows: pd.DataFrame, path: Path) -> list[tuple[str | None, float | None, float | None, int | None]]:
    """File, start, end and channel of each row, None where empty."""
    parts = rows.reindex(columns=[*PART])
    numbers = parts.apply(pd.to_numeric, errors="coerce")
    wrong = (numbers.isna() & parts.notna()) | (numbers < 0)
    wrong["end_s"] |= numbers["end_s"] <= numbers["start_s"].fillna(0)
    if wrong.any(axis=None):
        row = int(wrong.any(axis=1).to_numpy().argmax())
        values = ", ".join(f"{name} {parts[name].iloc[row]}" for name in PART)
        raise ValueError(f"{path}, line {row + 2}: {values}. They must be numbers from 0 on, and end_s must come after start_s.")
    columns = (numbers[name].astype(object).where(numbers[name].notna(), None) for name in PART)
    return [
        (name, start_s, end_s, None if channel is None else int(channel))
        for name, start_s, end_s, channel in zip(rows["file"], *columns, strict=True)
    ]
