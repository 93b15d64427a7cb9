"""SUSAS: ``.../angry/boston1/help1.wav``, words in eleven speaking styles by nine men of three American dialects (Hansen and Bou-Ghazale,
1997; LDC99S78).

From memory: that a folder names the style, another the speaker (boston, general or nyc, with a number), in either order, and that a number
after the word counts its repetitions. Angry and neutral are emotions; other styles, and speech under real stress, are none.
"""

import re

from ser_tasks.datasets.corpus import Layout

STYLES = ("angry", "clear", "cond50", "cond70", "fast", "lombard", "loud", "neutral", "question", "slow", "soft")
_SPEAKER = r"(?:boston|general|nyc|newyork|gen|bos|ny)_?[1-3]"
_STYLE = "|".join(STYLES)


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None] | str:
    style = (name["style"] or name["style_after"]).lower()
    if style not in ("angry", "neutral"):
        return f"{style}: a way of speaking, and no emotion (SUSAS)"
    speaker = (name["speaker"] or name["speaker_before"]).lower().replace("_", "")
    return {"speaker": speaker, "gender": "male", "label": style, "sentence": name["word"].lower()}


SUSAS = Layout(
    "susas",
    "en",
    rf"(?i:(?:(?P<style>{_STYLE})/(?P<speaker>{_SPEAKER})|(?P<speaker_before>{_SPEAKER})/(?P<style_after>{_STYLE})))/(?P<word>[A-Za-z]+)_?\d*",
    _facts,
)
