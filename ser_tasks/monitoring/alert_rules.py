"""Alert rules: the format of the rule file (``deploy/alerts.yaml``, or SER_ALERTS), and the evaluation of a rule on a lake."""

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

from ser_tasks.lake import read_only, sql_views
from ser_tasks.printable import printable
from ser_tasks.resources import resource
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store

SHIPPED = resource("deploy/alerts.yaml")
READY_FOLDER = sql_views.SQL_FOLDER / "alerts"
"""The ready-made queries, one SELECT for each file. They are not views, since they have parameters."""
MAX_LINE_CHARACTERS = 400
"""Longest line of an alert: names from outside may have any length."""
QUERY_LIMIT_S = 300.0
"""A rule whose query takes longer fails, so that the other rules are still evaluated."""

AGENT = "agent_pseudonym"
"""The column that no rule may use: an alert about few calls of one agent would be surveillance of a person at work."""


class Rule(BaseModel):
    """One rule. The rows of its query are the alerts; no rows means that all is well."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    ready: str | None = None
    """A ready-made query: the name of a file of ``sql/alerts``."""
    sql: str | None = None
    """Instead of ``ready``: a query over the views."""
    given: dict[str, Any] = Field({}, alias="with")
    """Values of the query's parameters, such as above for $above."""
    severity: Literal["info", "warning", "error"]
    message: str
    """The line of an alert, with the query's columns in braces: ``{queue}: {share:.0%}``."""
    to: tuple[str, ...] = ()
    """Targets: prefect, webhook, mail (SER_MAIL_TO), or an e-mail address. Default: those of the file."""
    remind_after_h: float | None = Field(None, gt=0)
    """Default: that of the file; null: never."""


