"""The dashboard's charts, rendered as SVG on the server: once for wide and once for narrow screens. The style sheet shows one of them.

Lines and text use ``currentColor``, so that they follow the page's colours in print and in dark mode. Series differ by dash or shape
as well as by colour, from the colour-blind safe palette of Okabe and Ito.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup, escape

COLOURS = {
    "anger": "#d55e00",
    "sadness": "#0072b2",
    "happiness": "#e69f00",
    "neutral": "#56b4e9",
    "fear": "#cc79a7",
    "disgust": "#009e73",
    "surprise": "#f0e442",
    "calm": "#332288",
    "not sure": "#8a8f96",
}
WIDE, NARROW = 860, 310
"""Widths of the plots in pixels."""
DAY_MS = 24 * 3600 * 1000

_ids = itertools.count()

_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.15, "labelLimit": 260}
    | dict.fromkeys(("labelColor", "titleColor", "gridColor", "domainColor", "tickColor"), "currentColor"),
    "legend": {
        "labelFontSize": 12,
        "orient": "top",
        "title": None,
        "symbolStrokeWidth": 3,
        "symbolSize": 300,
        "labelColor": "currentColor",
    },
}


def svg(chart: alt.TopLevelMixin, title: str, description: str, kind: str) -> Markup:
    """A chart as an SVG image of class ``chart-<kind>``, with a title and a description for screen readers."""
    made = vl_convert.vegalite_to_svg(chart.to_dict() | {"config": _CONFIG})
    made = re.sub(r' (?:class|role|aria-[a-z]+)="[^"]*"', "", made)
    number = next(_ids)
    [(head, rest)] = re.findall(r"^<svg[^>]*?(viewBox=\"[^\"]*\")[^>]*>(.*)", made, re.DOTALL)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="chart-{escape(kind)}" {head} '
        f'role="img" aria-labelledby="t{number} d{number}"><title id="t{number}">{escape(title)}</title>'
        f'<desc id="d{number}">{escape(description)}</desc>{rest}'
    )


def responsive(draw: Callable[[int], alt.TopLevelMixin], title: str, description: str) -> Markup:
    """The chart ``draw(width)`` for wide and for narrow screens."""
    return svg(draw(WIDE), title, description, "wide") + svg(draw(NARROW), title, description, "narrow")


def shares_over_time(
    rows: list[dict[str, Any]], unit: str, title: str, description: str, annotations: Mapping[date, str] | None = None
) -> Markup:
    """Shares of anger, negative emotions and "not sure" with their intervals, and the number of calls scored.

    ``annotations``: what happened on a day, drawn as a line with its text.
    ``rows`` have start, scored, and share_anger, share_negative and share_unsure, each with its ``_low`` and ``_high``.
    """
    series = {"anger": "share_anger", "negative": "share_negative", "not sure": "share_unsure"}
    long = [
        {"start": str(row["start"]), "series": name, "share": row[column], "low": row[f"{column}_low"], "high": row[f"{column}_high"]}
        for row in rows
        for name, column in series.items()
        if row[column] is not None
    ]
    counts = [{"start": str(row["start"]), "scored": row["scored"]} for row in rows]
    top = min(1.0, max([row["high"] for row in long] + [0.1]) * 1.05)

    half_ms = (3.5 if unit == "week" else 0.5) * DAY_MS
    span = [_utc_ms(rows[0]["start"]) - half_ms, _utc_ms(rows[-1]["start"]) + half_ms]

    marked = [
        {"start": str(day), "text": text}
        for day, text in sorted((annotations or {}).items())
        if rows[0]["start"] <= day < rows[-1]["start"] + timedelta(days=7 if unit == "week" else 1)
    ]

    def draw(width: int) -> alt.VConcatChart:
        most = 4 if width < 500 else 10
        every = -(-len(rows) // most)
        ticks = [_utc_ms(row["start"]) for row in rows[::every]]
        axis = alt.Axis(format="%-d %b", values=ticks, grid=False, title=None)
        x = alt.X("start:T", scale=alt.Scale(type="utc", domain=span, nice=False), axis=axis)
        y = alt.Y("low:Q", scale=alt.Scale(domain=[0, top]), axis=alt.Axis(format=".0%", title=None, tickCount=5))
        colours = alt.Scale(domain=list(series), range=[COLOURS["anger"], COLOURS["sadness"], COLOURS["not sure"]])
        dashes = alt.Scale(domain=list(series), range=[[1, 0], [7, 3], [2, 3]])
        legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
        base = alt.Chart(alt.InlineData(values=long)).encode(x=x, color=alt.Color("series:N", scale=colours, legend=legend))
        band = base.mark_area(opacity=0.18).encode(y=y, y2="high:Q")
        line = base.mark_line(strokeWidth=2.2).encode(y="share:Q", strokeDash=alt.StrokeDash("series:N", scale=dashes, legend=legend))
        points = base.mark_point(filled=True, size=26, opacity=1).encode(y="share:Q")
        shares = alt.layer(band, line, points) if len(rows) < 45 else alt.layer(band, line)
        if marked:
            notes = alt.Chart(alt.InlineData(values=marked)).encode(x=x)
            lines = notes.mark_rule(color="#8a8f96", strokeDash=[2, 2], strokeWidth=1.5)
            texts = notes.mark_text(align="left", baseline="top", dx=3, fontSize=11, limit=120, color="currentColor").encode(
                y=alt.value(0), text="text:N"
            )
            shares = alt.layer(shares, lines, texts)
        bars = alt.Chart(alt.InlineData(values=counts)).mark_bar(
            color="#8a8f96", width=max(1.5, 0.6 * width / len(rows)) if len(rows) > 8 else 30
        )
        scored = bars.encode(x=x, y=alt.Y("scored:Q", axis=alt.Axis(title=None, tickCount=2, format="~s")))
        return alt.vconcat(
            shares.properties(width=width, height=180),
            scored.properties(width=width, height=36, title=_title(f"calls scored each {unit}")),
            spacing=14,
        )

    return responsive(draw, title, description)


def emotion_mix(shares: dict[str, float], title: str, description: str) -> Markup:
    """One stacked bar of shares of scored speech, "not sure" last."""
    ends = list(itertools.accumulate(shares.values(), initial=0.0))
    rows = [{"emotion": name, "from": start, "to": end} for name, start, end in zip(shares, ends, ends[1:], strict=False)]

    def draw(width: int) -> alt.Chart:
        scale = alt.Scale(domain=list(shares), range=[COLOURS[name] for name in shares])
        legend = alt.Legend(title=None, symbolType="square", symbolStrokeWidth=0, columns=2 if width < 500 else 0)
        bar = alt.Chart(alt.InlineData(values=rows)).mark_bar(stroke="white", strokeWidth=1.5, height=30)
        x = alt.X("from:Q", axis=alt.Axis(format=".0%", title=None, grid=False, tickCount=5), scale=alt.Scale(domain=[0, 1]))
        chart: alt.Chart = bar.encode(x=x, x2="to:Q", color=alt.Color("emotion:N", scale=scale, legend=legend))
        return chart.properties(width=width, height=34)

    return responsive(draw, title, description)


def sparkline(shares: Sequence[float | None], top: float, title: str) -> Markup:
    """A small line of shares on a scale from 0 to ``top``, its last point marked; gaps where a share is None."""
    width, height = 120.0, 24.0
    step = width / max(1, len(shares) - 1)
    points = [None if share is None else (step * place, height * (1 - min(1.0, share / top))) for place, share in enumerate(shares)]
    path, drawing = "", False
    for point in points:
        if point is not None:
            path += f"{'L' if drawing else 'M'}{point[0]:.1f} {point[1]:.1f}"
        drawing = point is not None
    last = next((point for point in reversed(points) if point is not None), None)
    dot = f'<circle cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="3"/>' if last else ""
    return Markup(
        f'<svg class="spark" viewBox="-4 -4 {width + 8:.0f} {height + 8:.0f}" role="img" aria-label="{escape(title)}">'
        f'<path d="{path}"/>{dot}</svg>'
    )


def warm_up() -> None:
    """Starts the renderer, which takes half a second, before the first visitor needs it."""
    emotion_mix({"not sure": 1.0}, "", "")


def _utc_ms(moment: date) -> float:
    return datetime(moment.year, moment.month, moment.day, tzinfo=UTC).timestamp() * 1000


def _title(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, anchor="start", fontSize=12, fontWeight="normal", color="currentColor")
