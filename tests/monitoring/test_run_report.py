"""The night's report: figures worked out by hand, and text from outside stays text."""

import math
import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from ser_tasks.lake import catalog
from ser_tasks.monitoring import alert_rules
from ser_tasks.monitoring.run_report import (
    NIGHTS_BEFORE,
    STAGES,
    find_run,
    night_report,
    summary,
    throughput,
    unusual_shares,
    worst_calls_table,
    write_night_report,
)
from ser_tasks.schemas import OUTCOMES
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories import lakes
from tests.factories.lakes import DAY, NIGHT, Call, angry, good_calls, run_row, segment, write, write_calls, write_good_lake


@pytest.fixture
def lake(tmp_path):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    write(lake, "runs", [reported()], chunk="r1")
    return lake


def reported(**changes) -> dict:
    return run_row(**{"recordings_uri": "s3://calls/2026", "workers": 2, "list_s": 0.5} | changes)


def test_the_report_shows_outcomes_reasons_and_worst_calls(lake):
    key, text = write_night_report(lake)
    assert key == f"reports/day={NIGHT.date()}/r1.md"
    assert open_store(lake).read_bytes(key).decode() == text
    assert "# Night r1" in text and "5 recordings listed, 5 of them new" in text
    assert "Nothing needs attention: no recording, chunk or check failed." in text
    for line in ("| scored      | 2 |", "| withheld    | 1 |", "| quarantined | 1 |", "| failed      | 0 |"):
        assert line in text
    assert "| withheld    | role_mixed  | 1          | role_mixed: do something about it |" in text
    worst = text.partition("## Worst calls")[2]
    assert "| 2026-11-20 | sales | 0.24        | 16 s | [worse](<s3://calls/2026/2026-11-20/worse.wav>) |" in worst
    assert worst.index("[worse](<") < worst.index("[angry](<")
    assert text.rstrip().endswith("None.")  # no check failed


def test_sidecars_of_no_recording_need_attention(lake):
    row = reported(run_id="r2", started_at=NIGHT + timedelta(minutes=1), lone_sidecars=2, lone_sidecar_keys="2026-11-20/a_b.json, x|y.json")
    write(lake, "runs", [row], chunk="r2")
    text = night_report(lake, find_run(open_store(lake), "r2"))
    assert "2 sidecars belong to no recording, such as 2026-11-20/a_b.json, x\\|y.json." in text


def test_the_page_has_a_chart_of_the_nights(lake):
    before = NIGHT - timedelta(days=1)
    write(lake, "runs", [reported(run_id="r0", started_at=before, ended_at=before)], day=before.date(), chunk="r0")
    key = write_night_report(lake)[0].removesuffix(".md")
    svg = open_store(lake).read_bytes(f"{key}.svg").decode()
    assert re.findall(r">(\d\d-\d\d)</text>", svg) == [f"{before:%m-%d}", f"{NIGHT:%m-%d}"]
    assert svg.startswith("<svg") and {stage.removesuffix("_s") for stage in STAGES} <= set(re.findall(r">(\w+)</text>", svg))
    assert "data:image/svg+xml;base64," in open_store(lake).read_bytes(f"{key}.html").decode()


def test_a_failed_check_is_named_with_its_first_rows(lake):
    call = Call("doubled", [segment(0, 4, (0.8, 0.0, 0.1, 0.1)), segment(2, 6, (0.8, 0.0, 0.1, 0.1))], chunk="c2", duration_s=20.0)
    write_calls(lake, [call])
    text = night_report(lake, find_run(open_store(lake)))
    assert "**Needs attention:** the check segments_overlapping failed (1 rows)." in text
    failed = text.partition("## Failed checks")[2]
    assert "| segments_overlapping | 1              | channel 1 from 2.000 s" in failed


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


def test_the_first_line_says_what_needs_attention():
    run = reported(planned=0, scored=1, no_speech=0, withheld=0, quarantined=0, failed=3, failed_chunks=2)
    assert summary(run, []) == "**Needs attention:** 2 chunks failed; 3 of 4 recordings failed."
    assert (
        summary(run | {"scored": 0, "failed": 0, "failed_chunks": 0}, [])
        == "**Needs attention:** there was no new recording, and none was pending."
    )


def nights(lake, *rows: dict) -> None:
    for back, changes in enumerate(rows, start=1):
        begin = NIGHT - timedelta(days=back)
        made = reported(**{"run_id": f"n{back}", "started_at": begin, "ended_at": begin + timedelta(seconds=36)} | changes)
        write(lake, "runs", [made], day=begin.date(), chunk=f"n{back}")


