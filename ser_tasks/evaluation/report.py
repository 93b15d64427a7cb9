"""The report of an evaluation: metrics.json, rows.parquet, plots, and one page as Markdown and as HTML that stands alone."""

import io
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from ser_tasks.evaluation.evaluate import Evaluation
from ser_tasks.evaluation.metrics import ECE_BINS, risk_coverage
from ser_tasks.html_page import html_page

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SHOWN = [
    ("UA (mean recall)", "ua"),
    ("WA (accuracy)", "wa"),
    ("macro F1", "macro_f1"),
    ("weighted F1", "weighted_f1"),
    ("ECE, 15 bins", "ece"),
    ("ECE before calibration", "ece_before_calibration"),
    ("MSE of the probabilities", "mse"),
    ("RMSE", "rmse"),
]


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Writes ``metrics.json``, ``rows.parquet``, ``report.md`` with its plots, and ``report.html`` into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    rows, metrics = evaluation.rows, evaluation.metrics
    told = rows[rows["split"] == metrics["split"]] if "split" in metrics else rows
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False), encoding="utf-8")
    rows.to_parquet(out / "rows.parquet", compression="zstd", index=False)
    plots = {"confusion.png": _confusion(metrics), "confidence.png": _confidence(told, metrics)}
    if len(metrics["robustness"]) > 1:
        plots["robustness.png"] = _robustness(metrics)
    for name, png in plots.items():
        (out / name).write_bytes(png)
    text = markdown(metrics, list(plots))
    (out / "report.md").write_text(text, encoding="utf-8")
    (out / "report.html").write_text(html_page(metrics["model"], text, plots), encoding="utf-8")


def write_history(losses: list[float], file: Path) -> None:
    """Writes a plot of the mean loss of each epoch."""
    figure, axes = plt.subplots(figsize=(6, 3))
    axes.plot(range(1, len(losses) + 1), losses, marker=".")
    axes.set(xlabel="epoch", ylabel="mean loss, on altered clips")
    file.write_bytes(_png(figure))


def markdown(metrics: dict[str, Any], plots: list[str]) -> str:
    """The page, with links to the plots."""
    leaked = metrics["leaked_speakers"]
    how = f", {metrics['split']}," if "split" in metrics else ""
    title = f"{metrics['model']}{how} on {metrics['n']} clips of {metrics['speakers']} speakers"
    if leaked:
        title += f": LEAKS, {len(leaked)} speakers or clips were in its training"
    sections = [
        f"# {title}",
        _what_was_scored(metrics),
        "## Scores\n\n" + _scores(metrics),
        *([_side_by_side(metrics)] if "leaky" in metrics else []),
        "## By emotion\n\n" + _by_emotion(metrics) + _picture("confusion.png", plots),
        "## How far its confidence can be trusted\n\n" + _trust(metrics) + _picture("confidence.png", plots),
        "## By group\n\n" + _groups(metrics),
        "## On the line\n\n" + _lines(metrics) + _picture("robustness.png", plots),
    ]
    return "\n\n".join(sections) + "\n"


def _what_was_scored(metrics: dict[str, Any]) -> str:
    lines = [f"- {summary}" for summary in metrics["data"]]
    if metrics["left_out_emotions"]:
        unknown = ", ".join(f"{emotion} {count}" for emotion, count in metrics["left_out_emotions"].items())
        lines.append(f"- left out, since the model does not know their emotion: {unknown}")
    if count := metrics["left_out_clips_of_training_speakers"]:
        lines.append(f"- left out, since the model was trained or calibrated on their speakers: {count} clips")
    if metrics["leaked_speakers"]:
        lines.append(f"- **kept, though the model was trained or calibrated on them: {', '.join(metrics['leaked_speakers'])}**")
    if "split" in metrics:
        lines.append(f"- {metrics['folds']} folds, {metrics['split']}; tested on {', '.join(metrics['tested'])}")
        lines.append(f"- their sides share: {metrics['shared_between_sides']}")
    note = "Every clip at 8 kHz, the silence around it cut, at -26 dBFS, G.711 mu-law, unless said. Chance is UA "
    return "\n".join(lines) + f"\n\n{note}{1 / len(metrics['labels']):.2f}."


def _scores(metrics: dict[str, Any]) -> str:
    intervals = metrics["intervals_95"] or {}
    rows = []
    for name, key in SHOWN:
        interval = f"{intervals[key][0]:.3f} to {intervals[key][1]:.3f}" if key in intervals else ""
        rows.append(f"| {name} | {metrics[key]:.3f} | {interval} |")
    header = "95 % interval over speakers" if intervals else "no interval: one speaker"
    return f"| | | {header} |\n|---|---|---|\n" + "\n".join(rows)


