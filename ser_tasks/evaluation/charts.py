"""Charts of an evaluation report, as Altair charts."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt
import numpy as np
import pandas as pd

from ser_tasks.evaluation.metrics import reliability, risk_coverage

LayeredChart: TypeAlias = alt.LayerChart | alt.FacetChart
"""What ``alt.layer`` returns: a LayerChart, unless a layer has facets."""

BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#767676"
"""Blue and orange of Okabe and Ito's palette, which colour-blind readers can distinguish."""
CURVE_POINTS = 400
"""Points drawn of a risk-coverage curve, at most."""


def confusion_chart(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> LayeredChart:
    """Confusion matrix ``(true, predicted)``: each cell has its share of the row and its number of clips."""
    matrix = np.array(counts)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cells = [
        {"true": true, "predicted": predicted, "share": float(shares[row, column]), "clips": f"{matrix[row, column]}"}
        for row, true in enumerate(labels)
        for column, predicted in enumerate(labels)
    ]
    x = alt.X("predicted:N", sort=list(labels), axis=alt.Axis(labelAngle=-45, title="predicted"))
    y = alt.Y("true:N", sort=list(labels), axis=alt.Axis(title="true"))
    base = _chart(cells).encode(x=x, y=y)
    fill = alt.Color("share:Q", scale=alt.Scale(domain=[0, 1], scheme="blues"), legend=None)
    text_colour = alt.condition("datum.share > 0.5", alt.value("white"), alt.value("black"))
    return alt.layer(
        base.mark_rect().encode(color=fill),
        base.mark_text(dy=-7, fontSize=12).encode(text=alt.Text("share:Q", format=".0%"), color=text_colour),
        base.mark_text(dy=8, fontSize=11).encode(text="clips:N", color=text_colour),
    ).properties(width=70 * len(labels), height=55 * len(labels))


def confidence_chart(rows: pd.DataFrame, metrics: Mapping[str, Any]) -> alt.HConcatChart:
    """Reliability diagram and risk-coverage curve of rows of the reference condition."""
    labels = list(metrics["labels"])
    probabilities = rows[[f"p_{label}" for label in labels]].to_numpy(np.float64)
    truth = rows["emotion"].map(labels.index).to_numpy(np.int64)
    return alt.hconcat(
        _reliability_diagram(truth, probabilities), _risk_coverage_curve(truth, probabilities, metrics["coverage"], metrics["target_error"])
    )


def _reliability_diagram(truth: np.ndarray, probabilities: np.ndarray) -> LayeredChart:
    bins = [
        {"confidence": float(confidence), "accuracy": float(accuracy), "share": float(share)}
        for confidence, accuracy, share in zip(*reliability(truth, probabilities), strict=True)
    ]
    x = alt.X("confidence:Q", **percent_axis("confidence"))
    y = alt.Y("accuracy:Q", **percent_axis("accuracy"))
    size = alt.Size("share:Q", scale=alt.Scale(domain=[0, 1], range=[10, 600]), legend=None)
    diagonal = [{"confidence": 0, "accuracy": 0}, {"confidence": 1, "accuracy": 1}]
    return alt.layer(
        _chart(diagonal).mark_line(color=GREY, strokeDash=[5, 4], strokeWidth=1).encode(x=x, y=y),
        _chart(bins).mark_point(filled=True, opacity=1, color=BLUE).encode(x=x, y=y, size=size),
    ).properties(width=330, height=260, title="Reliability (dashed: perfectly calibrated)")


def _risk_coverage_curve(truth: np.ndarray, probabilities: np.ndarray, threshold_coverage: float, target_error: float) -> LayeredChart:
    coverage, error = risk_coverage(truth, probabilities)
    drawn = np.unique(np.linspace(0, len(coverage) - 1, CURVE_POINTS).astype(int))
    points = [{"coverage": float(coverage[index]), "error": float(error[index])} for index in drawn]
    x = alt.X("coverage:Q", **percent_axis("coverage: most confident clips kept"))
    y = alt.Y("error:Q", **percent_axis("error rate"))
    at_threshold = _chart([{"coverage": threshold_coverage}]).mark_rule(color=GREY, strokeDash=[5, 4])
    at_target = _chart([{"error": target_error}]).mark_rule(color=GREY, strokeDash=[2, 3])
    return alt.layer(_chart(points).mark_line(color=BLUE).encode(x=x, y=y), at_threshold.encode(x=x), at_target.encode(y=y)).properties(
        width=330, height=260, title="Risk and coverage (dashed: threshold, dotted: target)"
    )


def robustness_chart(conditions: Mapping[str, Mapping[str, float]], chance: float) -> LayeredChart:
    """UA and share of changed labels under each condition, and a dashed line at the UA of chance."""
    measures = {"UA": "ua", "changed labels": "labels_flipped"}
    bars = [
        {"condition": name, "measure": measure, "share": row[column]}
        for name, row in conditions.items()
        for measure, column in measures.items()
    ]
    x = alt.X("share:Q", **percent_axis("share (dashed: UA by chance)"))
    y = alt.Y("condition:N", sort=list(conditions), axis=alt.Axis(title=None))
    colour = alt.Color("measure:N", sort=list(measures), scale=alt.Scale(domain=list(measures), range=[BLUE, ORANGE]))
    bar = _chart(bars).mark_bar().encode(x=x, y=y, yOffset=alt.YOffset("measure:N", sort=list(measures)), color=colour)
    rule = _chart([{"share": chance}]).mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=x)
    return alt.layer(bar, rule).properties(width=560, height=28 * len(conditions))


def history_chart(losses: Sequence[float]) -> alt.Chart:
    """Mean training loss of each epoch."""
    points = [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, 1)]
    x = alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, format="d", title="epoch"), scale=alt.Scale(nice=False))
    y = alt.Y("loss:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title="mean loss on augmented clips"))
    chart: alt.Chart = _chart(points).mark_line(point=True, color=BLUE).encode(x=x, y=y).properties(width=480, height=220)
    return chart


def percent_axis(title: str) -> dict[str, Any]:
    """Scale and axis of a share from 0 to 1."""
    return {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%", tickCount=5, title=title)}


def _chart(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(pd.DataFrame(rows))
