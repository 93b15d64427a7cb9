"""What planning a day and handling a chunk cost at the lake's store, in calls: on S3 each is paid for, and takes its time."""

from collections import Counter
from pathlib import Path

import pytest

from ser_tasks.inference import bundle as bundle_module
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import LocalStore
from tests.factories.calls import TWO_SIDED, night_of, tiny_bundle, two_sided, write_call

ONE_EACH = Settings(chunk_recordings=1)
VERBS = {"list": "LIST", "folders": "LIST", "read_bytes": "GET", "tail_bytes": "GET", "write_bytes": "PUT", "create_bytes": "PUT"}


@pytest.fixture(scope="module")
def workers():
    with WorkerPool(1) as pool:
        yield pool


@pytest.fixture
def three_calls(tmp_path):
    for number in range(3):
        write_call(tmp_path / "calls", f"2026-11-20/{number}.wav", two_sided([("customer", 1, 4)], 5), TWO_SIDED)
    return tmp_path / "calls"


@pytest.fixture
def calls_to_lake(tmp_path, monkeypatch) -> Counter[str]:
    """Counts what is asked of the store at ``tmp_path / "lake"``."""
    counts: Counter[str] = Counter()

    def counting(real, name: str):
        def verb(self, *arguments, **options):
            if self.local_root == tmp_path / "lake":
                counts[name] += 1
            return real(self, *arguments, **options)

        return verb

    for verb, name in VERBS.items():
        monkeypatch.setattr(LocalStore, verb, counting(getattr(LocalStore, verb), name))
    return counts


def counted(night, counts: Counter[str]) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Calls to plan, and to handle each chunk."""
    counts.clear()
    plan = night.list_and_plan()
    to_plan, chunks = dict(counts), []
    for chunk in plan.chunks:
        counts.clear()
        night.publish(night.extract(*chunk))
        chunks.append(dict(counts))
    return to_plan, chunks


def test_calls_to_the_store_to_plan_a_day_and_to_handle_a_chunk(three_calls, bundle, workers, calls_to_lake, tmp_path):
    """Of a day with three recordings, each a chunk. In brackets what it cost before a day's ledger was read once (version 0.1, same test):

    plan a new day: 4 LIST, 1 GET, 1 PUT (9, 3, 1); again with nothing new: 4, 5, 1 (9, 6, 1); for another model: 4, 2, 0 (7, 3, 0).
    Handle a new chunk: 3 LIST, 2 GET, 3 PUT (5 to 6, 6 to 7, 3); for another model: 4, 3, 3 (7 to 8, 8 to 9, 3). One LIST is the erasures'.
    A day's first chunk takes a LIST and a GET less. However many parts the day has, each LIST is one page.
    The first two LISTs are those of deletions and erasures, the first GET that of the checkpoints, the last PUT theirs.
    """
    other = tiny_bundle(tmp_path, name="other", seed=3)
    with night_of(three_calls, tmp_path / "lake", bundle, workers, settings=ONE_EACH) as night:
        plan, chunks = counted(night, calls_to_lake)
    assert plan == {"LIST": 4, "GET": 1, "PUT": 1}
    # Of the day it lists the versions and, where there is one, its merged parts; the chunk's own part is asked for by its name.
    assert chunks == [{"LIST": 2, "GET": 1, "PUT": 3}, *[{"LIST": 3, "GET": 2, "PUT": 3}] * 2]
    with night_of(three_calls, tmp_path / "lake", bundle, workers, settings=ONE_EACH) as night:
        assert counted(night, calls_to_lake) == ({"LIST": 4, "GET": 5, "PUT": 1}, [])
    with night_of(three_calls, tmp_path / "lake", bundle, workers, settings=ONE_EACH) as night:
        assert counted(night, calls_to_lake) == ({"LIST": 4, "GET": 1}, [])  # settled: nothing is read
    with night_of(three_calls, tmp_path / "lake", other, workers, settings=ONE_EACH) as night:
        plan, chunks = counted(night, calls_to_lake)
    assert plan == {"LIST": 4, "GET": 2}
    assert chunks == [{"LIST": 3, "GET": 2, "PUT": 3}, *[{"LIST": 4, "GET": 3, "PUT": 3}] * 2]


@pytest.mark.parametrize("first", ["day", "chunk"])
def test_a_part_that_the_compaction_removes_between_listing_and_reading_is_found_merged(
    first, three_calls, bundle, workers, tmp_path, monkeypatch
):
    from datetime import date

    from ser_tasks.lake import ledger, parts
    from ser_tasks.maintenance.compaction import compact
    from ser_tasks.storage import open_store

    with night_of(three_calls, tmp_path / "lake", bundle, workers, settings=ONE_EACH) as night:
        chunks = night.list_and_plan().chunks
        for chunk in chunks:
            night.publish(night.extract(*chunk))
        version = night.spec.version
    lake, day = open_store(str(tmp_path / "lake")), date(2026, 11, 20)
    real, reads = parts.read, []

    def read(store, key, table, *columns):
        if table == "outcomes" and not reads:
            reads.append(key)
            compact(lake, ONE_EACH, -36_500, 0, 0)
        return real(store, key, table, *columns)

    monkeypatch.setattr(parts, "read", read)
    if first == "day":
        [listed] = ledger.list_days(lake, [day])
        assert ledger.read_day(lake, listed, version, ONE_EACH).waiting() == {}
    held = ledger.read_chunk(lake, day, version, chunks[0][1])
    assert held.held_by.startswith(parts.MERGED) and len(held.outcomes) == 1 and reads


def test_a_bundle_is_loaded_once_in_a_process_and_again_where_it_changed(three_calls, workers, tmp_path, monkeypatch):
    loads: list[str] = []
    real = bundle_module.load_bundle

    def load(name_or_uri, priors=None):
        loads.append(str(name_or_uri))
        return real(name_or_uri, priors)

    monkeypatch.setattr(bundle_module, "load_bundle", load)
    model = Path(tiny_bundle(tmp_path))
    for _ in range(3):
        with night_of(three_calls, tmp_path / "lake", model, workers) as night:
            first = night.spec.model_id
    assert loads == [str(model)]
    tiny_bundle(tmp_path, name="other", seed=5).rename(tmp_path / "next")
    model.rename(tmp_path / "old")
    (tmp_path / "next").rename(model)
    with night_of(three_calls, tmp_path / "lake", model, workers) as night:
        assert night.spec.model_id != first
    assert loads == [str(model)] * 2
