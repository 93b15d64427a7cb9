"""The report of an evaluation on composed calls: metrics.json, three tables, charts, and a page as Markdown and as self-contained HTML."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.evaluation.call_charts import anger_by_kind, escalation_by_length, precision_chart, seconds_chart
from ser_tasks.evaluation.call_metrics import README_RATE, TOP
from ser_tasks.evaluation.composed import LEAST_ANGER_S, STEADY_SHARE
from ser_tasks.html_page import html_page, markdown_table, markdown_text, svg_of


def write_call_report(calls: pd.DataFrame, segments: pd.DataFrame, turns: pd.DataFrame, metrics: dict[str, Any], out: Path) -> None:
    """Writes ``metrics.json``, ``calls.parquet``, ``segments.parquet``, ``turns.parquet``, ``report.md`` with charts, ``report.html``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False), encoding="utf-8")
    for name, table in {"calls": calls, "segments": segments, "turns": turns}.items():
        table.to_parquet(out / f"{name}.parquet", compression="zstd", index=False)
    scored = calls[calls["found_anger"].notna()]
    charts = {"seconds.svg": seconds_chart(scored), "kinds.svg": anger_by_kind(scored, metrics["ranked_by"])} if len(scored) else {}
    if metrics["groups"]["all"]["ranking"]:
        charts["precision.svg"] = precision_chart(scored)
    if metrics["by_length"]:
        charts["escalation.svg"] = escalation_by_length(metrics["by_length"])
    pictures = {name: svg_of(chart) for name, chart in charts.items()}
    for name, svg in pictures.items():
        (out / name).write_text(svg, encoding="utf-8")
    text = markdown(metrics, set(pictures))
    (out / "report.md").write_text(text, encoding="utf-8")
    (out / "report.html").write_text(html_page(metrics["model"], text, {name: svg.encode() for name, svg in pictures.items()}), "utf-8")


def markdown(metrics: dict[str, Any], charts: set[str]) -> str:
    """The report as Markdown, with links to the charts of these file names."""
    leaked = metrics["leaked_speakers"]
    title = f"{metrics['model']} on {metrics['calls']} composed calls of {metrics['customers']} customers, {metrics['adapted']}"
    if leaked:
        title += f": LEAKS, {len(leaked)} speakers or clips were in its training"

    def picture(name: str) -> str:
        return f"\n\n![{Path(name).stem}]({name})" if name in charts else ""

    sections = [
        f"# {markdown_text(title)}",
        _what_was_scored(metrics),
        "## Finding calls with anger\n\n" + _ranking(metrics) + picture("precision.svg") + picture("kinds.svg"),
        "## Seconds of anger\n\n" + _seconds(metrics) + picture("seconds.svg"),
        "## Escalation\n\n" + _escalation(metrics) + picture("escalation.svg"),
        "## Sure, and right\n\n" + _coverage(metrics),
        "## Does the length of a call matter?\n\n" + _length(metrics),
    ]
    return "\n\n".join(sections) + "\n"


def _what_was_scored(metrics: dict[str, Any]) -> str:
    lines = [f"- {markdown_text(summary)}" for summary in metrics["data"]]
    if metrics["left_out_emotions"]:
        unknown = ", ".join(f"{emotion} {count}" for emotion, count in metrics["left_out_emotions"].items())
        lines.append(f"- left out, because the model has no label for their emotion: {unknown}")
    if count := metrics["left_out_clips_of_training_speakers"]:
        lines.append(f"- left out, because the model was trained or calibrated on their speakers: {count} clips")
    noise = ", ".join(map(markdown_text, metrics["noise"])) or "hiss"
    lines.append(
        f"- {metrics['calls']} calls ({metrics['audio_hours']:.1f} h of audio, {metrics['not_scored']} of them not scored), seed "
        f"{metrics['seed']}; noise: {noise}"
    )
    lines += [
        f"- line {markdown_text(line['line'])}: " + (line["refused"] or f"{line['segments']} segments of {line['callers']} callers")
        for line in metrics["run"]["lines"]
    ]
    return (
        "\n".join(lines) + "\n\nLabelled clips were put together as phone calls of 2 to 12 minutes: a customer, 60 to 95 % neutral, with "
        "anger in none, in bursts, rising or throughout, and an agent on the other channel; mu-law at 8 kHz, with noise, crosstalk and "
        "echo. They went through a whole night; every figure compares its tables with the truth. Acted clips are not spontaneous speech, "
        "and come back within a call."
    )