def test_cost_is_worked_out_for_1000_calls(tmp_path):
    """Five recordings in 20 s on two machines, 5 MB: 40 s and 5 MB for five are 2.222 machine-hours and 1 GB for 1,000."""
    lake = str(tmp_path)
    write(lake, "runs", [reported(machines=2, written_bytes=5_000_000)], chunk="r1")
    nights(
        lake,
        {"machines": 1, "written_bytes": 10_000_000},  # 36 s for five: 2 machine-hours, 2 GB
        {"machines": 3, "written_bytes": 20_000_000},  # 6 machine-hours, 4 GB
        {"machines": None, "written_bytes": None},  # of older code
        {"machines": 1, "written_bytes": 9, "scored": 0, "no_speech": 0, "withheld": 0, "quarantined": 0},  # nothing to do
    )
    run = find_run(open_store(lake), "r1")
    text = night_report(lake, run, Settings(price_machine_hour=0.9, price_gb_month=0.02, currency="EUR")).partition("## Cost")[2]
    assert [line.split("|")[1:-1] for line in text.replace(" ", "").splitlines()[4:8]] == [
        ["machine-hours", "2.22", "4", "2"],
        ["GBwrittentothelake", "1", "3", "2"],
        ["EURofthemachine-hours", "2", "3.6", "2"],
        ["EURamonthofkeepingtheGB", "0.02", "0.06", "2"],
    ]
    assert "SER_PRICE" not in text
    hours = 40 / 3600 * 1000 / (run["audio_s"] / 3600)
    assert (
        f"1,000 audio-hours take {hours:,.2f} machine-hours at this night's speed, from its start to its end: {hours * 0.9:,.2f} EUR."
        in text
    )
    text = night_report(lake, run, Settings(price_machine_hour=0.9)).partition("## Cost")[2]
    assert "| price of the machine-hours      | 2          | 3.6     | 2 |" in text
    assert "| price a month of keeping the GB | not set    | not set | 0 |" in text and "SER_PRICE_GB_MONTH" in text
    old = night_report(lake, find_run(open_store(lake), "n3"), Settings()).partition("## Cost")[2]
    assert "| machine-hours                   | not known  |" in old and "1,000 audio-hours" not in old


def test_disk_is_the_size_of_the_lake_and_what_the_night_wrote(lake, monkeypatch):
    write(lake, "runs", [reported(written_bytes=5_000_000)], chunk="r1")
    nights(lake, {"written_bytes": 1_000_000}, {"written_bytes": 3_000_000}, {"written_bytes": 8_000_000}, {"written_bytes": None})
    monkeypatch.setattr(alert_rules, "disk_space", lambda *_: {"lake": (25_000_000_000, 100_000_000_000)})
    files = [path for path in (Path(lake) / "segments").rglob("*") if path.is_file()]
    text = night_report(lake, find_run(open_store(lake), "r1"))
    assert f"| segments      | {len(files)}     | {sum(path.stat().st_size for path in files) / 1000:.3g} kB |" in text
    assert "This night wrote 5 MB; the median of the 3 nights before is 3 MB." in text
    assert "Free space for lake: 25 GB, 25% of the disk." in text


def test_drift_compares_the_months_of_the_night_and_of_reference(tmp_path):
    lake, calls = str(tmp_path), []
    for month, p_anger in ((9, 0.25), (10, 0.25), (11, 0.75)):
        for number in range(40):
            parts = [segment(0, 10, (p_anger, 0.0, 1 - p_anger, 0.0))]
            calls.append(Call(f"{month}-{number}", parts, day=date(2026, month, 1 + number % 4), chunk=f"{month}-{number % 4}"))
    write_calls(lake, calls)
    write(lake, "runs", [reported()], chunk="r1")
    run = find_run(open_store(lake))
    drift = night_report(lake, run, Settings(reference_month=date(2026, 10, 3))).partition("## Drift")[2].partition("## Disk")[0]
    assert "2026-11 against 2026-10 (SER_REFERENCE_MONTH) with 40 calls." in drift
    [anger] = [line.replace(" ", "").split("|")[1:-1] for line in drift.splitlines() if line.startswith("| mean_p_anger")]
    # all 40 in one of two bins there and in the other here, half a call added to each: 2 * (40.5 - 0.5) / 41 * ln(40.5 / 0.5)
    assert anger[:5] == ["mean_p_anger", "40", "0.75", "0.25", f"{2 * 40 / 41 * math.log(81):.3f}"] and anger[6] == "much"
    assert "| duration_s       | 40    | 40   | 40        | 0.000 |" in drift
    earlier = night_report(lake, run | {"started_at": NIGHT - timedelta(days=30)}, Settings())
    assert "2026-10 against 2026-09" in earlier  # what came after that night is not known to its report


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
    assert "| audio-hours per hour       |            |  |" in text and "median of 0 nights before" in text


def test_text_from_outside_stays_text(lake):
    hostile = "x](javascript:alert(1)) | <script>\n# title"
    call = angry()
    for row in (call.outcome, call.facts, *call.segments):
        row["call_id"] = hostile
    [line] = worst_calls_table([call.facts | {"key": "a>b|c\n.wav", "anger_score": 0.2, "moment_s": 2.0}], "s3://calls").splitlines()[2:]
    assert line.endswith("| [x\\](javascript:alert(1)) \\| \\<script\\> # title](<s3://calls/a%3Eb%7Cc%0A.wav>) |")
    broken = Call("b", [], outcome="quarantined", reason_code="not_audio", chunk="c9", day=DAY)
    broken.outcome["reason"] = hostile
    write_calls(lake, [*good_calls(), broken])
    text = night_report(lake, find_run(open_store(lake)))
    assert "<script>" not in text.replace("\\<script", "") and "\n# title" not in text


