"""Any folder of clips with a ``labels.csv``: a team's own labelled calls, or a corpus whose labels were written down."""

from collections import Counter
from pathlib import Path

import pandas as pd

from ser_tasks.datasets.clip import clip_name
from ser_tasks.datasets.corpus import Corpus, corpus_of

NEEDED = ("file", "speaker", "emotion")
SENTENCE_COLUMNS = ("sentence", "sentence_id", "text")
"""The first of these that the file has tells which clips share their words."""


PART = ("start_s", "end_s", "channel")


def read_labels_csv(folder: Path) -> Corpus:
    """The corpus in ``folder``, named after it, from its ``labels.csv``: columns file (relative to the folder), speaker, emotion,
    and gender, language, licence and one of sentence, sentence_id or text where they are known. With any of start_s, end_s (seconds
    of the file) and channel (from 0) a row labels that part of a longer recording.

    A missing file or column, and a start or end that is no number, raises ``FileNotFoundError`` or ``ValueError``.
    """
    folder = Path(folder).resolve()
    path = folder / "labels.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a folder of clips with a labels.csv.")
    rows = pd.read_csv(path, dtype=str)
    if missing := sorted(set(NEEDED) - set(rows.columns)):
        raise ValueError(f"{path} has no column {', '.join(missing)}: it needs {', '.join(NEEDED)}.")
    rows = rows.rename(columns={"emotion": "label"})
    sentence = next((column for column in SENTENCE_COLUMNS if column in rows), None)
    rows = rows.assign(
        sentence=rows[sentence] if sentence else None,
        file=[clip_name(folder / name, *part) if isinstance(name, str) else None for name, *part in _parts(rows, path)],
    )
    return corpus_of(folder.name, rows, Counter())


def _parts(rows: pd.DataFrame, path: Path) -> list[tuple]:
    """File, start, end and channel of each row; None for what is not given."""
    parts = rows.reindex(columns=[*PART])
    numbers = parts.apply(pd.to_numeric, errors="coerce")
    wrong = (numbers.isna() & parts.notna()) | (numbers < 0)
    wrong["end_s"] |= numbers["end_s"] <= numbers["start_s"].fillna(0)
    if wrong.any(axis=None):
        row = int(wrong.any(axis=1).to_numpy().argmax())
        told = ", ".join(f"{name} {parts[name].iloc[row]}" for name in PART)
        raise ValueError(f"{path}, line {row + 2}: {told}. They must be numbers from 0 on, and end_s must come after start_s.")
    given = [[None if pd.isna(value) else value for value in row] for row in numbers.itertuples(index=False)]
    return [
        (name, start, end, None if channel is None else int(channel))
        for name, (start, end, channel) in zip(rows["file"], given, strict=True)
    ]
