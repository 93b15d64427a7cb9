"""Reviews: rows of several writers and of killed ones, samples whose weights are right, and the figures that are made of them."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ser_tasks.lake import catalog, erased, parts, review_sampling, reviews
from ser_tasks.lake.reviews import CallGoneError, Review, Stretch
from ser_tasks.storage import open_store
from tests.factories.lakes import DAY, MODEL, POLICY, Call, angry, row, segment, write, write_calls

HERE = reviews.Call(DAY, f"{MODEL}.{POLICY}", "c1", "id-angry", "e1", "angry", MODEL)
WRITER = """
import sys
from datetime import date
from ser_tasks.lake import reviews
from ser_tasks.storage import open_store
lake, name, count = sys.argv[1:]
call = reviews.Call(date(2026, 11, 20), "cnn_lstm-1-aaaa.customers_only", "c1", "id-angry", "e1", "angry", "cnn_lstm-1-aaaa")
for number in range(int(count)):
    reviews.write(open_store(lake), call, reviews.Review("note", name, note=f"{name} {number}"))
    print(number, flush=True)
"""


@pytest.fixture
def lake(tmp_path):
    write_calls(str(tmp_path), [angry()])
    return str(tmp_path)


def ask(lake, sql):
    with catalog.connect(lake) as connection:
        return connection.execute(sql).fetchall()


def test_a_review_is_read_in_sql_as_it_was_written(lake):
    given = Review("wrong", "ann", "sadness", Stretch(1, 2, 6), "She cries.", True, "anger", 0.8, "s1")
    written = reviews.write(open_store(lake), HERE, given)
    [found] = ask(
        lake, "SELECT review_id, call_id, channel, start_s, end_s, verdict, emotion, note, blind, reviewer, model_emotion FROM reviews"
    )
    assert found == (written["review_id"], "angry", 1, 2.0, 6.0, "wrong", "sadness", "She cries.", True, "ann", "anger")
    [(day, at)] = ask(lake, "SELECT day, reviewed_at FROM reviews")
    assert day == DAY
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"verdict": "perhaps"}, "no verdict"),
        ({"verdict": "wrong"}, "Which emotion"),
        ({"verdict": "wrong", "emotion": "boredom"}, "no emotion"),
        ({"verdict": "heard", "emotion": "anger"}, "heard has no emotion"),
        ({"verdict": "note"}, "empty"),
        ({"verdict": "note", "note": "x" * 501}, "501 characters"),
        ({"verdict": "heard", "reviewer": " "}, "name"),
    ],
)
def test_a_review_that_says_nothing_or_too_much_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Review(**{"reviewer": "ann"} | wrong)


def test_who_thinks_again_adds_a_row_and_the_latest_counts(lake):
    store = open_store(lake)
    for review in (
        Review("agree", "ann", "anger"),
        Review("heard", "ann"),
        Review("wrong", "ann", "neutral"),
        Review("note", "ann", note="quiet"),
        Review("agree", "ben", "anger"),
    ):
        reviews.write(store, HERE, review)
    assert ask(lake, "SELECT count(*) FROM reviews") == [(5,)]
    assert ask(lake, "SELECT reviewer, emotion FROM review_labels ORDER BY 1") == [("ann", "neutral"), ("ben", "anger")]


def test_a_call_that_was_erased_or_refused_has_no_reviews(lake):
    reviews.write(open_store(lake), HERE, Review("heard", "ann"))
    gone = reviews.Call(DAY, HERE.version, "c1", "id-other", "e1", "other", MODEL)
    with pytest.raises(CallGoneError, match="'other' is no longer in the lake"):
        reviews.write(open_store(lake), gone, Review("heard", "ann"))
    with pytest.raises(CallGoneError):
        reviews.write(open_store(lake), reviews.Call(DAY, HERE.version, "c9", "id-angry", "e1", "angry", MODEL), Review("heard", "ann"))
    later = datetime(2026, 11, 23, tzinfo=UTC)
    write_calls(lake, [Call("angry", [], outcome="withheld", reason_code="no_notice", chunk="c2", scored_at=later, planned_at=later)])
    assert ask(lake, "SELECT count(*) FROM reviews") == [(0,)]


def test_two_writers_at_once_lose_and_tear_nothing(lake):
    count = 40
    command = [sys.executable, "-c", WRITER, lake]
    writers = [subprocess.Popen([*command, name, str(count)], stdout=subprocess.DEVNULL) for name in ("ann", "ben")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    found = ask(lake, "SELECT reviewer, count(*), count(DISTINCT note) FROM reviews GROUP BY ALL ORDER BY 1")
    assert found == [("ann", count, count), ("ben", count, count)]
    assert not parts.broken(open_store(lake), deep=True)


@pytest.mark.parametrize("after", [1, 7])
def test_a_killed_writer_leaves_what_it_said_it_wrote(lake, after):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, lake, "ann", "100000"], stdout=subprocess.PIPE, text=True)
    said = [writer.stdout.readline() for _ in range(after)]
    time.sleep(0.003 * after)
    os.kill(writer.pid, signal.SIGKILL)
    said += writer.stdout.readlines()
    writer.wait(30)
    [(stored,)] = ask(lake, "SELECT count(*) FROM reviews")
    assert stored - len(said) in (0, 1)  # the last one may be stored and not yet said
    assert not parts.broken(open_store(lake), deep=True)
    reviews.write(open_store(lake), HERE, Review("heard", "ben"))
    assert ask(lake, "SELECT count(*) FROM reviews") == [(stored + 1,)]


def test_merged_reviews_count_once_in_every_state(lake):
    store = open_store(lake)
    for number in range(4):
        reviews.write(store, HERE, Review("note", "ann", note=str(number)))
    merged = reviews.merge(store, DAY, erased.read(store))
    assert len(merged) == 4
    assert ask(lake, "SELECT count(*), count(DISTINCT note) FROM reviews") == [(4, 4)]  # killed before the small parts were deleted
    again = reviews.merge(store, DAY, erased.read(store))
    assert len(again) == 5
    for key in again:
        store.delete(key)
    assert ask(lake, "SELECT count(*), count(DISTINCT note) FROM reviews") == [(4, 4)]


# Samples


def population(lake, count=60, seed=3):
    """Calls of three weeks with a score each; whether a call is angry is true with that probability, but never above 0.9."""
    rng, calls, truth = random.Random(seed), [], {}
    for number in range(count):
        day = DAY - timedelta(days=number % 21)
        score = rng.random() ** 2
        made = Call(
            f"n{number}", [segment(2, 14, (score, 0, 1 - score, 0)), segment(20, 26, (0.1, 0, 0.9, 0))], day=day, chunk=f"c{number % 21}"
        )
        made.facts["call_anger"] = score
        calls.append(made)
        truth[f"id-n{number}"] = rng.random() < 0.8 * score
    write_calls(lake, calls)
    return truth


def rows_of(lake):
    connection = catalog.connect(lake)

    def query(sql, parameters):
        return connection.execute(sql, parameters).to_arrow_table().to_pylist()

    return query


PERIOD = (DAY - timedelta(days=30), DAY)


def test_a_sample_has_every_stratum_and_says_with_which_probability(tmp_path):
    population(str(tmp_path))
    sample = review_sampling.draw(rows_of(str(tmp_path)), *PERIOD, "ann", rng=random.Random(1))
    whole = [each for each in sample.rows if each["channel"] is None]
    assert sample.calls == len(whole) == 20
    assert sorted(each["position"] for each in whole) == list(range(1, 21))
    sizes = {each["stratum"]: (each["stratum_calls"], each["stratum_drawn"]) for each in whole}
    assert sum(size for size, _ in sizes.values()) == 60
    assert {stratum: drawn for stratum, (_, drawn) in sizes.items()} == {"top": 10, "uncertain": 5, "random": 5}
    assert all(each["inclusion_probability"] == each["stratum_drawn"] / each["stratum_calls"] for each in whole)
    stretches = [each for each in sample.rows if each["channel"] is not None]
    assert len(stretches) == 40  # both scored segments of each call
    assert {each["start_s"] for each in stretches} == {2.0, 20.0}
    assert sample.day == min(
        row[0]
        for row in ask(
            str(tmp_path), f"SELECT day FROM call_emotions WHERE list_contains({[each['recording_id'] for each in whole]}, recording_id)"
        )
    )


@pytest.mark.parametrize(("sizes", "calls", "expected"), [
    ((100, 100, 100), 20, (10, 5, 5)),
    ((3, 100, 100), 20, (3, 5, 12)),
    ((3, 2, 1), 20, (3, 2, 1)),
    ((100, 0, 0), 20, (20, 0, 0)),
    ((9, 9, 9), 1, (0, 0, 1)),
])  # fmt: skip
def test_what_a_small_stratum_lacks_goes_to_the_others(sizes, calls, expected):
    numbers = review_sampling.allocated(dict(zip(("top", "uncertain", "random"), sizes, strict=True)), calls)
    assert sum(numbers.values()) == min(calls, sum(sizes))
    if calls > 1:
        assert tuple(numbers.values()) == expected


def test_a_period_without_scored_calls_is_refused(tmp_path):
    population(str(tmp_path), 3)
    with pytest.raises(ValueError, match="No scored call from 2020-01-01 to 2020-01-02"):
        review_sampling.draw(rows_of(str(tmp_path)), datetime(2020, 1, 1).date(), datetime(2020, 1, 2).date(), "ann")
    with pytest.raises(ValueError, match="1 to 500"):
        review_sampling.draw(rows_of(str(tmp_path)), *PERIOD, "ann", calls=0)


def labelled(lake, sample, truth, reviewer="ann", calls=None):
    """Judges a sample's calls by the truth, those at the first positions."""
    made = []
    for each in sample.rows:
        if each["channel"] is None and (calls is None or each["position"] <= calls):
            angry_call = truth[each["recording_id"]]
            names = ("sample_id", "recording_id", "etag", "call_id", "channel", "start_s", "end_s", "model")
            made.append(row("reviews", review_id=f"{each['sample_id']}-{each['position']}-{reviewer}", verdict="wrong",
                            emotion="anger" if angry_call else "neutral", reviewer=reviewer, reviewed_at=datetime.now(UTC), blind=True,
                            **{name: each[name] for name in names}))  # fmt: skip
    write(lake, "reviews", made, chunk=f"{sample.rows[0]['sample_id']}-{reviewer}")


