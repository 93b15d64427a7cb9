"""Reviews are kept, erased, withdrawn, held, merged and rekeyed with their calls."""

from datetime import UTC, date, datetime, timedelta

import pytest

from ser_tasks.lake import catalog, parts, reviews
from ser_tasks.lake.reviews import Review
from ser_tasks.maintenance import compaction, doctor, erasure, holds, rekey, retention, withdrawal
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import DAY, MODEL, POLICY, Call, angry, row, segment, worse, write_calls

SETTINGS = Settings(pseudonym_key="a key of the tests", keep_calls_days=30, keep_outcomes_days=60)


@pytest.fixture
def lake(tmp_path):
    """Two calls of two days with reviews, a note that names the other call, and a sample of both."""
    folder = str(tmp_path / "lake")
    write_calls(folder, [angry(), worse(day=DAY + timedelta(days=1))])
    store = open_store(folder)
    for call, day in (("angry", DAY), ("worse", DAY + timedelta(days=1))):
        where = reviews.Call(day, f"{MODEL}.{POLICY}", "c1", f"id-{call}", "e1", call, MODEL)
        reviews.write(store, where, Review("agree", "ann", "anger"))
        reviews.write(store, where, Review("note", "ann", note=f"as in the call angry, {call}"))
    sample = [row("review_samples", sample_id="s1", recording_id=f"id-{call}", drawn_at=datetime.now(UTC)) for call in ("angry", "worse")]
    reviews.write_sample(store, sample, DAY)
    return store


def ask(store, sql):
    with catalog.connect(store.uri) as connection:
        return connection.execute(sql).fetchall()


def stored(store):
    """What the parts hold, whatever the views show."""
    return ask(store, "SELECT 'review', recording_id, note FROM parts.reviews UNION ALL SELECT 'sample', recording_id, NULL FROM parts.review_samples ORDER BY ALL")  # fmt: skip  # noqa: E501


def test_an_erased_call_leaves_no_review_and_no_note_that_names_it(lake):
    target = erasure.find(lake, holds.subject(lake, "call", "angry", SETTINGS), SETTINGS)
    dry = erasure.dry_run(lake, target)
    assert (dry.rows["reviews"], dry.rows["review_samples"]) == (2, 1)
    assert len(stored(lake)) == 6
    done = erasure.erase(lake, target, SETTINGS, 0, 0)
    assert done.complete
    assert (done.rows["reviews"], done.rows["review_samples"]) == (2, 1)
    assert stored(lake) == [("review", "id-worse", "erased"), ("review", "id-worse", None), ("sample", "id-worse", None)]
    with pytest.raises(reviews.CallGoneError):
        reviews.write(lake, reviews.Call(DAY, f"{MODEL}.{POLICY}", "c1", "id-angry", "e1", "angry", MODEL), Review("heard", "ann"))


def test_an_erasure_that_was_killed_takes_the_reviews_with_the_next_one(lake, monkeypatch):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "clean", killed)
        with pytest.raises(KeyboardInterrupt):
            erasure.erase(lake, erasure.find(lake, holds.subject(lake, "call", "angry", SETTINGS), SETTINGS), SETTINGS, 0, 0)
    another = erasure.find(lake, holds.subject(lake, "call", "nobody", SETTINGS), SETTINGS)
    assert erasure.erase(lake, another, SETTINGS, 0, 0).complete
    assert {each[1] for each in stored(lake)} == {"id-worse"}


def test_withdrawn_consent_takes_the_reviews(lake):
    later = datetime(2026, 11, 25, tzinfo=UTC)
    gone = Call("angry", [segment(2, 6)], outcome="withheld", reason_code="no_notice", chunk="c2", scored_at=later, planned_at=later)
    write_calls(lake.uri, [gone])
    assert ask(lake, "SELECT DISTINCT recording_id FROM reviews UNION SELECT recording_id FROM review_samples") == [("id-worse",)]
    withdrawal.withdraw(lake, withdrawal.find(lake), 0, 0)
    assert {each[1] for each in stored(lake)} == {"id-worse"}


def test_the_retention_deletes_them_with_their_calls_and_a_hold_keeps_them(lake):
    today = DAY + timedelta(days=31)
    found = {each.table for each in retention.expired(lake, SETTINGS, today)}
    assert {"reviews", "review_samples", "call_emotions"} <= found
    holds.place(lake, holds.subject(lake, "call", "angry", SETTINGS))
    retention.delete(lake, retention.expired(lake, SETTINGS, today))
    assert {each[1] for each in stored(lake) if each[0] == "sample"} == {"id-angry"}
    assert len([each for each in stored(lake) if each[1] == "id-angry"]) == 3
    holds.release(lake, holds.subject(lake, "call", "angry", SETTINGS))
    retention.delete(lake, retention.expired(lake, SETTINGS, today))
    assert {each[1] for each in stored(lake)} == {"id-worse"}


def test_the_compaction_merges_them_and_nothing_is_lost(lake):
    before = ask(lake, "SELECT review_id, note FROM reviews ORDER BY ALL")
    done = compaction.compact(lake, SETTINGS, -36_500, 0, 0)
    assert done.merged == 4
    assert len(list(parts.keys(lake, "reviews/"))) == 2
    assert ask(lake, "SELECT review_id, note FROM reviews ORDER BY ALL") == before
    assert compaction.compact(lake, SETTINGS, -36_500, 0, 0).merged == 0
    assert [each.kind for each in doctor.examine(lake.uri, settings=SETTINGS).findings if "review" in each.where] == []


def test_a_broken_part_of_reviews_is_found_and_moved(lake):
    key = next(iter(parts.keys(lake, "reviews/")))
    lake.write_bytes(key, b"torn")
    report = doctor.examine(lake.uri, settings=SETTINGS)
    assert ("broken_part", key) in [(each.kind, each.where) for each in report.findings]
    doctor.repair(report, SETTINGS)
    assert len(ask(lake, "FROM reviews")) == 3


def test_key_rotation_gives_them_the_new_ids(lake, tmp_path):
    for key in ("reviews", "review_samples"):
        assert list(parts.keys(lake, f"{key}/"))
    target, settings = open_store(str(tmp_path / "new")), Settings(pseudonym_key="a key of the tests")
    done = rekey.rekey(lake, target, rekey.rotation(lake, settings))
    assert not done.left_out
    assert len(ask(target, "FROM reviews")) == 4
    assert len(ask(target, "FROM review_samples")) == 2
    assert all(recording_id.startswith("k") for (recording_id,) in ask(target, "SELECT recording_id FROM reviews"))
    assert ask(target, "SELECT count(*) FROM reviews JOIN outcomes USING (recording_id)") == [(4,)]


def test_days_are_those_of_the_calls(lake):
    assert ask(lake, "SELECT DISTINCT day FROM reviews ORDER BY 1") == [(DAY,), (DAY + timedelta(days=1),)]
    assert isinstance(ask(lake, "SELECT day FROM review_samples LIMIT 1")[0][0], date)
