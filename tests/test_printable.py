"""No name, metadata or answer from outside sends a control character to a terminal or a log; files hold them as they are."""

import csv
import json
import logging
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_tasks.printable import PrintableRecord, printable
from ser_tasks.query import formats
from tests.factories.lakes import write_good_lake

ROOT = Path(__file__).parents[1]
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066\u200b\r\x08x\x7f"
"""Clears the screen, sets the window's title, colours by a C1 control, turns the reading direction, and overwrites."""


def assert_harmless(text: str) -> None:
    assert all(character.isprintable() or character in "\n\t" for character in text), ascii(text)


def ser(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize("text", ["", "plain", "Grüße, 東京, עברית, العربية 🙂", "two\nlines\tand a tab", "12\u00a0% of\u202f3\u3000"])
def test_ordinary_text_stays(text):
    assert printable(text) == text


def test_control_characters_are_written_as_text():
    assert printable("\x1b[31m\x9b\u202e\udcff\x00") == r"\x1b[31m\x9b\u202e\udcff\x00"
    assert_harmless(printable(HOSTILE + "".join(map(chr, [*range(32), *range(127, 160), *range(0x200B, 0x2010), *range(0x2028, 0x202F)]))))


@pytest.mark.parametrize("format", ["table", "vertical"])
def test_tables_hold_no_control_character_in_values_or_names(format):
    nested = pa.array([{"a": [HOSTILE]}])
    answer = pa.table({"text": [HOSTILE], f"name {HOSTILE}": [1], "nested": nested})
    for rows in (answer, pa.concat_tables([answer, answer])):
        assert_harmless(formats.render(rows, format))
        assert r"\x1b[2J" in formats.render(rows, format, width=400)


def test_exports_hold_the_exact_value(tmp_path):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    sql = f"SELECT '{HOSTILE}' AS value"
    for name in ("out.csv", "out.json", "out.parquet"):
        answer = ser("sql", "--lake", lake, "--out", str(tmp_path / name), sql)
        assert answer.returncode == 0, answer.stderr
        assert_harmless(answer.stdout + answer.stderr)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1] == [HOSTILE]
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == [{"value": HOSTILE}]
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [{"value": HOSTILE}]
    answer = ser("sql", "--lake", lake, sql)
    assert_harmless(answer.stdout)
    assert r"\x1b[2J" in answer.stdout


def test_errors_of_commands_are_harmless(tmp_path):
    hostile = HOSTILE.replace("\x00", "")
    write_good_lake(str(tmp_path / "lake"))
    for arguments in (
        ["sql", "--lake", str(tmp_path / "lake"), f'SELECT * FROM "{hostile}"'],
        ["sql", "--lake", str(tmp_path / "lake"), "--as-of", hostile, "SELECT 1"],
        ["sql", "--lake", str(tmp_path / "lake"), "--file", str(tmp_path / hostile)],
        ["report", "--lake", str(tmp_path / hostile)],
        ["compact", "--lake", str(tmp_path / hostile)],
    ):
        answer = ser(*arguments)
        assert answer.returncode == 2 and "x1b" in answer.stderr, (arguments, answer.stderr)
        assert_harmless(answer.stdout + answer.stderr)


def test_the_doctor_is_harmless(tmp_path):
    lake = tmp_path / "lake"
    write_good_lake(str(lake))
    part = next((lake / "outcomes").rglob("*.parquet"))
    (part.parent / f"{HOSTILE}.parquet").write_bytes(b"no parquet")
    (lake / HOSTILE).write_bytes(b"a stray file")
    answer = ser("doctor", "--lake", str(lake))
    assert answer.returncode == 1 and r"\x1b[2J" in answer.stdout, answer
    assert_harmless(answer.stdout + answer.stderr)


def test_log_lines_and_tracebacks_are_harmless():
    script = (
        "import logging, sys; import flows; logging.basicConfig(format='%(name)s %(message)s'); log = logging.getLogger('a')\n"
        "log.warning('The key %s', sys.argv[1]); log.warning(sys.argv[1])\n"
        "try: open(sys.argv[1])\n"
        "except OSError as error: log.exception('Failed: %s', error)\n"
        "try: raise ValueError(sys.argv[1])\n"
        "except ValueError as error: logging.getLogger('uvicorn.error').error('no', exc_info=error)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script, HOSTILE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert_harmless(answer.stderr)
    assert answer.stderr.count(r"\x1b[2J") >= 5 and "Traceback" in answer.stderr


def test_a_record_without_arguments_stays_as_it_is():
    record = PrintableRecord("a", logging.INFO, "here", 1, "100 %% of %s", ("them",), None)
    assert (record.getMessage(), record.exc_text) == ("100 % of them", None)
