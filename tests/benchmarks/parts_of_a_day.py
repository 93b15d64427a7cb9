"""Measures what a chunk and a plan cost beside so many parts in the day. Prints its figures; none is a test.

python -m tests.benchmarks.parts_of_a_day [PARTS ...]     # a local lake; with AWS_... and --s3 s3://bucket one on S3
"""

import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from ser_tasks import schemas
from ser_tasks.lake import ledger, parts
from ser_tasks.lake.manifest import manifest_key
from ser_tasks.pipeline import ingest
from ser_tasks.pipeline.listing import Listing
from ser_tasks.settings import Settings
from ser_tasks.storage import Store, StoredObject, open_store

DAY = date(2026, 11, 20)
VERSION = "m-1.customers_only"
VERBS = ("list", "folders", "read_bytes", "tail_bytes", "write_bytes", "create_bytes")


def fill(lake: Store, count: int) -> None:
    """A day of so many chunks of one recording each, all done but the last."""
    empty = dict.fromkeys(schemas.TABLES["recordings"].names)
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    rows = [
        empty | {"chunk_id": f"{n:020x}", "recording_id": f"{n}", "etag": f"{n:x}", "key": f"{n}", "planned_at": moment, "estimated_s": 1.0}
        for n in range(count + 1)
    ]
    lake.write_bytes(manifest_key(DAY, 1), parts.encode("recordings", schemas.table("recordings", rows)))
    outcome = dict.fromkeys(schemas.TABLES["outcomes"].names) | {"outcome": "scored", "attempts": 1, "scored_at": moment}
    place = parts.folder("outcomes", day=DAY, version=VERSION)
    for n in range(count):
        table = schemas.table("outcomes", [outcome | {"chunk_id": f"{n:020x}", "recording_id": f"{n}", "run_id": "r"}])
        lake.write_bytes(f"{place}{n:020x}.parquet", parts.encode("outcomes", table))


class OneDay:
    """A store of recordings that lists ``count`` of one day."""

    uri = "made-up"

    def __init__(self, count: int):
        self.count = count

    def content(self, key: str) -> None:
        """None, as on S3: the etags are hashes."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for number in range(self.count):
            yield StoredObject(f"{DAY}/call-{number:06}.wav", f"{number:x}", 16_000, datetime(2026, 11, 20, tzinfo=UTC))


@contextlib.contextmanager
def counted(lake: Store, what: str) -> Iterator[None]:
    """Prints the seconds of a block and what was asked of the lake."""
    asked: Counter[str] = Counter()
    real = {verb: getattr(lake, verb) for verb in VERBS}
    for verb in VERBS:
        setattr(lake, verb, lambda *a, verb=verb, **o: asked.update([verb]) or real[verb](*a, **o))
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    yield
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    for verb, function in real.items():
        setattr(lake, verb, function)
    print(f"  {what}: {1000 * wall_s:,.0f} ms, {1000 * cpu_s:,.0f} CPU-ms; {dict(asked)}", flush=True)


def main(arguments: list[str]) -> None:
    s3 = arguments.pop() if "--s3" in arguments else None
    for count in [int(each) for each in arguments if each.isdigit()] or [139, 10_000]:
        with tempfile.TemporaryDirectory() as folder:
            lake = open_store(f"{s3}/{count}" if s3 else str(Path(folder, "lake")))
            fill(lake, count)
            print(f"{count:,} parts in the day")
            for _ in range(2):
                with counted(lake, "a chunk's ledger when it is published"):
                    ledger.read_chunk(lake, DAY, VERSION, f"{count:020x}")
            [listed] = ledger.list_days(lake, [DAY])
            with counted(lake, "the day's ledger, once a run"):
                ledger.read_day(lake, listed, VERSION, Settings())
    count = 30_000
    with tempfile.TemporaryDirectory() as folder:
        lake = open_store(f"{s3}/planning" if s3 else str(Path(folder, "lake")))
        settings = Settings(chunk_recordings=100)
        listing = Listing(OneDay(count), settings, Path(folder, "listing.duckdb"))  # type: ignore[arg-type]
        print(f"a plan of {count:,} new recordings of one day")
        with counted(lake, "the plan"):
            ingest.plan(listing, lake, VERSION, settings, "r")


if __name__ == "__main__":
    main(sys.argv[1:])
