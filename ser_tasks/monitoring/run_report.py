"""The report of a night: outcomes, recordings not scored and why, throughput, worst calls, drift, disk, cost, failed checks."""

from collections.abc import Sequence
from datetime import date, datetime
from statistics import median
from typing import Any
from urllib.parse import quote

import duckdb

from ser_tasks import html_page, schemas
from ser_tasks.html_page import markdown_text
from ser_tasks.lake import catalog, parts, read_only
from ser_tasks.monitoring import alert_rules, costs
from ser_tasks.settings import Settings
from ser_tasks.storage import Store, open_store

NIGHTS_BEFORE = 14
"""A night's throughput is compared with that of so many nights with audio."""
SHOWN_ROWS = 5
"""Offending rows of a failed check that the report shows."""
THROUGHPUT = f"\n## Throughput, and the median of the last {NIGHTS_BEFORE} nights"
STAGES = tuple(f"{stage}_s" for stage in schemas.STAGES)

Row = dict[str, Any]


def write_night_report(lake: str, run_id: str | None = None) -> tuple[str, str]:
    """Writes the report of a run (default: the newest) to ``reports/day=<day>/<run>.md``. Returns its key and its text.

    Also writes ``<run>.html``, the report with a chart of the nights, and ``<run>.svg``, the chart. ``day`` is the day on which the
    run started. Raises ValueError if there is no such run.
    """
    from ser_tasks.monitoring.run_chart import throughput_svg  # Altair is slow to import

    store = open_store(lake)
    run = find_run(store, run_id)
    text, nights = _report(lake, run, Settings())
    key = f"reports/day={run['started_at'].date()}/{run['run_id']}"
    pictures = {f"{run['run_id']}.svg": throughput_svg(nights, STAGES)} if nights else {}
    for name, picture in pictures.items():
        store.write_bytes(f"{key.rpartition('/')[0]}/{name}", picture)
    linked = "".join(f"\n\n![seconds by stage and audio-hours per hour, of each night]({name})" for name in pictures)
    html = html_page.html_page(f"Night {run['run_id']}", text.replace(THROUGHPUT, THROUGHPUT + linked, 1), pictures)
    store.write_bytes(f"{key}.html", html.encode())
    store.write_bytes(f"{key}.md", text.encode())
    return f"{key}.md", text


def find_run(lake: Store, run_id: str | None = None) -> Row:
    """The row of a run (default: the newest; ids begin with the time). Raises ValueError if there is none."""
    names = {part.name: item.key for part, item in parts.listed(lake, "runs/")}
    if not names:
        raise ValueError(f"{lake.uri} has no run: name the lake of a night that has ended.")
    run_id = run_id or max(names)
    if run_id not in names:
        raise ValueError(f'No run {run_id!r} in {lake.uri}: ser sql --lake {lake.uri} "FROM runs_overview" lists them.')
    [run] = parts.read(lake, names[run_id], "runs").to_pylist()
    return dict(run)


def night_report(lake: str, run: Row, settings: Settings | None = None) -> str:
    """The report as text."""
    return _report(lake, run, settings or Settings())[0]


