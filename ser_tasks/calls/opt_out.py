"""The opt-out list (SER_OPT_OUT): customers whose emotion is never scored.

One id a line, as the calls' metadata write it, or its pseudonym; ``#`` begins a comment. A ``.csv`` of several columns names its column
``customer_id`` (or ``customer_pseudonym``). A list that can't be read raises: without it nobody may be scored.
"""

import csv
import io
import re
import secrets
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from ser_tasks.calls.metadata import pseudonym
from ser_tasks.calls.spelling import plain
from ser_tasks.pseudonyms import PSEUDONYM
from ser_tasks.pseudonyms import forms as known_forms
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store

COLUMNS = ("customerid", "customer", "callerid", "clientid", "customerpseudonym", "pseudonym")
"""Headers of the column with the ids, in the form of ``spelling.plain``."""
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True)
class OptOut:
    """The people on the list, by pseudonym. It holds no id, so it may be sent to other machines."""

    people: frozenset[str] = frozenset()
    salt: str = ""
    """Stands for SER_PSEUDONYM_KEY where that is not set: made anew for each run, so no lake knows these pseudonyms."""

    def includes(self, customer_id: str | None, settings: Settings) -> bool:
        """Whether a customer is on the list. ``settings`` hold the key of the pseudonyms."""
        return bool(self.people) and pseudonym("customer", customer_id, self._keyed(settings)) in self.people

    def _keyed(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"pseudonym_key": SecretStr(self.salt), "old_pseudonym_keys": ()}) if self.salt else settings


def read(settings: Settings) -> OptOut:
    """The list of SER_OPT_OUT; an empty one where that is not set. Raises ValueError where it can't be read. No message holds an id."""
    if settings.opt_out is None:
        return OptOut()
    try:
        text = _bytes(settings.opt_out).decode("utf-8-sig")
        listed = set(_ids(text, settings.opt_out.lower().endswith(".csv")))
    except UnicodeDecodeError:
        raise ValueError(f"The opt-out list {settings.opt_out} is not UTF-8 text, so nothing is scored: save it as UTF-8.") from None
    except (OSError, ValueError, csv.Error) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ValueError(f"The opt-out list {settings.opt_out} can't be read, so nothing is scored (SER_OPT_OUT): {why}") from None
    has_key = bool(settings.pseudonym_key and settings.pseudonym_key.get_secret_value())
    pseudonyms = {each for each in listed if PSEUDONYM.fullmatch(each)}
    if pseudonyms and not has_key:
        raise ValueError(
            f"The opt-out list {settings.opt_out} has pseudonyms, and SER_PSEUDONYM_KEY is not set, so nothing is scored: set that key."
        )
    empty = OptOut(salt="" if has_key else secrets.token_hex(16))
    forms = {unicodedata.normalize(form, each) for form in ("NFC", "NFD") for each in listed} | listed
    made = {pseudonym("customer", each, empty._keyed(settings)) for each in forms}
    older = {form for each in pseudonyms for form in known_forms("customer", each, settings.pseudonym_keys())}
    return OptOut(frozenset(each for each in made if each) | pseudonyms | older, empty.salt)


def _bytes(where: str) -> bytes:
    if where.startswith("s3://"):
        folder, _, name = where.rpartition("/")
        if folder in ("s3:", "s3:/") or not name:
            raise ValueError("it is no address of an object: write s3://bucket/name.")
        return open_store(folder).read_bytes(name)
    return Path(where.removeprefix("file://")).expanduser().read_bytes()


def _ids(text: str, is_csv: bool) -> Iterator[str]:
    lines = [line for line in text.splitlines() if _COMMENT.sub("", line).strip()]
    separator = next((each for each in ";\t," if lines and each in lines[0]), None)
    if is_csv and separator:
        yield from _column(lines, separator)
        return
    for line in lines:
        entry = _COMMENT.sub("", line).strip().strip('"').strip()
        if any(each in entry for each in ";\t,"):
            raise ValueError("a line holds more than an id: write one id a line, or a .csv whose first line names a column customer_id.")
        if entry:
            yield entry


def _column(lines: list[str], separator: str) -> Iterator[str]:
    rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, strict=True)
    names = [plain(name) for name in next(rows)]
    places = [names.index(name) for name in COLUMNS if name in names]
    if not places:
        raise ValueError("its first line names no column customer_id or customer_pseudonym.")
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} columns, its first line names {len(names)}.")
        yield from (row[place].strip() for place in places if row[place].strip())
