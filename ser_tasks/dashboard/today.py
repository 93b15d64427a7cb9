"""Today: which queues changed, which calls to hear and why, and what was not scored. The first of the overview and of the weekly page."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from ser_tasks.dashboard.pages import Row, percent
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.timeline import clock
from ser_tasks.dashboard.viewers import Viewer
from ser_tasks.dashboard.words import why

DAYS = 7
"""The calls to hear, and those not scored, are of so many days up to the newest of the period."""
SHOWN = 5
"""Calls to hear that are shown at once, of ten."""
OPENING_S = 10.0
"""The caller's own opening: so many seconds of their first scored speech."""
LOUDER_DB, MORE_AROUSED = 3.0, 0.2
"""From which rise of level and of arousal_score on the moment is called louder, or more agitated, than the opening."""
LIKELY = 0.5
"""From this anger_score of a segment, or call_anger of a call, anger is likely; in other segments with that label, possible."""
MOSTLY_UNSURE = 0.5
"""From this share on, the page says first that the model can't tell."""
FROM_VIEW = re.compile(r"[:,;]?\s*\(?\bFROM \w+\)?\s*$")
"""The end of a rule's message that names the view behind it."""

SEGMENTS = """
    SELECT recording_id, start_s, end_s, coalesce(anger_score, p_anger) AS anger, label, arousal_score, loudness_dbfs
    FROM segments
    WHERE day BETWEEN $first_day AND $last_day AND list_contains($calls::VARCHAR[], recording_id) AND emotion IS NOT NULL
        AND role IN ('customer', 'mixed')
    ORDER BY recording_id, start_s
"""


def today(snapshot: Snapshot, viewer: Viewer, rows_of: Callable[[str, dict[str, Any]], list[Row]], values: dict[str, Any]) -> Row:
    """The values of figures/today.html. ``rows_of``: the rows of one of QUERIES for given values of its parameters."""
    first = values["latest"] - timedelta(days=DAYS - 1)
    hear = rows_of("to_hear", values)
    segments = segments_of(snapshot, viewer, hear)
    for row in hear:
        row["why"] = reasons(row, segments.get(row["recording_id"], []))
    ended = rows_of("not_scored", values | {"first": first, "last": values["latest"]})
    left_out = [row for row in ended if row["outcome"] != "scored"]
    shown = {
        "hear": hear,
        "hear_likely": any((row["call_anger"] or row["share_anger"] or 0) >= LIKELY for row in hear),
        "clock": clock,
        "hear_shown": SHOWN,
        "hear_first": first,
        "hear_last": values["latest"],
        "alerts": [row | {"line": in_words(row["message"], row["subject"])} for row in rows_of("open_alerts", values)],
        "news": [sentence(row, values["newest"]) for row in rows_of("news", values)],
        "left_out": left_out,
        "left_out_calls": sum(row["recordings"] for row in left_out),
        "recent_calls": sum(row["recordings"] for row in ended),
    }
    return shown | {"left_out_sentence": not_scored(shown)}


def segments_of(snapshot: Snapshot, viewer: Viewer, calls: list[Row]) -> dict[str, list[Row]]:
    """The scored segments of calls, by recording, in their order. None where their retention has ended."""
    if not calls:
        return {}
    days = [row["day"] for row in calls]
    parameters = {"first_day": min(days), "last_day": max(days), "calls": [row["recording_id"] for row in calls]}
    found: dict[str, list[Row]] = {}
    for segment in snapshot.query(viewer, SEGMENTS, parameters).to_pylist():
        found.setdefault(segment["recording_id"], []).append(segment)
    return found


def sentence(row: Row, newest: date) -> Row:
    """What is said of a queue that changed or has an open alert: the queue, the rest of the sentence, and the figures behind it."""
    since = f"{row['since']:%-d %B}" + (f" {row['since']:%Y}" if row["since"].year != newest.year else "")
    if row["kind"] == "alert":
        text, figures = f"open alert since {since}", in_words(row["message"], row["queue"])
    else:
        text = f"{'angrier' if row['verdict'] == 'rose' else 'calmer'} since {since}"
        figures = f"anger in {percent(row['share_anger'], 1)} of scored speech, before {percent(row['share_anger_before'], 1)}"
    return row | {"text": text, "figures": figures}