# Nobody is told of a night in which everything was lost


def shares(lake: str, **by_run: dict) -> None:
    """Runs an hour apart on consecutive days, with outcomes of their recordings by (outcome, reason code)."""
    for back, (run_id, endings) in enumerate(reversed(by_run.items())):
        started_at = NIGHT - timedelta(days=back)
        counts = dict.fromkeys(OUTCOMES, 0)
        rows = []
        for (outcome, code), number in endings.items():
            counts[outcome] += number
            for index in range(number):
                name = f"{run_id}-{outcome}-{code}-{index}"
                rows.append(
                    lakes.row("outcomes", key=f"{name}.wav", recording_id=name, etag="1", outcome=outcome, reason_code=code, run_id=run_id)
                )
        write(lake, "outcomes", rows, day=started_at.date(), chunk=run_id)
        run = reported(run_id=run_id, started_at=started_at, ended_at=started_at, listed=sum(counts.values()), **counts)
        write(lake, "runs", [run], day=started_at.date(), chunk=run_id)
    write(lake, "recordings", [], day=NIGHT.date(), chunk="none")


def attention(lake: str, run_id: str) -> list[str]:
    """The lines on unusual shares in a run's report."""
    with catalog.connect(lake) as connection:
        return unusual_shares(connection, find_run(open_store(lake), run_id), Settings())


GOOD_NIGHT = {("scored", None): 8, ("withheld", "role_mixed"): 2}


def test_a_night_in_which_every_recording_is_quarantined_needs_attention(tmp_path):
    shares(str(tmp_path), r1={("quarantined", "bad_facts"): 6})
    assert attention(str(tmp_path), "r1") == [
        "quarantined bad_facts: 6 of 6 recordings of the last night (100%; unknown is usual), .wav: FROM outcomes_and_reasons"
    ]
    run = find_run(open_store(str(tmp_path)), "r1")
    assert summary(run, [], unusual=attention(str(tmp_path), "r1")).startswith("**Needs attention:** quarantined bad_facts: 6 of 6")


def test_many_reasons_that_make_up_the_whole_night_are_seen_together(tmp_path):
    shares(str(tmp_path), r1={("quarantined", f"code_{number}"): 2 for number in range(3)} | {("withheld", "role_mixed"): 2})
    assert [line.partition(" of ")[0] for line in attention(str(tmp_path), "r1")] == ["not scored: 8", "quarantined: 6"]


@pytest.mark.parametrize(
    ("endings", "subjects"),
    [
        (GOOD_NIGHT, []),
        ({("scored", None): 80, ("withheld", "role_mixed"): 28}, []),  # 26 %, of which 20 % are usual
        ({("scored", None): 7, ("withheld", "role_mixed"): 2, ("withheld", "no_role"): 2}, ["withheld: 4", "withheld no_role: 2"]),
        ({("scored", None): 6, ("withheld", "role_mixed"): 4}, ["withheld role_mixed: 4"]),
        ({("scored", None): 7, ("no_speech", None): 3}, ["no_speech: 3"]),
    ],
)
def test_shares_are_compared_with_the_nights_before(endings, subjects, tmp_path):
    shares(str(tmp_path), **{f"r{number}": GOOD_NIGHT for number in range(1, 6)}, r6={("quarantined", "x"): 10}, r7=GOOD_NIGHT, r8=endings)
    lines = attention(str(tmp_path), "r8")
    assert [line.partition(" of ")[0] for line in lines] == subjects
    assert attention(str(tmp_path), "r6") and attention(str(tmp_path), "r7") == []


def test_a_run_that_handled_nothing_does_not_repeat_the_night_before(tmp_path):
    shares(str(tmp_path), r1={("quarantined", "bad_facts"): 6}, r2={})
    assert attention(str(tmp_path), "r2") == []


def test_keys_ignored_for_their_suffix_are_named(tmp_path):
    lake = str(tmp_path)
    nights = [(20, ".txt 2"), (20, ".txt 2"), (14, ".mkv 6, .txt 2")]
    for back, (listed, suffixes) in enumerate(reversed(nights)):
        started_at = NIGHT - timedelta(days=back)
        ignored = sum(int(item.split()[1]) for item in suffixes.split(", "))
        run = reported(run_id=f"r{3 - back}", started_at=started_at, listed=listed, ignored_keys=ignored, ignored_suffixes=suffixes)
        write(lake, "runs", [run], day=started_at.date(), chunk=f"r{3 - back}")
    expected = "6 of 22 keys were ignored for their suffix .mkv (27%; 0% is usual): are they recordings? SER_RECORDING_SUFFIXES"
    with catalog.connect(lake) as connection:
        [line] = [line for line in unusual_shares(connection, find_run(open_store(lake)), Settings()) if "ignored" in line]
    assert line == expected
    assert "of them new, 8 other keys ignored (.mkv 6, .txt 2)." in night_report(lake, find_run(open_store(lake)))
