"""SUBESCO: ``F_01_OISHI_S_1_ANGRY_1.wav``, Bangla, twenty speakers of ten sentences (Sultana et al., 2021)."""

import re

from ser_tasks.datasets.corpus import Layout


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    speaker = f"{name['gender']}{name['speaker']}"
    return {"speaker": speaker, "gender": name["gender"], "label": name["label"], "sentence": name["sentence"]}


SUBESCO = Layout(
    "subesco",
    "bn",
    r"(?P<gender>[FM])_(?P<speaker>\d\d)_[A-Z]+_S_(?P<sentence>\d+)_(?P<label>ANGRY|DISGUST|FEAR|HAPPY|NEUTRAL|SAD|SURPRISE)_\d+",
    _facts,
)
