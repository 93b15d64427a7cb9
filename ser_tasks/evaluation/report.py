"""The report of an evaluation: metrics.json, rows.parquet, charts, and a page as Markdown and as self-contained HTML."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ser_tasks.evaluation.charts import confidence_chart, confusion_chart, history_chart, robustness_chart
from ser_tasks.evaluation.evaluate import Evaluation
from ser_tasks.evaluation.metrics import ECE_BINS
from ser_tasks.html_page import html_page, markdown_table, svg_of

SHOWN = [
    ("UA (mean recall)", "ua"),
    ("WA (accuracy)", "wa"),
    ("macro F1", "macro_f1"),
    ("weighted F1", "weighted_f1"),
    (f"ECE, {ECE_BINS} bins", "ece"),
    ("ECE before calibration", "ece_before_calibration"),
    ("MSE of the probabilities", "mse"),
    ("RMSE", "rmse"),
    ("AUC of anger against the rest", "auc_anger"),
    ("AUC of high against low arousal", "auc_arousal"),
    ("AUC of one emotion against the rest, mean", "auc_one_against_rest"),
    ("average precision, mean over emotions", "average_precision"),
]


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Writes ``metrics.json``, ``rows.parquet``, ``report.md`` with its charts, and ``report.html`` into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    rows, metrics = evaluation.rows, evaluation.metrics
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False), encoding="utf-8")
    rows.to_parquet(out / "rows.parquet", compression="zstd", index=False)
    conditions = metrics["robustness"]
    reference = rows[rows["condition"] == next(iter(conditions))]
    if "split" in metrics:
        reference = reference[reference["split"] == metrics["split"]]
    charts = {
        "confusion.svg": svg_of(confusion_chart(metrics["labels"], metrics["confusion"])),
        "confidence.svg": svg_of(confidence_chart(reference, metrics)),
    }
    if len(conditions) > 1:
        charts["robustness.svg"] = svg_of(robustness_chart(conditions, chance=1 / len(metrics["labels"])))
    for name, svg in charts.items():
        (out / name).write_text(svg, encoding="utf-8")
    text = markdown(metrics, charts)
    (out / "report.md").write_text(text, encoding="utf-8")
    pictures = {name: svg.encode() for name, svg in charts.items()}
    (out / "report.html").write_text(html_page(metrics["model"], text, pictures), encoding="utf-8")


def write_history(losses: list[float], file: Path) -> None:
    """Writes a chart of the mean loss of each epoch, as SVG."""
    file.write_text(svg_of(history_chart(losses)), encoding="utf-8")


def markdown(metrics: dict[str, Any], charts: Collection[str]) -> str:
    """The report as Markdown, with links to the charts of these file names."""
    leaked = metrics["leaked_speakers"]
    how = f", {metrics['split']}," if "split" in metrics else ""
    title = f"{metrics['model']}{how} on {metrics['n']} clips of {metrics['speakers']} speakers{_adapted_in_title(metrics)}"
    if leaked:
        title += f": LEAKS, {len(leaked)} speakers or clips were in its training"
    sections = [
        f"# {title}",
        _what_was_scored(metrics),
        "## Scores\n\n" + _scores(metrics),
        *([_side_by_side(metrics)] if "leaky" in metrics else []),
        "## By emotion\n\n" + _by_emotion(metrics) + _picture("confusion.svg", charts),
        "## Calibration and coverage\n\n" + _calibration(metrics) + _picture("confidence.svg", charts),
        *(["## Ratings\n\n" + _ratings(metrics)] if metrics["ratings"] else []),
        "## By group\n\n" + _groups(metrics),
        "## On the telephone line\n\n" + _line_conditions(metrics) + _picture("robustness.svg", charts),
    ]
    return "\n\n".join(sections) + "\n"


def _adapted_in_title(metrics: dict[str, Any]) -> str:
    """That clips were standardised by their corpus, and which were not."""
    if not (lines := metrics.get("adapted")):
        return ""
    raw = [name for name, line in lines.items() if line["refused"]]
    if len(raw) == len(lines):
        return ", scored raw: too few clips to adapt to"
    return ", standardised by each corpus's own unlabelled clips" + (f" (raw: {', '.join(raw)})" if raw else "")


def _what_was_scored(metrics: dict[str, Any]) -> str:
    lines = [f"- {summary}" for summary in metrics["data"]]
    if metrics["left_out_emotions"]:
        unknown = ", ".join(f"{emotion} {count}" for emotion, count in metrics["left_out_emotions"].items())
        lines.append(f"- left out, because the model has no label for their emotion: {unknown}")
    if count := metrics["left_out_clips_of_training_speakers"]:
        lines.append(f"- left out, because the model was trained or calibrated on their speakers: {count} clips")
    if metrics["leaked_speakers"]:
        lines.append(f"- **kept, though the model was trained or calibrated on them: {', '.join(metrics['leaked_speakers'])}**")
    for name, line in metrics.get("adapted", {}).items():
        how = f"standardised by {line['segments']} of its own clips, without labels, of {line['callers']} speakers"
        lines.append(f"- {name}: " + (f"scored raw: {line['refused']}" if line["refused"] else how))
    if "split" in metrics:
        lines.append(f"- {metrics['folds']} folds, {metrics['split']}; tested on {', '.join(metrics['tested'])}")
        lines.append(f"- shared between training and test sides: {metrics['shared_between_sides']}")
    note = "Unless noted, clips are at 8 kHz, trimmed of silence, at -26 dBFS and coded with G.711 mu-law. UA by chance is"
    return "\n".join(lines) + f"\n\n{note} {1 / len(metrics['labels']):.2f}."


def _scores(metrics: dict[str, Any]) -> str:
    intervals = metrics["intervals_95"] or {}
    rows = []
    for name, key in SHOWN:
        interval = f"{intervals[key][0]:.3f} to {intervals[key][1]:.3f}" if key in intervals else ""
        rows.append([name, _figure(metrics[key]), interval])
    header = "95 % interval over speakers" if intervals else "no interval: one speaker"
    return markdown_table(["metric", "value", header], rows)


def _side_by_side(metrics: dict[str, Any]) -> str:
    """Scores under the leaky split, as much of the literature reports them, beside scores on new speakers."""
    leaky = metrics["leaky"]
    pairs = [(name, metrics[key], leaky[key]) for name, key in SHOWN[:6]]
    for corpus, row in metrics["by"]["corpus"]["groups"].items():
        other = leaky["by"]["corpus"]["groups"][corpus]["ua_among_its_emotions"]
        pairs.append((f"UA on {corpus}, among its emotions", row["ua_among_its_emotions"], other))
    rows = [[name, f"{value:.3f}", f"{with_leaks:.3f}", f"{with_leaks - value:+.3f}"] for name, value, with_leaks in pairs]
    return (
        "## Compared with a leaky split\n\nOne model, trained and tested under two splits. The leaky split assigns clips at random; "
        f"its sides share: {leaky['shared_between_sides']}. Its scores overestimate accuracy on new speakers.\n\n"
    ) + markdown_table(["metric", metrics["split"], f"{leaky['split']} (leaks)", "difference"], rows)


def _by_emotion(metrics: dict[str, Any]) -> str:
    rows = [
        [
            label,
            *(f"{row[key]:.2f}" for key in ("precision", "recall", "f1")),
            *(_figure(row[key]) for key in ("auc", "average_precision")),
            str(row["n"]),
        ]
        for label, row in metrics["per_class"].items()
    ]
    return markdown_table(["emotion", "precision", "recall", "F1", "AUC against the rest", "average precision", "clips"], rows)


def _ratings(metrics: dict[str, Any]) -> str:
    rows = [[name, *(f"{row[key]:.3f}" for key in ("ccc", "mse", "rmse")), str(row["n"])] for name, row in metrics["ratings"].items()]
    return "By ridge regression on the same features, in each fold.\n\n" + markdown_table(["rating", "CCC", "MSE", "RMSE", "clips"], rows)


def _calibration(metrics: dict[str, Any]) -> str:
    error = "none is covered" if metrics["error_covered"] is None else f"{metrics['error_covered']:.1%} of those are wrong"
    return (
        f"{metrics['coverage']:.1%} of the clips reach the confidence threshold of {metrics['unsure_below']:.2f}; {error}, "
        f"and the target is {metrics['target_error']:.0%}. Area under the risk-coverage curve: "
        f"{metrics['area_under_risk_coverage']:.3f}."
    )


def _groups(metrics: dict[str, Any]) -> str:
    rows = []
    for name, by in metrics["by"].items():
        for group, row in by["groups"].items():
            among = f"{row['ua_among_its_emotions']:.3f} of {row['emotions']}"
            figures = [_figure(row[key]) for key in ("wa", "ece", "auc_anger", "auc_arousal")]
            rows.append([name, group, f"{row['ua']:.3f}", among, *figures, str(row["n"])])
        if len(by["groups"]) > 1:
            rows.append([name, "gap", f"{by['ua_gap']:.3f}", *[""] * 6])
    return markdown_table(["by", "group", "UA", "UA among its emotions", "WA", "ECE", "AUC anger", "AUC arousal", "clips"], rows)


def _figure(value: float | None) -> str:
    """A figure with three decimals, or a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def _line_conditions(metrics: dict[str, Any]) -> str:
    conditions = metrics["robustness"].items()
    rows = [[name, f"{row['ua']:.3f}", f"{row['wa']:.3f}", f"{row['labels_flipped']:.1%}"] for name, row in conditions]
    return markdown_table(["condition", "UA", "WA", "changed labels"], rows)


def _picture(name: str, charts: Collection[str]) -> str:
    return f"\n\n![{Path(name).stem}]({name})" if name in charts else ""
