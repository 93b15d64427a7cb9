"""The review queue: samples of calls to judge, and what was measured with them."""

import json
import logging
from datetime import date
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from ser_tasks.dashboard import forms
from ser_tasks.dashboard.overview import queue_names
from ser_tasks.dashboard.pages import Row, TheFilters, TheViewer, fetch_to_review, in_zone, page
from ser_tasks.dashboard.review import NOT_SAVED
from ser_tasks.dashboard.review_panel import next_call, viewer_name
from ser_tasks.dashboard.viewers import Viewer
from ser_tasks.lake import review_sampling, reviews
from ser_tasks.schemas import EMOTIONS
from ser_tasks.storage import open_store

log = logging.getLogger("uvicorn.error")

router = APIRouter()

SAMPLES_LISTED = 10
LEAST_STRETCHES = 30
"""Judged stretches from which on base rates are suggested as a setting."""
CHOSEN = """
    WITH calls AS (
        SELECT recording_id, avg((emotion = 'anger')::INTEGER) AS angry
        FROM review_labels
        SEMI JOIN worst_calls USING (recording_id)
        WHERE channel IS NULL AND sample_id IS NULL
        GROUP BY recording_id
    )
    SELECT count(*) AS judged, avg(angry) AS share, wilson_interval(avg(angry), count(*)) AS ends FROM calls
"""
"""Ranked calls that were judged besides every sample, as from Today. They were chosen, so they stand for no other call."""

NO_RIGHT = "Your groups may not judge calls: that needs the right to listen to a queue, and to review (may_play, may_review)."


@router.get("/reviews")
def queue(request: Request, viewer: TheViewer, filters: TheFilters, sample: str = "") -> Response:
    _may_review(viewer)
    samples = fetch_to_review(
        request,
        f"""
        SELECT sample_id, any_value(drawn_at) AS drawn_at, any_value(drawn_by) AS drawn_by, any_value(first_date) AS first_date,
            any_value(last_date) AS last_date, any_value(queues) AS queues, count(*) FILTER (channel IS NULL) AS calls
        FROM review_samples GROUP BY sample_id ORDER BY sample_id DESC LIMIT {SAMPLES_LISTED}
        """,
    )
    shown = next((each for each in samples if each["sample_id"] == sample), samples[0] if samples and not sample else None)
    if sample and shown is None:
        raise HTTPException(404, "There is no such sample, or none of its calls is in one of your queues.")
    rows = _calls_of(request, shown["sample_id"]) if shown else []
    return page(
        request,
        "reviews.html",
        filters=filters,
        sample=shown,
        samples=samples,
        rows=rows,
        judged=sum(row["mine"] is not None for row in rows),
        next=next_call(request, shown["sample_id"], "") if shown else None,
        token=forms.token(request),
        queues=[name for name in queue_names(request) if name and viewer.may_review_queue(name)],
        usual_calls=review_sampling.CALLS,
        max_calls=review_sampling.MAX_CALLS,
        local=in_zone(request),
    )


@router.post("/reviews/samples")
def draw(request: Request, viewer: TheViewer) -> Response:
    """Draws and stores a sample of the calls that the viewer may judge."""
    form = forms.checked(request)
    _may_review(viewer)
    try:
        first, last = date.fromisoformat(form.get("first", "")), date.fromisoformat(form.get("last", ""))
        calls = int(form.get("calls", review_sampling.CALLS))
    except ValueError:
        raise HTTPException(400, "Not drawn: give two dates as 2026-11-20, and a number of calls.") from None
    queues = [form["queue"]] if form.get("queue") else []
    try:
        sample = review_sampling.draw(
            lambda sql, values: fetch_to_review(request, sql, values), first, last, viewer_name(request), queues, calls
        )
        reviews.write_sample(open_store(request.app.state.lake), sample.rows, sample.day)
    except ValueError as error:
        raise HTTPException(400, f"Not drawn: {error}") from None
    except OSError as error:
        log.error("A review sample could not be written to the lake: %s", error)
        raise HTTPException(503, NOT_SAVED) from None
    return RedirectResponse(f"{request.state.prefix}/reviews?sample={sample.rows[0]['sample_id']}", 303)


@router.get("/reviews/precision")
def precision(request: Request, viewer: TheViewer) -> Response:
    _may_review(viewer)
    newest = fetch_to_review(request, "SELECT model FROM reviewed_sample ORDER BY drawn_at DESC, model LIMIT 1")
    model = newest[0]["model"] if newest else None

    def of_model(view: str, more: str = "true") -> list[Row]:
        return fetch_to_review(request, f"FROM {view} WHERE model = $model AND {more}", {"model": model})

    threshold, base_rates = of_model("suggested_threshold", "suggested"), of_model("suggested_base_rates")
    return page(
        request,
        "review_precision.html",
        model=model,
        precision=of_model("measured_precision"),
        chosen=fetch_to_review(request, CHOSEN)[0],
        agreement=fetch_to_review(request, "FROM reviewer_agreement LIMIT 20"),
        calibration=of_model("review_calibration"),
        threshold=threshold[0] if threshold else None,
        base_rates=base_rates,
        priors=_priors(request, model, base_rates),
    )


def _calls_of(request: Request, sample: str) -> list[Row]:
    """The calls of a sample in its order, with what the viewer said of each. No score, no stratum."""
    return fetch_to_review(
        request,
        """
        SELECT s.recording_id, s.call_id, c.call_date, c.queue, mine.emotion AS mine, coalesce(others.reviewers, 0) AS reviewers
        FROM review_samples AS s
        JOIN call_emotions AS c USING (recording_id)
        LEFT JOIN (FROM review_labels WHERE reviewer = $reviewer AND channel IS NULL) AS mine ON mine.recording_id = s.recording_id
        LEFT JOIN (
            SELECT recording_id, count(DISTINCT reviewer) AS reviewers FROM review_labels WHERE channel IS NULL GROUP BY ALL
        ) AS others ON others.recording_id = s.recording_id
        WHERE s.sample_id = $sample AND s.channel IS NULL
        ORDER BY s.position
        """,
        {"sample": sample, "reviewer": viewer_name(request)},
    )


def _priors(request: Request, model: str | None, base_rates: list[Row]) -> str | None:
    """Base rates of the emotions that the model knows, as the setting has them: rare ones are above 0, and all add up to 1."""
    if not base_rates or base_rates[0]["judged_stretches"] < LEAST_STRETCHES:
        return None
    known = ", ".join(f"count(mean_p_{emotion}) > 0 AS {emotion}" for emotion in EMOTIONS)
    [row] = fetch_to_review(request, f"SELECT {known} FROM call_emotions WHERE model = $model", {"model": model})
    heard = {each["emotion"]: each["base_rate"] for each in base_rates}
    smallest = 0.5 / base_rates[0]["judged_stretches"]
    rates: dict[str, Any] = {emotion: max(smallest, heard.get(emotion, 0.0)) for emotion in EMOTIONS if row[emotion]}
    total = sum(rates.values())
    return json.dumps({emotion: round(rate / total, 4) for emotion, rate in rates.items()}) if total else None


def _may_review(viewer: Viewer) -> None:
    if not viewer.may_review and not viewer.reviewable_queues:
        raise HTTPException(403, NO_RIGHT)
