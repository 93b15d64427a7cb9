"""ESD: ``0011/Angry/0011_000351.wav`` (older copies: ``Angry/train/...``), ten Mandarin and ten English speakers of the same 350
sentences each (Zhou et al., 2022)."""

import re

from ser_tasks.datasets.corpus import Layout

SENTENCES = 350
FIRST_ENGLISH_SPEAKER = 11


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    language = "en" if int(name["speaker"]) >= FIRST_ENGLISH_SPEAKER else "zh"
    sentence = (int(name["number"]) - 1) % SENTENCES + 1  # numbers run on from emotion to emotion
    return {"speaker": name["speaker"], "label": name["label"], "language": language, "sentence": f"{language} {sentence}"}


ESD = Layout(
    "esd",
    None,
    r"(?P<label>Angry|Happy|Neutral|Sad|Surprise)/(?:(?:train|evaluation|test)/)?(?P<speaker>00[012]\d)_(?P<number>\d{6})",
    _facts,
)
