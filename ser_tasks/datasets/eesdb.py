"""EESDB: Mandarin of 16 elderly people from a television series, in seven emotions (Wang et al., 2015).

Its owners publish no layout. This one is a guess: ``F01/anger/01.wav`` or ``anger/F01_01.wav``, with sex and number of the speaker. Write a
``labels.csv`` where yours differs.
"""

import re

from ser_tasks.datasets.corpus import Layout

_SPEAKER = r"[FMfm]\d{1,2}"
_LABEL = r"(?i:anger|angry|disgust|fear|happiness|happy|neutral|sadness|sad|surprise)"


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    speaker = (name["speaker"] or name["speaker_after"]).upper()
    return {"speaker": speaker, "gender": speaker[0], "label": name["label_after"] or name["label"]}


EESDB = Layout(
    "eesdb",
    "zh",
    rf"(?:(?P<speaker>{_SPEAKER})/(?P<label_after>{_LABEL})/|(?P<label>{_LABEL})/(?P<speaker_after>{_SPEAKER})[_-])\d+",
    _facts,
)
