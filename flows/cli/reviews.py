"""Commands for what reviewers hear: samples to judge, labels for training, and the default model."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.app import Cache, Device, Lake, Processes, Recordings, RunsOn, failure, of_nights, parse_day

reviews = typer.Typer(no_args_is_help=True, help="Draw calls to judge, and export what reviewers heard.", rich_markup_mode="markdown")


@of_nights
def draw(
    lake: Lake,
    first: Annotated[str, typer.Option(help="First day of the calls to draw from, as 2026-11-01.")],
    last: Annotated[str, typer.Option(help="Last day of the calls to draw from.")],
    queue: Annotated[list[str] | None, typer.Option(help="Only calls of this queue; may be given several times. By default all.")] = None,
    calls: Annotated[int, typer.Option(min=1, help="Calls to draw.")] = 20,
) -> None:
    """Draw a sample of calls to judge on the dashboard: of the list to hear, undecided ones and random ones, each with its probability.

    Example: `ser reviews draw --lake s3://lake/emotions --first 2026-11-01 --last 2026-11-28`
    """
    from ser_tasks.lake import catalog, read_only, review_sampling
    from ser_tasks.lake import reviews as library
    from ser_tasks.settings import Settings
    from ser_tasks.storage import open_store

    with catalog.connect(lake) as connection:
        sample = review_sampling.draw(
            lambda sql, values: read_only.query(connection, sql, values).to_pylist(),
            parse_day(first),
            parse_day(last),
            _reviewer(Settings().reviewer),
            queue or [],
            calls,
        )
    library.write_sample(open_store(lake), sample.rows, sample.day)
    typer.echo(f"Drew {sample.calls} calls as the sample {sample.rows[0]['sample_id']}: judge them on the dashboard, under Review.")


@of_nights
def export(
    lake: Lake,
    recordings: Recordings,
    out: Annotated[Path, typer.Option(help="Folder to write: labels.csv, and copies of the recordings.")],
    calls: Annotated[bool, typer.Option("--calls", help="Also labels of whole calls, on the customer's channel.")] = False,
    notes: Annotated[bool, typer.Option("--notes", help="Also the notes, which are free text about people.")] = False,
) -> None:
    """Export what reviewers heard as a folder that `ser train`, `ser evaluate` and `ser promote` take: labels.csv and the recordings.

    The copies are as private as the recordings; no erasure reaches them: delete the folder after use.

    Example: `ser reviews export --lake s3://lake/emotions --recordings s3://calls --out labelled`
    """
    from ser_tasks.maintenance.review_export import export as write
    from ser_tasks.monitoring.access_log import AccessLog
    from ser_tasks.settings import Settings

    settings = Settings()
    try:
        AccessLog(lake, settings).write(_reviewer(None), "reviews_export", detail="with notes" if notes else "")
    except OSError as error:
        typer.echo(f"ser: this export is not in the access log, which cannot be written (SER_ACCESS_LOG): {error}", err=True)
    done = write(lake, recordings, out, settings, calls, notes)
    typer.echo("\n".join([*done.lines(), f"Wrote {out / 'labels.csv'}. Delete the folder after use: it holds copies of recordings."]))


@of_nights
def promote(
    lake: Lake,
    model: Annotated[str | None, typer.Option(help="The new model bundle: a shipped name, a folder or s3://bucket/prefix.")] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Labelled clips of callers whom neither model heard; several times.")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Make the default before the last promotion the default again.")] = False,
    device: RunsOn = Device.auto,
    workers: Processes = None,
    cache: Cache = None,
) -> None:
    """Make a model the default of a lake, if it is better on callers whom neither it nor the present default heard; else refuse it.

    Without options, list the promotions so far.
    Nights use the default where neither --model nor SER_MODEL names another. Exit code 1 if the model is refused.

    Example: `ser promote --lake s3://lake/emotions --model my-model --data labelled`
    """
    from ser_tasks.lake import promotions
    from ser_tasks.settings import Settings
    from ser_tasks.storage import open_store
    from ser_tasks.training import promote as library

    store = open_store(lake)
    if rollback:
        if model or data:
            raise ValueError("--rollback needs neither --model nor --data: leave them out.")
        made = library.roll_back(store, _reviewer(None))
    elif model is None and not data:
        history = [f"{each.number}. {each.promoted_at}, {each.promoted_by}: {each.model_id}, {each.why}" for each in promotions.read(store)]
        typer.echo("\n".join(history) or f"No model was promoted in {store.uri}: nights use the shipped default, or SER_MODEL.")
        return
    elif model is None or not data:
        raise ValueError("Say which model, and on which labelled calls it is compared: --model and --data; or --rollback.")
    else:
        from flows.cli.models import plan_of

        try:
            made = library.promote(store, model, data, _reviewer(None), plan_of(0, device, workers, cache))
        except library.NotBetterError as error:
            raise failure(f"{model} stays what it is, and the default, too: {error} Nothing was changed.") from None
    typer.echo(f"{made.model_id} is the default of {store.uri} instead of {made.replaces}: {made.why}.")
    if "model" in Settings().model_fields_set:
        typer.echo("ser: SER_MODEL is set, and nights use that model: unset it.", err=True)


def _reviewer(name: str | None) -> str:
    from flows.cli.lake import user

    return name or user()
