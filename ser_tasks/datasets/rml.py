"""RML: ``s1/an1.avi``, eight people in six languages; a folder a person, in it perhaps one a language, and an emotion's first two letters
with a number (Wang and Guan, 2004; Ryerson Multimedia Lab).

The letters are known from others' code, the folders from memory. Sound taken from the videos under the same names is read as well.
"""

import re

from ser_tasks.datasets.corpus import Layout

LABELS = {"an": "anger", "di": "disgust", "fe": "fear", "ha": "happiness", "sa": "sadness", "su": "surprise"}


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    return {"speaker": name["speaker"].lower(), "label": LABELS[name["label"].lower()]}


RML = Layout("rml", None, r"(?P<speaker>[sS][1-9]\d?)/(?:[^/]+/)?(?P<label>(?i:an|di|fe|ha|sa|su))_?\d+", _facts)
