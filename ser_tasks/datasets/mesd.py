"""MESD: ``Anger_F_A_abajo.wav``, emotion, voice, corpus A or B and a Mexican Spanish word (Duville et al., 2021; Mendeley cy34mh68j9).

The names say whether a woman, a man or a child speaks, and not which of the eleven: the three voices count as speakers, so that no person
is on two sides of a split.
"""

import re

from ser_tasks.datasets.corpus import Layout

VOICES = {"F": "female", "M": "male", "C": None}


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    return {"speaker": name["voice"], "gender": VOICES[name["voice"]], "label": name["label"], "sentence": name["word"].lower()}


MESD = Layout("mesd", "es", r"(?P<label>Anger|Disgust|Fear|Happiness|Neutral|Sadness)_(?P<voice>[FMC])_[AB]_(?P<word>[^/]+)", _facts)