def _report(lake: str, run: Row, settings: Settings) -> tuple[str, list[Row]]:
    """The report as text, and the nights of its chart: those with audio, up to this one, oldest first."""
    with catalog.connect(lake) as connection:
        reasons = _ask(
            connection,
            """
            SELECT outcome, reason_code, count(*) AS recordings, min(reason) AS example, min(day) AS first_day
            FROM outcomes_all WHERE run_id = $run GROUP BY ALL ORDER BY recordings DESC, outcome, reason_code
            """,
            run=run["run_id"],
        )
        speed = throughput(connection, run)
        before = nights_before(connection, run)
        handled_before = nights_before(connection, run, "scored + no_speech + withheld + quarantined + failed > 0")
        alert_rules.set_reference_month(connection, settings)
        drift = drift_rows(connection, run["started_at"].date())
        worst = worst_calls(connection, run["run_id"])
        given_up = given_up_recordings(connection, run["run_id"], settings)
        unusual = unusual_shares(connection, run, settings)
    first_day = min((row["first_day"] for row in reasons), default=run["started_at"].date())
    failed = failed_checks(lake, first_day)
    sections = [
        f"# Night {run['run_id']}",
        f"{run['model']} under the policy {run['policy']}, {_minute(run['started_at'])} to {_minute(run['ended_at'])} (UTC), "
        f"{run['workers']} workers, {run['device']}{_precision(run)}. "
        f"{run['listed']} recordings listed, {run['planned']} of them new{_ignored(run)}.",
        summary(run, failed, given_up, unusual),
        "## How the recordings ended\n\n" + markdown_table(outcome_rows(run)),
        "## Recordings not scored, and why\n\n"
        + markdown_table([{name: row[name] for name in row if name != "first_day"} for row in reasons if row["outcome"] != "scored"]),
        THROUGHPUT.strip() + "\n\n" + markdown_table(speed),
        "## Worst calls\n\n" + worst_calls_table(worst, run["recordings_uri"]),
        "## Drift of scores and audio quality\n\n" + _drift(drift),
        "## Disk\n\n" + _disk(lake, run, handled_before, settings),
        "## Cost\n\n" + _cost(run, handled_before, settings),
        f"## Failed checks, over the days from {first_day}\n\n" + markdown_table(failed),
    ]
    return "\n\n".join(sections) + "\n", [*reversed(before), *([run] if run["audio_s"] else [])]


def _precision(run: dict[str, Any]) -> str:
    return f" in {run['precision']}" if run["precision"] else ""


def given_up_recordings(connection: duckdb.DuckDBPyConnection, run_id: str, settings: Settings) -> int:
    """Recordings that a run gave up: their last attempt failed."""
    query = "SELECT count(*) AS n FROM outcomes_all WHERE run_id = $run AND outcome = 'failed' AND attempts >= $attempts"
    return int(_ask(connection, query, run=run_id, attempts=settings.max_attempts)[0]["n"])


def unusual_shares(connection: duckdb.DuckDBPyConnection, run: Row, settings: Settings) -> list[str]:
    """What the shipped rules ``unscored_share`` and ``ignored_share`` say of a run, however few its recordings."""
    lines = []
    for rule in alert_rules.load().rules:
        if rule.name == "ignored_share" or rule.name == "unscored_share" and sum(run[outcome] for outcome in schemas.OUTCOMES):
            every = rule.model_copy(update={"given": rule.given | {"at_least": 1}})
            lines += [alert.message for alert in alert_rules.evaluate(connection, every, run["started_at"], settings)]
    return lines


def _ignored(run: Row) -> str:
    """The ignored keys of a run; older runs do not say their suffixes."""
    if not run["ignored_keys"]:
        return ""
    suffixes = f" ({markdown_text(run['ignored_suffixes'])})" if run["ignored_suffixes"] else ""
    return f", {run['ignored_keys']} other keys ignored{suffixes}"


def summary(run: Row, failed: list[Row], given_up: int = 0, unusual: Sequence[str] = ()) -> str:
    """What needs attention, in one line. ``failed`` are rows of ``failed_checks``, ``given_up`` recordings that no night retries,
    ``unusual`` lines of ``unusual_shares``."""
    handled = sum(run[outcome] for outcome in schemas.OUTCOMES)
    faults = [f"the check {row['check']} failed ({row['offending rows']} rows)" for row in failed]
    faults += [f"{run['failed_chunks']} chunks failed"] if run["failed_chunks"] else []
    faults += [f"{run['failed']} of {handled} recordings failed"] if run["failed"] else []
    faults += [f"{given_up} of them were given up (ser nightly --retry-given-up tries them again)"] if given_up else []
    if run["lone_sidecars"]:
        faults += [f"{run['lone_sidecars']} sidecars belong to no recording, such as {markdown_text(run['lone_sidecar_keys'])}"]
    faults += unusual
    faults += ["there was no new recording, and none was pending"] if not run["planned"] and not handled else []
    return f"**Needs attention:** {'; '.join(faults)}." if faults else "Nothing needs attention: no recording, chunk or check failed."


