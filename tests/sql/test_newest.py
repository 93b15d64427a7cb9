"""The newest version of each recording: the views give the rows of the plain definition over random lakes, and none twice meanwhile."""

import random
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest

from ser_tasks import schemas
from ser_tasks.lake import catalog
from tests.factories.lakes import DAY, MODEL, NEWER_MODEL, NIGHT, POLICY, Call, angry, segment, views_over, write, write_calls

TABLES = ("segments", "call_emotions", "outcomes")
NEWEST = """
SELECT *
FROM parts.outcomes
QUALIFY row_number() OVER (
    PARTITION BY recording_id
    ORDER BY coalesce(planned_at, scored_at) DESC, scored_at DESC, version DESC, etag DESC, chunk_id DESC, part DESC
) = 1
"""
DEFINED = {
    "outcomes": f"SELECT * EXCLUDE (part) FROM ({NEWEST})",
    "call_emotions": f"SELECT * EXCLUDE (part) FROM parts.call_emotions SEMI JOIN ({NEWEST}) USING (recording_id, chunk_id, version, part)",
    "segments": "SELECT * EXCLUDE (part), if(unsure, 'unsure', emotion) AS label FROM parts.segments"
    f" SEMI JOIN ({NEWEST}) USING (recording_id, chunk_id, version, part)",
}
"""What the views are by definition; they give the same rows by a cheaper plan."""
COPIES = f"""
WITH numbered AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY call_id, call_date
            ORDER BY outcome = 'scored' DESC, scored_speech_s DESC NULLS LAST, channels DESC NULLS LAST, recording_id
        ) AS place
    FROM ({DEFINED["call_emotions"]})
    WHERE call_id_source IS DISTINCT FROM 'key' OR NOT contains(call_id, '~')
)
SELECT b.call_id, b.recording_id, min_by(a.recording_id, a.place) AS counted_by
FROM numbered AS a
JOIN numbered AS b ON a.call_id = b.call_id AND a.call_date IS NOT DISTINCT FROM b.call_date AND a.place < b.place
WHERE CASE
    WHEN a.started_at IS NULL OR b.started_at IS NULL THEN abs(a.duration_s - b.duration_s) <= 1
    WHEN a.started_at = b.started_at THEN true
    ELSE a.started_at < b.started_at + to_seconds(b.duration_s) AND b.started_at < a.started_at + to_seconds(a.duration_s)
END
GROUP BY b.call_id, b.recording_id
"""
"""Which recordings are copies, by definition: every call is compared with every other."""
NAMES = [f"call-{number}" for number in range(6)]
MODELS = (MODEL, NEWER_MODEL, "cnn_tcn-3-cccc")
OUTCOMES = ("scored", "scored", "scored", "no_speech", "withheld", "quarantined", "failed")


class Chunk:
    """A chunk in one version: writes its parts as a night, a second attempt and the compaction do."""

    shared: ClassVar[list[dict[str, Any]]] = []
    """Facts of calls, one of which each recording gets, so that a call has several recordings; without any, each has its own."""

    def __init__(self, lake: str, draw: random.Random, number: int, day: date, planned_at: datetime, etags: dict[str, str], model: str):
        self.lake, self.draw, self.day, self.name, self.version = lake, draw, day, f"c{number}", f"{model}.{POLICY}"
        self.known = {"chunk": self.name, "day": day, "planned_at": planned_at, "model": model}
        self.scored_at = planned_at + timedelta(hours=draw.choice((1, 1, 2, 30)))
        self.has_planned_at = draw.random() < 0.8  # older parts have none
        self.merged = 0
        self.calls = [self._call(name, etag, draw.choice(OUTCOMES)) for name, etag in etags.items()]
        self.write(TABLES if draw.random() < 0.9 else TABLES[:2])  # killed before the outcomes were written

    def _call(self, name: str, etag: str, outcome: str) -> Call:
        count = self.draw.randint(1, 3) if outcome == "scored" else 0
        segments = [segment(at, at + 1, (0.7, 0.1, 0.1, 0.1)) for at in range(count)]
        call = Call(name, segments, outcome=outcome, etag=etag, scored_at=self.scored_at, **self.known)
        if not self.has_planned_at:
            call.outcome["planned_at"] = None
        if call.facts and self.shared:
            call.facts |= self.draw.choice(self.shared)
        return call

    def _part(self) -> str:
        return f"merged-{self.merged:06}-{self.name}" if self.merged else self.name

    def write(self, tables: tuple[str, ...]) -> None:
        for table in tables:
            rows: list[dict[str, Any]] = [row for call in self.calls for row in call.rows[table]]
            if rows:
                write(self.lake, table, rows, self.day, self._part(), self.version)

    def retry(self) -> None:
        """Failed recordings end otherwise; the other rows stay as they are. What a merged part holds is written as a later one."""
        self.scored_at += timedelta(hours=self.draw.choice((1, 24)))
        self.merged += bool(self.merged)
        self.calls = [
            self._call(call.outcome["call_id"], call.outcome["etag"], self.draw.choice(OUTCOMES))
            if call.outcome["outcome"] == "failed"
            else call
            for call in self.calls
        ]
        self.write(TABLES)

    def merge(self) -> None:
        """The compaction, up to a step at which it may have stopped."""
        former = self._part()
        self.merged += 1
        self.write(TABLES if self.draw.random() < 0.8 else TABLES[:2])
        if self.draw.random() < 0.5:
            self.write(TABLES)
            for table in reversed(TABLES):
                Path(self.lake, f"{table}/day={self.day}/version={self.version}/{former}.parquet").unlink(missing_ok=True)


