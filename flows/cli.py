"""The command line. Heavy imports wait inside the commands, so that ``ser --help`` answers at once."""

import functools
import os
import sys
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Speech emotion recognition on call recordings, every night. Start with: `ser demo`",
)

Lake = Annotated[str, typer.Option(help="Folder or s3://bucket/prefix of the lake.")]

Corpora = Annotated[
    list[Path],
    typer.Option(help="A corpus as its owners lay it out, a folder with labels.csv, or a folder of such; may be given several times."),
]
Processes = Annotated[int | None, typer.Option(min=1, help="Processes; one for each core if not given.")]
Cache = Annotated[Path | None, typer.Option(help="Folder for features and checkpoints; ser-nightly in the user's cache folder.")]


class Device(StrEnum):
    auto, cpu, cuda = "auto", "cpu", "cuda"


Recordings = Annotated[str, typer.Option(help="Folder or s3://bucket/prefix of the recordings.")]
Model = Annotated[str | None, typer.Option(help="Model bundle: a name from `ser models`, a folder or s3://bucket/prefix.")]
RunsOn = Annotated[Device, typer.Option(help="Where the model runs; auto takes CUDA where there is one.")]
Policy = Annotated[str | None, typer.Option(help="Whose emotion is scored: a name in ser_tasks/policy.py.")]


class Format(StrEnum):
    table, vertical, csv, json, parquet = "table", "vertical", "csv", "json", "parquet"


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Bad input ends in one line that says what to do, and exit code 2; a fault of ours keeps its traceback."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (ValueError, OSError) as error:
            raise SystemExit(_complain(error)) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("botocore", "duckdb", "_duckdb"):
                raise SystemExit(_complain(error)) from None
            raise

    return run


def _complain(error: BaseException) -> int:
    typer.secho(f"ser: {error}", err=True, fg="red")
    return 2


@app.command()
@plain_errors
def demo(lake: Lake = "demo-lake") -> None:
    """Score a dozen made-up calls and print what came out.

    Example: `ser demo`
    """
    from ser_tasks.demo import CALLS

    _nightly(str(CALLS), lake)
    typer.echo("\nThe calls (made up by a speech synthesiser: no voice that the model has heard, so mostly unsure, as it should be)\n")
    _print_sql(
        lake,
        """
        SELECT call_id, queue, outcome, if(share_unsure > 0.5, 'unsure', dominant_emotion) AS mood, round(share_unsure, 2) AS share_unsure,
               round(peak_anger, 2) AS peak_anger, peak_anger_at_s AS at_s, round(negativity_change, 2) AS negativity_change,
               round(customer_speech_s) AS customer_s, round(overlap_s, 1) AS overlap_s, round(longest_silence_s) AS silence_s
        FROM call_emotions ORDER BY started_at
        """,
    )
    typer.echo(f'\nAsk more:  ser sql --lake {lake}     or  ser sql --lake {lake} "FROM calls_by_day_and_queue"')
    typer.echo(f"Look:      ser dashboard --lake {lake} --recordings {CALLS}")


@app.command()
@plain_errors
def nightly(
    recordings: Recordings,
    lake: Lake,
    day: Annotated[
        str | None, typer.Option(help="Only recordings of this day, YYYY-MM-DD (see the README for how a day is found).")
    ] = None,
    model: Model = None,
    device: RunsOn = Device.auto,
    workers: Annotated[int | None, typer.Option(min=1, help="Extraction processes; one for each core if not given.")] = None,
    policy: Policy = None,
) -> None:
    """Bring every recording up to date with a model: the nightly run.

    A recording that is done already is left alone; a killed run is completed by the next one.

    Example: `ser nightly --recordings s3://calls --lake s3://lake/emotions --day 2026-11-20`
    """
    _nightly(recordings, lake, day=day, model=model, device=device.value, workers=workers, policy=policy)


