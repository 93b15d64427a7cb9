"""The page of one call: its timeline, its facts with their sources, and its recording."""

import json
import logging
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from ser_tasks.dashboard.pages import NOT_LOGGED, Row, TheFilters, TheViewer, fetch, in_zone, log_access, page
from ser_tasks.dashboard.playback import Playback, PlaybackError
from ser_tasks.dashboard.review_panel import panel
from ser_tasks.dashboard.timeline import ROLE_NAMES, clock, draw
from ser_tasks.lake.sql_text import literal
from ser_tasks.schemas import EMOTIONS

log = logging.getLogger("uvicorn.error")

router = APIRouter()

SEGMENTS_A_PAGE = 200
CALLS_OF_A_CALLER = 20
FACTS = {
    "started_at": "Started",
    "queue": "Queue",
    "language": "Language",
    "notice_given": "Caller was informed",
    "notice_text": "Notice",
    "notice_version": "Version of the notice",
    "notice_at": "Notice given at",
    "roles": "Who is on which channel",
    "call_id": "Call id",
}
"""Facts that the page shows with their sources -> their titles."""
PROVENANCE = (
    "model",
    "feature_set",
    "priors",
    "priors_source",
    "line_profile",
    "precision",
    "policy",
    "scored_at",
    "run_id",
    "code_version",
    "key",
    "etag",
    "recording_id",
    "chunk_id",
)


def call_row(request: Request, recording_id: str) -> Row:
    """The call's outcome and facts. Facts are null for quarantined and failed recordings.

    Raises HTTPException 404 for a call that does not exist, or that this viewer may not see.
    """
    rows = fetch(
        request,
        """
        SELECT c.* EXCLUDE (outcome, call_id, recording_id, etag, key, chunk_id, model, feature_set, priors, priors_source, line_profile,
            precision, policy, run_id, code_version, scored_at, day, version), o.*
        FROM outcomes AS o LEFT JOIN call_emotions AS c USING (recording_id) WHERE o.recording_id = $recording_id
        """,
        {"recording_id": recording_id},
    )
    if not rows:
        raise HTTPException(404, "There is no such call, or it is not in one of your queues.")
    row = rows[0]
    if request.app.state.playback.compares_content:
        sql = "SELECT content_hash FROM recordings_all WHERE day = $day AND recording_id = $recording_id AND etag = $etag"
        row |= next(iter(fetch(request, sql, {name: row[name] for name in ("day", "recording_id", "etag")})), {})
    return row


def segments_of(request: Request, row: Row) -> list[Row]:
    """The segments of a call that the viewer may see, in order."""
    return fetch(
        request,
        """
        FROM segments WHERE day = $day AND version = $version AND recording_id = $recording_id AND chunk_id = $chunk_id
        ORDER BY start_s, channel
        """,
        {name: row[name] for name in ("day", "version", "recording_id", "chunk_id")},
    )


