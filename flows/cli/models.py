"""Commands that train, evaluate and list models."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.app import Cache, Corpora, Device, Encoder, Lake, Model, Processes, RunsOn, failure, of_nights, use_encoder

if TYPE_CHECKING:
    from ser_tasks.evaluation.plan import Plan
    from ser_tasks.inference.bundle import Bundle

FOUR = "anger,happiness,neutral,sadness"


def train(
    data: Corpora,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write, or of a classical system; it must not exist.")],
    model: Annotated[
        str | None,
        typer.Option(help="What to train, of the networks and classical systems named below; by default ge2e_tcn."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            help="Bundle whose heads to fit further, say default, to reviews of your own calls; refused unless better on held-out callers."
        ),
    ] = None,
    features: Annotated[str | None, typer.Option(help="Feature set, of those named below; each model has its own by default.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Emotions to classify, separated by commas; by default anger,happiness,neutral,sadness.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name: letters, digits and _; by default the model's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training clips; each model has its own by default.")] = None,
    folds: Annotated[
        int,
        typer.Option(min=0, help="Cross-validate over speakers, then train on all clips; 0: train once, on a split by speaker."),
    ] = 0,
    conditions: Annotated[
        str | None, typer.Option(help="With --folds: conditions of the card's robustness, separated by commas; by default all.")
    ] = None,
    priors: Annotated[
        str | None, typer.Option(help="Base rates of the bundle, as anger=0.1,happiness=0.2,neutral=0.5,sadness=0.2; by default even.")
    ] = None,
    by_line: Annotated[
        bool,
        typer.Option("--by-line", help="Train a network on features standardised by their corpus, so that its bundle takes line profiles."),
    ] = False,
    voices: Annotated[
        int, typer.Option(min=0, help="Copies of each training clip in other voices: speed, pitch and formants shifted.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the split, the weights and the order of clips.")] = 0,
    allow_leak: Annotated[bool, typer.Option(help="Continue where the sides of a split share speakers or clips.")] = False,
    device: Annotated[Device, typer.Option(help="Where to train; auto uses CUDA if available.")] = Device.auto,
    workers: Processes = None,
    cache: Cache = None,
    encoder: Encoder = None,
) -> None:
    """Train a bundle on labelled clips, split by speaker and calibrated. Its model card has its scores on unseen speakers.

    After a kill, the same command resumes the training. With `--on`, the heads of a bundle are fitted further: exit code 1, and nothing
    written, unless they are better on held-out callers.

    Example: `ser train --data emotion/ --model ge2e_tcn --folds 6 --out my-model`,
    or `ser train --on default --data reviews/ --out my-model`,
    or `ser train --data emotion/ --model wav2vec2 --encoder wav2vec2-base/ --out my-model`,
    or `ser train --data emotion/ --model svm:egemaps --out my-svm`
    """
    use_encoder(encoder)
    if on is not None:
        given = {"--model": model, "--features": features, "--labels": labels, "--epochs": epochs, "--conditions": conditions}
        given |= {"--priors": priors, "--folds": folds or None, "--allow-leak": allow_leak or None}
        given |= {"--by-line": by_line or None, "--voices": voices or None}
        if ignored := [option for option, value in given.items() if value is not None]:
            raise ValueError(f"{', '.join(ignored)} would be ignored: --on keeps all of a bundle but its heads. Leave it out.")
        _train_on_top(on, data, out, name, plan_of(seed, device, workers, cache))
        return
    if model is not None and ":" in model:
        options = {"--features": features, "--name": name, "--epochs": epochs, "--conditions": conditions, "--priors": priors}
        options |= {"--by-line": by_line or None, "--voices": voices or None, "--encoder": str(encoder) if encoder else None}
        if ignored := [option for option, value in options.items() if value is not None]:
            raise ValueError(
                f"{', '.join(ignored)} would be ignored: they are of networks, and {model} is a classical system. Leave them out."
            )
        _train_classical(model, data, out, labels, plan_of(seed, device, workers, cache, allow_leak), folds)
        return
    from ser_tasks.datasets.conditions import CONDITIONS
    from ser_tasks.evaluation.report import write_history
    from ser_tasks.training.recipe import recipe_of
    from ser_tasks.training.train import train_bundle
    from ser_tasks.training.trainer import ModelSpec

    model, emotions = model or "ge2e_tcn", _emotions(FOUR if labels is None else labels) or ()
    scored = _emotions(conditions) or tuple(CONDITIONS)
    recipe = recipe_of(model, features, epochs=epochs, by_line=by_line, voices=voices)
    spec = ModelSpec(model, emotions, recipe, name or model, priors=_shares(priors))
    training = train_bundle(data, spec, out, plan_of(seed, device, workers, cache, allow_leak), folds, scored)
    write_history(training.history, out / "history.svg")
    training.rows.to_parquet(out / "rows.parquet", index=False)
    typer.echo("\n".join(training.corpora))
    typer.echo(f"Wrote {training.folder} ({training.bundle.model_id}) in {training.seconds:.0f} s. Its scores: {out / 'MODEL_CARD.md'}")


def _train_classical(model: str, data: list[Path], out: Path, labels: str | None, plan: "Plan", folds: int) -> None:
    from ser_tasks.evaluation.report import write_report
    from ser_tasks.training.baselines import BaselineSpec
    from ser_tasks.training.train_classical import train_classical

    spec = BaselineSpec(model, _emotions(FOUR if labels is None else labels) or ())
    training = train_classical(data, spec, out, plan, folds)
    write_report(training.evaluation, out)
    metrics = training.evaluation.metrics
    typer.echo("\n".join(metrics["data"]))
    typer.echo(f"{model}: UA {metrics['ua']:.3f} over {metrics['n']} clips of {metrics['speakers']} unseen speakers.")
    typer.echo(f"Wrote {training.file}, a pickle of scikit-learn: no bundle, so no night takes it. Its scores: {out / 'report.html'}")


def _train_on_top(on: str, data: list[Path], out: Path, name: str | None, plan: "Plan") -> None:
    from ser_tasks.evaluation.compare_bundles import NotBetterError
    from ser_tasks.training.on_top import train_on_top

    try:
        training = train_on_top(on, data, out, plan, name)
    except NotBetterError as error:
        raise failure(error) from None
    training.rows.to_parquet(out / "rows.parquet", index=False)
    typer.echo("\n".join(training.corpora))
    typer.echo(f"{training.comparison.summary()}.")
    typer.echo(f"Wrote {training.folder} ({training.bundle.model_id}) in {training.seconds:.0f} s. Use it by --model {out}.")


@of_nights
def fuse(
    lake: Lake,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write; it must not exist.")],
    on: Annotated[
        str | None, typer.Option(help="Bundle of the voice that scored the calls; by default that of the lake's nights, or SER_MODEL.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name: letters, digits and _; by default the voice's and _fused.")] = None,
) -> None:
    """Fit a late fusion of voice, turn-taking and words to the whole calls that reviewers judged: the column call_anger_fused.

    Exit code 1, and nothing written, unless it is better than the voice alone on held-out callers.

    Example: `ser fuse --lake s3://lake/emotions --out fused`
    """
    from ser_tasks.evaluation.compare_bundles import NotBetterError
    from ser_tasks.lake.promotions import chosen_model
    from ser_tasks.settings import Settings
    from ser_tasks.training.fuse import fuse as fit
    from ser_tasks.training.fuse import summary

    try:
        fused = fit(lake, chosen_model(Settings(), lake, on), out, name)
    except NotBetterError as error:
        raise failure(error) from None
    typer.echo("\n".join([*fused.left_out, f"{summary(fused.comparison)}."]))
    typer.echo(f"Wrote {fused.folder} ({fused.bundle.model_id}; weights: {_parts(fused.bundle)}). Use it by --model {out}.")


def _parts(bundle: "Bundle") -> str:
    """The weights of a fusion's parts; of another bundle, the voice."""
    if bundle.fusion is None:
        return "voice"
    return ", ".join(f"{part.replace('_', '-')} {weight:.2f}" for part, weight in bundle.fusion.parts.items())


