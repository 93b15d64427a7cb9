"""The player's report of what was played: who heard which part of which call, from when to when, for the access log."""

from fastapi import APIRouter, HTTPException, Request, Response

from ser_tasks.dashboard import forms
from ser_tasks.dashboard.call import call_row
from ser_tasks.dashboard.pages import NOT_LOGGED, TheViewer
from ser_tasks.dashboard.playback import PlaybackError
from ser_tasks.monitoring.access_log import Played

router = APIRouter()

LONGEST_S = 86_400.0
"""A report says no longer time than a day."""


@router.post("/calls/{recording_id}/listened")
def listened(request: Request, recording_id: str, viewer: TheViewer) -> Response:
    """Enters a stretch that was played. Only for those who may play it: nobody writes entries about calls that they never heard."""
    form = forms.checked(request)
    row = call_row(request, recording_id)
    try:
        request.app.state.playback.may_play(row, viewer)
        values = [float(form.get(name, "")) for name in ("from_s", "to_s", "elapsed_s")]
    except PlaybackError as error:
        raise HTTPException(error.status, str(error)) from None
    except ValueError:
        raise HTTPException(400, "Not logged: the report has no numbers.") from None
    if not all(0 <= value <= LONGEST_S for value in values):
        raise HTTPException(400, "Not logged: the report has numbers out of range.")
    try:
        request.app.state.access_log.write(viewer.name, "listened", recording_id, played=Played(*values))
    except OSError:
        raise HTTPException(503, NOT_LOGGED) from None
    return Response(status_code=204)