def _side_by_side(metrics: dict[str, Any]) -> str:
    """What much of the literature would report, beside what holds for a new speaker."""
    leaky = metrics["leaky"]
    rows = [f"| {name} | {metrics[key]:.3f} | {leaky[key]:.3f} | {leaky[key] - metrics[key]:+.3f} |" for name, key in SHOWN[:6]]
    for corpus, row in metrics["by"]["corpus"]["groups"].items():
        other = leaky["by"]["corpus"]["groups"][corpus]["ua_among_its_emotions"]
        own = row["ua_among_its_emotions"]
        rows.append(f"| UA on {corpus}, among its emotions | {own:.3f} | {other:.3f} | {other - own:+.3f} |")
    return (
        "## Honest and leaky\n\nThe same model, learned and tested under two splits. The leaky one deals clips out at random, so "
        f"that the test's speakers are in the training: {leaky['shared_between_sides']}.\n\n"
        f"| | {metrics['split']} | {leaky['split']} (leaks) | flattery |\n|---|---|---|---|\n" + "\n".join(rows)
    )


def _by_emotion(metrics: dict[str, Any]) -> str:
    rows = [
        f"| {label} | {row['precision']:.2f} | {row['recall']:.2f} | {row['f1']:.2f} | {row['n']} |"
        for label, row in metrics["per_class"].items()
    ]
    return "| emotion | precision | recall | F1 | clips |\n|---|---|---|---|---|\n" + "\n".join(rows)


def _trust(metrics: dict[str, Any]) -> str:
    error = "none is covered" if metrics["error_covered"] is None else f"{metrics['error_covered']:.1%} of those are wrong"
    return (
        f"Sure (at least {metrics['unsure_below']:.2f}) of {metrics['coverage']:.1%} of the clips; {error}, "
        f"against a stated target of {metrics['target_error']:.0%}. Area under the risk-coverage curve: "
        f"{metrics['area_under_risk_coverage']:.3f}."
    )


def _groups(metrics: dict[str, Any]) -> str:
    rows = []
    for name, by in metrics["by"].items():
        for group, row in by["groups"].items():
            among = f"{row['ua_among_its_emotions']:.3f} of {row['emotions']}"
            rows.append(f"| {name} | {group} | {row['ua']:.3f} | {among} | {row['wa']:.3f} | {row['ece']:.3f} | {row['n']} |")
        if len(by["groups"]) > 1:
            rows.append(f"| {name} | gap | {by['ua_gap']:.3f} | | | | |")
    header = "| by | group | UA | UA among its emotions | WA | ECE | clips |\n|---|---|---|---|---|---|---|\n"
    return header + "\n".join(rows)


def _lines(metrics: dict[str, Any]) -> str:
    rows = [f"| {name} | {row['ua']:.3f} | {row['wa']:.3f} | {row['labels_flipped']:.1%} |" for name, row in metrics["robustness"].items()]
    return "| condition | UA | WA | labels that flip |\n|---|---|---|---|\n" + "\n".join(rows)


def _picture(name: str, plots: list[str]) -> str:
    return f"\n\n![{Path(name).stem}]({name})" if name in plots else ""


def _png(figure: plt.Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return file.getvalue()


def _confusion(metrics: dict[str, Any]) -> bytes:
    labels, counts = metrics["labels"], np.array(metrics["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(1.2 + 0.8 * len(labels),) * 2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{shares[row, column]:.0%}\n{counts[row, column]}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="heard as", ylabel="acted")
    return _png(figure)


def _confidence(rows: pd.DataFrame, metrics: dict[str, Any]) -> bytes:
    """The reliability diagram beside the risk-coverage curve."""
    labels = metrics["labels"]
    reference = rows[rows["condition"] == next(iter(metrics["robustness"]))]
    given = reference[[f"p_{label}" for label in labels]].to_numpy()
    truth = reference["emotion"].map(labels.index).to_numpy()
    confidence, right = given.max(axis=1), given.argmax(axis=1) == truth
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    figure, (left, middle) = plt.subplots(1, 2, figsize=(9, 3.8))
    for number in np.unique(bins):
        members = bins == number
        left.plot(confidence[members].mean(), right[members].mean(), "o", color="C0", markersize=3 + 12 * np.sqrt(members.mean()))
    left.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    left.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1), title="Reliability")
    coverage, risk = risk_coverage(truth, given)
    middle.plot(coverage, risk)
    middle.axvline(metrics["coverage"], linestyle="--", color="grey", linewidth=1)
    middle.axhline(metrics["target_error"], linestyle=":", color="grey", linewidth=1)
    middle.set(xlabel="share of clips kept, the surest first", ylabel="share that is wrong", xlim=(0, 1), ylim=(0, 1))
    middle.set_title("Risk and coverage (dashed: threshold, dotted: target)", fontsize=10)
    return _png(figure)


def _robustness(metrics: dict[str, Any]) -> bytes:
    names, rows = list(metrics["robustness"]), list(metrics["robustness"].values())
    figure, axes = plt.subplots(figsize=(8, 0.32 * len(names) + 1))
    places = np.arange(len(names))
    axes.barh(places - 0.2, [row["ua"] for row in rows], 0.4, label="UA")
    axes.barh(places + 0.2, [row["labels_flipped"] for row in rows], 0.4, label="labels that flip", color="C1")
    axes.axvline(1 / len(metrics["labels"]), linestyle="--", color="grey", linewidth=1)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share (dashed: UA by chance)")
    axes.legend()
    return _png(figure)
