"""Judging a call: what a reviewer hears, of the whole call or of a stretch, with the score in view or hidden until they have judged."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from ser_tasks.dashboard import forms
from ser_tasks.dashboard.call import call_row, problem_of, segments_of
from ser_tasks.dashboard.pages import ENVIRONMENT, Row, TheViewer, in_zone, log_access, page
from ser_tasks.dashboard.review_panel import JUDGED_OUTCOMES, drawn_of, judged_of, next_call, panel, to_judge, unit_of, viewer_name
from ser_tasks.dashboard.timeline import ROLE_NAMES, clock, draw
from ser_tasks.lake import reviews
from ser_tasks.lake.reviews import CallGoneError, Review, Stretch
from ser_tasks.storage import open_store

log = logging.getLogger("uvicorn.error")

router = APIRouter()

CALL_IS_ANGRY = 0.5
"""From this call_anger on, the model says that a call is angry."""
NOT_YOURS = "You may see this call, but not judge it: that needs the right to listen to its queue, and to review (may_play, may_review)."
NOT_SAVED = (
    "Not saved: the dashboard could not write to the lake. Reviews need the right to write below reviews/ and review_samples/; everything "
    "else works without it. The log of ser dashboard has the cause."
)


@router.get("/calls/{recording_id}/review")
def review_page(request: Request, recording_id: str, viewer: TheViewer, sample: str = "") -> Response:
    """A page to judge a call on without its scores: they are nowhere in it."""
    row = call_row(request, recording_id)
    if not viewer.may_review_queue(row["queue"]):
        raise HTTPException(403, NOT_YOURS)
    log_access(request, "call_page", recording_id)
    segments = segments_of(request, row)
    unscored = [each | {"emotion": None, "unsure": None} for each in segments]
    known = {name: row[name] for name in ("recording_id", "call_id", "started_at", "call_date", "day", "queue", "language", "duration_s")}
    shown = panel(request, row, segments, blind=True, sample=sample or None)
    return page(
        request,
        "review.html",
        call=known | {name: row[name] for name in ("channels", "channel_roles")},
        timeline=draw(unscored, row["duration_s"] or 0.0, None, [None] * 4),
        spoken=[
            [round(each["start_s"], 2), round(each["end_s"], 2), f"{ROLE_NAMES.get(each['role'], 'Role unknown')} speaks"]
            for each in segments
        ],
        review=shown,
        problem=problem_of(request.app.state.playback, row, viewer),
        local=in_zone(request),
        clock=clock,
    )


@router.post("/calls/{recording_id}/reviews")
def save(request: Request, recording_id: str, viewer: TheViewer) -> Response:
    """Stores one judgement, and answers with what the viewer has said of the call so far, or leads back to its page."""
    form = forms.checked(request)
    row = call_row(request, recording_id)
    if not viewer.may_review_queue(row["queue"]) or row["outcome"] not in JUDGED_OUTCOMES:
        raise HTTPException(403, NOT_YOURS)
    blind, sample = form.get("blind") == "yes", form.get("sample") or None
    try:
        stretch, judged = _stretch(form.get("stretch", ""), segments_of(request, row))
        review = _review(form, viewer_name(request), stretch, judged or row, blind, _of_sample(request, sample, recording_id, stretch))
        review = replace(review, blind=blind and not _was_shown(request, recording_id, stretch))
        where = {name: row[name] for name in ("day", "version", "chunk_id", "recording_id", "etag", "call_id", "model")}
        reviews.write(open_store(request.app.state.lake), reviews.Call(**where), review)
    except CallGoneError as error:
        raise HTTPException(409, str(error)) from None
    except ValueError as error:
        raise HTTPException(400, f"Not saved: {error}") from None
    except OSError as error:
        log.error("A review could not be written to the lake: %s", error)
        raise HTTPException(503, NOT_SAVED) from None
    if "application/json" in request.headers.get("Accept", ""):
        shown = {"judged": judged_of(request, recording_id, own=blind), "clock": clock, "next": None}
        if sample:
            shown["next"] = next_call(request, sample, recording_id)
        html = ENVIRONMENT.get_template("review_judged.html").render(review=shown | {"sample": sample}, root=request.state.prefix)
        return JSONResponse({"saved": _said(review), "html": html})
    page_of_call = f"{request.state.prefix}/calls/{row['recording_id']}"
    address = f"{page_of_call}/review" + (f"?sample={sample}" if sample else "") if blind else page_of_call
    return RedirectResponse(f"{address}#review", 303)


def _review(form: dict[str, str], reviewer: str, stretch: Stretch | None, judged: Row, blind: bool, sample: str | None) -> Review:
    emotion, score = _of_model(judged, stretch is None)
    do, note = form.get("do", ""), form.get("note", "").strip() or None
    facts: dict[str, Any] = {
        "stretch": stretch,
        "note": note,
        "blind": blind,
        "model_emotion": emotion,
        "model_score": score,
        "sample_id": sample,
    }
    if do == "agree":
        if blind:
            raise ValueError("without the score in view there is nothing to agree with: say which emotion you hear.")
        if emotion is None:
            raise ValueError("the model is not sure here: say which emotion you hear.")
        return Review("agree", reviewer, emotion, **facts)
    if do.startswith("emotion:"):
        heard = do.removeprefix("emotion:")
        return Review("agree" if heard == emotion else "wrong", reviewer, heard, **facts)
    return Review(do, reviewer, **facts)


def _of_model(judged: Row, is_call: bool) -> tuple[str | None, float | None]:
    """The model's emotion and score of a call or a stretch. A call is angry from CALL_IS_ANGRY on, else as most of its speech."""
    if is_call:
        score = judged["call_anger"]
        return ("anger" if score is not None and score >= CALL_IS_ANGRY else judged["dominant_emotion"]), score
    score = judged["anger_score"] if judged["anger_score"] is not None else judged["p_anger"]
    return (None if judged["unsure"] else judged["emotion"]), score


def _stretch(text: str, segments: Sequence[Row]) -> tuple[Stretch | None, Row | None]:
    """The stretch that a form names, and its segment; None for the whole call. Raises ValueError for one that may not be judged."""
    if not text:
        return None, None
    for each in to_judge(segments):
        if unit_of(each) == text:
            return Stretch(each["channel"], each["start_s"], each["end_s"]), each
    raise ValueError("there is no such stretch to judge: choose one of the list.")


def _was_shown(request: Request, recording_id: str, stretch: Stretch | None) -> bool:
    """Whether the viewer has judged this before, and so was shown what the model says."""
    start_s = stretch and stretch.start_s
    channel = stretch and stretch.channel
    rows = judged_of(request, recording_id, own=True)
    return any(row["shows"] and (row["channel"], row["start_s"]) == (channel, start_s) for row in rows)


def _of_sample(request: Request, sample: str | None, recording_id: str, stretch: Stretch | None) -> str | None:
    """The sample, where this call or stretch was drawn in it; else None: it was judged besides."""
    place = (stretch.channel, stretch.start_s, stretch.end_s) if stretch else (None, None, None)
    drawn = drawn_of(request, recording_id, sample)
    return sample if any((each["channel"], each["start_s"], each["end_s"]) == place for each in drawn) else None


def _said(review: Review) -> str:
    where = f"{clock(review.stretch.start_s)} to {clock(review.stretch.end_s)}" if review.stretch else "the whole call"
    what = {"heard": "heard", "note": "note"}.get(review.verdict, review.emotion)
    return f"Saved: {what}, {where}."