@pytest.mark.parametrize("judged", [20, 9])
def test_measured_shares_are_right_on_average(tmp_path, judged):
    """300 draws of one population: the mean estimate is the truth, that of half-judged samples included; unweighted, it is not."""
    lake = str(tmp_path)
    truth = population(lake, 180)
    answers = {}

    def once(sql, parameters):  # the calls stay the same: only the draw differs
        key = (sql, str(sorted(parameters.get("ids", []))) if "ids" in parameters else "")
        if key not in answers:
            answers[key] = rows_of(lake)(sql, parameters) if "ids" not in parameters else []
        return answers[key]

    rng, estimates, naive = random.Random(5), [], []
    for _ in range(300):
        calls = [each for each in review_sampling.draw(once, *PERIOD, "ann", rng=rng).rows if each["position"] <= judged]
        by_stratum = Counter(each["stratum"] for each in calls)
        weights = [each["stratum_calls"] / by_stratum[each["stratum"]] for each in calls]
        angry = [truth[each["recording_id"]] for each in calls]
        estimates.append((sum(weights), np.dot(weights, angry)))
        naive.append(np.mean(angry))
    share, estimated = np.mean(list(truth.values())), np.array([angry / weight for weight, angry in estimates])
    assert abs(estimated.mean() - share) < 4 * estimated.std() / math.sqrt(300) + 0.005
    assert np.mean(naive) - share > 0.05