def drift_rows(connection: duckdb.DuckDBPyConnection, day: date) -> list[Row]:
    """The measures of the newest month up to a day, compared with the reference month, the largest drift first."""
    query = "FROM drift WHERE month <= $day QUALIFY month = max(month) OVER () ORDER BY psi DESC, measure"
    return _ask(connection, query, day=day)


def _drift(rows: list[Row]) -> str:
    if not rows:
        return "There are no two months to compare yet."
    shown = [
        {
            "measure": row["measure"],
            "calls": row["calls"],
            "mean": _rounded(row["mean"]),
            "reference": _rounded(row["reference_mean"]),
            "psi": f"{row['psi']:.3f}",
            "by chance": f"{row['psi_by_chance']:.3f}",
            "drift": row["drift"],
        }
        for row in rows
    ]
    first = rows[0]
    text = (
        f"{first['month']:%Y-%m} against {first['reference_month']:%Y-%m} (SER_REFERENCE_MONTH) with {first['reference_calls']} calls. "
        "psi: population stability index; 0.1 means some drift, 0.25 much. By chance: one month in 20 exceeds this."
    )
    return f"{text}\n\n{markdown_table(shown)}"


def _disk(lake: str, run: Row, before: list[Row], settings: Settings) -> str:
    """Bytes by table, the bytes that this night and those before it wrote, and the free space."""
    sizes = [row | {"bytes": _bytes(row["bytes"])} for row in costs.size_by_table(open_store(lake))]
    written = [night["written_bytes"] for night in before if night["written_bytes"] is not None]
    usual = (
        f"the median of the {len(written)} nights before is {_bytes(median(written))}"
        if written
        else "for the nights before this is not known"
    )
    here = "an unknown amount" if run["written_bytes"] is None else _bytes(run["written_bytes"])
    lines = [markdown_table(sizes), "", f"This night wrote {here}; {usual}."]
    for place, (free_bytes, total_bytes) in alert_rules.disk_space(lake, settings).items():
        lines.append(f"Free space for {place}: {_bytes(free_bytes)}, {free_bytes / total_bytes:.0%} of the disk.")
    return "\n".join(lines)


def _cost(run: Row, before: list[Row], settings: Settings) -> str:
    rows = costs.cost_rows(run, before, settings)
    shown = [row | {name: _known(row[name]) for name in ("this night", "median")} for row in rows]
    hint = "\n\nThe prices are set by SER_PRICE_MACHINE_HOUR, SER_PRICE_GB_MONTH and SER_CURRENCY."
    hour = costs.thousand_audio_hours(run, settings)
    shown_hour = f"\n\n{hour}" if hour else ""
    return markdown_table(shown) + shown_hour + (hint if any(row["this night"] == costs.NOT_SET for row in rows) else "")


def _known(value: float | str | None) -> str:
    return value if isinstance(value, str) else _rounded(value) or "not known"


def outcome_rows(run: Row) -> list[Row]:
    """The number of the run's recordings with each outcome."""
    return [{"what": outcome, "recordings": run[outcome]} for outcome in schemas.OUTCOMES]


def throughput(connection: duckdb.DuckDBPyConnection, run: Row) -> list[Row]:
    """The run's speed and worker seconds per audio-hour by stage, and the medians of the nights before it.

    A figure is None if the run, or every night before it, had no audio.
    """
    nights = nights_before(connection, run)
    rows = [_compared("audio-hours per hour", run["audio_h_per_h"] or None, [night["audio_h_per_h"] for night in nights])]
    for stage in STAGES:
        here = run[stage] / run["audio_s"] * 3600 if run["audio_s"] else None
        rows.append(_compared(f"{stage[:-2]}, s per audio-hour", here, [night[stage] / night["audio_s"] * 3600 for night in nights]))
    return rows


def nights_before(connection: duckdb.DuckDBPyConnection, run: Row, which: str = "audio_s > 0") -> list[Row]:
    """The last NIGHTS_BEFORE runs before this one for which the SQL condition ``which`` holds, newest first."""
    query = f"FROM runs WHERE {which} AND started_at < $started_at ORDER BY started_at DESC LIMIT {NIGHTS_BEFORE}"
    return _ask(connection, query, started_at=run["started_at"])


