"""One call: what was heard in it over time, what is known of it and from where, and its recording."""

import logging
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from ser_tasks.dashboard.calls import in_zone
from ser_tasks.dashboard.pages import Row, TheFilters, TheViewer, ask, page
from ser_tasks.dashboard.playback import NotPlayed, Playback
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
    "notice_given": "Caller was told",
    "roles": "Who is on which channel",
    "call_id": "Call id",
}
"""Facts that the page shows with their sources -> what they are called."""
PROVENANCE = ("model", "feature_set", "priors", "policy", "scored_at", "run_id", "code_version", "key", "etag", "recording_id", "chunk_id")


def call_row(request: Request, recording_id: str) -> Row:
    """The call's outcome, and its facts where it has them: null where it was quarantined or failed.
    Raises 404 for one that is not there, or not for this viewer."""
    rows = ask(
        request,
        """
        SELECT c.* EXCLUDE (outcome, call_id, recording_id, etag, key, chunk_id, model, feature_set, priors, policy, run_id, code_version,
            scored_at, day, version), o.*
        FROM outcomes AS o LEFT JOIN call_emotions AS c USING (recording_id) WHERE o.recording_id = $recording_id
        """,
        {"recording_id": recording_id},
    )
    if not rows:
        raise HTTPException(404, "There is no such call, or it is not in a queue of yours.")
    return rows[0]


@router.get("/calls/{recording_id}")
def call(request: Request, recording_id: str, viewer: TheViewer, filters: TheFilters, segments: int = 1) -> Response:
    found = call_row(request, recording_id)
    heard = ask(
        request,
        """
        FROM segments WHERE day = $day AND version = $version AND recording_id = $recording_id AND chunk_id = $chunk_id
        ORDER BY start_s, channel
        """,
        {name: found[name] for name in ("day", "version", "recording_id", "chunk_id")},
    )
    quarters = [found[f"negativity_q{quarter}"] for quarter in (1, 2, 3, 4)]
    timeline = draw(heard, found["duration_s"] or 0.0, found["emotion_role"], quarters)
    pages = max(1, -(-len(heard) // SEGMENTS_A_PAGE))
    if not 1 <= segments <= pages:
        raise HTTPException(404, f"The call's segments fill {pages} pages: there is no page {segments}.")
    return page(
        request,
        "call.html",
        filters=filters,
        call=found,
        timeline=timeline,
        segments=heard[SEGMENTS_A_PAGE * (segments - 1) : SEGMENTS_A_PAGE * segments],
        count=len(heard),
        page=segments,
        pages=pages,
        spoken=[[round(each["start_s"], 2), round(each["end_s"], 2), said(each)] for each in heard],
        said=said,
        clock=clock,
        local=in_zone(request),
        list_query=urlencode([each for each in request.query_params.multi_items() if each[0] != "segments"]),
        emotions=EMOTIONS,
        role_names=ROLE_NAMES,
        facts=FACTS,
        literal=literal,
        provenance=PROVENANCE,
        versions=_versions(request, found),
        others=_other_calls(request, found),
        problem=_problem(request.app.state.playback, found, viewer),
    )


def said(segment: Row) -> str:
    """A segment in a few words."""
    who = ROLE_NAMES.get(segment["role"], "Role unknown")
    if segment["emotion"] is None:
        return f"{who} speaks"
    return f"{who}: {'not sure' if segment['unsure'] else segment['emotion']} ({segment['confidence']:.2f})"


def _versions(request: Request, found: Row) -> list[Row]:
    """Every version of this recording that lies in the lake under the same day: other models, policies, uploads."""
    return ask(
        request,
        """
        SELECT o.version, o.model, o.policy, o.etag, o.outcome, o.scored_at, o.code_version, c.share_anger, c.share_unsure
        FROM outcomes_all AS o LEFT JOIN call_emotions_all AS c USING (day, version, chunk_id, recording_id)
        WHERE o.day = $day AND o.recording_id = $recording_id ORDER BY o.scored_at DESC
        """,
        {"day": found["day"], "recording_id": found["recording_id"]},
    )


def _other_calls(request: Request, found: Row) -> list[Row]:
    """The same caller's calls, by pseudonym, as far as the viewer may see them."""
    if found["customer_pseudonym"] is None:
        return []
    return ask(
        request,
        f"""
        SELECT recording_id, call_id, call_date, started_at, queue, outcome, share_anger, share_unsure, scored_speech_s
        FROM call_emotions WHERE customer_pseudonym = $caller
        ORDER BY started_at DESC NULLS LAST, call_date DESC, recording_id LIMIT {CALLS_OF_A_CALLER}
        """,
        {"caller": found["customer_pseudonym"]},
    )


def _problem(playback: Playback, found: Row, viewer: Any) -> str | None:
    try:
        playback.may_play(found, viewer)
    except NotPlayed as error:
        return str(error)
    return None


@router.get("/calls/{recording_id}/recording")
def recording(request: Request, recording_id: str, viewer: TheViewer) -> Response:
    """Sends the player on to a short-lived link."""
    found, playback = call_row(request, recording_id), request.app.state.playback
    try:
        playback.may_play(found, viewer)
        link = playback.link(found, f"/calls/{quote(recording_id, safe='')}/sound")
    except NotPlayed as error:
        return JSONResponse({"problem": str(error)}, error.status)
    log.info("%r is given a link to the recording %s", viewer.name, recording_id)
    return RedirectResponse(link, 307)


@router.get("/calls/{recording_id}/playable")
def playable(request: Request, recording_id: str, viewer: TheViewer) -> Response:
    """Why the recording can't be played just now, as the player shows it; null where it can."""
    found, playback = call_row(request, recording_id), request.app.state.playback
    try:
        playback.may_play(found, viewer)
        playback.link(found, "")
    except NotPlayed as error:
        return JSONResponse({"problem": str(error)})
    return JSONResponse({"problem": None})


@router.get("/calls/{recording_id}/sound")
def sound(request: Request, recording_id: str, viewer: TheViewer, until: str = "", sign: str = "") -> Response:
    """The sound itself, to who has a link that is still good, and may hear it still."""
    found, playback = call_row(request, recording_id), request.app.state.playback
    if not playback.is_signed(found, until, sign):
        return JSONResponse({"problem": "This link has expired."}, 403)
    try:
        playback.may_play(found, viewer)
        path, media_type = playback.file(found)
    except NotPlayed as error:
        return JSONResponse({"problem": str(error)}, error.status)
    return FileResponse(path, media_type=media_type)