def test_a_judged_call_stands_for_those_of_its_stratum_that_were_not_drawn_or_judged(tmp_path):
    lake = str(tmp_path)
    truth = population(lake)
    sample = review_sampling.draw(rows_of(lake), *PERIOD, "ann", rng=random.Random(2))
    reviews.write_sample(open_store(lake), sample.rows, sample.day)
    labelled(lake, sample, truth, calls=9)
    labelled(lake, sample, truth, "ben", calls=3)
    judged = [each for each in sample.rows if each["channel"] is None and each["position"] <= 9]
    number = Counter(each["stratum"] for each in judged)
    weights = ask(lake, "SELECT recording_id, sum(weight), count(*) FROM reviewed_sample GROUP BY 1")
    assert {each[0]: each[1] for each in weights} == pytest.approx(
        {each["recording_id"]: each["stratum_calls"] / number[each["stratum"]] for each in judged}
    )
    assert sum(each[2] for each in weights) == 12
    assert sum(each[1] for each in weights) == pytest.approx(sum({each["stratum"]: each["stratum_calls"] for each in judged}.values()))


def test_the_figures_of_a_judged_sample(tmp_path):
    lake = str(tmp_path)
    truth = population(lake)
    sample = review_sampling.draw(rows_of(lake), *PERIOD, "ann", calls=60, rng=random.Random(2))
    reviews.write_sample(open_store(lake), sample.rows, sample.day)
    labelled(lake, sample, truth)
    found = {
        each[0]: each[1:]
        for each in ask(lake, "SELECT list, judged_calls, calls, precision, precision_low, precision_high FROM measured_precision")
    }
    assert found["all calls"][:2] == (60, 60.0)
    assert found["all calls"][2] == pytest.approx(np.mean(list(truth.values())))
    top = [truth[each["recording_id"]] for each in sample.rows if each["channel"] is None and each["stratum"] == "top"]
    judged, calls, precision, low, high = found["to hear"]
    assert (judged, calls) == (len(top), len(top))
    assert precision == pytest.approx(np.mean(top))
    assert low < precision < high
    [threshold] = ask(lake, "SELECT threshold, precision, recall, f1 FROM suggested_threshold WHERE suggested")
    scores = {each["recording_id"]: each["score"] for each in sample.rows if each["channel"] is None}
    best = max(f1(scores, truth, at) for at in scores.values())
    assert threshold[3] == pytest.approx(best)
    assert sum(each[0] for each in ask(lake, "SELECT judged FROM review_calibration WHERE kind = 'call'")) == 60


