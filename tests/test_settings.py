"""Where a row's ``code_version`` comes from: the commit, and what was changed since."""

import subprocess
from pathlib import Path

import pytest

from ser_tasks.settings import checked_line_facts, code_version, commit_of


@pytest.fixture
def checkout(tmp_path):
    """A git checkout with one commit."""
    (tmp_path / "code.py").write_text("one")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        git(tmp_path, *command)
    return tmp_path


def git(folder, *arguments: str) -> str:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_commit_names_the_code(checkout):
    assert commit_of(checkout) == "g" + git(checkout, "rev-parse", "--short=12", "HEAD")


def test_each_change_of_a_tracked_file_is_another_version(checkout):
    versions = [commit_of(checkout)]
    for text in ("two", "three"):
        (checkout / "code.py").write_text(text)
        versions.append(commit_of(checkout))
    git(checkout, "commit", "-qam", "three")
    versions.append(commit_of(checkout))
    assert len(set(versions)) == 4
    assert all(changed.startswith(versions[0] + ".d") for changed in versions[1:3])


def test_without_git_there_is_no_commit(tmp_path, checkout, monkeypatch):
    assert commit_of(tmp_path / "nowhere") is None
    monkeypatch.setenv("PATH", "")
    assert commit_of(checkout) is None


def test_rows_carry_the_commit_of_a_checkout():
    commit = commit_of(Path(__file__).parents[1])
    assert commit is None or code_version.__wrapped__().endswith(commit)


@pytest.mark.parametrize(
    ("names", "message"),
    [(("colour",), "'colour' is no fact that names a line: choose among language"), (("queue", "queue"), "name each once")],
)
def test_facts_that_cannot_name_a_line_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        checked_line_facts(names)
    assert checked_line_facts(("queue", "codec")) == ("queue", "codec")
