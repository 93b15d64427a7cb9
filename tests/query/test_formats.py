"""Answers in every format: tables that fit, files that say the same as the rows."""

import io
import json

import pyarrow.parquet as pq
import pytest

from ser_tasks.lake import catalog, read_only
from ser_tasks.query import formats, plain_table
from tests.factories.lakes import write_good_lake


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    lake = str(tmp_path_factory.mktemp("good") / "lake")
    write_good_lake(lake)
    return catalog.connect(lake)


def test_a_table_fits_its_width_and_names_what_is_left_out(good):
    text = formats.render(read_only.query(good, "FROM call_emotions"), "table", width=80)
    assert max(len(line) for line in text.splitlines()) <= 80
    box, footer = text[: text.index("4 rows; ")], " ".join(text[text.index("4 rows; ") :].split())
    for column in good.table("call_emotions").columns:
        assert (f" {column} " in box) != (f" {column}," in footer or footer.endswith(column))


def test_a_table_rounds_and_says_null(good):
    sql = "SELECT 0.123456::FLOAT AS p, 1234.5678::DOUBLE AS s, NULL AS n, TIMESTAMPTZ '2026-11-20 09:00:00+01' AS t, E'a\\nb [red]' AS x"
    line = formats.render(good.sql(sql), "table", width=100).splitlines()[3]
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["0.123", "1234.6", "null", "2026-11-20 08:00:00", "a b [red]"]


def test_nothing_but_zero_is_shown_as_zero(good):
    def cells(values):
        table = formats.render(good.sql(f"SELECT unnest({values}::DOUBLE[]) AS x"))
        return [line.strip("│ ") for line in table.splitlines()[3:-2]]

    assert cells("[0.0, 0.25, 1e-9, -0.0002]") == ["0.000", "0.250", "1e-09", "-2e-04"]
    assert cells("[120.04, 5.5]") == ["120.0", "5.5"]
    assert cells("[1000.0, 0.25, 0.03]") == ["1000.0", "0.250", "0.030"]  # a column of several units
    assert cells("['nan', 'inf', NULL]") == ["nan", "inf", "null"]


def test_nested_values_and_truths_are_written_as_in_sql(good):
    sql = "SELECT true AS t, {low: 0.123456::DOUBLE, high: NULL} AS s, [1.5::DOUBLE, 2] AS l"
    line = formats.render(good.sql(sql), width=100).splitlines()[3]
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["true", "{low: 0.123, high: null}", "[1.500, 2.000]"]


def test_one_wide_row_stands_upright(good):
    text = formats.render(read_only.query(good, "FROM call_emotions WHERE call_id = 'worse'"), "table", width=60)
    assert [line for line in text.splitlines() if line.startswith("│ peak_anger ") and " 0.900 " in line]
    assert text.endswith("1 row")


def test_a_long_value_is_cut_and_leaves_the_other_columns_whole(good):
    line = formats.render(good.sql("SELECT 'scored' AS outcome, repeat('x', 500) AS reason"), "table", width=80).splitlines()[3]
    assert line == f"│ scored  │ {'x' * 39}… │"
    upright = formats.render(good.sql("SELECT repeat('x', 500) AS reason, * FROM call_emotions LIMIT 1"), "table", width=80)
    assert {len(line) for line in upright.splitlines()[:-1]} == {80} and " unattributed_loudness_dbfs " in upright


def test_a_long_table_says_how_long(good):
    text = formats.render(read_only.query(good, "FROM range(1234)"), "table", width=80)
    assert "1,234 rows, the first 100 shown" in text and "│    99 │" in text and "│   100 │" not in text


def test_a_plan_is_readable(good):
    assert "┌────" in formats.render(read_only.query(good, "EXPLAIN SELECT 1"))


MIXED = """
    SELECT 1 AS a, 0.1::FLOAT AS p, 'it''s, "so"' AS t, NULL AS n, 'nan'::DOUBLE AS x,
        DATE '2026-11-20' AS d, TIMESTAMPTZ '2026-11-20 09:00:00+01' AS s
"""


