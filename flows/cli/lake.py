"""Commands that query or maintain a lake."""

import functools
import getpass
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.app import Format, Lake, failure, of_nights

if TYPE_CHECKING:
    from ser_tasks.maintenance.holds import Subject
    from ser_tasks.storage import Store


@of_nights
def sql(
    query: Annotated[str | None, typer.Argument(help=r"SQL, or \d for the views, \d VIEW for one of them.")] = None,
    *,
    lake: Lake,
    file: Annotated[Path | None, typer.Option(help="File of SQL; its statements are answered in turn.")] = None,
    format: Annotated[Format | None, typer.Option(help="Format of the answer; by default that of --out, else a table.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write: .csv, .json, .parquet or .txt; an older one is replaced.")] = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows that a table shows; 0: all.")] = 100,
    as_of: Annotated[str | None, typer.Option(help="Answer with what was known then: 2026-11-03, or 2026-11-03T06:00 (UTC).")] = None,
    locked: Annotated[
        bool | None,
        typer.Option(
            "--locked/--unlocked", help="Whether SQL reads nothing but the lake: by default so with --file, which others may lend."
        ),
    ] = None,
) -> None:
    """Query the lake in SQL (DuckDB). Without a query: answers standard input, opens a prompt on a terminal, or lists the views.

    Answers that are written to a file are entered into the access log (`ser access`).

    Example: `ser sql --lake demo-lake "SELECT call_id, peak_anger FROM worst_calls LIMIT 5"`
    """
    from ser_tasks.query.session import run

    try:
        run(lake, query, file, format and format.value, out, rows, as_of, functools.partial(_log_export, lake), locked)
    except KeyboardInterrupt:
        raise failure("stopped.", 130) from None


def _log_export(lake: str, statement: str) -> None:
    """Enters an export into the access log. Where that fails it goes on: whoever runs ``ser sql`` can read the parts themselves."""
    from ser_tasks.lake.sql_text import without_values
    from ser_tasks.monitoring.access_log import AccessLog
    from ser_tasks.settings import Settings

    try:
        AccessLog(lake, Settings()).write(user(), "sql_export", detail=without_values(statement))
    except OSError as error:
        typer.echo(f"ser: this export is not in the access log, which cannot be written (SER_ACCESS_LOG): {error}", err=True)


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        return f"user {os.getuid()}"


@of_nights
def catalog(
    lake: Lake,
    out: Annotated[Path, typer.Option(help="DuckDB file to write; an older one is replaced.")],
    queues: Annotated[
        str | None, typer.Option(help="Queues, as billing,returns: the views then show their calls alone. The parts stay readable.")
    ] = None,
) -> None:
    """Write a DuckDB file of the views, for BI tools. It holds no rows: they stay in the lake.

    With --queues, for one viewer: what that protects, and what not, is in sql/ANALYSTS.md under Rights.

    Example: `ser catalog --lake demo-lake --out warehouse.duckdb`
    """
    from ser_tasks.lake.catalog import write_catalog
    from ser_tasks.lake.nights import has_nights
    from ser_tasks.storage import open_store

    chosen = [queue.strip() for queue in (queues or "").split(",") if queue.strip()]
    if queues is not None and not chosen:
        raise ValueError("--queues names no queue: write them as billing,returns.")
    written = write_catalog(lake, out, chosen, empty_parts=has_nights(open_store(lake)))  # nothing is written to a mistyped address
    typer.echo(f"Wrote {written}. Open it read-only, so that others can open it, too.")


