"""Commands that score recordings."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from flows.cli.app import Device, Encoder, Lake, Model, Policy, Processes, Recordings, RunsOn, failure, of_nights, parse_day, use_encoder

BUSY_CORES = 2
"""Cores that the Prefect server and this process keep busy while they start."""


def demo(lake: Lake = "demo-lake") -> None:
    """Score a dozen composed calls and print the results.

    Example: `ser demo`
    """
    from ser_tasks.demo import CALLS

    _nightly(str(CALLS), lake)
    typer.echo(
        "\nThe calls: sentences of EMO-DB, which actors recorded, put together to calls. The shipped models were trained on these voices: "
        "on new callers they are less sure.\n"
    )
    _print_sql(
        lake,
        """
        SELECT call_id, queue, outcome, if(share_unsure > 0.5, 'unsure', dominant_emotion) AS mood, round(share_unsure, 2) AS share_unsure,
               round(peak_anger, 2) AS peak_anger, peak_anger_at_s AS at_s, round(negativity_change, 2) AS negativity_change,
               round(customer_speech_s) AS customer_s, round(overlap_s, 1) AS overlap_s, round(longest_silence_s) AS silence_s
        FROM call_emotions ORDER BY started_at
        """,
    )
    typer.echo(f'\nQuery:     ser sql --lake {lake}     or  ser sql --lake {lake} "FROM calls_by_day_and_queue"')
    typer.echo(f"Dashboard: ser dashboard --lake {lake} --recordings {CALLS}")


def nightly(
    recordings: Recordings,
    lake: Lake,
    day: Annotated[
        str | None,
        typer.Option(help="Only recordings of this day, YYYY-MM-DD: that of the file name, else the date folder, else the upload."),
    ] = None,
    model: Model = None,
    device: RunsOn = Device.auto,
    workers: Annotated[int | None, typer.Option(min=1, help="Extraction processes; by default one for each core.")] = None,
    policy: Policy = None,
    retry_given_up: Annotated[
        bool,
        typer.Option("--retry-given-up", help="Also try recordings again that were given up, are archived, or whose key was denied."),
    ] = False,
    no_adapt: Annotated[
        bool,
        typer.Option("--no-adapt", help="Where the lake has no line profile yet, score raw instead of adapting to its own calls first."),
    ] = False,
    transcripts: Annotated[
        str | None,
        typer.Option(
            help="Folder or s3://bucket/prefix with the calls' transcripts; by default SER_TRANSCRIPTS, or beside the recordings."
        ),
    ] = None,
    encoder: Encoder = None,
) -> None:
    """Score every recording that this model has not scored yet: the nightly run.

    A recording that is already done is skipped. The next run completes a run that was killed.

    Example: `ser nightly --recordings s3://calls --lake s3://lake/emotions --day 2026-11-20`
    """
    use_encoder(encoder)
    options = {"model": model, "device": device.value, "workers": workers, "policy": policy, "transcripts": transcripts}
    _nightly(recordings, lake, day=day, retry_given_up=retry_given_up, adapt=not no_adapt, **options)


def _nightly(recordings: str, lake: str, **options: Any) -> None:
    """Runs the flow in this process and prints how it ended. Exit code 1 if a person must act."""
    if options.get("day"):
        options["day"] = parse_day(options["day"])
    with _prefect(lambda: _check(recordings, lake, **options), lambda: _preflight(recordings, lake, **options)):
        from flows.nightly import nightly

        _finish(lambda: nightly(recordings, lake, **options), lake)


def _finish(night: Callable[[], dict[str, Any]], lake: str, describe: Callable[[dict[str, Any]], str] | None = None) -> None:
    """Runs a night's flow and prints how it ended, and what ``describe`` says of the run's row. Exit code 1 if a person must act."""
    from duckdb import IOException

    from flows.nightly import IncompleteNightError
    from ser_tasks.pipeline.extract import MACHINE_ERRORS

    incomplete = None
    try:
        run = night()
    except IncompleteNightError as error:
        run, incomplete = error.run, error
    except (PermissionError, ConnectionError, IOException) as error:  # the store was there at the start
        raise failure(f"The night was stopped; what it published is complete. {error} Then run it again.") from None
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        raise failure(f"{error}: what was published stays; make room and run again.") from None
    _print_run(run, lake)
    if describe:
        typer.echo(describe(run))
    if incomplete:
        raise failure(incomplete)


def _check(
    recordings: str,
    lake: str,
    model: str | None = None,
    device: str = "auto",
    policy: str | None = None,
    transcripts: str | None = None,
    **_: Any,
) -> None:
    """Raises what can be known to be wrong before anything large is loaded."""
    from ser_tasks.pipeline.start_checks import check_start, run_settings
    from ser_tasks.settings import Settings

    check_start(recordings, lake, run_settings(Settings(), model, policy, lake, transcripts), device)


def _preflight(
    recordings: str,
    lake: str,
    model: str | None = None,
    device: str = "auto",
    policy: str | None = None,
    profile: str | None = None,
    transcripts: str | None = None,
    **_: Any,
) -> None:
    """Begins to list, and loads what a night needs, while the Prefect server starts. Raises what ``_check`` could not know."""
    from ser_tasks.pipeline import listing_ahead
    from ser_tasks.pipeline.spec import load_model, make_spec, run_settings, with_profile
    from ser_tasks.settings import Settings

    settings = run_settings(Settings(), model, policy, lake, transcripts)
    listing_ahead.start(recordings)
    load_model(settings, device)
    if profile:
        with_profile(make_spec(recordings, lake, settings, device), profile)
    import pandas  # noqa: F401 - Arrow looks for it when it makes its first array

    import flows.nightly  # noqa: F401


@contextlib.contextmanager
def _prefect(check: Callable[[], None], meanwhile: Callable[[], None]) -> Iterator[None]:
    """A Prefect server for the block, which ends soon after a signal. Exit code 128 + the signal, or 1 where the server is lost.

    ``check`` is called before anything is started, ``meanwhile`` while the server starts, and what workers need is loaded.
    """
    check()
    from flows import server as prefect_servers
    from ser_tasks import logs
    from ser_tasks.loading import without_collection
    from ser_tasks.pipeline import fork_server

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING" if sys.stderr.isatty() else "INFO")
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")  # of a request: six seconds, not a minute, without the server
    if fork_server.cores() > BUSY_CORES:
        fork_server.start()
    import httpx

    from flows.stopping import StoppedError, stoppable

    def load() -> None:
        with without_collection():
            meanwhile()
        fork_server.start()

    try:
        with stoppable() as watch:
            prefect_servers.start_ahead()
            with without_collection():
                from prefect.settings import PREFECT_API_URL

            logs.configure()  # Prefect has set up its own since
            with prefect_servers.prefect_server(load) as server:
                watch.follow(server, PREFECT_API_URL.value())
                yield
    except StoppedError as error:
        raise failure(f"{error.reason}; what was published is complete: run it again.", error.exit_code) from None
    except httpx.HTTPError as error:
        raise failure(
            f"The Prefect server (PREFECT_API_URL) was lost: {type(error).__name__} {error}; what was published is complete. "
            "Start the server, then run it again."
        ) from None


def _print_run(run: dict[str, Any], lake: str) -> None:
    from ser_tasks.schemas import OUTCOMES

    handled = sum(run[outcome] for outcome in OUTCOMES)
    typer.echo(
        f"Run {run['run_id']} of {run['model']} under {run['policy']}: {run['listed']} recordings listed, "
        f"{run['planned']} new, {handled} handled" + (": " + ", ".join(f"{run[o]} {o}" for o in OUTCOMES if run[o]) if handled else ".")
    )
    if handled:
        typer.echo(
            f"{run['audio_s'] / 3600:.2f} audio-hours in {run['wall_s']:.1f} s after {run['start_up_s']:.1f} s of start-up: "
            f"{run['audio_h_per_h']:,.0f} audio-hours per hour on {run['workers']} workers, {run['device']}"
            + (f" in {run['precision']}." if run["precision"] else ".")
        )
    if run["quarantined"] or run["failed"]:
        typer.echo(f'What was not scored and why:  ser sql --lake {lake} "FROM outcomes_and_reasons"')


def _print_sql(lake: str, query: str) -> None:
    from ser_tasks.lake import catalog, read_only
    from ser_tasks.query import formats

    with catalog.connect(lake) as connection:
        typer.echo(formats.render(read_only.query(connection, query)))


def backfill(
    recordings: Recordings,
    lake: Lake,
    first: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")],
    last: Annotated[str, typer.Option(help="Last day, YYYY-MM-DD.")],
    model: Model = None,
    device: RunsOn = Device.auto,
    workers: Processes = None,
    policy: Policy = None,
    encoder: Encoder = None,
) -> None:
    """Run the night of each day in a range. A day that fails does not stop the others; the command names it at the end.

    Example: `ser backfill --recordings s3://calls --lake s3://lake/emotions --first 2026-11-01 --last 2026-11-07`
    """
    use_encoder(encoder)
    from_day, to_day = parse_day(first), parse_day(last)
    if to_day < from_day:
        raise ValueError(f"The range is empty: its first day {first} comes after its last day {last}.")
    asked: dict[str, Any] = {"model": model, "device": device.value, "policy": policy}
    with _prefect(lambda: _check(recordings, lake, **asked), lambda: _preflight(recordings, lake, **asked)):
        from flows.backfill import IncompleteBackfillError
        from flows.backfill import backfill as run_backfill

        try:
            handled = run_backfill(recordings, lake, from_day, to_day, model=model, device=device.value, workers=workers, policy=policy)
        except IncompleteBackfillError as error:
            raise failure(error) from None
    typer.echo(f"{len(handled)} days, {sum(handled.values())} recordings handled: " + ", ".join(f"{d} {n}" for d, n in handled.items()))


def adapt(
    recordings: Recordings,
    lake: Lake,
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of audio to sample, from the newest 31 days of the store.")] = 2.0,
    by: Annotated[
        str | None,
        typer.Option(
            help="Facts that name a line, the most important first, separated by commas: language, queue, codec, container, "
            "sampling_rate_hz. By default SER_LINE_BY."
        ),
    ] = None,
    model: Model = None,
    device: RunsOn = Device.auto,
    workers: Processes = None,
    policy: Policy = None,
    encoder: Encoder = None,
) -> None:
    """Adapt the model to your own lines, without labels: a sample of calls makes a line profile in the lake.

    It holds statistics of many callers, and counts for recordings that are planned from now on.

    Example: `ser adapt --recordings s3://calls --lake s3://lake/emotions --by language,codec`
    """
    import pyarrow as pa

    from ser_tasks.inference.line_profile import ALL
    from ser_tasks.pipeline.adapt import adapt as adapt_to
    from ser_tasks.pipeline.lines import profile_rows
    from ser_tasks.pipeline.progress import SampleProgress
    from ser_tasks.pipeline.spec import run_settings
    from ser_tasks.query import formats
    from ser_tasks.settings import Settings, checked_line_facts

    use_encoder(encoder)
    settings = run_settings(Settings(), model, policy, lake)
    if by is not None:
        facts = tuple(fact.strip() for fact in by.split(",") if fact.strip())
        settings = settings.model_copy(update={"line_by": checked_line_facts(facts)})
    progress = SampleProgress(functools.partial(typer.echo, err=True))
    profile = adapt_to(recordings, lake, settings, hours, device.value, workers, progress)
    columns = ("recordings", "callers", "segments", "speech_s", "refused")
    rates = ("base_rates", "base_rates_low", "base_rates_high", "base_rates_used")
    lines = [{"name": row["line"]} | {column: row[column] for column in (*columns, *rates)} for row in profile_rows(profile, "")]
    typer.echo(formats.render(pa.Table.from_pylist(lines)))
    if refused := profile.lines[ALL].refused:
        raise failure(f"No line profile was written: {refused}. Give a store with more calls, or a larger --hours.")
    typer.echo(f"Line profile {profile.profile_id} of {profile.model_id}: it counts for recordings that are planned from now on.")


@of_nights
def rescore(
    recordings: Recordings,
    lake: Lake,
    model: Model = None,
    device: RunsOn = Device.auto,
    workers: Processes = None,
    policy: Policy = None,
    profile: Annotated[str | None, typer.Option(help="Line profile that counts for all recordings: an id, or newest.")] = None,
    encoder: Encoder = None,
) -> None:
    """Score the recordings in the lake's manifests with another model or line profile; the old scores stay. New recordings are left
    to the night.

    Example: `ser rescore --recordings s3://calls --lake s3://lake/emotions --model cnn_tcn`
    """
    use_encoder(encoder)
    if model is None and profile is None:
        raise ValueError("Say what to score with: --model, --profile, or both.")
    asked: dict[str, Any] = {"model": model, "device": device.value, "policy": policy, "profile": profile}
    with _prefect(lambda: _check(recordings, lake, **asked), lambda: _preflight(recordings, lake, **asked)):
        from flows.rescore import describe
        from flows.rescore import rescore as run_rescore

        _finish(lambda: run_rescore(recordings, lake, model, device.value, workers, policy, profile), lake, describe)


@of_nights
def transcribe(
    recordings: Recordings,
    lake: Lake,
    day: Annotated[str | None, typer.Option(help="Only calls of this day's folder in the lake, YYYY-MM-DD.")] = None,
    model: Model = None,
    device: RunsOn = Device.auto,
    workers: Processes = None,
    policy: Policy = None,
) -> None:
    """Make transcripts of scored calls that have none, with the model in the folder SER_ASR_MODEL: off unless that is set.

    Calls that have words are skipped. The next run completes a run that was killed.

    Example: `ser transcribe --recordings s3://calls --lake s3://lake/emotions`
    """
    from ser_tasks.schemas import OUTCOMES

    of_day = parse_day(day) if day else None
    asked = (recordings, lake, model, device.value, policy)
    with _prefect(lambda: _check(*asked), lambda: _preflight_words(*asked)):
        from flows.nightly import IncompleteNightError
        from flows.transcribe import transcribe as run_transcribe

        incomplete = None
        try:
            run = run_transcribe(recordings, lake, of_day, model, device.value, workers, policy)
        except IncompleteNightError as error:
            run, incomplete = error.run, error
    ended = ", ".join(f"{run[outcome]} {outcome}" for outcome in OUTCOMES if run[outcome])
    typer.echo(
        f"{run['audio_s'] / 3600:.2f} audio-hours ({ended or 'no calls'}) in {run['wall_s']:.1f} s: {run['audio_h_per_h']:,.1f} "
        f"audio-hours per hour on {run['workers']} workers, {run['device']}."
    )
    if incomplete:
        raise failure(incomplete)


def _preflight_words(recordings: str, lake: str, model: str | None, device: str, policy: str | None) -> None:
    from ser_tasks.pipeline.spec import make_spec, run_settings
    from ser_tasks.pipeline.transcription import with_recogniser
    from ser_tasks.settings import Settings

    with_recogniser(make_spec(recordings, lake, run_settings(Settings(), model, policy, lake), device))
    import flows.transcribe  # noqa: F401
