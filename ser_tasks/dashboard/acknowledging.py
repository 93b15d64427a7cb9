"""Acknowledging an alert: somebody has seen it, so Today folds it with their name, and no more reminders of it are sent."""

import logging

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from ser_tasks.dashboard import forms
from ser_tasks.dashboard.pages import TheViewer, fetch
from ser_tasks.dashboard.queries import OPEN_ALERTS
from ser_tasks.dashboard.review_panel import viewer_name
from ser_tasks.monitoring import alerts
from ser_tasks.monitoring.alert_rules import Alert

log = logging.getLogger("uvicorn.error")

router = APIRouter()

NOT_YOURS = "You may see this alert, but not acknowledge it: your groups need the right may_acknowledge for its queue."
NOT_SAVED = (
    "Not saved: the dashboard could not write to the lake. Acknowledging needs the right to write below alerts/. "
    "The log of ser dashboard has the cause."
)


@router.post("/alerts/acknowledged")
def acknowledged(request: Request, viewer: TheViewer) -> Response:
    """Records that the viewer has seen an open alert, and leads back to Today. Of two who do so, both are recorded."""
    form = forms.checked(request)
    rows = fetch(request, OPEN_ALERTS)
    row = next((each for each in rows if (each["rule"], each["subject"]) == (form.get("rule"), form.get("subject"))), None)
    if row is None:
        raise HTTPException(404, "Among the alerts of your queues there is no such open one: perhaps it was resolved meanwhile.")
    if not viewer.may_acknowledge_alert(row["subject"]):
        raise HTTPException(403, NOT_YOURS)
    if row["acknowledged_by"] is None:
        alert = Alert(row["rule"], row["subject"], row["severity"], row["message"])
        try:
            written = alerts.acknowledge(request.app.state.lake, alert, row["since"], viewer_name(request))
        except OSError as error:
            log.error("An acknowledgement could not be written to the lake: %s", error)
            raise HTTPException(503, NOT_SAVED) from None
        request.state.snapshot.add_alert(written)
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.state.prefix}/{query}#alerts", 303)