def test_csv(good):
    header, line = formats.render(read_only.query(good, MIXED), "csv").splitlines()
    assert header == "a,p,t,n,x,d,s"
    assert line == '1,0.1,"it\'s, ""so""",,nan,2026-11-20,2026-11-20 08:00:00+00'


def test_json(good):
    expected = {"a": 1, "p": 0.1, "t": 'it\'s, "so"', "n": None, "x": None, "d": "2026-11-20", "s": "2026-11-20T08:00:00+00:00"}
    assert json.loads(formats.render(read_only.query(good, MIXED), "json")) == [expected]
    assert formats.render(read_only.query(good, "SELECT 1 AS a WHERE false"), "json") == "[]"


def test_parquet(good):
    answer = read_only.query(good, "FROM segments")
    assert pq.read_table(io.BytesIO(formats.render(answer, "parquet"))).equals(answer)


@pytest.mark.parametrize("format", formats.FORMATS)
def test_every_format_takes_any_answer(good, format):
    for sql in ("SELECT 1 AS a, 2 AS A, [1, 2] AS l, {'k': 1} AS s", "SELECT NULL::DOUBLE AS x WHERE false", "FROM call_emotions_all"):
        assert formats.render(read_only.query(good, sql), format)


def test_two_columns_of_one_name_both_appear(good):
    assert json.loads(formats.render(good.sql("SELECT 1 AS a, 2 AS a"), "json")) == [{"a": 1, "a_1": 2}]


def test_an_unknown_format_is_named(good):
    with pytest.raises(ValueError, match="'xml' is no format: choose one of table, vertical, csv, json, parquet"):
        formats.render(read_only.query(good, "SELECT 1"), "xml")


ANSWERS = {
    "FROM calls": True,
    "FROM call_emotions": True,
    "FROM segments": True,
    "FROM worst_calls": True,
    "FROM runs_overview": False,  # one wide row stands upright
    "FROM calls WHERE false": True,
    "FROM range(1234)": True,
    "SELECT count(*) AS calls FROM calls": True,
    "SELECT queue, avg(share_anger) AS anger, max(call_date) AS newest FROM calls GROUP BY queue": True,
    "SELECT unnest([0.0, 0.25, 1e-9, -0.0002, 'nan'::DOUBLE, 'inf'::DOUBLE, NULL]) AS x": True,
    "SELECT unnest([1000.0::DOUBLE, 0.25, 0.03]) AS x, unnest([true, false, NULL]) AS b": True,
    "SELECT 255::UTINYINT AS a, -5::SMALLINT AS b, 2::UBIGINT AS c, 0.1::FLOAT AS d": True,
    "SELECT 'scored' AS outcome, repeat('x', 500) AS reason": True,
    "SELECT E'a\\nb [red]\\x1b[31m' AS x, '' AS empty, TIMESTAMP '2026-11-20 09:00:00.5' AS t": True,
    "SELECT TIMESTAMPTZ '2026-11-20 09:00:00+01' AS t, DATE '2026-11-20' AS d": True,
    "SELECT 'Gr\u00fc\u00dfe' AS wide": False,
    "SELECT repeat('x', 500) AS reason, * FROM call_emotions LIMIT 1": False,
    "SELECT 1 AS a, 2 AS A": False,
    "SELECT [1, 2] AS l, {k: 1} AS s": False,
    "SELECT 1.50::DECIMAL(9, 2) AS d, 5::HUGEINT AS h": False,
    "EXPLAIN SELECT 1": False,
}
"""Queries, and whether their answers are drawn without Arrow."""


@pytest.mark.parametrize("width", [60, 100, 300])
@pytest.mark.parametrize("sql", ANSWERS)
def test_a_table_without_arrow_is_drawn_as_with_it(good, monkeypatch, sql, width):
    monkeypatch.setenv("COLUMNS", str(width))
    file = io.BytesIO()
    rows = plain_table.write(good.execute(sql), file, plain_table.SHOWN_ROWS)
    assert ANSWERS[sql] == (rows is not None)
    if rows is None:
        assert file.getvalue() == b""  # formats draws it
    else:
        expected = formats.render(read_only.query(good, sql), "table", width=width)
        assert file.getvalue().decode() == f"{expected}\n"
        assert rows == good.sql(f"SELECT count(*) FROM ({sql})").fetchone()[0]
