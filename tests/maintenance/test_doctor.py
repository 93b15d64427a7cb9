"""What the doctor finds in small made-up lakes, and that a repair moves and never deletes."""

import os
import shutil
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.lake import parts
from ser_tasks.lake.manifest import next_manifest
from ser_tasks.maintenance.doctor import KINDS, examine, repair
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import (
    DAY,
    MODEL,
    NEWER_MODEL,
    NIGHT,
    POLICY,
    Call,
    angry,
    row,
    run_row,
    worse,
    write,
    write_calls,
    write_good_lake,
)

VERSION = f"{MODEL}.{POLICY}"


@pytest.fixture
def lake(tmp_path):
    """Five calls in one chunk; its manifest is named as a night names it."""
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    name_manifests(lake)
    return lake


def name_manifests(lake: str) -> None:
    for folder in Path(lake, "recordings").iterdir():
        for number, path in enumerate(sorted(folder.glob("*.parquet")), 1):
            path.rename(folder / f"manifest-{number:06}.parquet")


def found(lake: str, **options) -> dict[str, int]:
    """Findings: kind and the number of recordings or files."""
    counts: dict[str, int] = {}
    for finding in examine(lake, **options).findings:
        counts[finding.kind] = counts.get(finding.kind, 0) + finding.count
    return counts


def part(lake: str, table: str, chunk: str = "c1", version: str = VERSION) -> Path:
    return Path(lake, table, f"day={DAY}", f"version={version}", f"{chunk}.parquet")


def test_a_good_lake_is_healthy(lake):
    report = examine(lake, deep=True)
    assert report.findings == [] and report.to_move == [] and report.parts == 5


def test_an_empty_lake_is_healthy(tmp_path):
    assert found(str(tmp_path)) == {}


def test_bad_input_ends_in_one_message_and_exit_code_2(tmp_path):
    answer = CliRunner().invoke(app, ["doctor", "--empty-ok", "--lake", str(tmp_path / "none")])
    assert answer.exit_code == 2 and "There is no folder" in answer.output
    answer = CliRunner().invoke(app, ["doctor", "--empty-ok", "--lake", str(tmp_path), "--recordings", str(tmp_path / "none")])
    assert answer.exit_code == 2 and "There is no folder" in answer.output


def test_exit_codes_tell_healthy_from_not(lake):
    answer = CliRunner().invoke(app, ["doctor", "--lake", lake])
    assert answer.exit_code == 0 and answer.output.startswith("Healthy: 5 parts")
    part(lake, "segments").unlink()
    answer = CliRunner().invoke(app, ["doctor", "--lake", lake])
    assert answer.exit_code == 1 and "rows_missing: 1" in answer.output and "run: ser doctor --lake" in answer.output


@pytest.mark.parametrize("table", ["outcomes", "segments", "call_emotions"])
@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_a_truncated_part_is_found_by_its_footer(lake, table, keep):
    path = part(lake, table)
    size = path.stat().st_size
    os.truncate(path, size + keep if keep < 0 else int(size * keep) if keep < 1 else keep)
    report = examine(lake)
    assert [finding.kind for finding in report.findings] == ["broken_part"]
    assert set(report.to_move) == {part(lake, each).relative_to(lake).as_posix() for each in ("outcomes", "segments", "call_emotions")}
    assert report.to_move[0].startswith("outcomes/")  # without it the chunk is not done


def test_a_page_that_was_overwritten_is_found_by_a_deep_look(lake):
    path = part(lake, "segments")
    data = bytearray(path.read_bytes())
    data[40:200] = bytes(160)
    path.write_bytes(data)
    assert found(lake, deep=True) == {"broken_part": 1}


def test_a_footer_longer_than_what_is_fetched_at_first(lake, monkeypatch):
    monkeypatch.setattr(parts, "FOOTER_BYTES", 100)
    assert found(lake) == {}


def test_a_repair_moves_what_is_broken_and_deletes_nothing(lake):
    os.truncate(part(lake, "segments"), 100)
    before = {path.name: path.read_bytes() for path in Path(lake).rglob("c1.parquet") if "segments" in path.parts}
    told = repair(examine(lake))
    assert len(told) == 3 and not part(lake, "outcomes").exists()
    [kept] = Path(lake, "quarantine").rglob("segments/**/c1.parquet")
    assert kept.read_bytes() == before["c1.parquet"]
    assert found(lake) == {"not_handled": 5}  # the next night's work
    assert repair(examine(lake)) == []