@of_nights
def retention(
    lake: Lake,
    delete: Annotated[bool, typer.Option("--delete", help="Delete these parts; without it, they are only listed.")] = False,
) -> None:
    """List what is older than the settings SER_KEEP_..._DAYS allow; with --delete, delete it.

    Emotion of calls whose consent was withdrawn, or whose customer is on SER_OPT_OUT, goes, too. What is on hold (`ser hold`) stays.

    Example: `ser retention --lake s3://lake/emotions`, with SER_KEEP_SEGMENTS_DAYS=365 in the environment
    """
    from ser_tasks.calls.opt_out import read as read_opt_out
    from ser_tasks.lake import key_chain
    from ser_tasks.maintenance import retention as library
    from ser_tasks.maintenance import withdrawal
    from ser_tasks.monitoring import access_log
    from ser_tasks.settings import Settings
    from ser_tasks.storage import open_store

    store, settings = open_store(lake), Settings()
    if settings.opt_out:
        settings = key_chain.read(store, settings).of(settings)
    listed = read_opt_out(settings)
    found = library.expired(store, settings)
    for each in found:
        typer.echo(each.summary())
    if not found:
        typer.echo("Nothing is past the retention.")
    elif delete:
        typer.echo(f"{library.delete(store, found)} parts deleted.")
    else:
        typer.echo(f"{sum(len(each.keys) for each in found)} parts to delete: call it again with --delete.")
    if (words := library.expired_words(store, settings)).days:
        typer.echo(words.summary() + (f": {library.delete_words(store, words):,} rows lost them." if delete else ""))
    for table, setting in library.kept_for_ever(settings).items():
        typer.echo(f"{table}: kept for ever ({setting} is not set)")
    if delete:
        withdrawal.apply_opt_out(store, listed, settings)
    withdrawn = withdrawal.find(store)
    if withdrawn.recordings:
        rows = None
        if delete:
            _delete_artifacts(withdrawal.names(store, withdrawn))
            rows = withdrawal.withdraw(store, withdrawn).rows.total()
        typer.echo(withdrawn.summary() + ("" if rows is None else f" It was taken out of {rows:,} rows."))
    if accesses := access_log.expired(access_log.folder_of(lake, settings), settings.keep_access_days):
        typer.echo(f"access log: {len(accesses)} days, kept for {settings.keep_access_days} days")
        if delete:
            access_log.delete(accesses)


@of_nights
def rollback(
    lake: Lake,
    version: Annotated[str, typer.Option(help="The version to delete, <model>.<policy>, as in the names of the lake's folders.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete its parts; without it, they are only counted.")] = False,
) -> None:
    """Delete a version of the scores, so that the views show the version before it. The next night scores what only this version had.

    Rows on hold are copied into quarantine/ first; emotion of calls that were withdrawn or opted out does not come back.

    Example: `ser rollback --lake s3://lake/emotions --version cnn_tcn-1-1a2b3c4d.customers_only`
    """
    from ser_tasks.maintenance.retention import parts_of_version, roll_back
    from ser_tasks.settings import Settings
    from ser_tasks.storage import open_store

    store = open_store(lake)
    keys = parts_of_version(store, version)
    kept = roll_back(store, version, Settings()) if delete else 0
    typer.echo(f"{len(keys)} parts of {version} " + ("deleted." if delete else "to delete: call it again with --delete."))
    if kept:
        typer.echo(f"Rows on hold of {kept} parts were copied into quarantine/.")


Customer = Annotated[str | None, typer.Option(help="Id of a customer, or the pseudonym.")]
Call = Annotated[str | None, typer.Option(help="Id of a call (call_id), or of a recording (recording_id).")]
Agent = Annotated[str | None, typer.Option(help="Id of an agent, or the pseudonym.")]


@of_nights
def erase(
    lake: Lake,
    customer: Customer = None,
    call: Call = None,
    agent: Agent = None,
    recordings: Annotated[
        str | None, typer.Option(help="Folder or s3://bucket/prefix of the recordings, to find those that were never scored, too.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Erase; without it, what would go is only listed.")] = False,
) -> None:
    """Erase a person's calls, or one call, from every table, version and page of the lake, and sign a receipt.

    Without an id: lists the receipts. Nights and readers may go on; with --delete it takes 16 minutes or more.

    Example: `ser erase --lake s3://lake/emotions --recordings s3://calls --customer c-4711`
    """
    from ser_tasks.maintenance import erasure
    from ser_tasks.settings import Settings
    from ser_tasks.storage import open_store

    store, settings = open_store(lake), Settings()
    if customer is call is agent is None:
        typer.echo("\n".join(erasure.receipt_lines(store, settings)) or "Nothing was erased: give --customer, --call or --agent.")
        return
    subject = _subject(store, customer, call, agent)
    target = erasure.find(store, subject, settings, open_store(recordings) if recordings else None)
    typer.echo(f"{len(target.recordings)} recordings of this {subject.kind}; {target.held} more are on hold and stay.")
    if not recordings:
        typer.echo("Recordings that were never scored show whose they are in their store only: give --recordings, too.")
    artifacts = _delete_artifacts(target.names, delete)
    done = erasure.erase(store, target, settings, artifacts=artifacts) if delete else erasure.dry_run(store, target)
    if artifacts is not None:
        typer.echo(f"Prefect: {artifacts} artifacts that name a call of theirs are {'' if delete else 'to be '}deleted")
    typer.echo("\n".join([*done.lines(), "Not reached:", *(f"  {each}" for each in erasure.not_reached(artifacts))]))
    typer.echo(f"Receipt: {done.receipt}" if delete else "Nothing was changed: call it again with --delete.")
    if not done.complete:
        raise failure("the erasure is not complete: call it again once no night runs and every part can be read.")


