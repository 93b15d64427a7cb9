"""The rules of the alerts: what the rule file may say (``deploy/alerts.yaml``, or SER_ALERTS), and what a rule finds in a lake."""

import re
import shutil
import string
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ser_tasks import resource
from ser_tasks.lake import catalog, read_only
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store

SHIPPED = resource("deploy/alerts.yaml")
READY_FOLDER = catalog.SQL_FOLDER / "alerts"
"""Ready-made questions, one SELECT a file; they are no views, since they have parameters."""
LONGEST_LINE = 400
"""Characters of a rule's line: a name from outside may be of any length."""
LONGEST_QUESTION_S = 300.0
"""A rule whose question takes longer is told as faulty: the others are to be asked."""


class Rule(BaseModel):
    """One rule. Its question's rows are the alert; none means that all is well."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    ready: str | None = None
    """A ready-made question: a file of ``sql/alerts``."""
    sql: str | None = None
    """A question of one's own over the views, instead."""
    given: dict[str, Any] = Field({}, alias="with")
    """Values of the question's parameters, such as above for $above."""
    severity: Literal["info", "warning", "error"]
    message: str
    """The line that is told, with the question's columns in braces: ``{queue}: {share:.0%}``."""
    to: tuple[str, ...] = ()
    """Who is told: prefect, webhook, mail (SER_MAIL_TO), or an e-mail address; as the file says where it is left out."""
    remind_after_h: float | None = Field(None, gt=0)
    """As the file says where it is left out; null: never."""


