"""Keys of parts: what they are made of, and what is not one."""

from datetime import date

import pytest

from ser_tasks.lake import parts
from ser_tasks.lake.parts import PartKey
from ser_tasks.storage import open_store

DAY = date(2026, 11, 20)


def test_a_key_is_parsed_into_its_pieces():
    assert PartKey.parse("segments/day=2026-11-20/version=cnn_lstm-1-ab12.everyone/c1.parquet") == PartKey(
        "segments", DAY, "cnn_lstm-1-ab12.everyone", "c1"
    )
    assert PartKey.parse("recordings/day=2026-11-20/manifest-000001.parquet") == PartKey("recordings", DAY, None, "manifest-000001")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "segments/loose.parquet",
        "segments/day=2026-11-20/c1.parquet",  # no version
        "recordings/day=2026-11-20/version=v/c1.parquet",  # a table without versions
        "recordings/day=2026-99-99/c1.parquet",
        "recordings/day=2026-11-20/c1.txt",
        "recordings/day=2026-11-20/deeper/c1.parquet",
        "reports/day=2026-11-20/r1.parquet",  # not a table
        "quarantine/20261120T000000/recordings/day=2026-11-20/c1.parquet",
    ],
)
def test_other_keys_are_no_part_s(key):
    assert PartKey.parse(key) is None


def test_the_day_of_any_file_in_a_day_folder():
    assert parts.day_of("reports/day=2026-11-20/r1.md") == DAY
    assert parts.day_of("reports/day=2026-99-99/r1.md") is None
    assert parts.day_of("settled/v.json") is None


def test_other_files_are_not_listed(tmp_path):
    store = open_store(str(tmp_path))
    for key in ("runs/day=2026-11-20/r1.parquet", "runs/day=2026-11-20/r1.txt", "runs/loose.parquet"):
        store.write_bytes(key, b"x")
    assert [(part.name, item.size_bytes) for part, item in parts.listed(store, "runs/")] == [("r1", 1)]
    assert list(parts.keys(store, "runs/")) == ["runs/day=2026-11-20/r1.parquet"]
