"""A chart of nights: where the time of each went, beside how fast it was."""

import io
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLOURS = ("#999999", "#56B4E9", "#0072B2", "#009E73", "#F0E442", "#D55E00", "#CC79A7")
"""Okabe and Ito's, which colour-blind people can tell apart; one a stage."""


def throughput_svg(nights: list[dict[str, Any]], stages: tuple[str, ...]) -> bytes:
    """Stacked bars of seconds per audio-hour by stage and a line of audio-hours per hour, oldest night first, as SVG.

    ``nights`` are rows of ``runs`` with audio; ``stages`` are columns of seconds.
    """
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ser", "font.family": "sans-serif"}):
        figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, gridspec_kw={"height_ratios": [1, 2]})
        places = range(len(nights))
        above.plot(places, [night["audio_h_per_h"] for night in nights], marker="o", color="black")
        above.set(ylabel="audio-hours\nper hour", ylim=(0, None))
        floor = [0.0] * len(nights)
        for stage, colour in zip(stages, COLOURS, strict=True):
            heights = [night[stage] / night["audio_s"] * 3600 for night in nights]
            below.bar(places, heights, bottom=floor, color=colour, label=stage.removesuffix("_s"))
            floor = [low + height for low, height in zip(floor, heights, strict=True)]
        below.set(ylabel="seconds per audio-hour,\nall workers")
        below.set_xticks(places, [f"{night['started_at']:%m-%d}" for night in nights], rotation=45)
        below.legend(loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
        file = io.BytesIO()
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
    return file.getvalue()
