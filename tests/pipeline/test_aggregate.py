"""Call-level columns against hand-computed truth."""

import numpy as np
import pytest

from ser_tasks.pipeline.aggregate import Scored, ScoreRules, emotion_columns
from ser_tasks.pipeline.extract import Extracted, Segment
from ser_tasks.pipeline.listing import Recording

LABELS = ("anger", "happiness", "neutral", "sadness")


def scored(*spans: tuple[float, float, str, list[float] | None], rates: dict[str, float] | None = None) -> Scored:
    result = Extracted(Recording("r", "e", "k", "k", None, "c", 1.0))
    for start_s, end_s, role, p in spans:
        result.segments.append(Segment(0, role, start_s, end_s, -20.0, 20.0, None if p else f"role_{role}", frames=10 if p else 0))
    rows = np.array([p for *_, p in spans if p], np.float32).reshape(-1, 4)
    return Scored(result, rows, ScoreRules(LABELS, unsure_below=0.5, priors=rates))


CALM, ANGRY, VAGUE = [0.0, 0.1, 0.9, 0.0], [0.8, 0.0, 0.1, 0.1], [0.3, 0.3, 0.2, 0.2]


def test_segment_columns_are_in_the_order_of_the_segments():
    rows = scored((0, 2, "agent", None), (2, 4, "customer", ANGRY), (5, 6, "customer", VAGUE)).segment_columns
    assert rows[0]["emotion"] is None and rows[0]["not_scored_reason"] == "role_agent"
    assert all(rows[0][f"p_{label}"] is None for label in LABELS) and rows[0]["unsure"] is None
    assert (rows[1]["emotion"], rows[1]["confidence"], rows[1]["unsure"]) == (
        "anger",
        pytest.approx(0.8),
        False,
    )
    assert rows[1]["p_sadness"] == pytest.approx(0.1) and rows[1]["p_fear"] is None
    assert rows[2]["unsure"] is True


def test_shares_means_and_peak_by_hand():
    columns = emotion_columns(scored((0, 6, "customer", CALM), (10, 12, "customer", ANGRY), (20, 22, "customer", VAGUE)), 40)
    assert columns["emotion_role"] == "customer"
    assert (columns["scored_speech_s"], columns["scored_segments"]) == (10, 3)
    assert columns["share_neutral"] == pytest.approx(0.6)
    assert columns["share_anger"] == pytest.approx(0.2)
    assert columns["share_happiness"] == 0
    assert columns["share_unsure"] == pytest.approx(0.2)
    assert columns["share_fear"] is None and columns["mean_p_fear"] is None
    assert columns["mean_p_anger"] == pytest.approx((0 * 6 + 0.8 * 2 + 0.3 * 2) / 10)
    assert columns["dominant_emotion"] == "neutral"
    assert (columns["peak_anger"], columns["peak_anger_at_s"]) == (pytest.approx(0.8), 10)


def test_quarters_weigh_each_segment_by_its_seconds_inside():
    columns = emotion_columns(scored((8, 12, "customer", ANGRY), (12, 18, "customer", CALM), (35, 39, "customer", ANGRY)), 40)
    assert columns["negativity_q1"] == pytest.approx(0.9)
    assert columns["negativity_q2"] == pytest.approx((2 * 0.9 + 6 * 0.0) / 8)
    assert columns["negativity_q3"] is None
    assert columns["negativity_q4"] == pytest.approx(0.9)
    assert columns["negativity_change"] == pytest.approx(0)


def test_escalated_is_a_change_against_the_opening_of_the_call():
    def call(*emotions: list[float]) -> Scored:
        return scored(*((4 * n, 4 * n + 3, "customer", [*p[:3], p[3] + n * 7 % 12 * 1e-4]) for n, p in enumerate(emotions)))

    mild = [0.04, 0.0, 0.92, 0.04]
    up = emotion_columns(call(*[CALM] * 6, *[ANGRY] * 6), 48)
    assert (up["escalated"], up["deescalated"], up["onset_s"]) == (True, False, 24) and up["escalation_z"] > 2.33
    down = emotion_columns(call(*[ANGRY] * 6, *[CALM] * 6), 48)
    assert (down["escalated"], down["deescalated"], down["onset_s"]) == (False, True, None)
    small = emotion_columns(call(*[CALM] * 6, *[mild] * 6), 48)
    assert small["escalated"] is False and small["escalation_z"] > 0
    sad = emotion_columns(call(*[CALM] * 6, *[[0.0, 0.1, 0.1, 0.8]] * 6), 48)
    assert sad["escalated"] is False and sad["negativity_change"] > 0.5
    short = emotion_columns(call(*[CALM] * 4, *[ANGRY] * 5), 36)
    assert short["escalated"] is short["deescalated"] is short["escalation_z"] is None


def test_base_rates_do_not_decide_whether_a_call_escalates():
    draw, columns = np.random.default_rng(0), []
    p = draw.dirichlet([1, 1, 4, 1], 24)
    p[14:, 0] += 1.0
    p /= p.sum(axis=1, keepdims=True)
    for rates in (None, {"anger": 0.02, "happiness": 0.08, "neutral": 0.8, "sadness": 0.1}):
        shifted = p * [rates[label] for label in LABELS] if rates else p
        spans = ((4 * n, 4 * n + 3, "customer", list(row / row.sum())) for n, row in enumerate(shifted))
        columns.append(emotion_columns(scored(*spans, rates=rates), 96))
    one, other = columns
    assert one["escalated"] and other["escalated"] and one["onset_s"] == other["onset_s"] == 56
    assert one["escalation_z"] == pytest.approx(other["escalation_z"], rel=1e-4) and one["negativity_q4"] > other["negativity_q4"] + 0.1


def test_a_model_without_anger_escalates_by_negativity():
    result = Extracted(Recording("r", "e", "k", "k", None, "c", 1.0))
    result.segments += [Segment(0, "customer", 4.0 * n, 4.0 * n + 3, -20.0, 20.0, None, frames=10) for n in range(12)]
    sadness = np.array([0.1, 0.12, 0.1, 0.13, 0.1, 0.1, 0.8, 0.82, 0.8, 0.83, 0.8, 0.8])
    columns = emotion_columns(Scored(result, np.stack([1 - sadness, sadness], 1), ScoreRules(("neutral", "sadness"), 0.5)), 48)
    assert columns["escalated"] and columns["onset_s"] == 24


def test_a_call_that_is_mostly_unsure_has_no_dominant_emotion():
    columns = emotion_columns(scored((0, 2, "customer", ANGRY), (3, 6, "customer", VAGUE)), 10)
    assert columns["dominant_emotion"] is None
    assert columns["share_unsure"] == pytest.approx(0.6)


def test_the_columns_describe_the_customer_not_an_agent_who_is_scored_too():
    columns = emotion_columns(scored((0, 9, "agent", ANGRY), (10, 11, "customer", CALM)), 20)
    assert (columns["emotion_role"], columns["share_anger"], columns["share_neutral"]) == ("customer", 0, 1)


def test_nothing_scored():
    columns = emotion_columns(scored((0, 9, "agent", None)), 20)
    assert (columns["scored_speech_s"], columns["scored_segments"], columns["emotion_role"]) == (0, 0, None)
    assert columns["share_anger"] is None and columns["escalated"] is None


def test_scores_that_are_not_finite_are_null_with_a_reason():
    result = scored((0, 2, "customer", [np.nan] * 4), (3, 5, "customer", CALM))
    assert result.segment_columns[0]["not_scored_reason"] == "not_finite" and result.segment_columns[0]["emotion"] is None
    assert emotion_columns(result, 10)["scored_segments"] == 1
