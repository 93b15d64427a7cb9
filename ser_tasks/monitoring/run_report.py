"""The report of a night: outcomes, what was not scored and why, throughput, worst calls, drift, disk, cost, checks that failed."""

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
"""Nights with audio that a night's throughput is compared with."""
SHOWN_ROWS = 5
"""Offending rows of a check that the report shows."""
THROUGHPUT = f"\n## Throughput, beside the median of the last {NIGHTS_BEFORE} nights"
STAGES = ("list_s", "fetch_s", "decode_s", "speech_s", "features_s", "score_s", "write_s")

Row = dict[str, Any]


def write_night_report(lake: str, run_id: str | None = None) -> tuple[str, str]:
    """Writes the report of a run (the newest if not given) to ``reports/day=<day>/<run>.md``. Returns its key and its text.

    Beside it, as ``<run>.html``, the same with a chart of the nights, and the chart alone as ``<run>.svg``. ``day`` is the day on
    which the run began. Raises ValueError where there is no such run.
    """
    from ser_tasks.monitoring.run_chart import throughput_svg  # matplotlib is slow to import

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
    """A run's row, the newest run's if not given: ids begin with the time. Raises ValueError where there is none."""
    names = {key.rpartition("/")[2].removesuffix(".parquet"): key for key in parts.keys(lake, "runs/day=")}
    if not names:
        raise ValueError(f"No run is written down in {lake.uri}: give the lake of a night that has ended.")
    run_id = run_id or max(names)
    if run_id not in names:
        raise ValueError(f'No run {run_id!r} is written down in {lake.uri}: ser sql --lake {lake.uri} "FROM runs_overview" lists them.')
    return parts.read(lake, names[run_id], "runs").to_pylist()[0]


def night_report(lake: str, run: Row, settings: Settings | None = None) -> str:
    """The report as text."""
    return _report(lake, run, settings or Settings())[0]


def _report(lake: str, run: Row, settings: Settings) -> tuple[str, list[Row]]:
    """The report as text, and the nights of its chart: this one and those before it, oldest first, where they had audio."""
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
    first_day = min((row["first_day"] for row in reasons), default=run["started_at"].date())
    failed = failed_checks(lake, first_day)
    sections = [
        f"# Night {run['run_id']}",
        f"{run['model']} under the policy {run['policy']}, {_minute(run['started_at'])} to {_minute(run['ended_at'])} (UTC), "
        f"{run['workers']} workers, {run['device']}. {run['listed']} recordings listed, {run['planned']} of them new.",
        summary(run, failed),
        "## How the recordings ended\n\n" + markdown_table(outcome_rows(run)),
        "## What was not scored and why\n\n"
        + markdown_table([{name: row[name] for name in row if name != "first_day"} for row in reasons if row["outcome"] != "scored"]),
        THROUGHPUT.strip() + "\n\n" + markdown_table(speed),
        "## Worst calls\n\n" + worst_calls_table(worst, run["recordings_uri"]),
        "## Drift of scores and audio quality\n\n" + _drift(drift),
        "## Disk\n\n" + _disk(lake, run, handled_before, settings),
        "## Cost\n\n" + _cost(run, handled_before, settings),
        f"## Checks that failed, over the days from {first_day}\n\n" + markdown_table(failed),
    ]
    return "\n\n".join(sections) + "\n", [*reversed(before), *([run] if run["audio_s"] else [])]


def summary(run: Row, failed: list[Row]) -> str:
    """What of a night a person should look at, in one line. ``failed`` are the checks that failed."""
    handled = sum(run[outcome] for outcome in schemas.OUTCOMES)
    faults = [f"the check {row['check']} failed ({row['offending rows']} rows)" for row in failed]
    faults += [f"{run['failed_chunks']} chunks failed"] if run["failed_chunks"] else []
    faults += [f"{run['failed']} of {handled} recordings failed"] if run["failed"] else []
    faults += ["no recording was new, and none waited"] if not run["planned"] and not handled else []
    return f"**Look at this:** {'; '.join(faults)}." if faults else "Nothing to look at: no recording, chunk or check failed."


def drift_rows(connection: duckdb.DuckDBPyConnection, day: date) -> list[Row]:
    """The measures of the newest month up to a day beside the reference month, the most drifted first."""
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
        "psi: population stability index, 0.1 some drift, 0.25 much. By chance: what one month in 20 exceeds."
    )
    return f"{text}\n\n{markdown_table(shown)}"


def _disk(lake: str, run: Row, before: list[Row], settings: Settings) -> str:
    """Bytes by table, what this night added beside those before it, and the room that is left."""
    sizes = [row | {"bytes": _bytes(row["bytes"])} for row in costs.size_by_table(open_store(lake))]
    written = [night["written_bytes"] for night in before if night["written_bytes"] is not None]
    usual = f"{_bytes(median(written))} is the median of the {len(written)} before" if written else "what those before wrote is not known"
    here = "an unknown amount" if run["written_bytes"] is None else _bytes(run["written_bytes"])
    lines = [markdown_table(sizes), "", f"This night wrote {here}; {usual}."]
    for place, (free_bytes, total_bytes) in alert_rules.room(lake, settings).items():
        lines.append(f"Free where {place} lies: {_bytes(free_bytes)}, {free_bytes / total_bytes:.0%} of the disk.")
    return "\n".join(lines)


