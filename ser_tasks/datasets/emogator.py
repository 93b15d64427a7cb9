"""EmoGator: ``data/mp3/000001-03-1.mp3``, contributor, category and instance of a vocal burst without words, by 357 people on their own
devices (Buhl; github.com/fredbuhl/EmoGator).

Of its 30 categories, those that the taxonomy has are read; elation is joy. These are cries and sighs: in the training of a model of speech
they cost more than they gave.
"""

import re

from ser_tasks.datasets.corpus import Layout

CATEGORIES = (
    "adoration",
    "amusement",
    "anger",
    "awe",
    "confusion",
    "contempt",
    "contentment",
    "desire",
    "disappointment",
    "disgust",
    "distress",
    "ecstasy",
    "elation",
    "embarrassment",
    "fear",
    "guilt",
    "interest",
    "neutral",
    "pain",
    "pride",
    "realization",
    "relief",
    "romantic love",
    "sadness",
    "serenity",
    "shame",
    "surprise (negative)",
    "surprise (positive)",
    "sympathy",
    "triumph",
)
"""Categories 01 to 30."""
IN_TAXONOMY = {"anger", "disgust", "elation", "fear", "neutral", "sadness", "surprise (negative)", "surprise (positive)"}


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None] | str:
    category = CATEGORIES[int(name["category"]) - 1]
    if category not in IN_TAXONOMY:
        return f"{category}: no emotion of the taxonomy (EmoGator)"
    return {"speaker": name["speaker"], "label": category.partition(" (")[0]}


EMOGATOR = Layout("emogator", None, r"(?P<speaker>000[0-3]\d\d)-(?P<category>0[1-9]|[12]\d|30)-[1-3]", _facts)
