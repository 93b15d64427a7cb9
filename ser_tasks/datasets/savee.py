"""SAVEE: ``AudioData/DC/sa01.wav`` (or ``DC_sa01.wav``), four English men (Haq and Jackson, 2009)."""

import re

from ser_tasks.datasets.corpus import Layout

LABELS = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "n": "neutral", "sa": "sadness", "su": "surprise"}
COMMON_SENTENCES = 3
"""Sentences 01 to 03 are the same for all emotions; the others belong to theirs."""


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    common = int(name["number"]) <= COMMON_SENTENCES
    sentence = f"{'common' if common else LABELS[name['label']]} {name['number']}"
    return {"speaker": name["speaker"], "gender": "male", "label": LABELS[name["label"]], "sentence": sentence}


SAVEE = Layout("savee", "en", r"(?P<speaker>DC|JE|JK|KL)[/_](?P<label>sa|su|[adfhn])(?P<number>\d\d)", _facts)