def plan_of(seed: int, device: Device, workers: int | None, cache: Path | None, allow_leak: bool = False) -> "Plan":
    from ser_tasks.evaluation.plan import Plan, default_cache
    from ser_tasks.inference.scorer import choose_device
    from ser_tasks.pipeline.fork_server import cores

    return Plan(seed, choose_device(device.value).type, workers or cores(), cache or default_cache(), allow_leak)


def _shares(text: str | None) -> tuple[tuple[str, float], ...]:
    shares = []
    for part in (text or "").split(",") if text else ():
        label, _, share = part.partition("=")
        try:
            shares.append((label.strip(), float(share)))
        except ValueError:
            raise ValueError(f"--priors {text!r}: {part!r} is not like anger=0.1.") from None
    return tuple(shares)


def _emotions(labels: str | None) -> tuple[str, ...] | None:
    return tuple(label.strip() for label in labels.split(",")) if labels else None


def evaluate(
    data: Corpora,
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, rows.parquet, report.md and report.html.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Model bundle: a name from ser models, a folder or s3://bucket/prefix. With --split: what to train, as named below."
        ),
    ] = None,
    robustness: Annotated[bool, typer.Option(help="Evaluate also with other codecs, noise, babble, gain and packet loss.")] = True,
    allow_leak: Annotated[bool, typer.Option(help="Keep clips and speakers of the training; the report's title says so.")] = False,
    unheard_only: Annotated[bool, typer.Option(help="Leave out speakers and clips of the training.")] = False,
    split: Annotated[
        str | None,
        typer.Option(
            help="Train in each fold of: k-fold, leave-one-speaker-out, leave-one-corpus-out, sentence-independent, random-clips."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds, for splits that have one.")] = 6,
    test: Annotated[list[str] | None, typer.Option(help="Names of corpora to test on; the others are only trained on.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="With --split: emotions to classify, separated by commas; by default all in the data.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="With --split: passes over the training clips.")] = None,
    leaky: Annotated[bool, typer.Option(help="With --split: evaluate a split by random clips, too, and report both.")] = True,
    adapt: Annotated[
        bool | None,
        typer.Option(
            "--adapt/--no-adapt",
            help="Standardise each corpus by its own unlabelled clips. With --calls: by the calls, as a night does by default.",
        ),
    ] = None,
    calls: Annotated[bool, typer.Option("--calls", help="Make phone calls of the clips, and score them through a whole night.")] = False,
    number: Annotated[int | None, typer.Option(min=2, help="With --calls: how many calls; 200 by default (20 h of audio, 1 GB).")] = None,
    noise: Annotated[Path | None, typer.Option(help="With --calls: folder of recordings of background noise; by default hiss.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds, the weights, the noise and the calls.")] = 0,
    device: RunsOn = Device.auto,
    workers: Processes = None,
    cache: Cache = None,
    encoder: Encoder = None,
) -> None:
    """Evaluate a bundle on unseen speakers, on phone calls made of their clips, or a model by cross-validation: a report with intervals.

    Example: `ser evaluate --model ge2e_tcn --data mine/ --out report`,
    or `ser evaluate --calls --data mine/ --noise office/ --out report`,
    or `ser evaluate --split k-fold --model ge2e_tcn --data ravdess/ --out report`
    """
    use_encoder(encoder)
    from ser_tasks.evaluation.report import write_report
    from ser_tasks.settings import Settings

    only_with_split = {"--test": test, "--labels": labels, "--epochs": epochs}
    if ignored := [option for option, given in only_with_split.items() if given is not None and not split]:
        raise ValueError(f"{', '.join(ignored)} would be ignored: a bundle is scored as it is. Add --split to train anew.")
    if unheard_only and split:
        raise ValueError("--unheard-only would be ignored: with --split, every clip is unheard by the model that scores it. Leave it out.")
    if split and (calls or adapt is not None):
        raise ValueError("--calls, --adapt and --split exclude each other: a bundle is adapted and scores calls. Leave --split out.")
    if not calls and (number or noise):
        raise ValueError("--number and --noise would be ignored: they are of composed calls. Add --calls.")
    model, plan = model or Settings().model, plan_of(seed, device, workers, cache, allow_leak)
    if calls:
        options = {"noise": noise, "adapt": adapt is not False, "unheard_only": unheard_only} | ({"number": number} if number else {})
        _evaluate_on_calls(model, data, plan, out, options)
        return
    if split:
        from ser_tasks.training.cross_validation import Folding, evaluate_across
        from ser_tasks.training.leaderboard import spec_of

        spec, folding = spec_of(model, _emotions(labels), epochs), Folding(split, folds, tuple(test) if test else None)
        evaluation = evaluate_across(spec, data, plan, folding, robustness=robustness, beside_leaky=leaky)
    else:
        from ser_tasks.evaluation.evaluate import evaluate as run_evaluation

        evaluation = run_evaluation(model, data, plan, robustness=robustness, unheard_only=unheard_only, adapt=bool(adapt))
    write_report(evaluation, out)
    metrics = evaluation.metrics
    typer.echo("\n".join(metrics["data"]))
    for why in ("left_out_emotions", "left_out_clips_of_training_speakers", "leaked_speakers"):
        if metrics[why]:
            typer.echo(f"{why.replace('_', ' ')}: {metrics[why]}")
    interval = "{:.3f} to {:.3f}".format(*metrics["intervals_95"]["ua"]) if metrics["intervals_95"] else "one speaker: no interval"
    anger = "" if metrics["auc_anger"] is None else f"AUC of anger {metrics['auc_anger']:.3f}, "
    typer.echo(
        f"{metrics['model']}: UA {metrics['ua']:.3f} ({interval}), WA {metrics['wa']:.3f}, ECE {metrics['ece']:.3f}, {anger}"
        f"{metrics['n']} clips of {metrics['speakers']} speakers. Report: {out / 'report.html'}"
    )
    if "leaky" in metrics:
        typer.echo(f"With clips dealt out at random, which leaks, it would be UA {metrics['leaky']['ua']:.3f}.")


def _evaluate_on_calls(model: str, data: list[Path], plan: "Plan", out: Path, options: dict[str, Any]) -> None:
    from flows.evaluate_calls import evaluate_calls
    from ser_tasks.evaluation.call_report import write_call_report

    evaluation = evaluate_calls(model, data, plan, **options)
    metrics = evaluation.metrics
    write_call_report(evaluation.calls, evaluation.segments, evaluation.turns, metrics, out)
    typer.echo("\n".join(metrics["data"]))
    for name, group in metrics["groups"].items():
        if ranking := group["ranking"]:
            precision = ranking["at_base_rate"]["0.1"]["precision_at_top"]
            auc = f"AUC of {metrics['ranked_by']} {ranking['auc']:.3f}"
            typer.echo(f"{name}: {auc}, precision in the top 10 % {precision:.2f} where 10 % hold anger")
    typer.echo(f"{metrics['model']}, {metrics['adapted']}: {metrics['calls']} calls. Report: {out / 'report.html'}")


def league(
    data: Corpora,
    out: Annotated[Path, typer.Option(help="Folder for league.md and league.parquet; scores that are already there are kept.")],
    models: Annotated[
        str | None,
        typer.Option(
            help="What to compare, of what is named below, separated by commas; by default all networks and common classical systems."
        ),
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Emotions to classify, separated by commas; by default all in the data.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds, by speaker.")] = 6,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training clips; each model has its own by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds and the weights.")] = 0,
    workers: Processes = None,
    cache: Cache = None,
    encoder: Encoder = None,
) -> None:
    """Compare every model and classical baseline on every corpus, with the same folds by speaker: scores, size and speed.

    Example: `ser league --data emotion/ --out league`
    """
    use_encoder(encoder)
    from rich.console import Console
    from rich.markdown import Markdown

    from ser_tasks.training.leaderboard import league as run_league
    from ser_tasks.training.leaderboard import league_markdown

    learners = [name.strip() for name in models.split(",")] if models else None
    plan = plan_of(seed, Device.cpu, workers, cache)
    table = run_league(data, out, plan, learners=learners, labels=_emotions(labels), n_folds=folds, epochs=epochs)
    Console(width=None if sys.stdout.isatty() else 160).print(Markdown(league_markdown(table)))


