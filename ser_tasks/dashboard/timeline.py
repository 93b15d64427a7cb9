"""A call's timeline as SVG: speech of each role, overlaps and pauses, the customer's emotions as stacked bands, negativity, loudness.

The SVG has few paths, however many segments there are. The x unit of shapes is a second, stretched to the page's width; texts are placed
at percentages. So it fits a phone without a script, and the player zooms by widening it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from ser_tasks.schemas import EMOTIONS

Segment = dict[str, Any]
Span = tuple[float, float]

ROLE_NAMES = {"customer": "Customer", "agent": "Agent", "mixed": "Both on one channel", "unknown": "Role unknown"}
SPOKEN_PX, BANDS_PX, QUARTERS_PX, LOUDNESS_PX = 18, 120, 44, 70
LABEL_PX, GAP_PX, AXIS_PX = 20, 12, 24
QUIETEST_DBFS = -60.0
"""The lower end of the loudness scale."""
PAUSE_S = 2.0
"""Shorter silence is not drawn as a pause."""
ZOOMS = (1, 4, 16)
"""Widths of the drawing relative to the page. Each has its own steps of the time axis."""
TICKS = 6
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)


@dataclass(frozen=True)
class Timeline:
    svg: str
    duration_s: float
    roles: list[str]
    """Roles with at least one segment."""
    emotions: list[str]
    """Emotions in the bands."""
    overlaps: list[Span]
    pauses: list[Span]


def clock(seconds: float) -> str:
    """Seconds as a player shows them: ``2:03``, ``1:02:03``."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def span(seconds: float) -> str:
    """A duration as text: ``155 s``, ``42 min``, ``1,234 h``."""
    if seconds < 300:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 18_000 else f"{seconds / 3600:,.0f} h"


def draw(segments: list[Segment], duration_s: float, emotion_role: str | None, quarters: list[float | None]) -> Timeline:
    """The timeline of ``segments`` (rows of the lake's table). Emotions are those of ``emotion_role``; ``quarters`` is its negativity."""
    duration_s = max([duration_s, 0.1, *(each["end_s"] for each in segments)])
    spoken = {role: _merged(_span(each) for each in segments if each["role"] == role) for role in ROLE_NAMES}
    roles = [role for role in ROLE_NAMES if spoken[role]]
    overlaps = _shared(spoken["customer"], spoken["agent"])
    silent = _between(_merged(span for role in roles for span in spoken[role]), duration_s)
    pauses = [(start, end) for start, end in silent if end - start >= PAUSE_S]
    scored = [each for each in segments if each["emotion"] is not None and each["role"] == emotion_role]
    emotions = [emotion for emotion in EMOTIONS if any(each[f"p_{emotion}"] is not None for each in scored)]

    canvas = _Canvas(duration_s)
    for role in roles:
        canvas.label(f"{ROLE_NAMES[role]} speaks" if role in ("customer", "agent") else ROLE_NAMES[role])
        canvas.track(SPOKEN_PX, _path(f"role-{role}", spoken[role], 0, SPOKEN_PX))
    if len([role for role in roles if role in ("customer", "agent")]) == 2:
        canvas.label(f"Both speak (above), nobody speaks for {PAUSE_S:.0f} s or more (below)")
        canvas.track(SPOKEN_PX, _path("overlap", overlaps, 0, SPOKEN_PX / 2) + _path("pause", pauses, SPOKEN_PX / 2, SPOKEN_PX / 2))
    elif roles:
        canvas.label(f"Nobody speaks for {PAUSE_S:.0f} s or more")
        canvas.track(SPOKEN_PX, _path("pause", pauses, SPOKEN_PX / 2, SPOKEN_PX / 2))
    if scored and emotion_role:
        sure, unsure = [each for each in scored if not each["unsure"]], [_span(each) for each in scored if each["unsure"]]
        canvas.label(f"{ROLE_NAMES[emotion_role]}: emotion probabilities, stacked")
        canvas.track(BANDS_PX, "".join(_bands(sure, emotions)), hatched=unsure)
    if any(value is not None for value in quarters):
        canvas.label("Negativity by quarter of the call, 0 to 1")
        canvas.quarters(quarters)
    loudness = [each for each in segments if each["loudness_dbfs"] is not None]
    if loudness:
        canvas.label(f"Loudness, {QUIETEST_DBFS:.0f} to 0 dBFS")
        canvas.track(LOUDNESS_PX, "".join(_levels(role, [each for each in loudness if each["role"] == role]) for role in roles))
    canvas.axis()
    return Timeline(canvas.svg(), duration_s, roles, emotions, overlaps, pauses)


