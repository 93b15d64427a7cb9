"""Fixtures of the views' tests: an empty lake, and the views over one whose truth is known."""

import pytest

from tests.factories.lakes import views_over, write_good_lake


@pytest.fixture
def lake(tmp_path):
    return str(tmp_path / "lake")


@pytest.fixture
def good(lake):
    write_good_lake(lake)
    return views_over(lake)