def in_words(message: str, subject: str) -> str:
    """The line of an alert for those who read no SQL: without the view that it names for analysts, nor the queue that stands beside it."""
    return FROM_VIEW.sub("", message).removeprefix(f"{subject}: ")


def reasons(call: Row, segments: list[Row]) -> str:
    """Why a call is worth hearing, in plain words: what was measured at its moment, and nothing else."""
    at_s = call["moment_s"]
    parts = []
    moment = next((each for each in segments if at_s is not None and abs(each["start_s"] - at_s) < 0.01), None)
    opening = _opening(segments)
    if moment and opening and moment["start_s"] >= opening[-1]["end_s"]:
        louder = _rise(moment, opening, "loudness_dbfs", LOUDER_DB)
        agitated = _rise(moment, opening, "arousal_score", MORE_AROUSED)
        than = [word for word, higher in (("louder", louder), ("more agitated", agitated)) if higher]
        parts += [f"{' and '.join(than)} than the caller's own opening"] if than else []
    angry = [each for each in segments if each["label"] == "anger" or (each["anger"] or 0) >= LIKELY]
    angry_s = sum(each["end_s"] - each["start_s"] for each in angry)
    at = f" at {clock(at_s)}" if at_s is not None else ""
    if angry_s >= 1:
        likely = (call["call_anger"] or 0) >= LIKELY or any((each["anger"] or 0) >= LIKELY for each in angry)
        most = ", most" if len(angry) > 1 else ""
        parts.append(f"{angry_s:.0f} s of {'likely' if likely else 'possible'} anger{most}{at}")
    elif call["call_anger"] is not None:
        share = percent(call["call_anger"]) if call["call_anger"] >= 0.01 else "less than 1 %"
        word = "likely angry" if call["call_anger"] >= LIKELY else "perhaps angry" if call["call_anger"] >= 0.1 else "hardly angry, most so"
        parts.append(f"{word}{at} ({share} likely)")
    else:
        parts.append(f"anger in {percent(call['share_anger'])} of the speech, most{at}")
    if call["escalated"]:
        parts.append(f"gets worse from {clock(call['onset_s'])} on" if call["onset_s"] is not None else "gets worse to the end")
    if call["emotion_role"] == "mixed":
        parts.append("both speakers share a channel")
    return "; ".join(parts)


def _opening(segments: list[Row]) -> list[Row]:
    chosen: list[Row] = []
    seconds = 0.0
    for each in segments:
        if seconds >= OPENING_S:
            return chosen
        chosen.append(each)
        seconds += each["end_s"] - each["start_s"]
    return []  # the call is no longer than its opening


def _rise(moment: Row, opening: list[Row], name: str, least: float) -> bool:
    """Whether a measure is higher at the moment than its mean over the opening, weighted by seconds, by at least so much."""
    known = [(each[name], each["end_s"] - each["start_s"]) for each in opening if each[name] is not None]
    if moment[name] is None or not known:
        return False
    mean = sum(value * seconds for value, seconds in known) / sum(seconds for _, seconds in known)
    return bool(moment[name] - mean >= least)


def not_scored(shown: Row) -> str:
    """What was not scored, in one sentence; empty where all was."""
    if not shown["left_out_calls"]:
        return ""
    parts = [f"{row['recordings']:,} because {why(row['outcome'], row['reason_code'])}" for row in shown["left_out"][:3]]
    rest = sum(row["recordings"] for row in shown["left_out"][3:])
    parts += [f"{rest:,} for other reasons"] if rest else []
    return f"{shown['left_out_calls']:,} of {shown['recent_calls']:,} calls not scored: {', '.join(parts)}."
