"""Any folder of clips with a ``labels.csv``: a team's own labelled calls, or a corpus whose labels were written down."""

from collections import Counter
from pathlib import Path

import pandas as pd

from ser_tasks.datasets.corpus import Corpus, corpus_of

NEEDED = ("file", "speaker", "emotion")
SENTENCE_COLUMNS = ("sentence", "sentence_id", "text")
"""The first of these that the file has tells which clips share their words."""


def read_labels_csv(folder: Path) -> Corpus:
    """The corpus in ``folder``, named after it, from its ``labels.csv``: columns file (relative to the folder), speaker, emotion,
    and gender, language, licence and one of sentence, sentence_id or text where they are known.

    A missing file or column raises ``FileNotFoundError`` or ``ValueError``.
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
        file=[str(folder / name) if isinstance(name, str) else None for name in rows["file"]],
    )
    return corpus_of(folder.name, rows, Counter())
