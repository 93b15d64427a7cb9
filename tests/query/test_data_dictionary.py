"""The page of every view is there, is up to date and agrees with the views and the schemas."""

import re

import pytest

from ser_tasks import schemas
from ser_tasks.lake import catalog, sql_views, view_cache
from ser_tasks.query import data_dictionary


@pytest.fixture(scope="module")
def tables():
    """Column, type, unit and meaning of every row of the page as it lies in sql/, by view."""
    found = {}
    for section in data_dictionary.PAGE.read_text(encoding="utf-8").split("\n### ")[1:]:
        name, _, rest = section.partition("\n")
        found[name] = re.findall(r"(?m)^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", rest)
    return found


def test_the_page_is_made_anew_after_a_change():
    assert data_dictionary.PAGE.read_text(encoding="utf-8") == data_dictionary.page(), "python -m ser_tasks.query.data_dictionary writes it"


def test_every_view_and_column_is_on_the_page_with_its_type(tables, tmp_path):
    with catalog.connect(str(tmp_path)) as connection:
        views = {view.name: view for view in [*sql_views.all_views(), *sql_views.called_views()]}
        assert list(tables) == list(views)
        for name, rows in tables.items():
            described = connection.sql(f"FROM {sql_views.rows_of(views[name])}")
            assert [(row[0], row[1]) for row in rows] == list(zip(described.columns, map(str, described.types), strict=True))


def test_staging_agrees_with_the_schemas(tables):
    for table, schema in schemas.TABLES.items():
        rows = {column: (type_, meaning) for column, type_, _, meaning in tables[table]}
        for field in schema:
            assert rows[field.name] == (sql_views.duckdb_types()[field.type], field.metadata[b"meaning"].decode())


def test_units_follow_names(tables):
    units = {(view, column): unit for view, rows in tables.items() for column, _, unit, _ in rows}
    assert units["segments", "loudness_dbfs"] == "dB relative to full scale"
    assert units["escalations", "onset_s"] == "seconds" and units["nights", "audio_h_per_h"] == "audio hours per hour"
    assert units["calls_by_day_and_queue", "share_anger_low"] == units["segments", "p_anger"] == "0 to 1"
    assert units["queue_days_against_usual", "usual_days"] == "number" and units["recordings", "size_bytes"] == "bytes"
    for (view, column), unit in units.items():
        if re.search(r"_(s|db|dbfs|hz|bytes)$", column):
            assert unit not in ("number", "text"), (view, column)


def test_a_column_without_a_meaning_is_named(tmp_path, monkeypatch):
    for folder in (*sql_views.FOLDERS, "macros"):
        (tmp_path / folder).mkdir()
    (tmp_path / "marts" / "mine.sql").write_text(
        "-- What?\n-- Grain: one row.\n-- Units: none.\nSELECT\n    1 AS known, -- one\n    2 AS unknown\n"
    )
    monkeypatch.setattr(sql_views, "SQL_FOLDER", tmp_path)
    monkeypatch.setattr(view_cache, "cache_folder", lambda: tmp_path / "cache")
    assert sql_views.meanings(sql_views.all_views()[0])["known"] == "one"
    with pytest.raises(ValueError, match=r"mine.unknown has no meaning: write one beside it in sql/marts/mine.sql"):
        data_dictionary.page()