def test_planned_but_not_handled(lake):
    late = angry(chunk="c2")
    late.recording |= {"recording_id": "id-late"}
    write(lake, "recordings", [late.recording], chunk="manifest-000002")
    assert found(lake) == {"not_handled": 1}


def test_outcomes_without_rows_and_rows_without_outcomes(lake):
    other = Call("other", angry().segments, chunk="c2")
    unknown = Call("unknown", angry().segments, chunk="c2")
    write(lake, "recordings", [other.recording, unknown.recording], chunk="manifest-000002")
    write(lake, "outcomes", [other.outcome], chunk="c2")
    assert found(lake) == {"rows_missing": 1, "not_handled": 1}
    write(lake, "call_emotions", [other.facts, unknown.facts], chunk="c2")
    write(lake, "segments", other.segments + unknown.segments, chunk="c2")
    assert found(lake) == {"rows_without_outcome": 1, "not_handled": 1}
    repair(examine(lake))
    assert found(lake) == {"not_handled": 2}


def test_a_chunk_that_a_killed_night_left_half_published_is_the_next_night_s_work(lake):
    part(lake, "outcomes").unlink()
    report = examine(lake)
    assert {finding.kind for finding in report.findings} == {"half_published", "not_handled"}
    assert report.to_move == []
    assert not any("repair" in line for line in report.lines())


def test_two_outcomes_in_a_version(lake):
    again = angry(chunk="c2")
    write(lake, "recordings", [again.recording], chunk="manifest-000002")
    for table, rows in again.rows.items():
        if table != "recordings":
            write(lake, table, rows, chunk="c2")
    assert found(lake) == {"outcomes_doubled": 2, "planned_twice": 2}


def test_a_changed_sidecar_is_no_second_outcome(lake):
    again = angry(chunk="c2")
    again.recording["sidecar_etag"] = "s2"
    write(lake, "recordings", [again.recording], chunk="manifest-000002")
    for table, rows in again.rows.items():
        if table != "recordings":
            write(lake, table, rows, chunk="c2")
    assert found(lake) == {}


def test_versions_are_looked_at_one_by_one(lake):
    newer = [angry(model=NEWER_MODEL), worse(model=NEWER_MODEL)]
    write_calls(lake, newer)
    Path(lake, "recordings", f"day={DAY}", "c1.parquet").unlink()
    assert found(lake) == {}
    part(lake, "call_emotions", version=f"{NEWER_MODEL}.{POLICY}").unlink()
    assert found(lake) == {"rows_missing": 2}


def test_strays_and_parts_with_other_names(lake):
    segments = part(lake, "segments")
    shutil.copy(segments, segments.with_name("c1 (copy).parquet"))
    segments.with_name("notes.txt").write_text("hello")
    shutil.copy(segments, Path(lake, "segments", "loose.parquet"))
    Path(lake, "segments", "day=2026-99-99", f"version={VERSION}").mkdir(parents=True)
    shutil.copy(segments, Path(lake, "segments", "day=2026-99-99", f"version={VERSION}", "c1.parquet"))
    assert found(lake) == {"foreign_part": 1, "stray_file": 3}
    repair(examine(lake))
    assert found(lake) == {} and sum(path.is_file() for path in Path(lake, "quarantine").rglob("*")) == 4


def test_parts_in_another_version_s_or_day_s_folder(lake):
    old, new = part(lake, "segments"), part(lake, "segments", version="other-1.everyone")
    new.parent.mkdir()
    shutil.copy(old, new)
    assert found(lake) == {"foreign_part": 1}
    shutil.rmtree(new.parent)
    for table in ("outcomes", "segments", "call_emotions"):
        path = part(lake, table)
        other = Path(str(path).replace(str(DAY), str(DAY + timedelta(days=1))))
        other.parent.mkdir(parents=True)
        shutil.copy(path, other)
    report = examine(lake)
    assert "foreign_part" in {finding.kind for finding in report.findings}
    repair(report)
    assert found(lake) == {}


def test_a_gap_between_manifests(lake, tmp_path):
    write(lake, "recordings", [row("recordings", recording_id="id-x", etag="e", chunk_id="c9", planned_at=NIGHT)], chunk="manifest-000003")
    assert found(lake)["manifest_gap"] == 1
    repair(examine(lake))
    assert "manifest_gap" not in found(lake)
    assert next_manifest(open_store(lake), DAY) == 4