def field(
    data: Corpora,
    out: Annotated[Path, typer.Option(help="Folder for field.html, field.md, field.parquet and rows.parquet; finished folds are kept.")],
    rows: Annotated[str | None, typer.Option(help="Rows to run, of those named below, separated by commas; by default all.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training clips of networks; each has its own by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds and the weights.")] = 0,
    workers: Processes = None,
    cache: Cache = None,
    encoder: Encoder = None,
) -> None:
    """Run the published systems of the field again: each by its paper's own protocol, which leaks, and by speaker, which does not.

    Prints an estimate of each row's time first. After a kill, the same command resumes; a finished fold is not run again.

    Example: `ser field --data emotion/ --out field`
    """
    use_encoder(encoder)
    from ser_tasks.training.field.run import field as run_field

    chosen = [name.strip() for name in rows.split(",")] if rows else None
    plan = plan_of(seed, Device.cpu, workers, cache)
    table = run_field(data, out, plan, names=chosen, epochs=epochs, announce=typer.echo)
    for line in table.dropna(subset=["flattery"]).to_dict("records"):
        honest = f"{line['honest_ua']:.3f} ({line['honest_low']:.3f} to {line['honest_high']:.3f})"
        typer.echo(f"{line['row']}: {line['system']} on {line['corpus']}: leaky {line['leaky_ua']:.3f}, honest {honest}")
    typer.echo(f"Report: {out / 'field.html'}")