class _Canvas:
    def __init__(self, duration_s: float):
        self.duration_s, self.y = duration_s, 0.0
        self.parts: list[str] = []

    def label(self, text: str) -> None:
        self.y += LABEL_PX
        self.parts.append(f'<text class="label" x="0" y="{self.y - 6:.0f}">{escape(text)}</text>')

    def track(self, height: float, shapes: str, hatched: Iterable[Span] = ()) -> None:
        self.parts.append(f'<rect class="track" x="0" y="{self.y:.0f}" width="100%" height="{height:.0f}"/>')
        self.parts.append(
            f'<svg x="0" y="{self.y:.0f}" width="100%" height="{height:.0f}" viewBox="0 0 {self.duration_s:.2f} {height:.0f}" '
            f'preserveAspectRatio="none">{shapes}</svg>'
        )
        if hatched := list(hatched):  # a pattern inside the shapes would be stretched with them, so a rectangle is clipped to them
            scale = 1 / self.duration_s
            where = "".join(f"M{start * scale:.6f} 0H{end * scale:.6f}V1H{start * scale:.6f}z" for start, end in hatched)
            self.parts.append(f'<clipPath id="unsure" clipPathUnits="objectBoundingBox"><path d="{where}"/></clipPath>')
            self.parts.append(
                f'<rect x="0" y="{self.y:.0f}" width="100%" height="{height:.0f}" fill="url(#hatch)" clip-path="url(#unsure)"/>'
            )
        self.y += height + GAP_PX

    def quarters(self, values: list[float | None]) -> None:
        bars = "".join(
            f'<rect class="negativity" x="{self.duration_s * place / 4:.2f}" y="{QUARTERS_PX * (1 - value):.1f}" '
            f'width="{self.duration_s / 4:.2f}" height="{QUARTERS_PX * value:.1f}"/>'
            for place, value in enumerate(values)
            if value is not None
        )
        top = self.y
        self.track(QUARTERS_PX, bars)
        for place, value in enumerate(values):
            text = "no speech" if value is None else f"{value:.2f}"
            self.parts.append(f'<text class="figure" x="{25 * place + 12.5}%" y="{top + QUARTERS_PX - 6:.0f}">{text}</text>')

    def axis(self) -> None:
        self.parts.append(f'<line class="axis" x1="0" x2="100%" y1="{self.y - GAP_PX / 2:.0f}" y2="{self.y - GAP_PX / 2:.0f}"/>')
        for zoom in ZOOMS:
            step_s = next((step for step in STEPS_S if step * TICKS * zoom >= self.duration_s), STEPS_S[-1])
            ticks = [step_s * number for number in range(1, int(self.duration_s / step_s * 0.97) + 1)]
            texts = "".join(f'<text x="{100 * tick / self.duration_s:.3f}%" y="{self.y + 10:.0f}">{clock(tick)}</text>' for tick in ticks)
            self.parts.append(f'<g class="ticks zoom-{zoom}">{texts}</g>')
        self.y += AXIS_PX

    def svg(self) -> str:
        return (
            f'<svg class="timeline zoom-1" width="100%" height="{self.y:.0f}" aria-hidden="true" focusable="false">'
            '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<rect class="hatch-ground" width="6" height="6"/><line class="hatch-line" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>'
            f'{"".join(self.parts)}<line id="playhead" x1="0" x2="0" y1="0" y2="{self.y - AXIS_PX:.0f}"/></svg>'
        )


def _span(segment: Segment) -> Span:
    return segment["start_s"], segment["end_s"]


def _path(name: str, spans: Iterable[Span], y: float, height: float) -> str:
    shapes = "".join(f"M{start:.2f} {y:g}H{end:.2f}v{height:g}H{start:.2f}z" for start, end in spans)
    return f'<path class="{name}" d="{shapes}"/>' if shapes else ""


def _bands(scored: list[Segment], emotions: list[str]) -> Iterable[str]:
    """One path for each emotion, stacked, the first at the bottom."""
    below = [0.0] * len(scored)
    for emotion in emotions:
        shapes = []
        for place, each in enumerate(scored):
            p = min(each[f"p_{emotion}"] or 0.0, 1 - below[place])
            if p > 0:
                top, bottom = BANDS_PX * (1 - below[place] - p), BANDS_PX * (1 - below[place])
                shapes.append(f"M{each['start_s']:.2f} {top:.1f}H{each['end_s']:.2f}V{bottom:.1f}H{each['start_s']:.2f}z")
                below[place] += p
        if shapes:
            yield f'<path class="emotion-{emotion}" d="{"".join(shapes)}"/>'


def _levels(role: str, segments: list[Segment]) -> str:
    steps = []
    for each in segments:
        level = min(0.0, max(QUIETEST_DBFS, each["loudness_dbfs"]))
        steps.append(f"M{each['start_s']:.2f} {LOUDNESS_PX * level / QUIETEST_DBFS:.1f}H{each['end_s']:.2f}")
    return f'<path class="level level-{role}" vector-effect="non-scaling-stroke" d="{"".join(steps)}"/>' if steps else ""


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, with touching and overlapping ones merged."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _between(merged: list[Span], duration_s: float) -> list[Span]:
    edges = [0.0, *(edge for span in merged for edge in span), duration_s]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end > start]


def _shared(one: list[Span], other: list[Span]) -> list[Span]:
    """The intersection of two lists of spans, each in order and without overlaps."""
    shared, i, j = [], 0, 0
    while i < len(one) and j < len(other):
        start, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if start < end:
            shared.append((start, end))
        i, j = (i + 1, j) if one[i][1] < other[j][1] else (i, j + 1)
    return shared
