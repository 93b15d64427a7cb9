"""A chart of nights: the throughput of each, and the time of each stage."""

import json
from collections.abc import Sequence
from typing import Any

import altair as alt

from ser_tasks.html_page import svg_of

COLOURS = ("#999999", "#56B4E9", "#0072B2", "#009E73", "#F0E442", "#D55E00", "#CC79A7")
"""The colour-blind safe palette of Okabe and Ito, one colour for each stage."""
WIDTH, SPEED_HEIGHT, STAGES_HEIGHT = 620, 120, 240
"""Sizes of the plots in pixels."""


def throughput_svg(nights: Sequence[dict[str, Any]], stages: Sequence[str]) -> bytes:
    """An SVG file with audio-hours per hour as a line and seconds per audio-hour as bars stacked by stage, oldest night first.

    ``nights`` are rows of ``runs`` with audio; ``stages`` are names of their columns of seconds, at most one for each of COLOURS.
    """
    names = [stage.removesuffix("_s") for stage in stages]
    speeds = [{"night": number, "speed": night["audio_h_per_h"]} for number, night in enumerate(nights)]
    times = [
        {"night": number, "stage": name, "position": position, "seconds": night[stage] / night["audio_s"] * 3600}
        for number, night in enumerate(nights)
        for position, (stage, name) in enumerate(zip(stages, names, strict=True))
    ]
    dates = json.dumps([f"{night['started_at']:%m-%d}" for night in nights])
    axis = alt.Axis(title=None, labelAngle=-45, labelExpr=f"{dates}[datum.value]")  # several nights may have one date
    colours = alt.Scale(domain=names[::-1], range=list(COLOURS[: len(names)])[::-1])
    speed = alt.Chart(alt.Data(values=speeds)).mark_line(point=alt.OverlayMarkDef(color="black"), color="black")
    speed = speed.encode(x=alt.X("night:O", axis=alt.Axis(title=None, labels=False)), y=alt.Y("speed:Q", title=["audio-hours", "per hour"]))
    bars = alt.Chart(alt.Data(values=times)).mark_bar()
    bars = bars.encode(
        x=alt.X("night:O", axis=axis),
        y=alt.Y("seconds:Q", title=["seconds per audio-hour,", "all workers"]),
        color=alt.Color("stage:N", scale=colours),
        order=alt.Order("position:Q"),
    )
    chart = alt.vconcat(speed.properties(width=WIDTH, height=SPEED_HEIGHT), bars.properties(width=WIDTH, height=STAGES_HEIGHT))
    return svg_of(chart.resolve_legend(color="independent")).encode()