@app.command()
@plain_errors
def sql(
    query: Annotated[str | None, typer.Argument(help=r"SQL, or \d for the views, \d VIEW for one of them.")] = None,
    *,
    lake: Lake,
    file: Annotated[Path | None, typer.Option(help="File of SQL; several statements are answered one after the other.")] = None,
    format: Annotated[Format | None, typer.Option(help="How the answer is written; by the suffix of --out, else a table.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write: .csv, .json, .parquet or .txt; an older one is replaced.")] = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows that a table shows; 0: all.")] = 100,
    as_of: Annotated[str | None, typer.Option(help="Answer with what was known then: 2026-11-03, or 2026-11-03T06:00 (UTC).")] = None,
) -> None:
    """Ask the lake in SQL (DuckDB). Without a query: what is piped in, a prompt on a terminal, else the list of views.

    Example: `ser sql --lake demo-lake "SELECT call_id, peak_anger FROM angriest_calls LIMIT 5"`
    """
    from flows.shell import run

    try:
        run(lake, query, file, format and format.value, out, rows, as_of)
    except KeyboardInterrupt:
        typer.secho("ser: stopped.", err=True, fg="red")
        raise SystemExit(130) from None


@app.command()
@plain_errors
def catalog(
    lake: Lake,
    out: Annotated[Path, typer.Option(help="DuckDB file to write; an older one is replaced.")],
) -> None:
    """Write a DuckDB file of the views, for BI tools. It holds no rows: they stay in the lake.

    Example: `ser catalog --lake demo-lake --out warehouse.duckdb`
    """
    from ser_tasks.catalog import write_catalog

    typer.echo(f"Wrote {write_catalog(lake, out)}. Open it read-only, so that others can too.")


