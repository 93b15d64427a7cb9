import pytest

from ser_tasks.pipeline import listing_ahead
from ser_tasks.storage import open_store
from ser_tasks.storage.local import LocalStore


@pytest.fixture
def store(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.wav").write_bytes(b"-")
    return open_store(str(tmp_path))


@pytest.fixture
def lists(monkeypatch):
    """How often a store was listed."""
    begun: list[str] = []
    listed = LocalStore.list

    def counted(store, prefix=""):
        begun.append(prefix)
        return listed(store, prefix)

    monkeypatch.setattr(LocalStore, "list", counted)
    return begun


@pytest.mark.parametrize("most", [2, 5, 20])
def test_a_listing_that_has_begun_is_used_once_and_is_whole(most, store, lists, monkeypatch):
    monkeypatch.setattr(listing_ahead, "MOST", most)
    wanted = list(store.list())
    lists.clear()
    listing_ahead.start(store.uri)
    assert list(listing_ahead.objects(store)) == wanted and len(lists) == 1
    assert list(listing_ahead.objects(store)) == wanted and len(lists) == 2


def test_a_listing_that_began_long_ago_is_not_used(store, tmp_path, monkeypatch):
    listing_ahead.start(store.uri)
    (tmp_path / "later.wav").write_bytes(b"-")
    monkeypatch.setattr(listing_ahead, "FRESH_S", -1)
    assert "later.wav" in [item.key for item in listing_ahead.objects(store)]


def test_the_run_raises_what_the_listing_met(store, monkeypatch):
    def denied(store, prefix=""):
        raise PermissionError("no right to list")
        yield

    monkeypatch.setattr(LocalStore, "list", denied)
    listing_ahead.start(store.uri)
    with pytest.raises(PermissionError, match="no right to list"):
        list(listing_ahead.objects(store))