def models(
    bundles: Annotated[list[str] | None, typer.Argument(help="More bundles to list: folders or s3://bucket/prefix.")] = None,
) -> None:
    """List the shipped model bundles with labels, parts, scores, licence, and whether a company may use them; and what can be trained.

    Of a fusion, `parts` has the weights. Example: `ser models`, or `ser models fused`
    """
    from rich.console import Console
    from rich.table import Table

    from ser_tasks.inference.bundle import load_bundle
    from ser_tasks.inference.bundle_files import shipped_bundles
    from ser_tasks.licences import permits_commercial_use
    from ser_tasks.models import MODELS, needs_encoder

    table = Table("name", "version", "labels", "parts", "features", "on unseen speakers", "not sure below", "licence", "commercial use")
    for name in [*shipped_bundles(), *(bundles or [])]:
        bundle = load_bundle(name)
        scores = bundle.scores.get("test", {}).get("all")
        table.add_row(
            name,
            bundle.model_id,
            ", ".join(bundle.labels),
            _parts(bundle),
            bundle.feature_set_id,
            f"UA {scores['ua']:.2f}, WA {scores['wa']:.2f}, ECE {scores['ece']:.2f} over {scores['segments']} segments" if scores else "–",
            f"{bundle.unsure_below:.2f}",
            bundle.licence,
            "yes" if permits_commercial_use(bundle.licence) else "no",
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    typer.echo(f"ser train --model takes: {', '.join(name for name in MODELS if not needs_encoder(name))}")
    typer.echo(f"With the folder of a pretrained encoder (--encoder): {', '.join(name for name in MODELS if needs_encoder(name))}")


def bench(
    recordings: Annotated[str, typer.Option(help="Local folder of calls.")],
    model: Model = None,
    device: RunsOn = Device.auto,
    workers: Annotated[int | None, typer.Option(min=1, help="Extraction processes; by default one for each core.")] = None,
    policy: Annotated[str, typer.Option(help="The policy `everyone` scores every channel: the most work.")] = "everyone",
    audio_hours: Annotated[float, typer.Option(min=0.0, help="The calls are repeated until they amount to this much audio.")] = 12.0,
    repeat: Annotated[int, typer.Option(min=1, help="Times that each way is measured, in turns: medians and spread are printed.")] = 1,
    price: Annotated[
        float | None, typer.Option(min=0.0, help="Price of this machine for one hour: the cost of 1,000 audio-hours is printed.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Measure also where other work keeps the machine busy.")] = False,
) -> None:
    """Measure the speed of this pipeline, of a plain loop and of decoding alone on the same calls, in audio-hours per hour.

    Every process computes with one thread. Where other work keeps more than a quarter of the cores busy, nothing is measured.

    Example: `ser bench --recordings calls/ --repeat 3 --price 0.10`
    """
    from flows.bench import bench as run_bench
    from flows.bench import report
    from ser_tasks.settings import Settings

    timings = run_bench(recordings, model, device.value, workers, policy, audio_hours, repeat, force)
    typer.echo(report(timings, recordings, model or Settings().model, policy, price))


def speech(
    data: Annotated[list[Path], typer.Option(help="Folder of audio; may be given several times.")],
    each_file: Annotated[bool, typer.Option("--each-file", help="Report each file instead of each folder.")] = False,
) -> None:
    """Measure the speech detector: how much speech it finds in each folder, and in how many files none.

    Example: `ser speech --data not_speech/ --data emotion/`
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from ser_tasks.evaluation.vad_report import speech_in_folders
    from ser_tasks.settings import Settings

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
