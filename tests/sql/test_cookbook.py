"""The cookbook's questions, asked anew: the page holds what the lake answers."""

import re

import pytest

from tests.support.cookbook import BLOCK, PAGE, answered, make_lake


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cookbook")
    make_lake(folder)
    return folder


@pytest.mark.slow
def test_every_answer_is_what_the_lake_gives(folder):
    page = PAGE.read_text(encoding="utf-8")
    assert answered(folder, page) == page, "python -m tests.support.cookbook writes the answers anew: read what changed"


def test_every_question_has_an_answer():
    page = PAGE.read_text(encoding="utf-8")
    asked = [language for language, _ in BLOCK.findall(page)]
    assert len(asked) == page.count("```text\n") and asked.count("sql") == page.count("```sql\n") >= 12
    questions = re.findall(r"(?m)^## (.+)$", page)
    assert len(questions) >= 12 and all(question.endswith("?") for question in questions)
    assert all("```text" in section for section in page.split("\n## ")[1:])
    assert not re.search(r"```text\n(Error|\s*```)", page)
