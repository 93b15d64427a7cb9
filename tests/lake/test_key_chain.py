"""Which keys a lake was made with, and what a night says where the settings have others."""

import re

import pytest

from ser_tasks.calls.metadata import pseudonym, recording_id
from ser_tasks.lake import key_chain
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import row, write

OLD, NEW = "the first key of the tests", "the second key of the tests"


def settings(key: str | None, *old: str) -> Settings:
    return Settings(pseudonym_key=key, old_pseudonym_keys=old)


def begun(lake, with_settings: Settings) -> key_chain.LakeKeys:
    """The keys of a night that begins."""
    keys = key_chain.check(lake, with_settings)
    key_chain.settle(lake, keys)
    return keys


@pytest.fixture
def lake(tmp_path):
    return open_store(str(tmp_path / "lake"))


def test_the_first_night_with_a_key_makes_a_keyed_lake_for_good(lake):
    assert begun(lake, settings(OLD)).recordings == settings(OLD).pseudonym_keys()
    assert OLD.encode() not in lake.read_bytes(key_chain.FILE)
    assert begun(lake, settings(OLD)) == key_chain.read(lake, settings(OLD))
    for other in (settings(None), settings(NEW)):
        with pytest.raises(ValueError, match="keys? that the settings lack"):
            key_chain.check(lake, other)
    with pytest.raises(ValueError, match="ser rekey"):
        key_chain.check(lake, settings(NEW, OLD))
    assert key_chain.read(lake, settings(NEW, OLD)).of(settings(NEW, OLD)) == settings(OLD)


def test_a_lake_without_a_key_stays_unkeyed_when_a_key_is_set(lake):
    assert begun(lake, settings(None)) == key_chain.LakeKeys()
    keys = begun(lake, settings(OLD))
    assert (keys.people, keys.recordings) == (settings(OLD).pseudonym_keys(), ())


def test_an_older_lake_has_no_file_and_unkeyed_ids(lake):
    write(lake.uri, "recordings", [row("recordings", recording_id=recording_id("a.wav"))], chunk="manifest-000001")
    assert begun(lake, settings(OLD)).recordings == ()
    assert not lake.exists(key_chain.FILE)
    assert key_chain.read(lake, settings(NEW, OLD)).people == settings(OLD).pseudonym_keys()
    with pytest.raises(ValueError, match="ser rekey"):
        key_chain.check(lake, settings(NEW, OLD))


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"keys": "x"}', b"\xff"])
def test_a_keyed_lake_without_its_file_is_not_taken_for_an_older_one(lake, content):
    keyed = recording_id("a.wav", settings(OLD).pseudonym_keys())
    write(lake.uri, "recordings", [row("recordings", recording_id=keyed)], chunk="manifest-000001")
    if content is not None:
        lake.write_bytes(key_chain.FILE, content)
    with pytest.raises(ValueError, match="restore"):
        key_chain.check(lake, settings(OLD))


@pytest.mark.parametrize("key", ["k", "fifteen letters"])
def test_a_short_key_is_refused_with_the_way_out(lake, key):
    with pytest.raises(ValueError, match="needs 16 or more.*`ser key`"):
        key_chain.check(lake, settings(key))
    assert key_chain.read(lake, settings(key)).people, "an older lake under a short key can be read"


def test_ids_are_apart_by_kind_key_and_length_of_the_chain():
    first, second = settings(OLD).pseudonym_keys(), settings(NEW).pseudonym_keys()
    ids = [recording_id("7", keys) for keys in ((), first, second, first + second)]
    ids += [pseudonym(kind, "7", settings(*keys)) for kind in ("agent", "customer") for keys in ((OLD,), (NEW,), (NEW, OLD))]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("k[0-9a-f]{32}", each) for each in ids[1:4])
    assert settings(NEW, OLD).without_secrets().pseudonym_keys() == ()


def test_of_two_nights_that_begin_a_lake_the_second_must_have_the_key_of_the_first(lake):
    first, second = (key_chain.check(lake, settings(key)) for key in (OLD, None))
    key_chain.settle(lake, first)
    key_chain.settle(lake, first)
    with pytest.raises(ValueError, match="Another run began"):
        key_chain.settle(lake, second)
