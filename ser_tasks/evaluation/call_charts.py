"""Charts of an evaluation on composed calls, as Altair charts."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from ser_tasks.evaluation.call_metrics import README_RATE, TOP, rate_weights
from ser_tasks.evaluation.charts import BLUE, CURVE_POINTS, GREY, ORANGE, LayeredChart, percent_axis
from ser_tasks.evaluation.composed import KINDS


def precision_chart(calls: pd.DataFrame) -> LayeredChart:
    """Precision among the calls at the top of the ranking, by the share of calls that is looked at; one call in ten holds anger."""
    ordered = calls.sort_values("found_anger", ascending=False, kind="stable")
    weights = rate_weights(ordered["has_anger"], README_RATE)
    looked_at = np.cumsum(weights)
    precision = np.cumsum(weights * ordered["has_anger"].to_numpy(bool)) / looked_at
    drawn = np.unique(np.linspace(0, len(ordered) - 1, CURVE_POINTS).astype(int))
    points = pd.DataFrame({"share": looked_at[drawn], "precision": precision[drawn]})
    x = alt.X("share:Q", **percent_axis("share of the calls, the angriest first (dashed: a tenth)"))
    y = alt.Y("precision:Q", **percent_axis("of them with anger"))
    rule = alt.Chart(pd.DataFrame({"share": [TOP]})).mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=x)
    return alt.layer(alt.Chart(points).mark_line(color=BLUE).encode(x=x, y=y), rule).properties(
        width=420, height=240, title=f"Precision where {README_RATE:.0%} of the calls hold anger"
    )


def anger_by_kind(calls: pd.DataFrame, ranked_by: str) -> alt.Chart:
    """What calls are ranked by, one point a call, by where its anger is."""
    points = calls[["kind", "found_anger", "corpus"]].assign(offset=np.arange(len(calls)) * 7 % 20)
    x, y = alt.X("found_anger:Q", axis=alt.Axis(title=ranked_by)), alt.Y("kind:N", sort=list(KINDS), axis=alt.Axis(title="anger"))
    chart: alt.Chart = (
        alt.Chart(points).mark_circle(size=28, opacity=0.6).encode(x=x, y=y, yOffset=alt.YOffset("offset:Q"), color=alt.Color("corpus:N"))
    )
    return chart.properties(width=420, height=200)


def seconds_chart(calls: pd.DataFrame) -> LayeredChart:
    """Seconds of anger, found against true, one point a call."""
    points = calls[["anger_s", "found_anger_s", "corpus"]]
    most = float(points[["anger_s", "found_anger_s"]].to_numpy().max())
    x, y = alt.X("anger_s:Q", axis=alt.Axis(title="true seconds")), alt.Y("found_anger_s:Q", axis=alt.Axis(title="found seconds"))
    diagonal = pd.DataFrame({"anger_s": [0, most], "found_anger_s": [0, most]})
    return alt.layer(
        alt.Chart(diagonal).mark_line(color=GREY, strokeDash=[5, 4], strokeWidth=1).encode(x=x, y=y),
        alt.Chart(points).mark_circle(size=28, opacity=0.6).encode(x=x, y=y, color=alt.Color("corpus:N")),
    ).properties(width=360, height=260, title="Seconds of anger in a call (dashed: found as it is)")


def escalation_by_length(rows: list[dict[str, Any]]) -> LayeredChart:
    """Share of the calls without change that are said to escalate or de-escalate, by length."""
    measures = {"escalate": "escalated", "de-escalate": "deescalated"}
    bars = pd.DataFrame(
        [
            {"minutes": "{:.1f} to {:.1f}".format(*row["minutes"]), "measure": name, "share": row[column] or 0.0}
            for row in rows
            for name, column in measures.items()
        ]
    )
    most = max(0.1, float(bars["share"].max()))
    x = alt.X(
        "share:Q",
        scale=alt.Scale(domain=[0, most]),
        axis=alt.Axis(format=".0%", tickCount=5, title="share of the calls without change (dashed: 2 %)"),
    )
    y = alt.Y("minutes:N", sort=list(bars["minutes"].unique()))
    colour = alt.Color("measure:N", scale=alt.Scale(domain=list(measures), range=[ORANGE, BLUE]))
    bar = alt.Chart(bars).mark_bar().encode(x=x, y=y, yOffset=alt.YOffset("measure:N", sort=list(measures)), color=colour)
    rule = alt.Chart(pd.DataFrame({"share": [0.02]})).mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=x)
    return alt.layer(bar, rule).properties(width=420, height=150)
