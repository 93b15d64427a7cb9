"""Progress where there is no terminal."""

from ser_tasks import progress as ser_progress


def test_a_line_is_printed_every_30_s_where_there_is_no_terminal(capsys, monkeypatch):
    now = iter(range(0, 10_000, 12))
    monkeypatch.setattr(ser_progress.time, "monotonic", lambda: next(now))
    with ser_progress.TerminalProgress() as progress:
        done = progress.add_task("done before", total=1)
        progress.update(done, completed=1)
        task = progress.add_task("features of made", total=40)
        for _ in range(40):
            progress.advance(task)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("features of made ") and lines[0].endswith("%")
    assert 5 < len(lines) < 25 and not any("done before" in line for line in lines)
