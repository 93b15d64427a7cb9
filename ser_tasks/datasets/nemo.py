"""nEMO: ``samples/SB0_sadness_1.wav``, its speakers in ``data.tsv`` (Christop, 2024; huggingface.co/datasets/amu-cai/nEMO)."""

import re
from pathlib import Path

import pandas as pd

from ser_tasks.datasets.corpus import Layout


def _notes(folder: Path) -> dict[str, str]:
    """Sex by speaker, from the table in the folder or its parent."""
    for directory in (folder, folder.parent):
        if (directory / "data.tsv").is_file():
            table = pd.read_csv(directory / "data.tsv", sep="\t", dtype=str)
            if {"speaker_id", "sex"} <= set(table.columns):
                return dict(zip(table["speaker_id"], table["sex"], strict=True))
    return {}


def _facts(name: re.Match[str], sexes: dict[str, str]) -> dict[str, str | None]:
    return {"speaker": name["speaker"], "gender": sexes.get(name["speaker"]), "label": name["label"], "sentence": name["sentence"]}


NEMO = Layout(
    "nemo",
    "pl",
    r"(?P<speaker>[A-Z]{2}\d)_(?P<label>anger|fear|happiness|neutral|sadness|surprised|surprise)_(?P<sentence>\d+)",
    _facts,
    _notes,
)