def _compared(what: str, here: float | None, before: list[float]) -> Row:
    usual = median(before) if before else None
    return {"what": what, "this night": _rounded(here), f"median of {len(before)} nights before": _rounded(usual)}


def worst_calls(connection: duckdb.DuckDBPyConnection, run_id: str, limit: int = 10) -> list[Row]:
    """A run's worst calls, in the order of the mart ``worst_calls``."""
    query = """
        SELECT call_id, key, call_date, queue, anger_score, call_anger, moment_s FROM worst_calls
        SEMI JOIN (FROM call_emotions WHERE run_id = $run) USING (recording_id)
        ORDER BY anger_score DESC, coalesce(call_anger, share_anger) DESC, peak_anger DESC, recording_id LIMIT $limit
    """
    return _ask(connection, query, run=run_id, limit=limit)


def worst_calls_table(calls: list[Row], recordings: str) -> str:
    """The calls as a Markdown table with links to the recordings; the keys in the links have people's ids masked as ~."""
    store = open_store(recordings)
    rows = []
    for call in calls:
        place = [
            str(call["call_date"] or ""),
            markdown_text(call["queue"]),
            f"{call['anger_score']:.2f}",
            f"{call['moment_s']:.0f} s",
        ]
        rows.append([*place, f"[{markdown_text(call['call_id'])}](<{quote(store.url(call['key']), safe='/:~%')}>)"])
    header = ["date", "queue", "anger score", "at", "call"]
    return html_page.markdown_table(header, rows, aligned=True) if calls else "None."


def failed_checks(lake: str, first_day: date) -> list[Row]:
    """The checks that return rows for the days from ``first_day`` on, with the first of their rows."""
    with catalog.connect(lake, since=first_day) as connection:
        return [
            {"check": name, "offending rows": count, "first of them": "; ".join(row["detail"] for row in _offending(connection, name))}
            for name, count in catalog.run_checks(connection).items()
            if count
        ]


def _offending(connection: duckdb.DuckDBPyConnection, check: str) -> list[Row]:
    return _ask(connection, f'SELECT coalesce(detail, what) AS detail FROM "{check}" ORDER BY detail LIMIT {SHOWN_ROWS}')


def agreement(lake: str, run: Row) -> Row:
    """How a re-score compares with the versions before it.

    ``left_behind``: recordings whose newest upload has no outcome of this run's ``version``. ``compared``: calls that both this run
    and the newest other version scored. ``same_emotion``: those of them with the same dominant emotion (or none in both).
    """
    query = """
        WITH own AS (FROM outcomes_all WHERE version = $version),
        other AS (
            FROM call_emotions_all WHERE outcome = 'scored' AND version <> $version
            QUALIFY row_number() OVER (PARTITION BY recording_id, etag ORDER BY scored_at DESC, version DESC) = 1
        ),
        pairs AS (
            SELECT old.dominant_emotion IS NOT DISTINCT FROM new.dominant_emotion AS same
            FROM other AS old JOIN call_emotions_all AS new USING (recording_id, etag)
            WHERE new.run_id = $run AND new.outcome = 'scored'
        )
        SELECT
            (SELECT count(*) FROM recordings ANTI JOIN own USING (recording_id, etag)) AS left_behind,
            (SELECT count(*) FROM pairs) AS compared,
            (SELECT count(*) FROM pairs WHERE same) AS same_emotion
    """
    with catalog.connect(lake) as connection:
        return _ask(connection, query, version=run["version"], run=run["run_id"])[0]


def markdown_table(rows: list[Row]) -> str:
    """Rows as a Markdown table that is readable as plain text, too, their values escaped; "None." where there is no row."""
    if not rows:
        return "None."
    return html_page.markdown_table(list(rows[0]), [[markdown_text(value) for value in row.values()] for row in rows], aligned=True)


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _ask(connection: duckdb.DuckDBPyConnection, query: str, **parameters: Any) -> list[Row]:
    rows: list[Row] = read_only.query(connection, query, parameters or None).to_pylist()
    return rows
