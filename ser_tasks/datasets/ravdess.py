"""RAVDESS speech: ``Actor_12/03-01-06-01-02-01-12.wav`` (Livingstone and Russo, 2018; zenodo.org/records/1188976)."""

import re

from ser_tasks.datasets.corpus import Layout

LABELS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
SENTENCES = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None] | str:
    if name["channel"] == "02":
        return "song, not speech"
    gender = "male" if int(name["speaker"]) % 2 else "female"
    words = {"sentence": name["sentence"], "text": SENTENCES[name["sentence"]]}
    return {"speaker": name["speaker"], "gender": gender, "label": LABELS[name["label"]]} | words


# modality, vocal channel, emotion, intensity, statement, repetition, actor
RAVDESS = Layout("ravdess", "en", r"0[1-3]-(?P<channel>0[12])-(?P<label>0[1-8])-0[12]-(?P<sentence>0[12])-0[12]-(?P<speaker>\d\d)", _facts)
