from pathlib import Path

import pytest

from ser_tasks.evaluation.plan import default_cache


@pytest.mark.parametrize(("variables", "folder"), [({"HOME": "/home/ann"}, "/home/ann/.cache"), ({"XDG_CACHE_HOME": "/data"}, "/data")])
def test_features_are_kept_in_the_user_s_cache_folder(variables, folder, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_cache() == Path(folder) / "ser-nightly"