def random_lake(lake: str, draw: random.Random) -> list[datetime]:
    """Repeated uploads, several models, second attempts and merged parts; returns moments at which rows were made."""
    moments = []
    for number in range(draw.randint(2, 7)):
        planned_at = NIGHT + timedelta(hours=draw.randint(0, 4))  # several chunks of one night: ties are common
        day = DAY + timedelta(days=draw.randint(0, 1))
        etags = {name: f"e{draw.randint(1, 3)}" for name in draw.sample(NAMES, draw.randint(1, 5))}
        for model in draw.sample(MODELS, draw.randint(1, 3)):
            chunk = Chunk(lake, draw, number, day, planned_at, etags, model)
            moments.append(chunk.scored_at)
            for step in draw.sample((chunk.merge, chunk.retry, chunk.merge), draw.randint(0, 3)):
                step()
            moments.append(chunk.scored_at)
    return moments


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return sorted(map(repr, connection.execute(sql).fetchall()))


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 10))])
def test_the_views_give_the_rows_of_the_definition(tmp_path, seed):
    draw = random.Random(seed)
    moments = random_lake(str(tmp_path), draw)
    connection = views_over(str(tmp_path))
    for as_of in (None, *draw.sample(sorted(set(moments)), min(3, len(set(moments))))):
        connection.execute("RESET VARIABLE as_of" if as_of is None else f"SET VARIABLE as_of = '{as_of.isoformat()}'")
        for view, definition in DEFINED.items():
            assert rows(connection, f"FROM {view}") == rows(connection, definition), (view, as_of)
        superseded = (
            "SELECT DISTINCT recording_id, chunk_id, version FROM parts.outcomes EXCEPT SELECT recording_id, chunk_id, version FROM newest"
        )
        assert rows(connection, "SELECT DISTINCT recording_id, chunk_id, version FROM superseded") == rows(connection, superseded)


SHARED = [
    {"call_id": call_id, "call_id_source": source, "call_date": day, "started_at": start, "duration_s": duration_s}
    for call_id, source in (("one", "sidecar"), ("two", "key"), ("x/CUST_~", "key"), ("x/CUST_~", "sidecar"))
    for day in (None, DAY)
    for start in (None, NIGHT, NIGHT + timedelta(seconds=20), NIGHT + timedelta(seconds=60))
    for duration_s in (40.0, 42.0)
]
"""Facts by which recordings are of one call, or nearly so."""


@pytest.mark.parametrize("seeds", [range(1000, 1003), pytest.param(range(1003, 1010), marks=pytest.mark.slow)])
def test_recordings_of_one_call_are_those_of_the_definition(tmp_path, monkeypatch, seeds):
    """Also where they come in different nights, are scored again, withheld or uploaded anew."""
    found = []
    for seed in seeds:
        draw, lake = random.Random(seed), str(tmp_path / str(seed))
        monkeypatch.setattr(Chunk, "shared", draw.sample(SHARED, 4))
        moments = random_lake(lake, draw)
        connection = views_over(lake)
        for as_of in (None, *draw.sample(sorted(set(moments)), min(2, len(set(moments))))):
            connection.execute("RESET VARIABLE as_of" if as_of is None else f"SET VARIABLE as_of = '{as_of.isoformat()}'")
            copies = rows(connection, COPIES)
            assert rows(connection, "FROM copies") == copies, (seed, as_of)
            left = f"FROM ({DEFINED['call_emotions']}) WHERE recording_id NOT IN (SELECT recording_id FROM ({COPIES}))"
            assert rows(connection, "FROM counted_calls") == rows(connection, left), (seed, as_of)
            found.append(len(copies))
    assert sum(found) >= len(seeds), found


@pytest.mark.parametrize("listings", range(1, 5))
def test_a_version_published_during_a_query_is_never_counted_beside_the_former(tmp_path, listings):
    """A query lists the outcomes more than once. The new version appears after the first, second, ... listing."""
    fsspec = pytest.importorskip("fsspec")
    lake = tmp_path / "lake"
    write_calls(str(lake), [angry()])
    newer = angry(model=NEWER_MODEL, scored_at=NIGHT + timedelta(days=1))
    seen: list[str] = []

    class PublishesMeanwhile(fsspec.get_filesystem_class("file")):
        protocol = "meanwhile"

        def glob(self, path, **kwargs):
            found = super().glob(self._strip_protocol(path), **kwargs)
            table = next(table for table in schemas.TABLES if f"/{table}/" in str(path))
            seen.append(table)
            if len(seen) == listings:
                write_calls(str(lake), [newer])
            return found

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(str(path).removeprefix("meanwhile://"))

    with catalog.connect(str(lake)) as connection:
        connection.register_filesystem(PublishesMeanwhile(skip_instance_cache=True))
        for table in TABLES:
            sql = connection.execute("SELECT sql FROM duckdb_views() WHERE schema_name = 'parts' AND view_name = ?", [table]).fetchone()[0]
            connection.execute(sql.replace("CREATE VIEW", "CREATE OR REPLACE VIEW").replace(f"'{lake}/", f"'meanwhile://{lake}/"))
        seen.clear()
        models = connection.execute("SELECT model FROM call_emotions").fetchall()
        assert len(seen) >= 3, seen
    assert len(models) <= 1 and len(list(lake.glob("outcomes/*/*/*.parquet"))) == (2 if listings <= len(seen) else 1)
