"""BanglaSER: ``03-01-03-02-01-01-34.wav``, 34 speakers of three Bangla sentences (Das et al., 2022; Mendeley t9h6p943xy).

The names have the form of RAVDESS's with other meanings: mode, vocal channel, emotion (of five), intensity, sentence (of three),
repetition (of three) and speaker, who is male if odd. Where all names of a folder could be of either corpus, it is RAVDESS, unless its path
has ``banglaser`` in it.
"""

import re

from ser_tasks.datasets.corpus import Layout

LABELS = {"01": "happy", "02": "sad", "03": "angry", "04": "surprise", "05": "neutral"}


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    gender = "male" if int(name["speaker"]) % 2 else "female"
    return {"speaker": name["speaker"], "gender": gender, "label": LABELS[name["label"]], "sentence": name["sentence"]}


BANGLASER = Layout("banglaser", "bn", r"03-01-(?P<label>0[1-5])-0[12]-(?P<sentence>0[1-3])-0[1-3]-(?P<speaker>[0-2]\d|3[0-4])", _facts)