@router.get("/calls/{recording_id}")
def call(request: Request, recording_id: str, viewer: TheViewer, filters: TheFilters, segments: int = 1) -> Response:
    row = call_row(request, recording_id)
    log_access(request, "call_page", recording_id)
    segment_rows = segments_of(request, row)
    quarters = [row[f"negativity_q{quarter}"] for quarter in (1, 2, 3, 4)]
    timeline = draw(segment_rows, row["duration_s"] or 0.0, row["emotion_role"], quarters)
    pages = max(1, -(-len(segment_rows) // SEGMENTS_A_PAGE))
    if not 1 <= segments <= pages:
        raise HTTPException(404, f"The call has {pages} pages of segments: there is no page {segments}.")
    return page(
        request,
        "call.html",
        filters=filters,
        call=row,
        timeline=timeline,
        segments=segment_rows[SEGMENTS_A_PAGE * (segments - 1) : SEGMENTS_A_PAGE * segments],
        count=len(segment_rows),
        page=segments,
        pages=pages,
        spoken=[[round(each["start_s"], 2), round(each["end_s"], 2), caption(each)] for each in segment_rows],
        clock=clock,
        local=in_zone(request),
        list_query=urlencode([each for each in request.query_params.multi_items() if each[0] != "segments"]),
        emotions=EMOTIONS,
        role_names=ROLE_NAMES,
        facts=FACTS,
        literal=literal,
        provenance=PROVENANCE,
        versions=_versions(request, row),
        others=_other_calls(request, row),
        problem=problem_of(request.app.state.playback, row, viewer),
        review=panel(request, row, segment_rows, blind=False),
        said=json.loads(row["words"] or "[]") if viewer.may_play_queue(row["queue"]) else [],
    )


def caption(segment: Row) -> str:
    """Who speaks in a segment, and its emotion if it was scored."""
    who = ROLE_NAMES.get(segment["role"], "Role unknown")
    if segment["emotion"] is None:
        return f"{who} speaks"
    return f"{who}: {'not sure' if segment['unsure'] else segment['emotion']} ({segment['confidence']:.2f})"


def _versions(request: Request, row: Row) -> list[Row]:
    """All versions of this recording of the same day in the lake: other models, policies and uploads."""
    return fetch(
        request,
        """
        SELECT o.version, o.model, o.policy, o.etag, o.outcome, o.scored_at, o.code_version, c.share_anger, c.share_unsure
        FROM outcomes_all AS o LEFT JOIN call_emotions_all AS c USING (day, version, chunk_id, recording_id)
        WHERE o.day = $day AND o.recording_id = $recording_id ORDER BY o.scored_at DESC
        """,
        {"day": row["day"], "recording_id": row["recording_id"]},
    )


def _other_calls(request: Request, row: Row) -> list[Row]:
    """Calls with the same caller's pseudonym that the viewer may see."""
    if row["customer_pseudonym"] is None:
        return []
    return fetch(
        request,
        f"""
        SELECT recording_id, call_id, call_date, started_at, queue, outcome, share_anger, share_unsure, scored_speech_s
        FROM call_emotions WHERE customer_pseudonym = $caller
        ORDER BY started_at DESC NULLS LAST, call_date DESC, recording_id LIMIT {CALLS_OF_A_CALLER}
        """,
        {"caller": row["customer_pseudonym"]},
    )


def problem_of(playback: Playback, row: Row, viewer: Any) -> str | None:
    try:
        playback.may_play(row, viewer)
    except PlaybackError as error:
        return str(error)
    return None


@router.get("/calls/{recording_id}/recording")
def recording(request: Request, recording_id: str, viewer: TheViewer) -> Response:
    """Redirects the player to a short-lived link."""
    row, playback = call_row(request, recording_id), request.app.state.playback
    try:
        playback.may_play(row, viewer)
        link = playback.link(row, f"{request.state.prefix}/calls/{quote(recording_id, safe='')}/sound", viewer.name)
    except PlaybackError as error:
        return JSONResponse({"problem": str(error)}, error.status)
    log_access(request, "listening", recording_id)
    log.info("%r received a link to the recording %s", viewer.name, recording_id)
    return RedirectResponse(link, 307)


@router.get("/calls/{recording_id}/playable")
def playable(request: Request, recording_id: str, viewer: TheViewer) -> Response:
    """Why the recording cannot be played now, as the player shows it; null if it can."""
    row, playback = call_row(request, recording_id), request.app.state.playback
    try:
        playback.may_play(row, viewer)
        playback.link(row, "", viewer.name)
        request.app.state.access_log.check()
    except PlaybackError as error:
        return JSONResponse({"problem": str(error)})
    except OSError:
        return JSONResponse({"problem": NOT_LOGGED})
    return JSONResponse({"problem": None})


@router.get("/calls/{recording_id}/sound")
def sound(request: Request, recording_id: str, viewer: TheViewer, until: str = "", sign: str = "") -> Response:
    """The audio, for the viewer to whom the link was made, while it is valid and they may still play it."""
    row, playback = call_row(request, recording_id), request.app.state.playback
    if not playback.is_signed(row, until, sign, viewer.name):
        return JSONResponse({"problem": "This link has expired."}, 403)
    try:
        playback.may_play(row, viewer)
        path, media_type = playback.file(row)
    except PlaybackError as error:
        return JSONResponse({"problem": str(error)}, error.status)
    return FileResponse(path, media_type=media_type)
