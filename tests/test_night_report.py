"""The night's report: figures worked out by hand, and text from outside stays text."""

from datetime import timedelta

import pytest
from making_lake import DAY, NIGHT, Call, angry, good_calls, run_row, segment, write, write_calls, write_good_lake

from ser_tasks import catalog
from ser_tasks.night_report import NIGHTS_BEFORE, find_run, night_report, throughput, worst_calls_table, write_night_report
from ser_tasks.store import open_store


@pytest.fixture
def lake(tmp_path):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    write(lake, "runs", [reported()], chunk="r1")
    return lake


def reported(**changes) -> dict:
    return run_row(**{"recordings_uri": "s3://calls/2026", "workers": 2, "list_s": 0.5} | changes)


def test_the_report_tells_the_night(lake):
    key, text = write_night_report(lake)
    assert key == f"reports/day={NIGHT.date()}/r1.md"
    assert open_store(lake).read_bytes(key).decode() == text
    assert "# Night r1" in text and "5 recordings listed, 5 of them new" in text
    for line in ("| scored | 2 |", "| withheld | 1 |", "| quarantined | 1 |", "| failed | 0 |"):
        assert line in text
    assert "| withheld | role_mixed | 1 | role_mixed: do something about it |" in text
    worst = text.partition("## Worst calls")[2]
    assert worst.index("| [worse](<s3://calls/2026/2026-11-20/worse.wav>) | 2026-11-20 | sales | 0.90 | 16 s |") < worst.index("[angry](<")
    assert text.rstrip().endswith("None.")  # no check failed


def test_a_failed_check_is_named_with_its_first_rows(lake):
    call = Call("doubled", [segment(0, 4, (0.8, 0.0, 0.1, 0.1)), segment(2, 6, (0.8, 0.0, 0.1, 0.1))], chunk="c2", duration_s=20.0)
    write_calls(lake, [call])
    failed = night_report(lake, find_run(open_store(lake))).partition("## Checks that failed")[2]
    assert "| segments_overlapping | 1 | channel 1 from 2.000 s" in failed


def test_throughput_is_compared_with_the_median_of_the_last_nights(lake):
    for number in range(1, NIGHTS_BEFORE + 3):
        before = NIGHT - timedelta(days=number)
        speed = 1000.0 if number > NIGHTS_BEFORE else float(number)  # nights before the last 14 do not count
        row = reported(run_id=f"b{number}", started_at=before, ended_at=before, audio_h_per_h=speed, audio_s=360.0)
        write(lake, "runs", [row], day=before.date(), chunk=f"b{number}")
    idle = reported(run_id="idle", started_at=NIGHT - timedelta(hours=1), audio_s=0.0, audio_h_per_h=0.0)
    write(lake, "runs", [idle], chunk="idle")  # a rerun with nothing to do says nothing about speed
    with catalog.connect(lake) as connection:
        rows = throughput(connection, find_run(open_store(lake), "r1"))
    name = f"median of {NIGHTS_BEFORE} nights before"
    assert rows[0] == {"what": "audio-hours per hour", "this night": "10", name: "7.5"}
    speech = next(row for row in rows if row["what"].startswith("speech"))  # 4 s for 180 s of audio; before, for 360 s
    assert speech == {"what": "speech, s per audio-hour", "this night": "80", name: "40"}


def test_the_newest_run_is_reported_unless_another_is_named(lake):
    later = NIGHT + timedelta(days=1)
    write(lake, "runs", [reported(run_id="r2", started_at=later)], day=later.date(), chunk="r2")
    assert find_run(open_store(lake))["run_id"] == "r2"
    assert find_run(open_store(lake), "r1")["run_id"] == "r1"
    with pytest.raises(ValueError, match="No run 'r3'"):
        find_run(open_store(lake), "r3")


def test_a_first_night_and_one_without_audio_have_a_report(tmp_path):
    lake = str(tmp_path)
    write(lake, "runs", [reported(audio_s=0.0, audio_h_per_h=0.0)], chunk="r1")
    text = write_night_report(lake)[1]
    assert "| audio-hours per hour |  |  |" in text and "median of 0 nights before" in text


def test_text_from_outside_stays_text(lake):
    hostile = "x](javascript:alert(1)) | <script>\n# title"
    call = angry()
    for row in (call.outcome, call.facts, *call.segments):
        row["call_id"] = hostile
    [line] = worst_calls_table([call.facts | {"key": "a>b|c\n.wav"}], "s3://calls").splitlines()[2:]
    assert line.startswith("| [x\\](javascript:alert(1)) \\| \\<script\\> # title](<s3://calls/a%3Eb%7Cc%0A.wav>) |")
    broken = Call("b", [], outcome="quarantined", reason_code="not_audio", chunk="c9", day=DAY)
    broken.outcome["reason"] = hostile
    write_calls(lake, [*good_calls(), broken])
    text = night_report(lake, find_run(open_store(lake)))
    assert "<script>" not in text.replace("\\<script", "") and "\n# title" not in text
