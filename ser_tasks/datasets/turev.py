"""TurEV-DB: ``Sound Source/Angry/6783_<word>.wav``, six Turkish speakers of 82 words, by folders of emotions (Canpolat et al., 2020;
github.com/Xeonen/TurEV-DB).

Only the folders and the speaker before the first ``_`` are known from others' code; what follows is not read as the word. There is no
neutral speech but the calm one, which counts as neutral.
"""

import re

from ser_tasks.datasets.corpus import Layout


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    return {"speaker": name["speaker"], "label": name["label"]}


TUREV = Layout("turev", "tr", r"(?P<label>Angry|Calm|Happy|Sad)/(?P<speaker>\d{3,5})_[^/]+", _facts)