class Rules(BaseModel):
    """The rule file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: tuple[str, ...] = ()
    remind_after_h: float | None = Field(24, gt=0)
    """Hours after which a reminder of an alert that still fires is sent; null: never."""
    lines_a_rule: int = Field(10, ge=1)
    """Most lines of a rule in a message; further ones are counted."""
    flaps_after: int = Field(3, ge=2)
    """An alert that fired so often within 24 hours is flapping: it is reported as resolved only once it stays quiet."""
    rules: tuple[Rule, ...]

    def reminds_after_h(self, rule: Rule) -> float | None:
        return rule.remind_after_h if "remind_after_h" in rule.model_fields_set else self.remind_after_h


@dataclass(frozen=True)
class Alert:
    """One alert that a rule found."""

    rule: str
    subject: str
    """What the alert is about, such as a queue; empty where the query has no column ``subject``."""
    severity: str
    message: str


class RuleError(ValueError):
    """A rule cannot be evaluated, or its message cannot be filled. The text names the rule and the cause."""


def load(path: str | Path | None = None) -> Rules:
    """The rules of a file (default: the shipped one). Raises FileNotFoundError, and ValueError that names every fault of the file."""
    path = Path(path or SHIPPED)
    if not path.is_file():
        raise FileNotFoundError(f"There is no rule file {path}: name one with --rules or SER_ALERTS, or leave both out.")
    try:
        text = path.read_text(encoding="utf-8")
        page, lines = yaml.safe_load(text), _lines(yaml.compose(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{path} refers to itself: remove the anchors (&) and aliases (*).") from None
    if not isinstance(page, dict):
        raise ValueError(f"{path} has no rules: its top-level keys are to, remind_after_h, lines_a_rule, flaps_after and rules.")
    if duplicates := [f"line {numbers[1]}: the key {keys[-1]} is repeated" for keys, numbers in lines.items() if len(numbers) > 1]:
        raise ValueError(f"{path}, " + "; ".join(duplicates))
    try:
        rules = Rules.model_validate(page)
    except ValidationError as error:
        raise ValueError(f"{path}, " + "; ".join(_fault(each, page, lines) for each in error.errors())) from None
    if faults := list(_faults(rules)):
        raise ValueError(f"{path}, " + "; ".join(f"{_at(lines, ('rules', number))}{fault}" for number, fault in faults))
    return rules


Lines = dict[tuple[str | int, ...], list[int]]
"""Line numbers of a YAML file by the path of keys and list positions; several where a key is repeated."""


def _lines(node: yaml.Node | None, parent: tuple[str | int, ...] = ()) -> Lines:
    lines: Lines = {}
    pairs: list[tuple[Any, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        pairs = [(key.value, key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
    elif isinstance(node, yaml.SequenceNode):
        pairs = [(number, value, value) for number, value in enumerate(node.value)]
    for name, at, value in pairs:
        path = (*parent, name)
        lines.setdefault(path, []).append(at.start_mark.line + 1)
        if len(lines[path]) == 1:
            lines |= _lines(value, path)
    return lines


def _at(lines: Lines, path: tuple[str | int, ...]) -> str:
    """The line of a path, or of the nearest parent that has one, as the beginning of a message."""
    while path and path not in lines:
        path = path[:-1]
    return f"line {lines[path][0]}: " if path else ""


def _fault(error: Any, page: dict[str, Any], lines: Lines) -> str:
    """One of pydantic's errors as a sentence."""
    path = error["loc"]
    model: type[BaseModel]
    model, title = (Rules, "") if path[0] != "rules" or len(path) < 3 else (Rule, _title(page, path[1]))
    where = _at(lines, path) + title
    key = path[2] if model is Rule else path[-1]
    if error["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in model.model_fields.items())
        return f"{where}there is no key {key!r}: choose from {known}"
    if error["type"] == "missing":
        return f"{where}{key} is missing"
    return f"{where}{key}: {error['msg']} (it is {str(error['input'])[:60]!r})"


def _title(page: dict[str, Any], number: Any) -> str:
    try:
        return f"rule {page['rules'][number]['name']}: "
    except (KeyError, TypeError, IndexError):
        return f"rule number {number + 1 if isinstance(number, int) else number}: "


def _faults(rules: Rules) -> Iterator[tuple[int, str]]:
    """Faults that pydantic cannot find, each with the position of its rule."""
    names = [rule.name for rule in rules.rules]
    ready = sorted(path.stem for path in READY_FOLDER.glob("*.sql"))
    for number, rule in enumerate(rules.rules):
        if names.count(rule.name) > 1 and names.index(rule.name) == number:
            yield number, f"there are {names.count(rule.name)} rules named {rule.name}: names must be unique"
        for fault in _faults_of(rule, rules, ready):
            yield number, f"rule {rule.name}: {fault}"


def _faults_of(rule: Rule, rules: Rules, ready: list[str]) -> Iterator[str]:
    if (rule.ready is None) == (rule.sql is None):
        yield "write either ready or sql"
    elif rule.ready is not None and rule.ready not in ready:
        yield f"there is no ready-made query {rule.ready!r}: choose from {', '.join(ready)}"
    else:
        used = set(_parameters(_query(rule)))
        for name in sorted(used - rule.given.keys() - GIVEN_PARAMETERS):
            yield f"its query needs the parameter ${name}: add it under with"
        for name in sorted(rule.given.keys() - (used - GIVEN_PARAMETERS)):
            yield f"its query has no parameter ${name}, only {', '.join(sorted(used - GIVEN_PARAMETERS)) or 'none'}"
        if rule.ready is not None:
            for name in sorted({"from", "by"} & rule.given.keys()):
                if not isinstance(rule.given[name], str):
                    yield f'{name} is {rule.given[name]!r}: write the time in quotes, as "06:00"; without quotes YAML reads a number'
    if not (rule.to or rules.to):
        yield "it has no target: add to, to the rule or to the file"
    for target in rule.to or rules.to:
        if target not in ("prefect", "webhook", "mail") and not re.fullmatch(r"[^@\s,]+@[^@\s,]+", target):
            yield f"{target!r} is not a target: write prefect, webhook, mail or an e-mail address"
    try:
        list(_columns(rule.message))
    except ValueError as error:
        yield f"message: {error}"


GIVEN_PARAMETERS = {"now", "time_zone"}
"""Parameters that every query may use: the time of the evaluation, and SER_TIME_ZONE. There is also the table ``disks``."""


def evaluate(connection: duckdb.DuckDBPyConnection, rule: Rule, now: datetime, settings: Settings) -> list[Alert]:
    """The alerts that a rule finds. Raises RuleError for SQL that fails, and for a message that does not fit the query's columns."""
    sql = _query(rule)
    values = rule.given | {"now": now, "time_zone": settings.time_zone}
    limit = threading.Timer(QUERY_LIMIT_S, connection.interrupt)
    limit.start()
    try:
        if any(read_only.sets_a_variable(statement) for statement in read_only.statements(connection, sql)):
            raise PermissionError("SET is not allowed here, since it would change other rules. Write one SELECT.")
        answer = read_only.query(connection, sql, {name: values[name] for name in set(_parameters(sql))})
    except duckdb.InterruptException:
        raise RuleError(f"rule {rule.name}: its query took longer than {QUERY_LIMIT_S:g} s: query fewer days") from None
    except (duckdb.Error, ValueError, PermissionError) as error:
        given = f" (with {rule.given})" if rule.given else ""
        raise RuleError(f"rule {rule.name}: {str(error).strip()}{given}") from None
    finally:
        limit.cancel()
    if AGENT in sql.lower() or AGENT in answer.column_names:
        raise RuleError(f"rule {rule.name}: its query has {AGENT}, and no alert is about an agent: leave it out")
    columns = [column for column in _columns(rule.message) if column not in answer.column_names]
    if columns:
        raise RuleError(
            f"rule {rule.name}: its message uses {', '.join(columns)}, but its query returns only {', '.join(answer.column_names)}"
        )
    rows = answer.to_pylist()
    _fill(rule, rows[0] if rows else {field.name: _sample(field.type) for field in answer.schema})
    lines_by_subject: dict[str, list[str]] = {}
    for row in rows:
        subject = row.get("subject", "")
        lines_by_subject.setdefault(as_line("none" if subject is None else subject), []).append(_fill(rule, row))
    alerts = []
    for subject, lines in lines_by_subject.items():
        more = f" (and {len(lines) - 1} more rows)" if len(lines) > 1 else ""
        alerts.append(Alert(rule.name, subject, rule.severity, lines[0] + more))
    return alerts


def prepare(connection: duckdb.DuckDBPyConnection, lake: str, settings: Settings) -> None:
    """Creates the table ``disks`` (place: scratch, and lake if it is a folder; free_bytes, total_bytes), and sets the reference month."""
    set_reference_month(connection, settings)
    connection.execute("CREATE TEMP TABLE disks (place VARCHAR, free_bytes BIGINT, total_bytes BIGINT)")
    for place, (free_bytes, total_bytes) in disk_space(lake, settings).items():
        connection.execute("INSERT INTO disks VALUES (?, ?, ?)", [place, free_bytes, total_bytes])


def set_reference_month(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Makes the view ``drift`` compare with SER_REFERENCE_MONTH, if it is set."""
    if settings.reference_month:
        connection.execute(f"SET VARIABLE reference_month = DATE '{settings.reference_month:%Y-%m-%d}'")


def disk_space(lake: str, settings: Settings) -> dict[str, tuple[int, int]]:
    """Free and total bytes of the disks that hold the lake, if it is a folder, and scratch."""
    store = open_store(lake)
    folders = {"lake": store.local_root} if store.local_root else {}
    folders["scratch"] = Path(settings.scratch or tempfile.gettempdir())
    space = {}
    for place, folder in folders.items():
        existing = next((each for each in (folder, *folder.absolute().parents) if each.exists()), None)
        if existing:
            usage = shutil.disk_usage(existing)
            space[place] = (usage.free, usage.total)
    return space


def as_line(value: object) -> str:
    """Text from outside as one printable line of at most MAX_LINE_CHARACTERS."""
    text = " ".join(str(value).split())
    text = printable(text)
    return text if len(text) <= MAX_LINE_CHARACTERS else text[: MAX_LINE_CHARACTERS - 1] + "…"


def _query(rule: Rule) -> str:
    return rule.sql if rule.sql is not None else (READY_FOLDER / f"{rule.ready}.sql").read_text(encoding="utf-8")


def _parameters(sql: str) -> list[str]:
    return re.findall(r"\$([a-z_]\w*)", re.sub(r"(?m)--.*$", "", sql))


class _Line(string.Formatter):
    """Fills a message; null reads as unknown. Columns only: no attributes, no items."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return "unknown" if value is None else as_line(super().format_field(value, format_spec))


def _columns(message: str) -> Iterator[str]:
    for _, name, _, _ in string.Formatter().parse(message):
        if name is not None and not re.fullmatch(r"\w+", name):
            raise ValueError(f"{{{name}}} is not a column: write only a column's name, such as {{queue}}")
        if name is not None:
            yield name


def _fill(rule: Rule, row: dict[str, Any]) -> str:
    try:
        return as_line(_Line().vformat(rule.message, (), row))
    except (ValueError, TypeError) as error:
        raise RuleError(f"rule {rule.name}: its message does not fit its columns: {error}") from None


def _sample(type_: pa.DataType) -> Any:
    """A value of a column's type, to check a message without rows."""
    if pa.types.is_integer(type_):
        return 1
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return 1.0
    if pa.types.is_date(type_):
        return date(2000, 1, 1)
    if pa.types.is_timestamp(type_):
        return datetime(2000, 1, 1)
    return True if pa.types.is_boolean(type_) else "text" if pa.types.is_string(type_) else None
