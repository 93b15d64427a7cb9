"""TESS: ``OAF_angry/OAF_back_angry.wav``, two actresses, 200 words after "Say the word" (Pichora-Fuller and Dupuis, 2020)."""

import re

from ser_tasks.datasets.corpus import Layout


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    label = "pleasant surprise" if name["label"].lower() == "ps" else name["label"]
    text = f"Say the word {name['word']}"
    return {"speaker": name["speaker"], "gender": "female", "label": label, "sentence": name["word"], "text": text}


TESS = Layout("tess", "en", r"(?P<speaker>OAF|YAF)_(?P<word>[a-z]+)_(?P<label>angry|disgust|fear|happy|neutral|ps|sad)", _facts)