def f1(scores, truth, threshold):
    listed = [truth[each] for each, score in scores.items() if score >= threshold]
    precision, recall = sum(listed) / len(listed), sum(listed) / sum(truth.values())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


def test_with_few_judged_calls_there_is_no_interval_and_no_threshold(tmp_path):
    lake = str(tmp_path)
    truth = population(lake)
    sample = review_sampling.draw(rows_of(lake), *PERIOD, "ann", rng=random.Random(2))
    reviews.write_sample(open_store(lake), sample.rows, sample.day)
    labelled(lake, sample, truth, calls=4)
    assert ask(lake, "SELECT precision_low FROM measured_precision WHERE list = 'all calls'") == [(None,)]
    assert ask(lake, "SELECT count(*) FROM suggested_threshold WHERE suggested") == [(0,)]


def test_base_rates_are_those_of_all_segments(tmp_path):
    """Every second segment of every call is sad, whatever list a call is on."""
    lake = str(tmp_path)
    population(lake)
    sample = review_sampling.draw(rows_of(lake), *PERIOD, "ann", rng=random.Random(2))
    reviews.write_sample(open_store(lake), sample.rows, sample.day)
    names = ("sample_id", "recording_id", "etag", "call_id", "channel", "start_s", "end_s", "model")
    made = [
        row("reviews", review_id=str(number), verdict="wrong", emotion="sadness" if each["start_s"] == 20 else "neutral", reviewer="ann",
            reviewed_at=datetime.now(UTC), **{name: each[name] for name in names})
        for number, each in enumerate(sample.rows) if each["channel"] is not None
    ]  # fmt: skip
    write(lake, "reviews", made, chunk="r")
    found = {
        each[0]: each[1:]
        for each in ask(lake, "SELECT emotion, base_rate, judged_stretches, base_rate_low, base_rate_high FROM suggested_base_rates")
    }
    assert found["sadness"][0] == pytest.approx(0.5)
    assert found["sadness"][1] == 40
    assert found["sadness"][2] < 0.5 < found["sadness"][3]


def test_what_was_judged_outside_the_queue_does_not_count(tmp_path):
    lake = str(tmp_path)
    truth = population(lake)
    sample = review_sampling.draw(rows_of(lake), *PERIOD, "ann", rng=random.Random(2))
    reviews.write_sample(open_store(lake), sample.rows, sample.day)
    for each in sample.rows:
        each["sample_id"] = None
    sample.rows[0]["sample_id"] = None
    labelled(lake, sample, truth)
    assert ask(lake, "SELECT count(*) FROM reviews") == [(20,)]
    assert ask(lake, "SELECT count(*) FROM reviewed_sample") == [(0,)]


def test_cohens_kappa_is_that_of_its_formula(lake):
    """The example of a 2 x 2 table with 20, 5, 10 and 15 of 50: observed 0.7, by chance 0.5, kappa 0.4."""
    made, number = [], 0
    for count, a, b in ((20, "anger", "anger"), (5, "anger", "neutral"), (10, "neutral", "anger"), (15, "neutral", "neutral")):
        for _ in range(count):
            number += 1
            place = {
                "recording_id": "id-angry",
                "channel": 1,
                "start_s": float(number),
                "end_s": number + 1.0,
                "reviewed_at": datetime.now(UTC),
            }
            for reviewer, emotion in (("ann", a), ("ben", b)):
                made.append(row("reviews", review_id=f"{reviewer}{number}", verdict="wrong", emotion=emotion, reviewer=reviewer, **place))
    write(lake, "reviews", made, chunk="r")
    [found] = ask(lake, "SELECT judged, agreement, by_chance, kappa, kappa_low, kappa_high FROM reviewer_agreement")
    assert found[0] == 50
    assert found[1:4] == pytest.approx((0.7, 0.5, 0.4))
    half = 1.96 * math.sqrt(0.7 * 0.3 / 50) / 0.5
    assert found[4:] == pytest.approx((0.4 - half, 0.4 + half), abs=1e-3)


def test_queues_are_named_as_json(tmp_path):
    assert reviews.queues_text([]) is None
    assert json.loads(reviews.queues_text(["b, c", "a"])) == ["a", "b, c"]


def test_a_lake_in_s3_keeps_reviews_of_several_writers(s3):
    lake = f"s3://{s3.bucket('lake')}/reviewed"
    write_calls(lake, [angry()])
    for reviewer in ("ann", "ben"):
        reviews.write(open_store(lake), HERE, Review("agree", reviewer, "anger"))
    assert ask(lake, "SELECT reviewer, emotion FROM review_labels ORDER BY 1") == [("ann", "anger"), ("ben", "anger")]
