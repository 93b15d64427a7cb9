"""What the review panel of a call's page shows: what may be judged, and what was said of it so far."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import Request

from ser_tasks.dashboard import forms
from ser_tasks.dashboard.pages import Row, fetch_to_review
from ser_tasks.dashboard.timeline import clock
from ser_tasks.dashboard.viewers import Viewer, reviewer_name
from ser_tasks.lake.reviews import MAX_NOTE_CHARACTERS
from ser_tasks.schemas import EMOTIONS
from ser_tasks.storage import open_store

JUDGED_OUTCOMES = ("scored", "no_speech")
MAX_STRETCHES = 400
"""Stretches that a page offers; a longer call's later ones are judged on the stretch that plays, as any other."""


def to_judge(segments: Sequence[Row]) -> list[Row]:
    """The segments that may be judged: those of people whose emotion is shown."""
    return [each for each in segments if each["emotion"] is not None]


def unit_of(segment: Row) -> str:
    """A stretch as the form names it: channel, start and end."""
    return f"{segment['channel']}:{segment['start_s']!r}:{segment['end_s']!r}"


def panel(request: Request, row: Row, segments: Sequence[Row], blind: bool, sample: str | None = None) -> dict[str, Any] | None:
    """What the review panel of a page shows; None where the viewer may not judge the call."""
    viewer: Viewer = request.state.viewer
    if not viewer.may_review_queue(row["queue"]) or row["outcome"] not in JUDGED_OUTCOMES:
        return None
    store = open_store(request.app.state.lake)
    drawn = drawn_of(request, row["recording_id"], sample)
    wanted = {(each["channel"], each["start_s"], each["end_s"]) for each in drawn}
    stretches = [each for each in to_judge(segments) if not wanted or (each["channel"], each["start_s"], each["end_s"]) in wanted]
    return {
        "stretches": [(unit_of(each), each["start_s"], each["end_s"]) for each in stretches[:MAX_STRETCHES]],
        "emotions": EMOTIONS,
        "blind": blind,
        "sample": sample if drawn else None,
        "token": forms.token(request),
        "reviewer": reviewer_name(viewer, request.app.state.settings),
        "max_note": MAX_NOTE_CHARACTERS,
        "may_write": store.local_root is None or _is_writable(store.local_root),
        "judged": judged_of(request, row["recording_id"], own=blind),
        "next": next_call(request, sample, row["recording_id"]) if drawn else None,
        "clock": clock,
    }


def viewer_name(request: Request) -> str:
    """The name under which the viewer's reviews are stored."""
    return reviewer_name(request.state.viewer, request.app.state.settings)


def next_call(request: Request, sample: str | None, after: str) -> str | None:
    """The recording_id of the next call of a sample of which the viewer has not judged the whole call; None where there is none."""
    if sample is None:
        return None
    rows = fetch_to_review(
        request,
        """
        WITH calls AS (SELECT recording_id, position FROM review_samples WHERE sample_id = $sample AND channel IS NULL),
        mine AS (SELECT recording_id FROM review_labels WHERE reviewer = $reviewer AND channel IS NULL)
        SELECT recording_id FROM calls ANTI JOIN mine USING (recording_id) WHERE recording_id <> $after ORDER BY position LIMIT 1
        """,
        {"sample": sample, "reviewer": viewer_name(request), "after": after},
    )
    return rows[0]["recording_id"] if rows else None


def drawn_of(request: Request, recording_id: str, sample: str | None) -> list[Row]:
    """What was drawn of a call in a sample. No score, no stratum."""
    if sample is None:
        return []
    return fetch_to_review(
        request,
        "SELECT channel, start_s, end_s FROM review_samples WHERE sample_id = $sample AND recording_id = $recording_id",
        {"sample": sample, "recording_id": recording_id},
    )


def judged_of(request: Request, recording_id: str, own: bool) -> list[Row]:
    """Reviews of a call, newest first; ``own``: only the viewer's own, so that nobody sees what others heard before they judge."""
    rows = fetch_to_review(
        request,
        """
        SELECT reviewer, reviewed_at, channel, start_s, end_s, verdict, emotion, note, blind, model_emotion, model_score
        FROM reviews WHERE recording_id = $recording_id AND (NOT $own OR reviewer = $reviewer)
        ORDER BY reviewed_at DESC, review_id DESC LIMIT 50
        """,
        {"recording_id": recording_id, "own": own, "reviewer": viewer_name(request)},
    )
    for row in rows:
        if row["emotion"] is None:  # heard and note judge nothing, so they show nothing
            row |= {"model_emotion": None, "model_score": None, "shows": False}
        else:
            row["shows"] = True
    return rows


def _is_writable(root: Path) -> bool:
    nearest = next(each for each in (root / "reviews", root, *root.parents) if each.exists())
    return os.access(nearest, os.W_OK)