@app.command()
@plain_errors
def train(
    data: Corpora,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write; it must not exist.")],
    model: Annotated[str, typer.Option(help="Architecture: a name in ser_tasks/models.")] = "ge2e_tcn",
    features: Annotated[
        str | None, typer.Option(help="Feature set: a name in ser_tasks/features; each model has its own by default.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Emotions to tell apart, with commas between.")] = "anger,happiness,neutral,sadness",
    name: Annotated[str | None, typer.Option(help="The bundle's name: letters, digits and _; the model's if not given.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training clips; each model has its own by default.")] = None,
    folds: Annotated[
        int,
        typer.Option(min=0, help="Score and calibrate by cross-validation over speakers, then train on all; 0: three sides, one training."),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the split, the weights and the order of clips.")] = 0,
    allow_leak: Annotated[bool, typer.Option(help="Go on where sides share speakers or clips.")] = False,
    device: Annotated[Device, typer.Option(help="Where to train; auto takes CUDA where there is one.")] = Device.auto,
    workers: Processes = None,
    cache: Cache = None,
) -> None:
    """Train a bundle on labelled clips: split by speaker, calibrated, with its scores on unseen speakers in a model card.

    Called again after a kill it goes on where it was.

    Example: `ser train --data emotion/ --model ge2e_tcn --folds 6 --out my-model`
    """
    from ser_tasks.report import write_history
    from ser_tasks.score import choose_device
    from ser_tasks.train import train_bundle
    from ser_tasks.workers import cores

    summary = train_bundle(
        data,
        model,
        out,
        _emotions(labels) or (),
        feature_set_name=features,
        name=name,
        epochs=epochs,
        folds=folds,
        seed=seed,
        allow_leak=allow_leak,
        device=choose_device(device.value).type,
        workers=workers or cores(),
        cache=cache,
    )
    write_history(summary["history"], out / "history.png")
    summary["rows"].to_parquet(out / "rows.parquet", index=False)
    typer.echo("\n".join(summary["corpora"]))
    typer.echo(f"Wrote {summary['bundle']} ({summary['model_id']}) in {summary['seconds']:.0f} s. Its scores: {out / 'MODEL_CARD.md'}")


def _emotions(labels: str | None) -> tuple[str, ...] | None:
    return tuple(label.strip() for label in labels.split(",")) if labels else None


@app.command()
@plain_errors
def evaluate(
    data: Corpora,
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, rows.parquet, report.md and report.html.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Model bundle: a name from ser models, a folder or s3://bucket/prefix. With --split: what to train, as ser league."
        ),
    ] = None,
    robustness: Annotated[bool, typer.Option(help="Also over other codecs, noise, babble, gain and packet loss.")] = True,
    allow_leak: Annotated[bool, typer.Option(help="Keep what the model was trained on; the report's title says so.")] = False,
    unheard_only: Annotated[bool, typer.Option(help="Leave out speakers and clips that the model was trained on.")] = False,
    split: Annotated[
        str | None,
        typer.Option(
            help="Train anew in each fold of: k-fold, leave-one-speaker-out, leave-one-corpus-out, sentence-independent, random-clips."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds, of splits that have a number of them.")] = 6,
    test: Annotated[list[str] | None, typer.Option(help="Corpora to test on, by name; the others only train.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="With --split: emotions to tell apart, with commas between; all that there are.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="With --split: passes over the training clips.")] = None,
    leaky: Annotated[bool, typer.Option(help="With --split: the same over random clips, beside it.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the folds, the weights and the noise.")] = 0,
    device: RunsOn = Device.auto,
    workers: Processes = None,
    cache: Cache = None,
) -> None:
    """Score a bundle on speakers it has not heard, or a model by cross-validation: metrics, intervals, robustness, one report.

    Example: `ser evaluate --model ge2e_tcn --data mine/ --out report`,
    or `ser evaluate --split k-fold --model ge2e_tcn --data ravdess/ --out report`
    """
    from ser_tasks.report import write_report
    from ser_tasks.score import choose_device
    from ser_tasks.settings import Settings
    from ser_tasks.workers import cores

    only_with_split = {"--test": test, "--labels": labels, "--epochs": epochs}
    if ignored := [option for option, given in only_with_split.items() if given is not None and not split]:
        raise ValueError(f"{', '.join(ignored)} would be ignored: a bundle is scored as it is. Add --split to train anew.")
    if unheard_only and split:
        raise ValueError("--unheard-only would be ignored: with --split, every clip is unheard by the model that scores it. Leave it out.")
    model, where = model or Settings().model, choose_device(device.value).type
    if split:
        from ser_tasks.cross import evaluate_across
        from ser_tasks.league import planned

        evaluation = evaluate_across(
            planned(model, _emotions(labels), epochs, seed, where),
            data,
            labels=_emotions(labels),
            split=split,
            n_folds=folds,
            tested=test,
            robustness=robustness,
            beside_leaky=leaky,
            allow_leak=allow_leak,
            workers=workers or cores(),
            seed=seed,
            cache=cache,
        )
    else:
        from ser_tasks.evaluate import evaluate as run_evaluation

        evaluation = run_evaluation(
            model,
            data,
            robustness=robustness,
            allow_leak=allow_leak,
            unheard_only=unheard_only,
            device=where,
            workers=workers or cores(),
            seed=seed,
        )
    write_report(evaluation, out)
    metrics = evaluation.metrics
    typer.echo("\n".join(metrics["data"]))
    for why in ("left_out_emotions", "left_out_clips_of_training_speakers", "leaked_speakers"):
        if metrics[why]:
            typer.echo(f"{why.replace('_', ' ')}: {metrics[why]}")
    interval = "{:.3f} to {:.3f}".format(*metrics["intervals_95"]["ua"]) if metrics["intervals_95"] else "one speaker: no interval"
    typer.echo(
        f"{metrics['model']}: UA {metrics['ua']:.3f} ({interval}), WA {metrics['wa']:.3f}, ECE {metrics['ece']:.3f}, "
        f"{metrics['n']} clips of {metrics['speakers']} speakers. Report: {out / 'report.html'}"
    )
    if "leaky" in metrics:
        typer.echo(f"With clips dealt out at random, which leaks, it would be UA {metrics['leaky']['ua']:.3f}.")


@app.command()
@plain_errors
def league(
    data: Corpora,
    out: Annotated[Path, typer.Option(help="Folder for league.md and league.parquet; a model's scores found there are kept.")],
    models: Annotated[
        str | None, typer.Option(help="Models and baselines (as svm:egemaps), with commas between; all if not given.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Emotions to tell apart, with commas between; all that there are.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds, by speaker.")] = 6,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training clips; each model has its own by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds and the weights.")] = 0,
    workers: Processes = None,
    cache: Cache = None,
) -> None:
    """Print the league table: every model and classical baseline on every corpus, the same folds by speaker, with size and speed.

    Example: `ser league --data emotion/ --out league`
    """
    from rich.console import Console
    from rich.markdown import Markdown

    from ser_tasks.league import league as run_league
    from ser_tasks.league import league_markdown
    from ser_tasks.workers import cores

    table = run_league(
        data,
        out,
        learners=[name.strip() for name in models.split(",")] if models else None,
        labels=_emotions(labels),
        n_folds=folds,
        epochs=epochs,
        workers=workers or cores(),
        seed=seed,
        cache=cache,
    )
    Console(width=None if sys.stdout.isatty() else 160).print(Markdown(league_markdown(table)))


@app.command()
@plain_errors
def models() -> None:
    """List the model bundles that are shipped, with labels, scores and licence.

    Example: `ser models`
    """
    from rich.console import Console
    from rich.table import Table

    from ser_tasks.bundle import load_bundle, shipped_bundles

    table = Table("name", "version", "labels", "features", "on unseen speakers", "not sure below", "licence")
    for name in shipped_bundles():
        bundle = load_bundle(name)
        scores = bundle.scores["test"]["all"]
        table.add_row(
            name,
            bundle.model_id,
            ", ".join(bundle.labels),
            bundle.feature_set_id,
            f"UA {scores['ua']:.2f}, WA {scores['wa']:.2f}, ECE {scores['ece']:.2f} over {scores['segments']} segments",
            f"{bundle.unsure_below:.2f}",
            bundle.licence,
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _nightly(recordings: str, lake: str, **options: Any) -> None:
    """Runs the flow in this process and says how it ended; exit code 1 where something needs a person."""
    if options.get("day"):
        options["day"] = _day(options["day"])
    _preflight(recordings, lake, **options)
    _start_prefect()
    from flows.nightly import nightly

    _finish(lambda: nightly(recordings, lake, **options), lake)


def _finish(night: Callable[[], dict[str, Any]], lake: str, told: Callable[[dict[str, Any]], str] | None = None) -> None:
    """Runs a night's flow and says how it ended, ``told`` what its row means; exit code 1 where something needs a person."""
    from duckdb import IOException

    from flows.nightly import IncompleteNight
    from ser_tasks.extract import MACHINE_ERRORS

    incomplete = None
    try:
        run = night()
    except IncompleteNight as error:
        run, incomplete = error.run, error
    except (PermissionError, ConnectionError, IOException) as error:  # the store was there at the start
        typer.secho(f"ser: The night was stopped; what it published is whole. {error} Then run it again.", err=True, fg="red")
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        typer.secho(f"ser: {error}: what was published stays; make room and run again.", err=True, fg="red")
        raise SystemExit(1) from None
    _print_run(run, lake)
    if told:
        typer.echo(told(run))
    if incomplete:
        typer.secho(f"ser: {incomplete}", err=True, fg="red")
        raise SystemExit(1)


def _has_nights(lake: str) -> None:
    """Raises FileNotFoundError for a lake in which no night has planned anything: its address is mistyped, more likely than not."""
    from ser_tasks import parts
    from ser_tasks.store import open_store

    store = open_store(lake)
    if next(iter(parts.keys(store, "recordings/")), None) is None:
        raise FileNotFoundError(f"No night has planned a recording in {store.uri}: give the lake of a night that has run.")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day: write it as 2026-11-20.") from None


def _preflight(recordings: str, lake: str, model: str | None = None, device: str = "auto", policy: str | None = None, **_: Any) -> None:
    """Raises what a night would raise before it starts: a server is not started for nothing."""
    from ser_tasks.night import preflight
    from ser_tasks.settings import Settings

    settings = Settings()
    preflight(recordings, lake, model or settings.model, device, policy or settings.policy, settings.priors)


def _start_prefect() -> None:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING" if sys.stderr.isatty() else "INFO")
    from flows.server import start_server

    start_server()


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
            f"{run['audio_h_per_h']:,.0f} audio-hours per hour on {run['workers']} workers, {run['device']}."
        )
    if run["quarantined"] or run["failed"]:
        typer.echo(f'What was not scored and why:  ser sql --lake {lake} "FROM outcomes_and_reasons"')


def _print_sql(lake: str, query: str) -> None:
    from ser_tasks import answers
    from ser_tasks import catalog as library

    with library.connect(lake) as connection:
        typer.echo(answers.render(library.query(connection, query)))


@app.command()
@plain_errors
def bench(
    recordings: Annotated[str, typer.Option(help="Local folder of calls.")],
    model: Model = None,
    device: RunsOn = Device.auto,
    workers: Annotated[int | None, typer.Option(min=1, help="Extraction processes; one for each core if not given.")] = None,
    policy: Annotated[str, typer.Option(help="The policy `everyone` scores every channel: the most work.")] = "everyone",
    audio_hours: Annotated[float, typer.Option(min=0.0, help="The calls are repeated until they make up so much audio.")] = 12.0,
) -> None:
    """Time the plain way, this pipeline and mere decoding on the same calls: audio-hours per hour, and where the time goes.

    Example: `ser bench --recordings calls/`
    """
    from flows.bench import bench as run_bench
    from flows.bench import report
    from ser_tasks.settings import Settings

    timings = run_bench(recordings, model, device.value, workers, policy, audio_hours)
    typer.echo(report(timings, recordings, model or Settings().model, policy))


@app.command()
@plain_errors
def speech(
    data: Annotated[list[Path], typer.Option(help="Folder of audio; may be given several times.")],
    each_file: Annotated[bool, typer.Option("--each-file", help="A line for each file instead of each folder.")] = False,
) -> None:
    """Measure the speech detector: how much speech it finds in each folder, and how many files it misses.

    Example: `ser speech --data not_speech/ --data emotion/`
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from ser_tasks.settings import Settings
    from ser_tasks.speech_report import speech_in_folders

    console = Console(file=sys.stderr)
    reports = {}
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        for report, done, files in speech_in_folders(data, Settings(), each_file):
            reports[report.folder] = report
            if done == 1:
                bar = progress.add_task(report.folder, total=files)
            progress.update(bar, completed=done)
    table = Table("folder", "files", "audio s", "found as speech", "in segments to score", "files without speech", "files without segment")
    for report in reports.values():
        table.add_row(
            report.folder,
            str(report.files),
            f"{report.audio_s:.0f}",
            f"{report.speech_s / max(report.audio_s, 1e-9):.1%}",
            f"{report.segments_s / max(report.audio_s, 1e-9):.1%}",
            f"{report.without_speech} ({report.without_speech / report.files:.1%})",
            f"{report.without_segment} ({report.without_segment / report.files:.1%})",
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@app.command()
@plain_errors
def backfill(
    recordings: Recordings,
    lake: Lake,
    first: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")],
    last: Annotated[str, typer.Option(help="Last day, YYYY-MM-DD.")],
    model: Model = None,
    device: RunsOn = Device.auto,
    workers: Processes = None,
    policy: Policy = None,
) -> None:
    """Run the night of each day in a range; goes on after a bad day, and names it.

    Example: `ser backfill --recordings s3://calls --lake s3://lake/emotions --first 2026-11-01 --last 2026-11-07`
    """
    from_day, to_day = _day(first), _day(last)
    if to_day < from_day:
        raise ValueError(f"The range is empty: its first day {first} comes after its last day {last}.")
    _preflight(recordings, lake, model=model, device=device.value, policy=policy)
    _start_prefect()
    from flows.backfill import IncompleteBackfill
    from flows.backfill import backfill as run_backfill

    try:
        handled = run_backfill(recordings, lake, from_day, to_day, model=model, device=device.value, workers=workers, policy=policy)
    except IncompleteBackfill as error:
        typer.secho(f"ser: {error}", err=True, fg="red")
        raise SystemExit(1) from None
    typer.echo(f"{len(handled)} days, {sum(handled.values())} recordings handled: " + ", ".join(f"{d} {n}" for d, n in handled.items()))


@app.command()
@plain_errors
def rescore(
    recordings: Recordings,
    lake: Lake,
    model: Annotated[str, typer.Option(help="Model bundle: a name from `ser models`, a folder or s3://bucket/prefix.")],
    device: RunsOn = Device.auto,
    workers: Processes = None,
    policy: Policy = None,
) -> None:
    """Score what the lake's manifests hold with another model, beside the old one. New recordings are left to the night.

    Example: `ser rescore --recordings s3://calls --lake s3://lake/emotions --model cnn_tcn`
    """
    _preflight(recordings, lake, model=model, device=device.value, policy=policy)
    _has_nights(lake)
    _start_prefect()
    from flows.rescore import rescore as run_rescore
    from flows.rescore import told

    _finish(lambda: run_rescore(recordings, lake, model, device=device.value, workers=workers, policy=policy), lake, told)


@app.command()
@plain_errors
def retention(
    lake: Lake,
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, only what would go is listed.")] = False,
) -> None:
    """List what is older than SER_KEEP_SEGMENTS_DAYS and SER_KEEP_CALLS_DAYS keep it, and delete it if told to.

    Example: `ser retention --lake s3://lake/emotions`, with SER_KEEP_SEGMENTS_DAYS=365 in the environment
    """
    from ser_tasks import retention as library
    from ser_tasks.settings import Settings
    from ser_tasks.store import open_store

    _has_nights(lake)
    store = open_store(lake)
    found = library.expired(store, Settings())
    for each in found:
        typer.echo(each.told())
    if not found:
        typer.echo("Nothing is past the retention.")
    elif delete:
        typer.echo(f"{library.delete(store, found)} parts deleted.")
    else:
        typer.echo(f"{sum(len(each.keys) for each in found)} parts to delete: call it again with --delete.")


@app.command()
@plain_errors
def rollback(
    lake: Lake,
    version: Annotated[str, typer.Option(help="The version to drop, as it stands in the lake's folders: <model>.<policy>.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, its parts are only counted.")] = False,
) -> None:
    """Drop a version of the scores, so that the views show the one before it. The next night scores what only it had.

    Example: `ser rollback --lake s3://lake/emotions --version cnn_tcn-1-1a2b3c4d.customers_only`
    """
    from ser_tasks.retention import parts_of_version
    from ser_tasks.store import open_store

    store = open_store(lake)
    keys = parts_of_version(store, version)
    for key in keys if delete else []:
        store.delete(key)
    typer.echo(f"{len(keys)} parts of {version} " + ("deleted." if delete else "to delete: call it again with --delete."))


@app.command()
@plain_errors
def report(
    lake: Lake,
    run: Annotated[str | None, typer.Option(help="Run id, as in runs_overview; the newest if not given.")] = None,
) -> None:
    """Print the report of a night, and write it to the lake as reports/day=.../<run>.md.

    Example: `ser report --lake s3://lake/emotions`
    """
    from ser_tasks.night_report import write_night_report

    typer.echo(write_night_report(lake, run)[1])


@app.command()
@plain_errors
def doctor(
    lake: Lake,
    recordings: Annotated[
        str | None, typer.Option(help="Folder or s3://bucket/prefix of the recordings: compare with what it holds, too.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Do what is safe. Not while a night is at work.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every page of every part, not its footer alone.")] = False,
) -> None:
    """Reconcile store, manifests, outcomes and parts: what is wrong, where, and what to run. Exit code 1 where something is.

    Example: `ser doctor --lake s3://lake/emotions --recordings s3://calls`
    """
    from ser_tasks.doctor import examine
    from ser_tasks.doctor import repair as do_repair

    report = examine(lake, recordings, deep=deep)
    typer.echo("\n".join(report.lines()) or f"Healthy: {report.parts:,} parts in {report.lake}.")
    if repair and report.findings:
        typer.echo("\n".join(["", "Repair:", *(f"  {line}" for line in do_repair(report) or ["nothing that is safe was left to do"])]))
        typer.echo(f"Now run: ser nightly --recordings {recordings or 'RECORDINGS'} --lake {lake}")
    if report.findings:
        raise SystemExit(1)


@app.command()
@plain_errors
def compact(
    lake: Lake,
    older_than: Annotated[int, typer.Option(min=0, help="Days: younger day folders are left alone, their parts still come.")] = 7,
) -> None:
    """Merge each old day's small parts, while nights write and others read: no row is seen twice or not at all. Takes 16 minutes or more.

    Example: `ser compact --lake s3://lake/emotions --older-than 7`
    """
    from ser_tasks.compact import compact as run_compact
    from ser_tasks.settings import Settings
    from ser_tasks.store import open_store

    _has_nights(lake)
    done = run_compact(open_store(lake), Settings(), older_than)
    typer.echo(f"{done.merged} small parts became {done.into} (of each table); {done.deleted} parts deleted that were merged.")


@app.command()
@plain_errors
def dashboard(
    lake: Lake,
    recordings: Annotated[
        str | None, typer.Option(help="Folder or s3://bucket/prefix that recordings are played from; without it none is.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but this machine's own needs sign-in (SER_DASHBOARD_...).")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8050,
) -> None:
    """Serve the page for service leads: moods by day, queue and hour, and the calls behind each number.

    Example: `ser dashboard --lake demo-lake`, then open http://127.0.0.1:8050
    """
    from deploy.dashboard.app import create_app, serve
    from deploy.dashboard.viewers import check_sign_in
    from ser_tasks.settings import Settings

    settings = Settings()
    check_sign_in(settings, host)
    dashboard_app = create_app(lake, recordings, settings, wait=False)
    typer.echo(f"The dashboard: http://{f'[{host}]' if ':' in host else host}:{port}   (reads the lake first; Ctrl+C ends it)")
    serve(dashboard_app, host, port)


@app.command()
@plain_errors
def alerts(
    lake: Lake,
    rules: Annotated[str | None, typer.Option(help="File of the rules; SER_ALERTS or deploy/alerts.yaml if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the rules, show what would be told; nothing is sent.")] = False,
) -> None:
    """Ask the rules of the alerts, and tell what began, what stays and what ended: by Prefect, a webhook or e-mail.

    Exit code 1 where somebody could not be told, or a rule not be asked: the next run tries again.

    Example: `ser alerts --lake s3://lake/emotions --dry-run`
    """
    from ser_tasks import alert_rules
    from ser_tasks import alerts as library
    from ser_tasks.settings import Settings

    if dry_run:
        settings = Settings()
        page = alert_rules.load(rules or settings.alerts)
        typer.echo(library.rehearse(lake, page, settings))
        return
    from flows.alerts import run

    try:
        told = run(lake, rules, typer.echo)
    except library.Untold as error:
        typer.secho(f"ser: {error}", err=True, fg="red")
        raise SystemExit(1) from None
    if not told:
        typer.echo("Nobody had to be told anything.")


@app.command()
@plain_errors
def weekly(
    lake: Lake,
    week: Annotated[str | None, typer.Option(help="A week, as 2026-W47; the newest whole one if not given.")] = None,
    out: Annotated[Path, typer.Option(help="File to write the page to.")] = Path("weekly.html"),
    queue: Annotated[list[str] | None, typer.Option(help="Show this queue alone; several times. Every queue if not given.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Show what this group of SER_DASHBOARD_GROUPS may see; several times.")] = None,
    mail: Annotated[bool, typer.Option("--mail", help="Mail it to each address of SER_WEEKLY_TO instead, once.")] = False,
    again: Annotated[bool, typer.Option("--again", help="With --mail: also to who has had that week's page.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --mail: say who would get what; nothing is sent.")] = False,
) -> None:
    """Write the overview of a week as one HTML file that stands alone, or mail it to the leads of the queues.

    Exit code 1 where a mail was not taken: the next run tries again.

    Example: `ser weekly --lake s3://lake/emotions --week 2026-W47 --queue billing --out weekly.html`
    """
    from ser_tasks.settings import Settings

    if mail:
        if queue or group:
            raise ValueError("--mail goes by SER_WEEKLY_TO, which says who sees which queues: leave --queue and --group out.")
        from flows.weekly import Unmailed, run

        try:
            run(lake, week, again, dry_run, typer.echo)
        except Unmailed as error:
            typer.secho(f"ser: {error}", err=True, fg="red")
            raise SystemExit(1) from None
        return
    if again or dry_run:
        raise ValueError("--again and --dry-run say how to mail: give --mail, too.")
    from deploy.dashboard import weekly as page
    from deploy.dashboard.snapshot import Snapshot
    from deploy.dashboard.viewers import OWNER, Viewer, of_groups

    settings = Settings()
    if unknown := [name for name in group or [] if name not in settings.dashboard_groups]:
        raise ValueError(f"SER_DASHBOARD_GROUPS has no group {unknown[0]!r}: it has {', '.join(settings.dashboard_groups) or 'none'}.")
    viewer = OWNER
    if queue or group:
        allowed = of_groups("", group or [], settings)
        viewer = Viewer("", tuple(sorted({*allowed.queues, *(queue or [])})), allowed.everything)
    monday = page.monday_of(week) if week else None
    snapshot = Snapshot(lake)
    made = page.make(snapshot, viewer, monday or page.newest_week(snapshot.last_day, date.today()), settings.dashboard_url)
    out.write_text(made.html, encoding="utf-8")
    typer.echo(f"{made.text}\nWrote {out}.")