@of_nights
def hold(
    lake: Lake,
    customer: Customer = None,
    call: Call = None,
    agent: Agent = None,
    release: Annotated[bool, typer.Option("--release", help="End the hold.")] = False,
    reason: Annotated[str, typer.Option(help="Why, such as a file number. It is stored in the lake: name nobody.")] = "",
) -> None:
    """Hold a person's calls, or one call: neither retention nor erasure deletes them until --release. Lists the holds without an id.

    Example: `ser hold --lake s3://lake/emotions --customer c-4711 --reason "file 12/2026"`
    """
    from ser_tasks.maintenance import holds
    from ser_tasks.storage import open_store

    store = open_store(lake)
    if customer is call is agent is None:
        typer.echo("\n".join(each.line() for each in holds.read(store)) or "Nothing is on hold.")
        return
    subject = _subject(store, customer, call, agent)
    if release:
        holds.release(store, subject)
    else:
        holds.place(store, subject, reason)
    typer.echo(f"The {subject.kind} {subject.id} is {'no longer ' if release else ''}on hold.")


def key() -> None:
    """Print a new random key for SER_PSEUDONYM_KEY: 256 bits. Keep it where the nights find it, and in a safe: nothing can replace it.

    Example: `ser key`
    """
    import secrets

    typer.echo(secrets.token_hex(32))


@of_nights
def rekey(
    lake: Lake,
    to: Annotated[str, typer.Option(help="Empty folder or s3://bucket/prefix for the lake with the new ids.")],
    write: Annotated[bool, typer.Option("--write", help="Write it; without it, what would be done is only said.")] = False,
) -> None:
    """Write a lake anew under SER_PSEUDONYM_KEY: a rotation of the key, or keyed ids for an older lake. The old lake stays as it is.

    Keys before it stand in SER_OLD_PSEUDONYM_KEYS. Run it between two nights; a killed run is done again by another.

    Example: `ser rekey --lake s3://lake/emotions --to s3://lake/emotions-2027`
    """
    from ser_tasks.lake import parts
    from ser_tasks.maintenance import rekey as library
    from ser_tasks.settings import Settings
    from ser_tasks.storage import open_store

    store, target = open_store(lake), open_store(to)
    rotated = library.rotation(store, Settings())
    typer.echo("\n".join(rotated.lines()))
    if not write:
        items = [item for item in store.list() if parts.PartKey.parse(item.key)]
        size_bytes = sum(item.size_bytes for item in items)
        typer.echo(f"{len(items):,} parts, {size_bytes:,} bytes to write. Nothing was written: call it again with --write.")
        return
    done = library.rekey(store, target, rotated)
    typer.echo("\n".join([f"{each} was left out: it cannot be read, or is no part" for each in done.left_out]))
    typer.echo(
        f"{done.parts:,} parts and {done.files:,} other files in {target.uri}. Run the nights, the dashboard and ser doctor on it, "
        f"then delete {store.uri}: it has the old ids. Keep the old keys in SER_OLD_PSEUDONYM_KEYS."
    )