def _ranking(metrics: dict[str, Any]) -> str:
    rows = []
    for name, group in metrics["groups"].items():
        ranking = group["ranking"]
        start = [markdown_text(name), f"{group['calls']} ({group['with_anger']} with anger)"]
        if ranking is None:
            rows.append([*start, *["–"] * 6])
            continue
        at = ranking["at_base_rate"].values()
        precision = ranking["at_base_rate"][f"{README_RATE:g}"]
        rows.append(
            [*start, _figure(ranking["auc"], ranking["auc_95"]), *(_figure(each["average_precision"]) for each in at)]
            + [_figure(precision["precision_at_top"], precision["precision_at_top_95"]), _figure(group["moment_is_anger"])]
        )
    by = f"Calls are ranked by `{metrics['ranked_by']}`; a call is one with anger from {LEAST_ANGER_S:g} s on. "
    mean = (metrics["groups"]["all"]["ranking"] or {}).get("mean_at_10_percent")
    calibrated = "" if mean is None else f"At a base rate of {README_RATE:.0%}, its mean is {mean:.3f}. "
    return (
        f"{by}{calibrated}Average precision (AP) at base rates of 5, 10 and 25 %; precision among the top {TOP:.0%} at {README_RATE:.0%}. "
        "In brackets: 95 % interval over customers. *Moment*: of calls with anger, the share whose named moment is one of anger.\n\n"
    ) + markdown_table(["calls of", "calls", "AUC", "AP 5 %", "AP 10 %", "AP 25 %", "precision in the top 10 %", "moment"], rows)


def _seconds(metrics: dict[str, Any]) -> str:
    rows = []
    for name, group in metrics["groups"].items():
        error = group["anger_seconds"]
        figures = ("mean_absolute_error_s", "median_absolute_error_s", "mean_error_with_anger_s", "true_mean_with_anger_s")
        more = [_seconds_figure(error[key]) for key in (*figures, "mean_error_without_s")]
        rows.append([markdown_text(name), *more, _figure(error["correlation"])])
    header = ["calls of", "mean error", "median error", "mean found - true, with anger", "(true mean)", "the same, without anger"]
    return f"Seconds of anger in a call, by {metrics['seconds_by']}, in seconds.\n\n" + markdown_table([*header, "correlation"], rows)


def _escalation(metrics: dict[str, Any]) -> str:
    rows = []
    for name, group in metrics["groups"].items():
        steady, rising = group["steady"], group["rising"]
        shares = [_percent(steady["escalated"]), _percent(steady["deescalated"]), str(rising["calls"]), _percent(rising["escalated"])]
        onset = [_seconds_figure(rising[key]) for key in ("onset_median_absolute_error_s", "onset_median_error_s")]
        rows.append([markdown_text(name), str(steady["calls"]), *shares, *onset])
    header = ["calls of", "without change", "escalate", "de-escalate", "rising", "escalate", "onset: median error in s", "found - true"]
    by_length = [
        ["{:.1f} to {:.1f}".format(*row["minutes"]), str(row["calls"]), _percent(row["escalated"]), _percent(row["deescalated"])]
        for row in metrics["by_length"]
    ]
    table = markdown_table(["minutes", "calls", "escalate", "de-escalate"], by_length)
    return markdown_table(header, rows) + "\n\nCalls without change (no anger, or anger throughout), by length:\n\n" + table


def _coverage(metrics: dict[str, Any]) -> str:
    rows = []
    for name, group in metrics["groups"].items():
        segments = group["segments"]
        sets = segments["set_coverage"]
        figures = [_percent(segments["coverage"]), _percent(segments["wrong_where_sure"]), _percent(segments["missed_where_sure"])]
        figures += [_percent(sets and sets["all"]), _percent(segments["one_emotion"]), _percent(segments["wrong_of_one"])]
        more = [_figure(segments["ua"]), _figure(segments["auc_anger"])]
        rows.append([markdown_text(name), str(segments["segments"]), *figures, *more, _percent(segments["without_a_voice"])])
    header = ["calls of", "segments", "sure", "wrong where sure", "set lacks the truth where sure", "truth in its set"]
    header += ["one emotion in its set", "wrong of these", "UA", "AUC anger", "segments without the customer"]
    return "Scored segments of customers against the clip that was played.\n\n" + markdown_table(header, rows)


def _length(metrics: dict[str, Any]) -> str:
    rows = []
    for share, columns in metrics["length_differences"].items():
        for name, ends in columns.items():
            if name != "calls":
                figures = [ends["shortest"], ends["longest"]]
                difference = "–" if None in figures else f"{ends['longest'] - ends['shortest']:+.3f}"
                interval = "{:+.2f} to {:+.2f}".format(*ends["difference_95"]) if ends["difference_95"] else "–"
                rows.append([f"{name}, {float(share):.0%} anger", *map(_figure, figures), difference, interval])
    if not rows:
        return "Too few calls without change to tell."
    return (
        f"Means over the shortest and the longest fifth of calls with one share of anger: none, or {STEADY_SHARE:.0%} throughout. "
        "`found_anger` is what calls are ranked by; `found_anger_per_s` the seconds of anger a second of scored speech.\n\n"
    ) + markdown_table(["column", "shortest fifth", "longest fifth", "difference", "95 % interval"], rows)


def _figure(value: float | None, interval: list[float] | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _seconds_figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
