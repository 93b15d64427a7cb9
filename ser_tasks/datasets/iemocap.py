"""IEMOCAP: ``Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav``, labels in ``Session1/dialog/EmoEvaluation``
(Busso et al., 2008). Five sessions of two actors; the letter before a turn's number says which of them speaks.
"""

import re
from pathlib import Path
from typing import NamedTuple

from ser_tasks.datasets.corpus import Layout

LABELS = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "excited",
    "neu": "neutral",
    "sad": "sadness",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "fru": "frustration",
    "oth": "other",
    "xxx": "undecided",
}
# [6.29 - 8.24]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]: mean valence, activation (arousal) and dominance, 1 to 5
_EVALUATED = re.compile(r"^\[[^\]]+\]\s+(Ses\w+)\s+(\w{3})\s(?:\s*\[([\d.]+),\s*([\d.]+),\s*([\d.]+)\])?", re.MULTILINE)
_SPOKEN = re.compile(r"^(Ses\w+)\s+\[[^\]]+\]:\s*(.+)$", re.MULTILINE)  # Ses01F_impro01_F000 [006.29-008.23]: Excuse me.


class Notes(NamedTuple):
    """By turn."""

    labels: dict[str, str]
    ratings: dict[str, dict[str, str | None]]
    words: dict[str, str]


def _notes(folder: Path) -> Notes:
    notes = Notes({}, {}, {})
    for path in folder.rglob("EmoEvaluation/Ses*.txt"):
        for turn, label, *ratings in _EVALUATED.findall(path.read_text(encoding="utf-8", errors="replace")):
            notes.labels[turn] = label
            notes.ratings[turn] = dict(zip(("valence", "arousal", "dominance"), (rating or None for rating in ratings), strict=True))
    for path in folder.rglob("transcriptions/Ses*.txt"):
        spoken = _SPOKEN.findall(path.read_text(encoding="utf-8", errors="replace"))
        notes.words.update((turn, " ".join(re.findall(r"[a-z']+", words.lower()))) for turn, words in spoken)
    return notes


def _facts(name: re.Match[str], notes: Notes) -> dict[str, str | None] | str:
    turn = name["turn"]
    if turn not in notes.labels:
        return "no label in dialog/EmoEvaluation"
    gender = "female" if name["who"] == "F" else "male"
    label = LABELS.get(notes.labels[turn], notes.labels[turn])
    words = notes.words.get(turn)
    spoken = {"speaker": f"{name['session']}{name['who']}", "gender": gender, "label": label, "sentence": words, "text": words}
    return spoken | notes.ratings[turn]


IEMOCAP = Layout("iemocap", "en", r"(?P<turn>Ses(?P<session>0[1-5])[FM]_(?:impro|script)\w+_(?P<who>[FM])[X\d]\d+)", _facts, _notes)
