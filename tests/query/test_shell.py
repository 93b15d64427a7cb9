"""``ser sql``: what is asked how, what comes out where, errors that point, and a person at a real terminal."""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.lake import catalog, sql_views
from ser_tasks.lake.sql_text import literal
from ser_tasks.query.describe import describe
from tests.factories.lakes import NIGHT, angry, worse, write_calls, write_good_lake

LISTEN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""Whoever runs the tests may have told its processes to ignore Ctrl-C, and theirs do, too."""
SER = [sys.executable, "-c", f"{LISTEN}; from flows.cli import app; app()"]
FOR_EVER = "SELECT count(*) FROM range(1000000000000) AS t WHERE t.range % 7 = 3"


@pytest.fixture
def lake(tmp_path):
    write_good_lake(str(tmp_path / "lake"))
    return str(tmp_path / "lake")


def ask(lake, *arguments, piped=None, code=0):
    answer = CliRunner().invoke(app, ["sql", "--lake", lake, *map(str, arguments)], input=piped, env={"COLUMNS": "100"})
    assert answer.exit_code == code, answer.output
    return answer.stdout if code == 0 else answer.stderr


# What is asked


def test_an_answer_waits_for_no_heavy_import(lake):
    """Those that DuckDB itself does without; the views are known from the answer before."""
    heavy = ["torch", "prefect", "pandas", "librosa", "boto3", "pyarrow"]
    ask_it = f"app(['sql', '--lake', {lake!r}, 'FROM calls'], standalone_mode=False)"
    code = f"import sys; from flows.cli import app; {ask_it}; print([name for name in {heavy} if name in sys.modules])"
    ask(lake, "FROM calls")
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("\n[]\n")


def test_a_query_is_an_argument_a_file_or_piped_in(lake, tmp_path):
    sql = "SELECT call_id FROM escalations"
    (tmp_path / "query.sql").write_text(f"-- ä comment\n{sql};\n", encoding="utf-8-sig")
    answers = {ask(lake, sql), ask(lake, "--file", tmp_path / "query.sql"), ask(lake, piped=sql)}
    assert len(answers) == 1 and "│ worse   │" in answers.pop()


@pytest.mark.parametrize("piped", [None, "", " \n"])
def test_nothing_asked_without_a_terminal_lists_the_views(lake, piped):
    listed = ask(lake, piped=piped)
    for view in sql_views.all_views():
        assert f" {view.name} " in listed
    assert "How did each call go?" in listed


def test_statements_are_answered_one_after_the_other(lake, tmp_path):
    second = "FROM escalations SELECT call_id WHERE call_id = getvariable('wanted')"
    (tmp_path / "two.sql").write_text(f"SET VARIABLE wanted = 'worse';\nSELECT 'a;b' AS x;\n-- then\n{second};")
    first, second = ask(lake, "--file", tmp_path / "two.sql").split("\n\n")
    assert "│ a;b │" in first and "│ worse   │" in second
    assert "holds 3 statements, but csv holds one answer" in ask(lake, "--file", tmp_path / "two.sql", "--format", "csv", code=2)


def test_a_fault_in_the_last_statement_stops_the_first(lake):
    assert "DROP is not allowed" in ask(lake, "SELECT 1; DROP VIEW runs", code=2)
    assert "Line 2, column 1: Parser Error" in ask(lake, "SELECT 1;\nSELEC 2", code=2)


def test_a_lake_that_is_not_there_is_told(lake, tmp_path):
    command = ["sql", "--lake", str(tmp_path / "typo"), "SELECT count(*) AS runs FROM runs", "--format", "csv"]
    assert CliRunner().invoke(app, command).exit_code == 2
    answer = CliRunner().invoke(app, [*command, "--empty-ok"])
    assert (answer.exit_code, answer.stdout) == (0, "runs\n0\n") and "there is nothing in" in answer.stderr
    assert CliRunner().invoke(app, ["sql", "--lake", lake, "FROM runs"]).stderr == ""
    assert "is a file" in ask(next((tmp_path / "lake").rglob("*.parquet")), "FROM runs", code=2)


def test_own_files_are_read_and_nothing_is_installed(lake, tmp_path):
    (tmp_path / "csat 'a'.csv").write_text("call_id,rating\nangry,1\n")
    file = literal(str(tmp_path / "csat 'a'.csv"))
    assert json.loads(ask(lake, f"SELECT queue, rating FROM {file} JOIN call_emotions USING (call_id)", "--format", "json")) == [
        {"queue": "sales", "rating": 1}
    ]
    assert "No files found that match" in ask(lake, "FROM 'nowhere.csv'", code=2)
    assert "ser sql installs no extensions" in ask(lake, "FROM st_read('roads.shp')", code=2)
    assert "false" in ask(lake, "SELECT current_setting('autoinstall_known_extensions') AS installs")


def test_what_contradicts_itself_is_refused(lake, tmp_path):
    assert "not both" in ask(lake, "SELECT 1", "--file", tmp_path / "q.sql", code=2)
    assert "No such file" in ask(lake, "--file", tmp_path / "q.sql", code=2)
    assert "use .csv, .json" in ask(lake, "SELECT 1", "--out", tmp_path / "x.xlsx", code=2)
    assert "There is no folder" in ask(lake, "SELECT 1", "--out", tmp_path / "nowhere" / "x.csv", code=2)
    assert "no SQL statement" in ask(lake, "/* nothing */", code=2)


def test_as_of_a_moment(tmp_path):
    lake = str(tmp_path / "lake")
    write_calls(lake, [angry()])
    write_calls(lake, [worse(chunk="c2", planned_at=NIGHT + timedelta(days=1), scored_at=NIGHT + timedelta(days=1))])
    count = "SELECT count(*) AS calls FROM call_emotions"
    for moment, calls in (("2026-11-21", 0), ("2026-11-21T06:00", 1), ("2026-11-21T01:00+01:00", 0), ("2026-11-22", 1), ("2026-11-23", 2)):
        assert json.loads(ask(lake, count, "--as-of", moment, "--format", "json")) == [{"calls": calls}]
    assert "'the 3rd' is no moment: write it as 2026-11-03" in ask(lake, count, "--as-of", "the 3rd", code=2)


# What is told about views


def test_a_view_is_described_with_its_columns(lake):
    told = ask(lake, r"\d segments")
    assert told.startswith("segments    sql/staging/segments.sql\nWhat was detected in every speech segment?\nGrain: one row per segment")
    assert "│ snr_db " in told and "│ dB " in told
    described = {row["column"]: row for row in json.loads(ask(lake, r"\d Escalations", "--format", "json"))}
    assert described["negativity_change"].items() >= {"type": "FLOAT", "unit": "-1 to 1"}.items()


def test_every_view_can_be_described(tmp_path):
    with catalog.connect(str(tmp_path / "lake")) as connection:
        for view in sql_views.all_views():
            heading, columns = describe(connection, view.name)
            assert heading[1] == view.question and all(columns["meaning"].to_pylist())


def test_the_list_is_data_too(lake):
    listed = json.loads(ask(lake, r"\d", "--format", "json"))
    expected = {view.name: view.question for view in sql_views.all_views()}
    expected |= {sql_views.CALLED[view.name]: view.question for view in sql_views.called_views()}
    assert {row["view"]: row["question it answers"] for row in listed} == expected


def test_near_misses_are_suggested(lake):
    assert r"Did you mean escalations" in ask(lake, r"\d esclations", code=2)
    assert r"worst_calls" in ask(lake, r"\d worst", code=2)
    assert 'Did you mean "escalations"?' in ask(lake, "FROM esclations", code=2)
    assert 'Candidate bindings: "queue"' in ask(lake, "SELECT queu FROM escalations", code=2)
    assert r"Its columns: \d escalations" in ask(lake, "SELECT escalations.queu FROM escalations", code=2)
    assert r"There is no command \dt: \? lists them." in ask(lake, r"\dt", code=2)
    assert r"\d VIEW" in ask(lake, r"\?")
    assert "Table with name statement does not exist" in ask(lake, "FROM statement", code=2)  # a variable of the program


# Errors point


@pytest.mark.parametrize(
    ("sql", "line", "column", "caret_under"),
    [
        ("FROM call_emotions\nWHERE queu = 'sales'", 2, 7, "queu"),
        ("SELECT 'ää', -- ü\n\t'ö' || qeue\nFROM call_emotions", 2, 9, "qeue"),
        ("SELECT 1;\n\nSELECT 1;\nSELECT 2,\n       nofun(1)", 5, 8, "nofun"),
        ("SELECT " + "1 + " * 100 + "x FROM runs", 1, 408, "x FROM"),
        ("SELECT 'abc'::INT", 1, 13, "::INT"),
    ],
)
def test_an_error_names_line_and_column_and_points(lake, tmp_path, sql, line, column, caret_under):
    (tmp_path / "q.sql").write_text(sql)
    told = ask(lake, "--file", tmp_path / "q.sql", code=2)
    assert f"q.sql, line {line}, column {column}: " in told
    *_, shown, caret = told.rstrip("\n").split("\n")
    assert shown[caret.index("^") :].startswith(caret_under)
    assert f"Line {line}, column {column}: " in ask(lake, sql, code=2)


def test_an_error_without_a_place_is_told_plainly(lake):
    assert "ser: Out of Range Error: cannot take square root of a negative number" in ask(lake, "SELECT sqrt(-1)", code=2)


# What comes out


def test_a_file_by_its_suffix(lake, tmp_path):
    sql = "SELECT call_id, duration_s FROM call_emotions ORDER BY call_id"
    for name in ("a.csv", "a.json", "a.parquet", "a.txt"):
        ask(lake, sql, "--out", tmp_path / name)
    expected = [("angry", 40.0), ("mono", 60.0), ("silent", 60.0), ("worse", 20.0)]
    assert (tmp_path / "a.csv").read_text() == "call_id,duration_s\n" + "".join(f"{name},{seconds}\n" for name, seconds in expected)
    rows = [{"call_id": name, "duration_s": seconds} for name, seconds in expected]
    assert json.loads((tmp_path / "a.json").read_text()) == pq.read_table(tmp_path / "a.parquet").to_pylist() == rows
    assert "│ worse   │      20.00 │" in (tmp_path / "a.txt").read_text()
    ask(lake, sql + " LIMIT 1", "--out", tmp_path / "a.txt", "--format", "csv")
    assert (tmp_path / "a.txt").read_text() == "call_id,duration_s\nangry,40.0\n"


def test_a_file_holds_all_rows_and_is_replaced_only_by_a_whole_one(lake, tmp_path):
    out = tmp_path / "all.csv"
    ask(lake, "FROM range(123456)", "--out", out)
    assert len(out.read_text().splitlines()) == 123457
    ask(lake, "SELECT CASE WHEN range < 120000 THEN 1 ELSE error('late') END FROM range(123456)", "--out", out, code=2)
    assert len(out.read_text().splitlines()) == 123457
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.csv", "lake", "lake.accesses"]


def test_no_progress_bar_stands_in_an_answer(lake):
    """DuckDB writes one to standard output where a query takes more than 2 s."""
    assert json.loads(ask(lake, "SELECT current_setting('enable_progress_bar') AS bar", "--format", "json")) == [{"bar": False}]


def test_a_long_table_says_how_to_get_all_of_it(lake):
    told = " ".join(ask(lake, "FROM range(1234)").split())
    assert r"1,234 rows, the first 100 shown, 1,134 left out (--rows 0 or \rows 0 shows all, --out FILE.csv writes all)" in told
    assert "│  1233 │\n" in ask(lake, "FROM range(1234)", "--rows", 0)
    assert "the first 3 shown, 7 left out" in ask(lake, "FROM range(10)", "--rows", 3, "--format", "vertical")


def test_a_row_stands_upright_if_told_so(lake):
    told = ask(lake, "SELECT call_id, repeat('long ', 60) AS words FROM call_emotions ORDER BY 1", "--format", "vertical")
    assert max(map(len, told.splitlines())) <= 100
    assert told.count("│ call_id ") == 4 and "│ row 3 " in told and told.count("long") == 240


def test_a_reader_that_leaves_early_is_no_error(lake):
    command = " ".join(f"'{word}'" for word in [*SER, "sql", "--lake", lake, "--rows", "0", "FROM range(20000)"])
    answer = subprocess.run(["bash", "-c", f"{command} | head -n 2"], capture_output=True, text=True, timeout=60, check=False)
    assert len(answer.stdout.splitlines()) == 2 and answer.stderr == ""


# A person


def cpu_s(pid):
    """The seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_busy(pid, limit_s=60):
    """Waits until a process has used half a second of CPU from now: it executes its query."""
    begun, end = cpu_s(pid), time.monotonic() + limit_s
    while cpu_s(pid) < begun + 0.5:
        assert time.monotonic() < end, "The process is idle."
        time.sleep(0.05)