class Rules(BaseModel):
    """The rule file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: tuple[str, ...] = ()
    remind_after_h: float | None = Field(24, gt=0)
    """An alert that stays is told again after so many hours; null: never."""
    lines_a_rule: int = Field(10, ge=1)
    """Lines of a rule in a message, and how many more there are."""
    flaps_after: int = Field(3, ge=2)
    """An alert that began so often within 24 hours is told as coming and going, and its end only when it has been quiet."""
    rules: tuple[Rule, ...]

    def reminds_after_h(self, rule: Rule) -> float | None:
        return rule.remind_after_h if "remind_after_h" in rule.model_fields_set else self.remind_after_h


@dataclass(frozen=True)
class Finding:
    """An alert: what a rule found."""

    rule: str
    subject: str
    """What of several; empty where the question has no column ``subject``."""
    severity: str
    message: str


class FaultyRule(ValueError):
    """A rule that cannot be asked, or whose message cannot be made; names the rule and what is wrong."""


def load(path: str | Path | None = None) -> Rules:
    """The rules of a file, of the shipped one if not given. Raises FileNotFoundError, and ValueError that names each fault."""
    path = Path(path or SHIPPED)
    if not path.is_file():
        raise FileNotFoundError(f"There is no rule file {path}: name one with --rules or SER_ALERTS, or leave both out.")
    try:
        text = path.read_text(encoding="utf-8")
        page, lines = yaml.safe_load(text), _lines(yaml.compose(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{path} refers to itself: write it without & and *.") from None
    if not isinstance(page, dict):
        raise ValueError(f"{path} holds no rules: it begins with to, remind_after_h, lines_a_rule, flaps_after or rules.")
    if doubled := [f"line {numbers[1]}: {place[-1]} is there twice" for place, numbers in lines.items() if len(numbers) > 1]:
        raise ValueError(f"{path}, " + "; ".join(doubled))
    try:
        rules = Rules.model_validate(page)
    except ValidationError as error:
        raise ValueError(f"{path}, " + "; ".join(_fault(each, page, lines) for each in error.errors())) from None
    if faults := list(_faults(rules)):
        raise ValueError(f"{path}, " + "; ".join(f"{_at(lines, ('rules', number))}{fault}" for number, fault in faults))
    return rules


Lines = dict[tuple[str | int, ...], list[int]]


def _lines(node: yaml.Node | None, place: tuple[str | int, ...] = ()) -> Lines:
    """The lines on which each key and item of a YAML file begins, by its place in it; several where a key is there twice."""
    found: Lines = {}
    pairs: list[tuple[Any, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        pairs = [(key.value, key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
    elif isinstance(node, yaml.SequenceNode):
        pairs = [(number, value, value) for number, value in enumerate(node.value)]
    for name, at, value in pairs:
        own = (*place, name)
        found.setdefault(own, []).append(at.start_mark.line + 1)
        if len(found[own]) == 1:
            found |= _lines(value, own)
    return found


def _at(lines: Lines, place: tuple[str | int, ...]) -> str:
    """The line of a place, or of what it stands in, to begin a message with."""
    while place and place not in lines:
        place = place[:-1]
    return f"line {lines[place][0]}: " if place else ""


def _fault(error: Any, page: dict[str, Any], lines: Lines) -> str:
    """One of pydantic's errors in plain words."""
    place = error["loc"]
    model, where = (Rules, "") if place[0] != "rules" or len(place) < 3 else (Rule, _title(page, place[1]))
    where = _at(lines, place) + where
    key = place[2] if model is Rule else place[-1]
    if error["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in model.model_fields.items())
        return f"{where}there is no key {key!r}: choose of {known}"
    if error["type"] == "missing":
        return f"{where}{key} is missing"
    return f"{where}{key}: {error['msg']} (it is {str(error['input'])[:60]!r})"


def _title(page: dict[str, Any], number: Any) -> str:
    try:
        return f"rule {page['rules'][number]['name']}: "
    except (KeyError, TypeError, IndexError):
        return f"rule number {number + 1 if isinstance(number, int) else number}: "


def _faults(rules: Rules) -> Iterator[tuple[int, str]]:
    """What pydantic cannot know, each with the number of its rule."""
    names = [rule.name for rule in rules.rules]
    ready = sorted(path.stem for path in READY_FOLDER.glob("*.sql"))
    for number, rule in enumerate(rules.rules):
        if names.count(rule.name) > 1 and names.index(rule.name) == number:
            yield number, f"there are {names.count(rule.name)} rules {rule.name}: give each a name of its own"
        for fault in _faults_of(rule, rules, ready):
            yield number, f"rule {rule.name}: {fault}"


def _faults_of(rule: Rule, rules: Rules, ready: list[str]) -> Iterator[str]:
    if (rule.ready is None) == (rule.sql is None):
        yield "write either ready or sql"
    elif rule.ready is not None and rule.ready not in ready:
        yield f"there is no ready-made question {rule.ready!r}: choose of {', '.join(ready)}"
    else:
        used = set(_parameters(_question(rule)))
        for name in sorted(used - rule.given.keys() - FACTS):
            yield f"its question asks for ${name}: give it under with"
        for name in sorted(rule.given.keys() - (used - FACTS)):
            yield f"its question has no parameter ${name} to give, only {', '.join(sorted(used - FACTS)) or 'none'}"
        if rule.ready is not None:
            for name in sorted({"from", "by"} & rule.given.keys()):
                if not isinstance(rule.given[name], str):
                    yield f'{name} is {rule.given[name]!r}: write a time in quotes, as "06:00"; YAML takes it for a number without'
    if not (rule.to or rules.to):
        yield "nobody is told: write to, here or for the whole file"
    for target in rule.to or rules.to:
        if target not in ("prefect", "webhook", "mail") and not re.fullmatch(r"[^@\s,]+@[^@\s,]+", target):
            yield f"{target!r} can be told nothing: write prefect, webhook, mail or an e-mail address"
    try:
        list(_columns(rule.message))
    except ValueError as error:
        yield f"message: {error}"


FACTS = {"now", "time_zone"}
"""Parameters that every question may use: the moment at which the rules are asked, and SER_TIME_ZONE. There is also the table ``disks``."""


def ask(connection: duckdb.DuckDBPyConnection, rule: Rule, now: datetime, settings: Settings) -> list[Finding]:
    """What a rule finds. Raises FaultyRule for SQL that the lake's views can't answer, and for a message that its columns can't fill."""
    sql = _question(rule)
    values = rule.given | {"now": now, "time_zone": settings.time_zone}
    limit = threading.Timer(LONGEST_QUESTION_S, connection.interrupt)
    limit.start()
    try:
        if any(read_only.sets_a_variable(statement) for statement in read_only.statements(connection, sql)):
            raise PermissionError("SET is not allowed here: other rules would be asked otherwise. Write one SELECT.")
        answer = read_only.query(connection, sql, {name: values[name] for name in set(_parameters(sql))})
    except duckdb.InterruptException:
        raise FaultyRule(f"rule {rule.name}: its question took longer than {LONGEST_QUESTION_S:g} s: ask for fewer days") from None
    except (duckdb.Error, ValueError, PermissionError) as error:
        given = f" (with {rule.given})" if rule.given else ""
        raise FaultyRule(f"rule {rule.name}: {str(error).strip()}{given}") from None
    finally:
        limit.cancel()
    columns = [column for column in _columns(rule.message) if column not in answer.column_names]
    if columns:
        raise FaultyRule(
            f"rule {rule.name}: its message names {', '.join(columns)}, its question answers only {', '.join(answer.column_names)}"
        )
    rows = answer.to_pylist()
    _fill(rule, rows[0] if rows else {field.name: _sample(field.type) for field in answer.schema})
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(as_line("none" if row.get("subject", "") is None else row.get("subject", "")), []).append(_fill(rule, row))
    more = {subject: f" (and {len(lines) - 1} more rows)" if len(lines) > 1 else "" for subject, lines in found.items()}
    return [Finding(rule.name, subject, rule.severity, lines[0] + more[subject]) for subject, lines in found.items()]


def prepare(connection: duckdb.DuckDBPyConnection, lake: str, settings: Settings) -> None:
    """Makes the table ``disks`` (place: lake where it is a folder, scratch; free_bytes, total_bytes), and sets the month of reference."""
    set_reference_month(connection, settings)
    connection.execute("CREATE TEMP TABLE disks (place VARCHAR, free_bytes BIGINT, total_bytes BIGINT)")
    for place, (free_bytes, total_bytes) in room(lake, settings).items():
        connection.execute("INSERT INTO disks VALUES (?, ?, ?)", [place, free_bytes, total_bytes])


def set_reference_month(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Has the view ``drift`` measure against SER_REFERENCE_MONTH, where it is set."""
    if settings.reference_month:
        connection.execute(f"SET VARIABLE reference_month = DATE '{settings.reference_month:%Y-%m-%d}'")


def room(lake: str, settings: Settings) -> dict[str, tuple[int, int]]:
    """Free and total bytes of the disks under the lake, where it is a folder, and under scratch."""
    lake_folder = open_store(lake).local_root
    places = {"lake": lake_folder} if lake_folder else {}
    places["scratch"] = Path(settings.scratch or tempfile.gettempdir())
    found = {}
    for place, folder in places.items():
        there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), None)
        if there:
            usage = shutil.disk_usage(there)
            found[place] = (usage.free, usage.total)
    return found


def as_line(value: object) -> str:
    """Text from outside as one line that only shows, of bounded length."""
    text = " ".join(str(value).split())
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"


def _question(rule: Rule) -> str:
    return rule.sql if rule.sql is not None else (READY_FOLDER / f"{rule.ready}.sql").read_text(encoding="utf-8")


def _parameters(sql: str) -> list[str]:
    return re.findall(r"\$([a-z_]\w*)", re.sub(r"(?m)--.*$", "", sql))


class _Line(string.Formatter):
    """Fills a message; what is null is unknown. Columns only: no attributes, no items."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return "unknown" if value is None else as_line(super().format_field(value, format_spec))


def _columns(message: str) -> Iterator[str]:
    for _, name, _, _ in string.Formatter().parse(message):
        if name is not None and not re.fullmatch(r"\w+", name):
            raise ValueError(f"{{{name}}} is no column: write a column's name alone, such as {{queue}}")
        if name is not None:
            yield name


def _fill(rule: Rule, row: dict[str, Any]) -> str:
    try:
        return as_line(_Line().vformat(rule.message, (), row))
    except (ValueError, TypeError) as error:
        raise FaultyRule(f"rule {rule.name}: its message does not fit its columns: {error}") from None


def _sample(type_: pa.DataType) -> Any:
    """A value of a column's type, to try a message on where there are no rows."""
    if pa.types.is_integer(type_):
        return 1
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return 1.0
    if pa.types.is_date(type_):
        return date(2000, 1, 1)
    if pa.types.is_timestamp(type_):
        return datetime(2000, 1, 1)
    return True if pa.types.is_boolean(type_) else "text" if pa.types.is_string(type_) else None
