"""Commands for privacy officers: who accessed calls, and the sheets of facts for compliance."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.app import Format, Lake, of_nights, parse_day


@of_nights
def access(
    lake: Lake,
    call: Annotated[str | None, typer.Option(help="Only accesses of this call: a call_id or recording_id.")] = None,
    who: Annotated[str | None, typer.Option(help="Only accesses by this viewer.")] = None,
    since: Annotated[str | None, typer.Option(help="Only accesses from this day on (UTC), as 2026-11-20.")] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Take the ids of calls that ser erase has erased from the lake out of the log; list nothing.")
    ] = False,
    format: Annotated[Format, typer.Option(help="Format of the list.")] = Format.table,
    sql: Annotated[
        str | None, typer.Option(help="A query of the tables accesses and listening (who, which call, from when to when), instead.")
    ] = None,
) -> None:
    """List who listened to recordings, opened pages of calls or exported rows, and when (SER_ACCESS_LOG), oldest first.

    Example: `ser access --lake s3://lake/emotions --call 4711 --since 2026-11-01`,
    or `ser access --lake s3://lake/emotions --sql "SELECT who, call, began, ended FROM listening"`
    """
    import sys

    import pyarrow as pa

    from ser_tasks.lake import erased
    from ser_tasks.maintenance.holds import Subject, recordings_of
    from ser_tasks.monitoring import access_log
    from ser_tasks.query import formats
    from ser_tasks.settings import Settings
    from ser_tasks.storage import open_store

    store, settings = open_store(lake), Settings()
    folder = access_log.folder_of(lake, settings)
    if forget:
        count = access_log.forget(folder, erased.read(store, *settings.pseudonym_keys()))
        typer.echo(f"{count} entries of {folder} no longer name an erased call.")
        return
    calls = {call, *recordings_of(store, [Subject("call", call)])} if call is not None else None
    first = str(parse_day(since)) if since else ""
    entries = list(access_log.read(folder))
    columns = ("at", "who", "kind", "call", "detail", "began", "from_s", "to_s")
    rows = [
        {name: getattr(each, name) for name in columns}
        for each in entries
        if each and each.lake == access_log.plain(store.uri) and each.at >= first
        if (calls is None or each.call in calls) and (who is None or each.who == access_log.plain(who))
    ]
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns})
    if sql is not None:
        table = access_log.query(table, sql)
    formats.write(table.to_reader(), sys.stdout.buffer, format.value, shown_rows=None, whole=True)
    if broken := entries.count(None):
        typer.echo(f"ser: {broken} lines of {folder} cannot be read: writes that were cut off, or changes by hand.", err=True)


@of_nights
def compliance(
    lake: Lake,
    out: Annotated[Path, typer.Option(help="Folder for the sheets; older sheets in it are replaced.")],
    model: Annotated[str | None, typer.Option(help="Model bundle; SER_MODEL if not given.")] = None,
) -> None:
    """Write sheets of facts for compliance: DPIA, instructions for deployers, Annex IV, retention schedule, record of processing.

    They are made from the settings, the bundle's card and scores, the checks, the doctor and the lake's figures. Not legal advice.

    Example: `ser compliance --lake s3://lake/emotions --out compliance`
    """
    from ser_tasks.maintenance.compliance import write
    from ser_tasks.settings import Settings

    for path in write(lake, out, Settings(), model):
        typer.echo(f"Wrote {path}.")
