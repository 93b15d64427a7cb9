"""Indian EmoSpeech Command: ``<place>/bacho-safe-angry-1562907046662-<hash of the user>.wav``, one of six words a clip, spoken in English
or Hindi by volunteers (Banga et al., 2019; arXiv 1910.13801).

Left out are other words and background, which carry no emotion, and clips with gunshots or breaking glass. Its calm is the plain way to
say a word, and counts as neutral.
"""

import re

from ser_tasks.datasets.corpus import Layout

HASH_DIGITS = 12
"""Hex digits of the user's hash that name the speaker."""
UNKNOWN_USER = "d14a028c2a3a"
HINDI = "bacho"


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None] | str:
    user = name["user"][:HASH_DIGITS]
    if name["label"] == "none":
        return "no emotion given (EmoSpeech India)"
    if name["environment"] != "safe":
        return "gunshots or breaking glass (EmoSpeech India)"
    if user == UNKNOWN_USER:
        return "its speaker is unknown (EmoSpeech India)"
    language = "hi" if name["word"] == HINDI else "en"
    return {"speaker": user, "label": name["label"], "sentence": name["word"], "language": language}


EMOSPEECH_INDIA = Layout(
    "emospeech_india",
    None,
    r"(?P<word>help|bacho|stop|no|go|yes|unknown|background)-(?P<environment>[a-z _]+)-(?P<label>happy|angry|fearful|calm|none)-"
    r"[^/-]+-(?P<user>[0-9a-f]{12,})",
    _facts,
    any_case=True,
)