def test_ctrl_c_stops_a_query(lake, tmp_path):
    (tmp_path / "two.sql").write_text(f"SELECT 'begun' AS now; {FOR_EVER}")
    command = [*SER, "sql", "--lake", lake, "--file", str(tmp_path / "two.sql")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert any("begun" in line for line in process.stdout)
            wait_until_busy(process.pid)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert (process.communicate(timeout=30)[1], process.returncode) == ("ser: stopped.\n", 130)
        finally:
            process.kill()


class Terminal:
    """A real terminal of 100 columns with ``ser sql`` in it."""

    def __init__(self, lake, state, **variables):
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.environ.update({"XDG_STATE_HOME": str(state), "TERM": "xterm"} | variables)
            os.execv(sys.executable, [*SER, "sql", "--lake", lake])
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.seen = ""

    def wait_for(self, text, limit_s=60):
        """What was shown up to this text."""
        end = time.monotonic() + limit_s
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} was not shown: {self.seen[-2000:]}"
            if select.select([self.file], [], [], 0.2)[0]:
                shown = os.read(self.file, 1 << 16).decode(errors="replace")
                if "\x1b[6n" in shown:  # where is the cursor?
                    os.write(self.file, b"\x1b[1;1R")
                self.seen += shown
        found, _, self.seen = self.seen.partition(text)
        return found

    def type(self, text):
        os.write(self.file, text.encode())

    def exit_code(self):
        """How it ended, once it has written what was left."""
        with contextlib.suppress(OSError):  # nobody writes any more
            while os.read(self.file, 1 << 16):
                pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self):
        os.close(self.file)
        with contextlib.suppress(ChildProcessError):  # it has ended, and the test has seen how
            if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(lake, tmp_path):
    found = Terminal(lake, tmp_path / "state")
    yield found
    found.end()