def test_a_manifest_is_made_anew_from_outcomes(lake, tmp_path):
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    manifest = Path(lake, "recordings", f"day={DAY}", "manifest-000001.parquet")
    planned = pq.ParquetFile(manifest).read().to_pylist()
    os.truncate(manifest, 50)
    report = examine(lake)
    assert {finding.kind for finding in report.findings} == {"broken_manifest", "unplanned_outcomes"}
    assert "left the manifest" in repair(report)[0] and manifest.stat().st_size == 50  # only the store knows the sidecars
    told = repair(examine(lake, str(recordings)))
    assert any("5 recordings" in line for line in told)
    again = pq.ParquetFile(manifest).read().to_pylist()
    same = ("recording_id", "etag", "key", "chunk_id")
    assert sorted([each[name] for name in same] for each in again) == sorted([each[name] for name in same] for each in planned)
    assert found(lake) == {}


def test_what_the_store_holds_and_no_manifest_has(lake, tmp_path):
    recordings = tmp_path / "recordings"
    for name in ("a.wav", "b.wav"):
        (recordings / "2026-11-20").mkdir(parents=True, exist_ok=True)
        (recordings / "2026-11-20" / name).write_bytes(b"x")
    report = examine(lake, str(recordings))
    assert [(finding.kind, finding.count, finding.day) for finding in report.findings] == [("not_planned", 2, date(2026, 11, 20))]


def test_a_run_s_part_that_is_broken(lake):
    write(lake, "runs", [run_row(run_id="r2")], chunk="r2")
    os.truncate(Path(lake, "runs", f"day={DAY}", "r2.parquet"), 10)
    assert found(lake) == {"broken_part": 1}
    repair(examine(lake))
    assert found(lake) == {}


def test_a_long_report_is_cut_and_every_kind_says_what_to_run(lake):
    for number in range(30):
        part(lake, "segments").with_name(f"notes-{number}.txt").write_text("hello")
    lines = list(examine(lake).lines())
    assert len(lines) == 13 and "and 20 more" in lines[11] and lines[12].startswith("  run: ser doctor")
    for meaning, remedy in KINDS.values():
        assert meaning and remedy.format(lake="l", recordings="r", day=DAY)


def test_a_lake_on_s3_is_examined_and_repaired(s3):
    open_store.cache_clear()
    bucket = s3.bucket("lake")
    lake = f"s3://{bucket}/deep/er"
    write_good_lake(lake)
    folder = f"deep/er/recordings/day={DAY}/"
    s3.client.copy_object(Bucket=bucket, CopySource=f"{bucket}/{folder}c1.parquet", Key=f"{folder}manifest-000001.parquet")
    s3.client.delete_object(Bucket=bucket, Key=f"{folder}c1.parquet")
    assert found(lake) == {}
    key = f"deep/er/segments/day={DAY}/version={VERSION}/c1.parquet"
    body = s3.client.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.client.put_object(Bucket=bucket, Key=key, Body=body[:-20])
    report = examine(lake)
    assert [finding.kind for finding in report.findings] == ["broken_part"]
    assert len(repair(report)) == 3
    assert found(lake) == {"not_handled": 5}
    kept = [item["Key"] for item in s3.client.list_objects_v2(Bucket=bucket, Prefix="deep/er/quarantine/")["Contents"]]
    assert len(kept) == 3


def test_recordings_that_were_given_up_are_named_until_they_are_tried_again(lake, tmp_path):
    tired = Call("tired", [], outcome="failed", reason_code="internal_error", chunk="c2", duration_s=0.0)
    write(lake, "recordings", [tired.recording], chunk="manifest-000002")
    write(lake, "outcomes", [tired.outcome | {"attempts": 4}], chunk="c2")
    assert found(lake) == {}
    write(lake, "outcomes", [tired.outcome | {"attempts": 5}], chunk="c2")
    assert found(lake) == {"given_up": 1}
    [finding] = examine(lake).findings
    assert finding.detail == "internal_error" and finding.where == f"chunk c2 of {DAY}, version {VERSION},"
    assert any("ser nightly" in line and "--retry-given-up" in line for line in examine(lake).lines())
    assert found(lake, settings=Settings(max_attempts=6)) == {}
    (tmp_path / "calls").mkdir()  # the store no longer holds it: nobody can try it again
    assert "given_up" not in found(lake, recordings=str(tmp_path / "calls"))
