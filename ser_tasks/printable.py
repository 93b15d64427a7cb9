"""Text from outside as a terminal or log may have it: file names, metadata and answers can hold characters that a terminal obeys."""

import logging
import traceback
import unicodedata
from typing import Any


def printable(text: object) -> str:
    r"""The text with control characters, invisible ones and those that change the reading direction written as ``\x1b`` or ``\u202e``.

    Line ends, tabs and spaces of any width stay.
    """
    string = str(text)
    return string if string.isprintable() else "".join(map(_printable, string))


def _printable(character: str) -> str:
    if character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()


class PrintableRecord(logging.LogRecord):
    """A log record whose message and traceback are printable, whatever handler or formatter they go through."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        if self.exc_info and self.exc_info[0]:  # formatters take this text for their own
            self.exc_text = printable("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:  # noqa: N802
        """As LogRecord.getMessage."""
        return printable(super().getMessage())
