"""EMO-DB: ``wav/03a01Fa.wav``, speaker, text, emotion (a German initial) and version (Burkhardt et al., 2005)."""

import re

from ser_tasks.datasets.corpus import Layout

LABELS = {"W": "anger", "L": "boredom", "E": "disgust", "A": "anxiety", "F": "happiness", "T": "sadness", "N": "neutral"}
MALE = {"03", "10", "11", "12", "15"}


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    gender = "male" if name["speaker"] in MALE else "female"
    return {"speaker": name["speaker"], "gender": gender, "label": LABELS[name["label"]], "sentence": name["sentence"]}


EMODB = Layout("emodb", "de", r"(?P<speaker>03|08|09|1[0-6])(?P<sentence>[ab]\d\d)(?P<label>[WLEAFTN])[a-z]", _facts)
