"""EMOVO: ``f1/rab-f1-b1.wav``, six Italian actors of 14 sentences; emotion (Italian, three letters), actor, sentence
(Costantini et al., 2014)."""

import re

from ser_tasks.datasets.corpus import Layout

LABELS = {
    "dis": "disgust",
    "gio": "joy",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    return {"speaker": name["speaker"], "gender": name["speaker"][0], "label": LABELS[name["label"]], "sentence": name["sentence"]}


EMOVO = Layout("emovo", "it", r"(?P<label>dis|gio|neu|pau|rab|sor|tri)-(?P<speaker>[fm][1-3])-(?P<sentence>[a-z]\d)", _facts)