def test_a_person_asks_at_a_prompt(terminal, tmp_path):
    terminal.wait_for("ser>")
    terminal.type("FROM escal\t")
    terminal.wait_for("ations")  # the rest of escalations: on a busy machine the terminal shows only what is added
    terminal.type(" SELECT call_id;\r")
    terminal.wait_for("│ worse   │")
    terminal.wait_for("ser>")
    terminal.type("SELECT nothing\rFROM runs\r\r")  # an empty line ends it, too
    terminal.wait_for("Line 1, column 8: Binder Error")
    terminal.wait_for("ser>")
    terminal.type(FOR_EVER + ";\r")
    wait_until_busy(terminal.pid)
    terminal.type("\x03")
    terminal.wait_for("Stopped.")
    terminal.wait_for("ser>")
    terminal.type("\\x\r")
    terminal.wait_for("Answers are written as vertical.")
    terminal.type("\\rows 1\r")
    terminal.wait_for("ser>")
    terminal.type("SELECT call_id FROM call_emotions;\r")
    terminal.wait_for("│ row 1 ")
    terminal.wait_for("the first 1 shown, 3 left out")
    terminal.type(f"\\out {tmp_path / 'my calls.csv'}\r")
    terminal.wait_for("The next answer goes to")
    terminal.type("SELECT call_id FROM call_emotions ORDER BY 1;\r")
    terminal.wait_for("Wrote 4 rows")
    assert (tmp_path / "my calls.csv").read_text().split() == ["call_id", "angry", "mono", "silent", "worse"]
    terminal.type("SET VARIABLE as_of = '2026-11-03';\r")
    terminal.wait_for("ser as of 2026-11-03 00:00:00+00>")
    terminal.type("SET VARIABLE as_of = 'the 3rd';\r")
    terminal.wait_for("ser>")
    terminal.type("RESET VARIABLE as_of;\r")
    terminal.wait_for("ser>")
    terminal.type("\\d escalations\r")
    terminal.wait_for("Which calls got worse from start to end")
    terminal.wait_for("ser>")
    terminal.type("\x04")
    assert terminal.exit_code() == 0
    history = tmp_path / "state" / "ser-nightly" / "sql_history"
    assert "+SELECT nothing\n+FROM runs" in history.read_text() and history.stat().st_mode & 0o777 == 0o600


def test_long_answers_go_through_the_pager_that_is_set(lake, tmp_path):
    terminal = Terminal(lake, tmp_path / "state", PAGER=f"cat > {tmp_path / 'paged'}; echo paged")
    try:
        terminal.wait_for("ser>")
        terminal.type("FROM range(3);\r")
        terminal.wait_for("│     2 │")
        terminal.wait_for("ser>")
        terminal.type("FROM range(99);\r")
        terminal.wait_for("paged\r\n")
        assert "│    98 │\n" in (tmp_path / "paged").read_text()
        terminal.wait_for("ser>")
        terminal.type("\x04")
        assert terminal.exit_code() == 0
    finally:
        terminal.end()