@of_nights
def pseudonym(
    customer: Annotated[str | None, typer.Option(help="Id of a customer.")] = None,
    agent: Annotated[str | None, typer.Option(help="Id of an agent.")] = None,
    lake: Annotated[str | None, typer.Option(help="Lake, to take its keys alone; by default all keys of the settings.")] = None,
) -> None:
    """Print the pseudonym under which the lake knows a customer or an agent, made with SER_PSEUDONYM_KEY and the keys before it.

    Example: `ser pseudonym --customer c-4711`
    """
    from ser_tasks.calls.metadata import pseudonym as make_pseudonym
    from ser_tasks.lake import key_chain
    from ser_tasks.settings import Settings
    from ser_tasks.storage import open_store

    kind, text = _only_one({"customer": customer, "agent": agent})
    settings = Settings()
    made = make_pseudonym(kind, text, key_chain.read(open_store(lake), settings).of(settings) if lake else settings)
    if made is None:
        raise ValueError("SER_PSEUDONYM_KEY is not set, or the id is empty: without the key of the nights there is no pseudonym.")
    typer.echo(made)


def _delete_artifacts(names: Collection[str], delete: bool = True) -> int | None:
    """The number of Prefect's artifacts with one of the names, which are deleted; None without a Prefect server (PREFECT_API_URL)."""
    if not os.environ.get("PREFECT_API_URL"):
        return None
    from flows.artifacts import delete_naming

    return delete_naming(names, delete)


def _subject(store: "Store", customer: str | None, call: str | None, agent: str | None) -> "Subject":
    from ser_tasks.maintenance import holds
    from ser_tasks.settings import Settings

    kind, text = _only_one({"customer": customer, "call": call, "agent": agent})
    return holds.subject(store, kind, text, Settings())


def _only_one(given: dict[str, str | None]) -> tuple[str, str]:
    """The one option that is given, and its value. Raises ValueError for none or several."""
    chosen = [(name, value) for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise ValueError(f"Give one of {', '.join(f'--{name}' for name in given)}.")
    return chosen[0]


@of_nights
def report(
    lake: Lake,
    run: Annotated[str | None, typer.Option(help="Run id, as in runs_overview; by default the newest.")] = None,
) -> None:
    """Print the report of a night, and write it to the lake as reports/day=.../<run>.md.

    Example: `ser report --lake s3://lake/emotions`
    """
    from ser_tasks.monitoring.run_report import write_night_report

    typer.echo(write_night_report(lake, run)[1])


@of_nights
def doctor(
    lake: Lake,
    recordings: Annotated[
        str | None, typer.Option(help="Folder or s3://bucket/prefix of the recordings, to compare the lake with them, too.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Make the repairs that are safe. Not while a night is running.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every page of every part, not only its footer.")] = False,
) -> None:
    """Check that store, manifests, outcomes and parts agree: prints what is wrong, where, and what to run. Exit code 1 if anything is.

    Example: `ser doctor --lake s3://lake/emotions --recordings s3://calls`
    """
    from ser_tasks.maintenance.doctor import examine
    from ser_tasks.maintenance.doctor import repair as do_repair

    report = examine(lake, recordings, deep=deep)
    typer.echo("\n".join(report.lines()) or f"Healthy: {report.parts:,} parts in {report.lake}.")
    for note in report.notes:
        typer.echo(f"Note: {note}")
    if repair and report.findings:
        typer.echo("\n".join(["", "Repair:", *(f"  {line}" for line in do_repair(report) or ["no repair is safe to make automatically"])]))
        typer.echo(f"Now run: ser nightly --recordings {recordings or 'RECORDINGS'} --lake {lake}")
    if report.findings:
        raise SystemExit(1)


@of_nights
def compact(
    lake: Lake,
    older_than: Annotated[
        int, typer.Option(min=0, help="Days: only day folders of this age are merged; younger ones still get new parts.")
    ] = 7,
) -> None:
    """Merge the small parts of old days. Nights and readers may go on: no row is doubled or missing. Takes 16 minutes or more.

    Example: `ser compact --lake s3://lake/emotions --older-than 7`
    """
    from ser_tasks.maintenance.compaction import compact as run_compact
    from ser_tasks.settings import Settings
    from ser_tasks.storage import open_store

    done = run_compact(open_store(lake), Settings(), older_than)
    typer.echo(f"{done.merged} small parts became {done.into} (of each table); {done.deleted} parts deleted that were merged.")