def _cost(run: Row, before: list[Row], settings: Settings) -> str:
    rows = costs.cost_rows(run, before, settings)
    shown = [row | {name: _known(row[name]) for name in ("this night", "median")} for row in rows]
    hint = "\n\nThe prices are set by SER_PRICE_MACHINE_HOUR, SER_PRICE_GB_MONTH and SER_CURRENCY."
    return markdown_table(shown) + (hint if any(row["this night"] == costs.NOT_SET for row in rows) else "")


def _known(value: float | str | None) -> str:
    return value if isinstance(value, str) else _rounded(value) or "not known"


def outcome_rows(run: Row) -> list[Row]:
    """How many recordings the run ended in which way."""
    return [{"what": outcome, "recordings": run[outcome]} for outcome in schemas.OUTCOMES]


def throughput(connection: duckdb.DuckDBPyConnection, run: Row) -> list[Row]:
    """The run's speed and worker seconds per audio-hour by stage, beside the medians of the nights before it.

    None where the run, or no night before it, had audio.
    """
    nights = nights_before(connection, run)
    rows = [_beside("audio-hours per hour", run["audio_h_per_h"] or None, [night["audio_h_per_h"] for night in nights])]
    for stage in STAGES:
        here = run[stage] / run["audio_s"] * 3600 if run["audio_s"] else None
        rows.append(_beside(f"{stage[:-2]}, s per audio-hour", here, [night[stage] / night["audio_s"] * 3600 for night in nights]))
    return rows


def nights_before(connection: duckdb.DuckDBPyConnection, run: Row, which: str = "audio_s > 0") -> list[Row]:
    """The last NIGHTS_BEFORE runs before this one of which the SQL condition holds, newest first."""
    query = f"FROM runs WHERE {which} AND started_at < $started_at ORDER BY started_at DESC LIMIT {NIGHTS_BEFORE}"
    return _ask(connection, query, started_at=run["started_at"])


def _beside(what: str, here: float | None, before: list[float]) -> Row:
    usual = median(before) if before else None
    return {"what": what, "this night": _rounded(here), f"median of {len(before)} nights before": _rounded(usual)}


def worst_calls(connection: duckdb.DuckDBPyConnection, run_id: str, limit: int = 10) -> list[Row]:
    """A run's calls with the highest peak anger."""
    query = """
        SELECT call_id, key, call_date, queue, peak_anger, peak_anger_at_s FROM call_emotions
        WHERE run_id = $run AND peak_anger IS NOT NULL AND emotion_role <> 'agent' ORDER BY peak_anger DESC, call_id LIMIT $limit
    """
    return _ask(connection, query, run=run_id, limit=limit)


def worst_calls_table(calls: list[Row], recordings: str) -> str:
    """Those calls as a table with links to the recordings; in a link, too, ids of people are masked as ~."""
    store = open_store(recordings)
    rows = []
    for call in calls:
        place = [
            str(call["call_date"] or ""),
            markdown_text(call["queue"]),
            f"{call['peak_anger']:.2f}",
            f"{call['peak_anger_at_s']:.0f} s",
        ]
        rows.append([*place, f"[{markdown_text(call['call_id'])}](<{quote(store.url(call['key']), safe='/:~%')}>)"])
    header = ["date", "queue", "peak anger", "at", "call"]
    return html_page.markdown_table(header, rows, aligned=True) if calls else "None."


def failed_checks(lake: str, first_day: date) -> list[Row]:
    """The checks that return rows over the days from ``first_day``, and the first of their rows."""
    with catalog.connect(lake, since=first_day) as connection:
        return [
            {"check": name, "offending rows": count, "first of them": "; ".join(row["detail"] for row in _offending(connection, name))}
            for name, count in catalog.run_checks(connection).items()
            if count
        ]


def _offending(connection: duckdb.DuckDBPyConnection, check: str) -> list[Row]:
    return _ask(connection, f'SELECT coalesce(detail, what) AS detail FROM "{check}" ORDER BY detail LIMIT {SHOWN_ROWS}')


def agreement(lake: str, run: Row) -> Row:
    """How a re-score compares with what was there before: ``left_behind`` recordings have no outcome of its model and policy
    (their newest upload is meant); of ``compared`` calls that it and the newest other version scored, ``same_emotion`` have
    the same dominant emotion (or none in both)."""
    query = """
        WITH own AS (FROM outcomes_all WHERE model = $model AND policy = $policy),
        other AS (
            FROM call_emotions_all WHERE outcome = 'scored' AND (model <> $model OR policy <> $policy)
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
        return _ask(connection, query, model=run["model"], policy=run["policy"], run=run["run_id"])[0]


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
    return read_only.query(connection, query, parameters or None).to_pylist()
