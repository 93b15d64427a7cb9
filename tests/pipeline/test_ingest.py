"""Listing and planning: every recording in one chunk, for ever, whoever else plans at the same time."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ser_tasks import schemas
from ser_tasks.lake import parts
from ser_tasks.lake.manifest import manifest_key, read_manifest
from ser_tasks.pipeline import ingest
from ser_tasks.pipeline.listing import Listing
from ser_tasks.settings import Settings
from ser_tasks.storage import LocalStore, StoredObject, open_store

DAY = date(2026, 11, 20)
NIGHT = "m-1.customers_only"


@pytest.fixture
def folders(tmp_path):
    recordings, lake, scratch = (tmp_path / name for name in ("recordings", "lake", "scratch"))
    scratch.mkdir()
    return recordings, open_store(str(lake)), scratch


def put(recordings, key: str, data: bytes = b"x" * 16_000) -> None:
    (recordings / key).parent.mkdir(parents=True, exist_ok=True)
    (recordings / key).write_bytes(data)


def planned(recordings, lake, scratch, settings=None, only_day=None, run="run-1"):
    settings = settings or Settings()
    listing = Listing(open_store(str(recordings)), settings, scratch / f"{time.monotonic_ns()}.duckdb", only_day)
    return listing, ingest.plan(listing, lake, NIGHT, settings, run)


def manifest(lake, day=DAY) -> list[dict]:
    return read_manifest(lake, day).to_pylist()


def test_recordings_sidecars_and_strangers_are_told_apart(folders):
    recordings, lake, scratch = folders
    for key in ("2026-11-20/a.WAV", "2026-11-20/a.json", "2026-11-20/b.opus", "2026-11-20/lonely.json", "2026-11-20/notes.txt"):
        put(recordings, key)
    listing, plan = planned(recordings, lake, scratch)
    assert (plan.listed, plan.planned, plan.ignored_keys, plan.recordings) == (2, 2, 2, 2)
    rows = {row["key"]: row for row in manifest(lake)}
    assert rows["2026-11-20/a.WAV"]["sidecar_etag"] is not None
    assert rows["2026-11-20/b.opus"]["sidecar_etag"] is None
    chunk = ingest.load_chunk(listing, *plan.chunks[0])
    assert [(r.key, r.sidecar_key) for r in chunk.recordings] == [
        ("2026-11-20/a.WAV", "2026-11-20/a.json"),
        ("2026-11-20/b.opus", None),
    ]


def test_of_several_sidecars_one_counts_and_the_recording_is_one(folders):
    recordings, lake, scratch = folders
    for key in ("2026-11-20/a.wav", "2026-11-20/a.JSON", "2026-11-20/a.json", "2026-11-20/a.Json"):
        put(recordings, key)
    listing, plan = planned(recordings, lake, scratch)
    assert (plan.listed, plan.planned, plan.ignored_keys) == (1, 1, 2)
    [recording] = ingest.load_chunk(listing, DAY, plan.chunks[0][1]).recordings
    assert recording.sidecar_key == "2026-11-20/a.json" and recording.sidecar_etag == manifest(lake)[0]["sidecar_etag"]


@pytest.mark.parametrize(
    ("names", "sidecars"),
    [
        (["a.wav", "a.wav.json"], {"a.wav": "a.wav.json"}),
        (["a.wav", "a_metadata.json"], {"a.wav": "a_metadata.json"}),
        (["a.wav", "A-Meta.JSON"], {"a.wav": "A-Meta.JSON"}),
        (["a.wav", "a.wav_metadata.json"], {"a.wav": "a.wav_metadata.json"}),
        (["CALL7.WAV", "call7.json"], {"CALL7.WAV": "call7.json"}),
        (["CALL7.WAV", "Call7.Wav.Json"], {"CALL7.WAV": "Call7.Wav.Json"}),
        (["Mu\u0308ller.wav", "M\u00fcller.json"], {"Mu\u0308ller.wav": "M\u00fcller.json"}),
        (["M\u00fcller.wav", "MU\u0308LLER_metadata.json"], {"M\u00fcller.wav": "MU\u0308LLER_metadata.json"}),
        # the closest name wins
        (["a.wav", "a.json", "a.wav.json", "A.json"], {"a.wav": "a.json"}),
        (["a.wav", "a.wav.json", "a_metadata.json"], {"a.wav": "a.wav.json"}),
        (["a_metadata.wav", "a.wav", "a_metadata.json"], {"a_metadata.wav": "a_metadata.json", "a.wav": None}),
        # formats of one call share what is known of it
        (["a.wav", "a.mp3", "a.json"], {"a.wav": "a.json", "a.mp3": "a.json"}),
        (["a.wav", "a.mp3", "a.wav.json"], {"a.wav": "a.wav.json", "a.mp3": "a.wav.json"}),
        (["a.wav", "a.mp3", "a.wav.json", "a.mp3.json"], {"a.wav": "a.wav.json", "a.mp3": "a.mp3.json"}),
        # twins by case: each its own, and nothing is guessed
        (["Case.wav", "case.wav", "case.json"], {"Case.wav": None, "case.wav": "case.json"}),
        (["Case.wav", "case.wav", "Case.wav.json", "case_metadata.json"], {"Case.wav": "Case.wav.json", "case.wav": "case_metadata.json"}),
        (["Case.wav", "case.wav", "CASE.json"], {"Case.wav": None, "case.wav": None}),
        (["a.wav", "ab.json", "meta.json", "_metadata.json", "b/a.json"], {"a.wav": None}),
    ],
)
def test_a_sidecar_is_found_by_the_names_that_systems_give_it_and_the_rest_is_listed(folders, names, sidecars):
    recordings, lake, scratch = folders
    for name in names:
        put(recordings, f"2026-11-20/{name}", b"{}")
    listing, plan = planned(recordings, lake, scratch)
    chunk = ingest.load_chunk(listing, *plan.chunks[0])
    assert {r.key: r.sidecar_key for r in chunk.recordings} == {
        f"2026-11-20/{name}": sidecar and f"2026-11-20/{sidecar}" for name, sidecar in sidecars.items()
    }
    lone = sorted({name for name in names if name.lower().endswith(".json")} - set(sidecars.values()))
    assert plan.lone_sidecars == plan.ignored_keys == len(lone)
    assert plan.shown_lone_sidecars == [f"2026-11-20/{name}" for name in lone][:5]


def test_a_sidecar_of_a_recording_of_another_or_a_closed_day_is_not_lone(folders):
    recordings, lake, scratch = folders
    for key in ("2026-11-20/a.wav", "2026-11-21/b.wav", "2026-11-21/b.json", "c.wav", "c.json", "2026-11-22/d.json"):
        put(recordings, key)
    assert planned(recordings, lake, scratch, only_day=DAY)[1].shown_lone_sidecars == ["2026-11-22/d.json"]
    closed = Listing(open_store(str(recordings)), Settings(), scratch / "closed.duckdb", deleted={date(2026, 11, 21), date(2026, 11, 22)})
    assert (closed.lone_sidecars, closed.closed) == (0, 1)


def test_ids_of_people_are_masked_in_the_keys_of_lone_sidecars(folders):
    recordings, lake, scratch = folders
    put(recordings, "2026-11-20/_CUST_4711_GUID_g_AGENT_maren_DT_2026-11-20T06-01-22.json")
    [key] = planned(recordings, lake, scratch)[1].shown_lone_sidecars
    assert "4711" not in key and "maren" not in key and "GUID_g" in key


def test_planning_again_adds_nothing_and_late_recordings_make_new_chunks(folders):
    recordings, lake, scratch = folders
    put(recordings, "2026-11-20/a.wav")
    first = planned(recordings, lake, scratch)[1]
    assert planned(recordings, lake, scratch)[1].planned == 0
    put(recordings, "2026-11-20/b.wav")
    second = planned(recordings, lake, scratch)[1]
    assert second.planned == 1
    assert second.chunks[0] == first.chunks[0] and len(second.chunks) == 2  # the first still waits, unchanged
    assert sorted(row["key"] for row in manifest(lake)) == ["2026-11-20/a.wav", "2026-11-20/b.wav"]


def test_another_etag_or_a_new_sidecar_is_a_new_version(folders):
    recordings, lake, scratch = folders
    put(recordings, "2026-11-20/a.wav")
    planned(recordings, lake, scratch)
    put(recordings, "2026-11-20/a.wav", b"y" * 17_000)
    assert planned(recordings, lake, scratch)[1].planned == 1
    put(recordings, "2026-11-20/a.json", b"{}")
    assert planned(recordings, lake, scratch)[1].planned == 1
    rows = manifest(lake)
    assert len(rows) == 3 and len({row["recording_id"] for row in rows}) == 1 and len({row["chunk_id"] for row in rows}) == 3


def test_chunks_keep_to_their_audio_budget_and_their_day(folders):
    recordings, lake, scratch = folders
    for number in range(7):
        put(recordings, f"2026-11-2{number % 2}/{number}.wav", b"x" * 160_000)  # 10 s each
    plan = planned(recordings, lake, scratch, Settings(chunk_audio_s=25))[1]
    sizes = [sum(row["chunk_id"] == chunk_id for row in manifest(lake, day)) for day, chunk_id in plan.chunks]
    assert sizes == [2, 2, 2, 1]
    assert [day.day for day, _ in plan.chunks] == [20, 20, 21, 21]
    assert len(planned(recordings, open_store(f"{lake.uri}-2"), scratch, Settings(chunk_recordings=1))[1].chunks) == 7


def test_a_settled_listing_gives_the_same_recordings_and_keeps_to_little_memory(folders):
    recordings, lake, scratch = folders
    for number in range(7):
        put(recordings, f"2026-11-20/{number}.wav", b"x" * 16_000 * (number + 1))
    listing, plan = planned(recordings, lake, scratch, Settings(chunk_recordings=3))
    chunks = [ingest.load_chunk(listing, *chunk) for chunk in plan.chunks]
    listing.settle()
    assert [ingest.load_chunk(listing, *chunk) for chunk in plan.chunks] == chunks
    assert [len(chunk.recordings) for chunk in chunks] == [3, 3, 1]
    assert listing.sizes() == {chunk.chunk_id: (len(chunk.recordings), sum(r.estimated_s for r in chunk.recordings)) for chunk in chunks}
    assert listing.database.execute("SELECT current_setting('memory_limit')").fetchone() == ("61.0 MiB",)


def test_a_manifest_part_ends_with_the_chunk_that_fills_it_and_every_recording_is_kept(folders, monkeypatch):
    monkeypatch.setattr(ingest, "MANIFEST_ROWS", 4)
    recordings, lake, scratch = folders
    for number in range(11):
        put(recordings, f"2026-11-20/{number:02}.wav")
    listing, plan = planned(recordings, lake, scratch, Settings(chunk_recordings=3))
    assert [len(parts.read(lake, manifest_key(DAY, number), "recordings")) for number in (1, 2)] == [6, 5]
    kept = [recording.key for chunk in plan.chunks for recording in ingest.load_chunk(listing, *chunk).recordings]
    assert kept == [f"2026-11-20/{number:02}.wav" for number in range(11)]


@pytest.mark.parametrize(("most", "chunks"), [(1, 11), (20_000, 1)])
def test_extremes_of_chunks_lose_no_recording(folders, most, chunks):
    recordings, lake, scratch = folders
    for number in range(11):
        put(recordings, f"2026-11-20/{number:02}.wav")
    listing, plan = planned(recordings, lake, scratch, Settings(chunk_recordings=most, chunk_audio_s=1e9))
    assert (plan.recordings, len(plan.chunks)) == (11, chunks)
    assert sum(len(ingest.load_chunk(listing, *chunk).recordings) for chunk in plan.chunks) == 11


def test_only_the_day_asked_for(folders):
    recordings, lake, scratch = folders
    put(recordings, "2026-11-20/a.wav")
    put(recordings, "2026-11-21/b.wav")
    plan = planned(recordings, lake, scratch, only_day=DAY)[1]
    assert (plan.listed, plan.planned) == (1, 1)


def test_the_same_store_gives_the_same_chunks_anywhere(folders, tmp_path):
    recordings, lake, scratch = folders
    for number in range(5):
        put(recordings, f"2026-11-20/{number}.wav")
    one = planned(recordings, lake, scratch)[1].chunks
    other = planned(recordings, open_store(str(tmp_path / "other")), scratch, run="run-2")[1].chunks
    assert one == other


def test_concurrent_runs_never_plan_a_recording_twice(folders):
    recordings, lake, scratch = folders
    for number in range(40):
        put(recordings, f"2026-11-2{number % 4}/{number}.wav")
    barrier = threading.Barrier(6)
    settings = [Settings(chunk_recordings=n) for n in (1, 2, 3, 5, 8, 13)]  # each would cut other chunks

    def run(number: int) -> None:
        listing = Listing(open_store(str(recordings)), settings[number], scratch / f"{number}.duckdb")
        barrier.wait()
        ingest.plan(listing, lake, NIGHT, settings[number], f"run-{number}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = [row for day in (20, 21, 22, 23) for row in manifest(lake, date(2026, 11, day))]
    assert len(rows) == 40 and len({row["recording_id"] for row in rows}) == 40


def test_names_that_are_not_utf8_and_hostile_names_are_planned_as_they_are(folders):
    recordings, lake, scratch = folders
    for name in (b"2026-11-20/\xff\xfe.wav", b"2026-11-20/new\nline.wav", b"2026-11-20/'; DROP TABLE x; --.wav"):
        path = os.fsencode(recordings) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")
    listing, plan = planned(recordings, lake, scratch)
    chunk = ingest.load_chunk(listing, DAY, plan.chunks[0][1])
    assert len(chunk.recordings) == 3
    assert all((recordings / recording.key).exists() for recording in chunk.recordings)


# Copies


def publish_outcomes(lake, chunk_id: str, endings: list[tuple[str, str]]) -> None:
    ids = {row["key"]: row["recording_id"] for row in manifest(lake)}
    rows = [
        dict.fromkeys(schemas.OUTCOME_ROWS.names) | {"recording_id": ids[key], "outcome": outcome, "attempts": 1, "chunk_id": chunk_id}
        for key, outcome in endings
    ]
    key = f"{parts.folder('outcomes', day=DAY, version=NIGHT)}{chunk_id}.parquet"
    lake.write_bytes(key, parts.encode("outcomes", schemas.table("outcomes", rows)))


def copied(recordings, to, later_s: float = 86_400.0):
    """The folder as ``cp -r`` copies it: every file with another time."""
    shutil.copytree(recordings, to)
    for path in to.rglob("*.*"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + later_s))
    return to


@pytest.fixture
def stored(folders):
    """A planned folder: a recording with a sidecar, and one without."""
    recordings, lake, scratch = folders
    put(recordings, "2026-11-20/a.wav", b"a" * 16_000)
    put(recordings, "2026-11-20/a.json", b'{"queue": "sales"}')
    put(recordings, "2026-11-20/b.wav", b"b" * 16_000)
    planned(recordings, lake, scratch)
    return folders


def test_a_copied_folder_is_not_uploaded_again(stored, tmp_path):
    recordings, lake, scratch = stored
    before = manifest(lake)
    assert all(len(row["content_hash"]) == 64 for row in before) and len({row["content_hash"] for row in before}) == 2
    assert {row["key"]: row["sidecar_hash"] is not None for row in before} == {"2026-11-20/a.wav": True, "2026-11-20/b.wav": False}
    for number, folder in enumerate((copied(recordings, tmp_path / "elsewhere"), copied(recordings, tmp_path / "again", 5))):
        listing, plan = planned(folder, lake, scratch, run=f"copy-{number}")
        assert (plan.listed, plan.planned, plan.recordings) == (2, 0, 2) and manifest(lake) == before
        loaded = ingest.load_chunk(listing, *plan.chunks[0]).recordings
        assert {(each.recording_id, each.etag, each.sidecar_etag) for each in loaded} == {
            (row["recording_id"], row["etag"], row["sidecar_etag"]) for row in before
        }
        store = open_store(str(folder))
        for each in loaded:  # what a worker reads
            assert store.fetch(each.key, each.stored_etag, scratch)[0].is_file() and each.stored_etag != each.etag
        assert store.read_bytes(loaded[0].sidecar_key, None, loaded[0].stored_sidecar_etag) == b'{"queue": "sales"}'
        assert {each.stored_etag for each in listing.sample(100, 31, only_kept=True)} == {each.stored_etag for each in loaded}


def test_a_copied_folder_costs_a_finished_lake_nothing(stored, tmp_path, monkeypatch):
    recordings, lake, scratch = stored
    [(_, chunk_id)] = planned(recordings, lake, scratch)[1].chunks
    publish_outcomes(lake, chunk_id, [("2026-11-20/a.wav", "scored"), ("2026-11-20/b.wav", "scored")])
    copy = copied(recordings, tmp_path / "copy")
    assert planned(copy, lake, scratch)[1].recordings == 0
    read = []
    monkeypatch.setattr(LocalStore, "content", lambda *_: read.append(1))
    assert planned(copy, lake, scratch)[1].recordings == 0 and read == [], "the next night reads no recording again"


@pytest.mark.parametrize(
    ("key", "data"),
    [("2026-11-20/a.wav", b"A" * 16_000), ("2026-11-20/a.json", b'{"queue": "other"}'), ("2026-11-20/b.wav", b"b" * 15_999)],
)
def test_another_content_of_the_same_size_is_another_upload(stored, tmp_path, key, data):
    recordings, lake, scratch = stored
    copy = copied(recordings, tmp_path / "copy")
    (copy / key).write_bytes(data)
    assert planned(copy, lake, scratch)[1].planned == 1
    rows = [row for row in manifest(lake) if row["key"] == key.replace(".json", ".wav")]
    assert len(rows) == 2 and len({(row["content_hash"], row["sidecar_hash"]) for row in rows}) == 2


def test_a_new_sidecar_or_none_is_another_upload(stored, tmp_path):
    recordings, lake, scratch = stored
    copy = copied(recordings, tmp_path / "copy")
    (copy / "2026-11-20" / "a.json").rename(copy / "2026-11-20" / "b.json")
    assert planned(copy, lake, scratch)[1].planned == 2


def test_the_bytes_of_an_older_upload_are_a_new_one(stored):
    """As the newest upload counts, the older bytes must become the newest again."""
    recordings, lake, scratch = stored
    for number, data in enumerate((b"B" * 16_000, b"b" * 16_000)):
        put(recordings, "2026-11-20/b.wav", data)
        os.utime(recordings / "2026-11-20/b.wav", (2e9 + number, 2e9 + number))
        assert planned(recordings, lake, scratch)[1].planned == 1
    hashes = [row["content_hash"] for row in manifest(lake) if row["key"] == "2026-11-20/b.wav"]
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_lake_without_hashes_keeps_its_rule_and_says_so_once(stored, tmp_path):
    recordings, lake, scratch = stored
    key = manifest_key(DAY, 1)
    old = parts.read(lake, key, "recordings")
    old = old.drop_columns(["content_hash", "sidecar_hash"])
    pq.write_table(old, lake.local_root / key)
    copy = copied(recordings, tmp_path / "copy")
    folders = (recordings, copy, copied(copy, tmp_path / "next"))
    plans = [planned(folder, lake, scratch)[1] for folder in folders]
    assert [(plan.planned, plan.without_hash) for plan in plans] == [(0, 0), (2, 2), (0, 0)]


def test_a_hash_of_a_sidecar_says_nothing_without_the_recording(stored):
    """Whoever has the lake alone cannot try ids until the hash fits."""
    recordings, lake, _ = stored
    [row] = [row for row in manifest(lake) if row["sidecar_hash"]]
    data = (recordings / "2026-11-20/a.json").read_bytes()
    guesses = [hashlib.blake2b(data, digest_size=32), hashlib.blake2b(data, key=bytes.fromhex(row["content_hash"]), digest_size=32)]
    assert row["sidecar_hash"] not in [guess.hexdigest() for guess in guesses]
    content = open_store(str(recordings)).content("2026-11-20/a.wav")
    assert content.keyed_hash(data) == row["sidecar_hash"] and content.hash == row["content_hash"]


class MadeUpStore:
    """A store that lists any number of keys and holds none in memory."""

    uri = "made-up"

    def __init__(self, count: int):
        self.count = count

    def content(self, key: str) -> None:
        """None, as on S3: the etags are hashes."""

    def list(self, prefix: str = ""):
        for number in range(self.count):
            yield StoredObject(f"2026-11-20/call-{number:07}.wav", f"{number:x}", 1_000_000, datetime(2026, 11, 20, tzinfo=UTC))


@pytest.mark.slow
def test_listing_a_hundred_thousand_keys_takes_bounded_memory(folders):
    """Memory is read in a fresh process: 10,000 keys first, then ten times as many may add 100 MB at most."""
    code = (
        "import sys, resource; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom tests.pipeline.test_ingest import MadeUpStore\n"
        "from ser_tasks.pipeline.listing import Listing\nfrom ser_tasks.settings import Settings\n"
        "for count in (10_000, 100_000):\n"
        " listing = Listing(MadeUpStore(count), Settings(), Path(sys.argv[2], f'{count}.duckdb'))\n"
        " assert listing.listed == count\n"
        " print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    here = str(Path(__file__).parents[2])
    answer = subprocess.run([sys.executable, "-c", code, here, str(folders[2])], capture_output=True, text=True, check=True)
    small_kb, large_kb = map(int, answer.stdout.split())
    assert large_kb - small_kb < 100_000


def test_a_failed_recording_waits_again_until_its_attempts_are_used_up(folders):
    recordings, lake, scratch = folders
    put(recordings, "2026-11-20/a.wav")
    put(recordings, "2026-11-20/b.wav")
    _, plan = planned(recordings, lake, scratch)
    chunk_id = plan.chunks[0][1]
    rows = [
        dict.fromkeys(schemas.OUTCOME_ROWS.names)
        | {"recording_id": row["recording_id"], "outcome": outcome, "attempts": 1, "chunk_id": chunk_id}
        for row, outcome in zip(manifest(lake), ("scored", "failed"), strict=True)
    ]
    key = f"{parts.folder('outcomes', day=DAY, version=NIGHT)}{chunk_id}.parquet"
    lake.write_bytes(key, parts.encode("outcomes", schemas.table("outcomes", rows)))
    listing, plan = planned(recordings, lake, scratch)
    assert (plan.recordings, plan.chunks) == (1, [(DAY, chunk_id)])
    [again] = ingest.load_chunk(listing, DAY, chunk_id).recordings
    assert (again.recording_id, again.attempts) == (rows[1]["recording_id"], 1)
    assert planned(recordings, lake, scratch, Settings(max_attempts=1))[1].chunks == []
    assert planned(recordings, lake, scratch, Settings(max_attempts=1, retry_given_up=True))[1].chunks == [(DAY, chunk_id)]
    rows[1] |= {"outcome": "quarantined", "reason_code": "archived"}
    lake.write_bytes(key, parts.encode("outcomes", schemas.table("outcomes", rows)))
    assert planned(recordings, lake, scratch)[1].chunks == []
    listing, plan = planned(recordings, lake, scratch, Settings(retry_given_up=True))
    assert [each.recording_id for each in ingest.load_chunk(listing, DAY, chunk_id).recordings] == [rows[1]["recording_id"]]
