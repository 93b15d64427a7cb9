"""Figures on composed calls, on worked examples."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from ser_tasks.evaluation.call_metrics import (
    calls_with_scores,
    measure_calls,
    precision_at_top,
    rate_weights,
    segments_with_truth,
)
from ser_tasks.evaluation.call_report import write_call_report

KINDS = ("none", "bursts", "none", "rising", "none", "throughout")
COUNT = 60


def truth_table(count=COUNT):
    """Calls of two corpora and six customers; a call is the longer, the higher its number."""
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    anger_s = [0.0 if kind == "none" else 10.0 for kind in kinds]
    return pd.DataFrame(
        {
            "call_id": [f"call-{number}" for number in range(count)],
            "kind": kinds,
            "corpus": ["new" if number // 6 % 2 else "known" for number in range(count)],
            "customer": [f"c{number // 6 % 6}" for number in range(count)],
            "duration_s": [120.0 + 10 * number for number in range(count)],
            "anger_s": anger_s,
            "has_anger": [seconds >= 5 for seconds in anger_s],
            "onset_s": [60.0 if kind == "rising" else np.nan for kind in kinds],
        }
    )


def turn_rows(truth):
    """Each customer speaks from 10 to 30 s, the second half in anger where the call holds any, and the agent from 0 to 10 s."""
    rows = []
    for call in truth.itertuples():
        rows.append((call.call_id, "agent", 0.0, 10.0, "neutral"))
        rows.append((call.call_id, "customer", 10.0, 20.0, "neutral"))
        rows.append((call.call_id, "customer", 20.0, 30.0, "anger" if call.has_anger else "happiness"))
    return pd.DataFrame(rows, columns=["call_id", "role", "start_s", "end_s", "emotion"])


def segment_rows(truth):
    """Two segments a call, recognised without an error; those of happiness are unsure, and one in four of neutral ones is wrong."""
    rows = []
    for number, call in enumerate(truth.itertuples()):
        wrong = number % 4 == 0
        rows.append((call.call_id, 10.2, 19.8, 0.0, "sadness" if wrong else "neutral", False, "sadness,neutral"))
        rows.append(
            (call.call_id, 20.2, 29.8, float(call.has_anger), "anger" if call.has_anger else "happiness", not call.has_anger, "anger")
        )
    return pd.DataFrame(rows, columns=["call_id", "start_s", "end_s", "p_anger", "emotion", "unsure", "emotion_set"])


def scored_rows(truth):
    """A lake that found everything but the call of most anger."""
    rising = truth.kind == "rising"
    return pd.DataFrame(
        {
            "call_id": truth.call_id,
            "peak_anger": truth.has_anger.astype(float),
            "peak_anger_at_s": 20.2,
            "mean_p_anger": truth.has_anger / 2,
            "share_anger": truth.has_anger / 2,
            "scored_speech_s": 19.2,
            "escalated": pd.Series(rising, dtype=object),
            "deescalated": pd.Series(False, truth.index, dtype=object),
            "onset_s": np.where(rising, 70.0, np.nan),
        }
    )


@pytest.fixture
def tables():
    truth = truth_table()
    segments = segments_with_truth(segment_rows(truth), turn_rows(truth))
    return calls_with_scores(truth, scored_rows(truth), segments), segments


def test_precision_at_the_top_of_a_worked_example():
    """Two of four hold anger; at a rate of 0.1 each weighs 0.05, and the others 0.45 each."""
    assert precision_at_top([1, 1, 0, 0], [4, 3, 2, 1], 0.1) == pytest.approx(1.0)
    assert precision_at_top([1, 0, 1, 0], [4, 3, 2, 1], 0.1) == pytest.approx(0.5)
    assert precision_at_top([1, 1, 0, 0], [1, 1, 1, 1], 0.1) == pytest.approx(0.1)
    assert precision_at_top([1, 1, 0, 0], [4, 3, 2, 1], 0.05) == pytest.approx(0.5)  # the top tenth is twice as many


def test_weights_give_what_a_resampled_pool_tends_to():
    rng = np.random.default_rng(0)
    positive = np.repeat([True, False], [30, 60])
    score = rng.normal(size=90) + positive
    drawn = np.concatenate([rng.choice(30, 1000), 30 + rng.choice(60, 9000)])
    resampled = average_precision_score(positive[drawn], score[drawn])
    assert average_precision_score(positive, score, sample_weight=rate_weights(positive, 0.1)) == pytest.approx(resampled, abs=0.03)
    top = np.argsort(-score[drawn], kind="stable")[:1000]
    assert precision_at_top(positive, score, 0.1) == pytest.approx(positive[drawn][top].mean(), abs=0.03)


def test_a_segment_has_the_emotion_of_the_clips_that_fill_most_of_it():
    turns = pd.DataFrame(
        [("a", "customer", 0, 4, "neutral"), ("a", "customer", 4.2, 10, "anger"), ("a", "agent", 10, 20, "neutral")],
        columns=["call_id", "role", "start_s", "end_s", "emotion"],
    )
    spans = [(0, 4), (3, 6), (1, 5), (9, 12), (9.4, 10.4), (12, 14)]
    segments = pd.DataFrame([("a", start_s, end_s) for start_s, end_s in spans], columns=["call_id", "start_s", "end_s"])
    found = segments_with_truth(segments, turns).true_emotion
    assert found.tolist() == ["neutral", "anger", "neutral", None, "anger", None]


def test_a_lake_that_is_right_scores_so(tables):
    metrics = measure_calls(*tables, heard_corpora=["known"])
    assert (metrics["ranked_by"], metrics["seconds_by"], metrics["not_scored"]) == ("peak_anger", "sum of p_anger x seconds", 0)
    assert metrics["groups"].keys() == {"all", "unheard people of known corpora", "unheard corpora", "corpus known", "corpus new"}
    group = metrics["groups"]["all"]
    assert (group["calls"], group["with_anger"], group["customers"]) == (60, 30, 6)
    assert group["ranking"]["auc"] == 1 and group["ranking"]["auc_95"] == [1, 1]
    at = group["ranking"]["at_base_rate"]
    assert [at[rate]["average_precision"] for rate in ("0.05", "0.1", "0.25")] == pytest.approx([1, 1, 1])
    assert [at[rate]["precision_at_top"] for rate in ("0.05", "0.1", "0.25")] == pytest.approx([0.5, 1, 1])
    assert group["ranking"]["mean_at_10_percent"] == pytest.approx(0.1)
    error = group["anger_seconds"]
    assert error["mean_absolute_error_s"] == pytest.approx(0.2) and error["mean_error_with_anger_s"] == pytest.approx(-0.4)
    assert error["mean_error_without_s"] == 0 and error["correlation"] == pytest.approx(1)
    assert group["steady"] == {"calls": 40, "escalated": 0, "deescalated": 0}
    assert group["rising"]["escalated"] == 1 and group["rising"]["onset_median_error_s"] == 10
    assert group["moment_is_anger"] == 1
    segments = group["segments"]
    assert (segments["segments"], segments["coverage"], segments["without_a_voice"]) == (120, 0.75, 0)
    assert segments["wrong_where_sure"] == pytest.approx(15 / 90) and segments["auc_anger"] == 1
    assert segments["set_coverage"] == pytest.approx({"all": 0.75, "anger": 1, "happiness": 0, "neutral": 1})
    assert (segments["missed_where_sure"], segments["one_emotion"], segments["wrong_of_one"]) == (0, 0.5, 0.5)


def test_the_newest_columns_are_measured_where_the_lake_has_them(tables):
    calls, segments = tables
    truth = truth_table()
    scored = scored_rows(truth).assign(call_anger=1 - truth.has_anger.astype(float), anger_seconds=truth.anger_s + 3, call_anger_at_s=10.2)
    calls = calls_with_scores(truth, scored, segments)
    metrics = measure_calls(calls, segments.assign(anger_score=1 - segments.p_anger), heard_corpora=[])
    assert (metrics["ranked_by"], metrics["seconds_by"]) == ("call_anger", "anger_seconds")
    group = metrics["groups"]["all"]
    assert (group["ranking"]["auc"], group["moment_is_anger"], group["segments"]["auc_anger"]) == (0, 0, 0)
    assert group["anger_seconds"]["mean_error_with_anger_s"] == group["anger_seconds"]["mean_error_without_s"] == 3


def test_calls_that_were_not_scored_are_counted_and_left_out(tables):
    truth = truth_table()
    _, segments = tables
    scored = scored_rows(truth).iloc[1:]
    calls = calls_with_scores(truth, scored, segments[segments.call_id != "call-0"])
    metrics = measure_calls(calls, segments, [])
    assert metrics["not_scored"] == 1 and metrics["groups"]["all"]["ranking"]["auc"] == 1
    assert metrics["groups"]["all"]["steady"]["calls"] == 39


def test_what_depends_on_length_shows(tables):
    calls, segments = tables
    fair = measure_calls(calls, segments, [])["length_differences"]
    assert fair["0"]["found_anger"] == {"shortest": 0, "longest": 0, "difference_95": [0, 0]} and fair["0"]["calls"] == [6, 6]
    assert fair["0.2"]["found_anger_per_s"]["shortest"] == pytest.approx(0.5)
    unfair = measure_calls(calls.assign(found_anger=calls.duration_s / 1000), segments, [])["length_differences"]
    assert unfair["0"]["found_anger"]["longest"] - unfair["0"]["found_anger"]["shortest"] > 0.4
    assert unfair["0"]["found_anger"]["difference_95"][0] > 0.4
    long = calls.duration_s > calls.duration_s.median()
    by_length = measure_calls(calls.assign(escalated=long), segments, [])["by_length"]
    assert [row["escalated"] for row in by_length] == [0, 0, 0.5, 1, 1] and sum(row["calls"] for row in by_length) == 40


def test_every_figure_is_in_a_report_that_stands_alone(tables, tmp_path):
    calls, segments = tables
    metrics = measure_calls(calls, segments, ["known"]) | {
        "model": "m-1-0", "adapted": "scored raw", "seed": 0, "noise": ["office<.flac"], "data": ["new: 3 clips"],
        "left_out_emotions": {"fear": 2}, "left_out_clips_of_training_speakers": 0, "leaked_speakers": ["new/s1"],
        "run": {"lines": [{"line": "all", "segments": 3, "callers": 1, "refused": "3 segments of 1 callers are too few"}]},
    }  # fmt: skip
    metrics["audio_hours"] = 1.0
    write_call_report(calls, segments, turn_rows(truth_table()), metrics, tmp_path)
    text, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert text.startswith("# m-1-0 on 60 composed calls of 6 customers, scored raw: LEAKS, 1 speakers or clips were in its training")
    assert (
        "| unheard corpora | 30 (15 with anger) | 1.000 (1.00 to 1.00) |" in text and "- line all: 3 segments of 1 callers are too" in text
    )
    assert page.count("data:image/svg+xml;base64,") == 4 and "http" not in page and "<.flac" not in page
    assert json.loads((tmp_path / "metrics.json").read_text())["groups"]["all"]["ranking"]["auc"] == 1
    assert len(pd.read_parquet(tmp_path / "calls.parquet")) == 60 and len(pd.read_parquet(tmp_path / "segments.parquet")) == 120
    assert len(pd.read_parquet(tmp_path / "turns.parquet")) == 180
