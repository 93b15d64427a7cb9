"""Facts as systems write them, in whole nights: refusals count in any spelling, notes reach the lake, and phone numbers do not."""

import json

import pytest
from pyarrow import parquet

from ser_tasks.lake.catalog import connect
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from tests.factories.calls import TWO_SIDED, run_night, two_sided, write_call
from tests.support.s3 import upload

CALL = two_sided([("agent", 0.5, 3), ("customer", 4, 9)], 10, seed=3)


@pytest.fixture
def workers():
    """A pool that starts with the environment of its test."""
    with WorkerPool(1) as pool:
        yield pool


def ask(lake, query):
    with connect(str(lake)) as connection:
        return connection.execute(query).fetchall()


def test_a_night_keeps_refusals_notes_and_numbers_apart(bundle, workers, tmp_path):
    folder, lake = tmp_path / "calls", tmp_path / "lake"
    facts = {
        "2026/9/5/camel.wav": {"noticeGiven": False},
        "2026/9/5/kebab.wav": {"notice-given": False, "Channels": TWO_SIDED["channels"]},
        "2026/9/5/consent.wav": {"consent": {"given": False}},
        "2026/9/5/opt.wav": {"notice_given": True, "optOut": True},
        "2026/9/5/time.wav": {"started_at": "5.9.2026 10:00", "notice_given": True},
        "2026/9/5/gap.wav": {"started_at": "2026-03-29T02:30", "notice_given": True},
        "2026/9/5/+4917012345678.wav": {},
        "2026/9/5/in-004917012345678-7.wav": {},
        "2026/9/5/x_AGENT_ZoeQ_CUST_4155550123.wav": {},
    }
    for name, stated in facts.items():
        write_call(folder, name, CALL, TWO_SIDED | stated if "Channels" not in stated else stated)
    run = run_night(folder, lake, bundle, workers, settings=Settings(time_zone="Europe/Berlin"))
    assert set(run["checks"].values()) == {0}

    rows = ask(lake, "SELECT key, outcome, reason_code, coalesce(note, '') FROM outcomes")
    found = {key.removeprefix("2026/9/5/"): rest for key, *rest in rows}
    assert found["camel.wav"] == found["kebab.wav"] == ["withheld", "no_notice", ""]
    for name, key in (("consent.wav", "`consent`"), ("opt.wav", "`optOut`")):
        outcome, code, note = found[name]
        assert (outcome, code) == ("withheld", "notice_unclear") and key in note and "looks like consent" in note
    assert found["time.wav"][0] == "scored" and "started_at is ignored" in found["time.wav"][2]
    assert found["gap.wav"][0] == "scored" and "read as 03:30" in found["gap.wav"][2]
    assert found["~.wav"] == found["in-~-7.wav"] == found["x_AGENT_~_CUST_~.wav"] == ["scored", None, ""]
    assert ask(
        lake, "SELECT hour(started_at AT TIME ZONE 'Europe/Berlin') = local_hour, local_hour FROM call_emotions WHERE key LIKE '%gap%'"
    ) == [(True, 3)]
    assert ask(lake, "SELECT DISTINCT call_date::VARCHAR FROM call_emotions WHERE call_date_source = 'key'") == [("2026-09-05",)]
    assert ask(lake, "SELECT count(DISTINCT call_id) FROM outcomes") == [(len(facts),)]
    assert ask(lake, "SELECT count(*) FROM segments WHERE emotion IS NOT NULL AND recording_id IN "
               "(SELECT recording_id FROM outcomes WHERE outcome = 'withheld')") == [(0,)]  # fmt: skip

    for path in lake.rglob("*.parquet"):
        text = json.dumps(parquet.ParquetFile(path).read().to_pylist(), default=str)
        assert not [number for number in ("17012345678", "4155550123", "ZoeQ") if number in text], path


def test_the_metadata_of_s3_refuse_in_lower_case_and_are_decoded(s3, bundle, workers, tmp_path):
    """S3 lower-cases the names of metadata, and clients encode what is not ASCII."""
    source = s3.bucket("facts")
    for name in ("refused.wav", "informed.wav", "unclear.wav"):
        write_call(tmp_path / "calls", f"2026-11-20/{name}", CALL)
    upload(s3, tmp_path / "calls", source)
    stated = {
        "refused.wav": {"noticeGiven": "False"},
        "informed.wav": {"notice-given": "=?UTF-8?Q?true?=", "Queue": "=?UTF-8?B?S8O2bG4=?=", "startedAt": "20261120T140500+01"},
        "unclear.wav": {"customerConsent": "no"},
    }
    channels = json.dumps(TWO_SIDED["channels"])
    for name, metadata in stated.items():
        data = (tmp_path / "calls" / "2026-11-20" / name).read_bytes()
        s3.client.put_object(Bucket=source, Key=f"2026-11-20/{name}", Body=data, Metadata=metadata | {"channels": channels})
    run_night(f"s3://{source}", tmp_path / "lake", bundle, workers)
    rows = ask(
        tmp_path / "lake",
        """SELECT split_part(o.key, '/', 2), o.outcome, o.reason_code, c.queue, c.notice_given, hour(c.started_at AT TIME ZONE 'UTC')
        FROM outcomes AS o JOIN call_emotions AS c USING (recording_id) ORDER BY 1""",
    )
    assert rows == [
        ("informed.wav", "scored", None, "Köln", True, 13),
        ("refused.wav", "withheld", "no_notice", None, False, None),
        ("unclear.wav", "withheld", "notice_unclear", None, None, None),
    ]
