"""What is taken out of words before they are kept: e-mail addresses, and everything written in digits.

Two patterns, as libraries that find more (Presidio, scrubadub) bring language models of hundreds of MB. Numbers and addresses that are
spelt out in words ("four two", "gmail dot com") and names of people stay.
"""

import re

EMAIL, NUMBER = "[e-mail]", "[number]"
_EMAIL = re.compile(r"[^\s@<>,;()\[\]]+\s?@\s?[^\s@<>,;()\[\]]+")
_DIGITS = re.compile(r"[+(]?\d(?:[\s.,:/()\u2010-\u2015-]*\d)*", re.ASCII)
_OTHER_DIGITS = re.compile(r"\d(?:[\s.,:/()\u2010-\u2015-]*\d)*")


def redacted(text: str) -> str:
    """The text with addresses as ``[e-mail]`` and each run of digits, whatever stands between them, as ``[number]``."""
    return _OTHER_DIGITS.sub(NUMBER, _DIGITS.sub(NUMBER, _EMAIL.sub(EMAIL, text)))
