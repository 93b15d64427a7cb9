"""The store protocol over a folder and over a real S3 server: both keep the same promises. Faults of S3: test_s3.py."""

import os
import time

import httpx
import pytest

from ser_tasks.storage import ObjectChangedError, open_store


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(f"s3://{request.getfixturevalue('s3').bucket('store')}/some/prefix")


def test_a_store_that_can_be_listed_passes_the_check(store):
    store.write_bytes("a", b"x")
    assert store.check() is None


def test_only_a_folder_has_a_local_root(store, tmp_path):
    assert store.local_root == (None if store.uri.startswith("s3://") else tmp_path / "store")


def test_the_check_of_a_folder_names_what_is_not_there_or_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        open_store(str(tmp_path / "none")).check()
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NotADirectoryError, match="is a file"):
        open_store(str(tmp_path / "file")).check()


def test_content_is_that_of_the_bytes_whatever_the_time_and_only_a_folder_has_it(store):
    store.write_bytes("a", b"x" * 100_000)
    store.write_bytes("b", b"x" * 100_000)
    store.write_bytes("c", b"y" * 100_000)
    known = {item.key: store.content(item.key) for item in store.list()}
    if store.local_root is None:
        assert set(known.values()) == {None}
        return
    os.utime(store.local_root / "a", (1, 1))
    assert store.content("a").hash == known["a"].hash == known["b"].hash != known["c"].hash
    assert store.content("a").etag == next(item.etag for item in store.list("a")) != known["a"].etag
    (store.local_root / "broken").symlink_to("nowhere")
    os.mkfifo(store.local_root / "pipe")
    assert store.content("none") is store.content("broken") is store.content("pipe") is None


def test_an_empty_store_lists_nothing(store):
    assert list(store.list()) == []
    assert not store.exists("a")
    with pytest.raises(FileNotFoundError):
        store.read_bytes("a")


@pytest.mark.parametrize("key", ["a.wav", "deep/er/a b.wav", "ü/ключ +%20&'\"(1).wav", "day=2026-11-20/x=y.parquet"])
def test_what_is_written_is_listed_and_read(store, key):
    store.write_bytes(key, b"sound")
    [item] = store.list()
    assert (item.key, item.size_bytes, item.last_modified.tzinfo is not None) == (key, 5, True)
    assert store.read_bytes(key) == b"sound"
    assert store.read_bytes(key, 3) == b"sou"
    assert store.exists(key)


def test_an_empty_object_reads_as_nothing(store):
    store.write_bytes("empty", b"")
    assert store.read_bytes("empty", 10) == b""


def test_a_prefix_narrows_the_list(store):
    for key in ("a/1", "a/2", "ab/3", "b/4"):
        store.write_bytes(key, b"x")
    assert [item.key for item in store.list("a/")] == ["a/1", "a/2"]
    assert [item.key for item in store.list("a")] == ["a/1", "a/2", "ab/3"]
    assert list(store.list("none/")) == []


def test_hidden_files_are_no_objects(store):
    store.write_bytes("a/.part.tmp", b"x")
    assert list(store.list()) == []


def test_a_taken_key_is_not_created_again(store):
    assert store.create_bytes("a/1", b"first")
    assert not store.create_bytes("a/1", b"second")
    assert store.read_bytes("a/1") == b"first"
    store.write_bytes("a/1", b"third")
    assert store.read_bytes("a/1") == b"third"


def test_an_object_is_fetched_with_the_etag_it_was_listed_with(store, tmp_path):
    store.write_bytes("a/1.wav", b"sound" * 1000)
    [item] = store.list()
    folder = tmp_path / "fetched"
    folder.mkdir()
    path, metadata = store.fetch("a/1.wav", item.etag, folder)
    assert path.read_bytes() == b"sound" * 1000
    assert path.suffix == ".wav"
    assert metadata == {}
    store.write_bytes("a/1.wav", b"another")
    with pytest.raises(ObjectChangedError, match="changed after it was listed"):
        store.fetch("a/1.wav", item.etag, folder)
    with pytest.raises(ObjectChangedError, match="no longer in the store"):
        store.fetch("a/2.wav", item.etag, folder)


def test_bytes_are_read_with_the_etag_they_were_listed_with(store):
    store.write_bytes("a/1.json", b"{}")
    [item] = store.list()
    assert store.read_bytes("a/1.json", 10, item.etag) == b"{}"
    store.write_bytes("a/1.json", b'{"queue": "sales"}')
    with pytest.raises(ObjectChangedError, match="changed after it was listed"):
        store.read_bytes("a/1.json", 10, item.etag)


def test_s3_listing_goes_past_a_thousand_keys(s3):
    bucket = s3.bucket("many")
    for number in range(1005):
        s3.client.put_object(Bucket=bucket, Key=f"k{number:04}", Body=b"")
    assert [item.key for item in open_store(f"s3://{bucket}").list()] == [f"k{number:04}" for number in range(1005)]


def test_s3_metadata_comes_with_the_object(s3, tmp_path):
    bucket = s3.bucket("meta")
    s3.client.put_object(Bucket=bucket, Key="a.wav", Body=b"x", Metadata={"queue": "sales"})
    store = open_store(f"s3://{bucket}")
    [item] = store.list()
    assert store.fetch("a.wav", item.etag, tmp_path)[1] == {"queue": "sales"}


def test_a_key_can_not_leave_the_folder(tmp_path):
    store = open_store(str(tmp_path / "store"))
    for key in ("../out", "/etc/passwd", "a/../../out"):
        with pytest.raises(ValueError, match="leads out of"):
            store.write_bytes(key, b"x")


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    store = open_store(str(tmp_path / "store"))
    store.write_bytes("a/1", b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        store.write_bytes("a/1", b"new")
    monkeypatch.undo()
    assert store.read_bytes("a/1") == b"old"
    assert sorted(os.listdir(tmp_path / "store" / "a")) == ["1"]


@pytest.mark.parametrize("uri", ["gs://bucket", "s3://", "http://host/x"])
def test_an_unknown_kind_of_store_is_refused(uri):
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        open_store(uri)


def test_an_empty_address_is_not_this_folder():
    """A deployment gets one where its variable was not set."""
    with pytest.raises(ValueError, match="is empty: give a folder"):
        open_store("")


def test_what_is_deleted_is_gone_and_may_be_deleted_again(store):
    store.write_bytes("a/b", b"1")
    store.write_bytes("a/c", b"2")
    store.delete("a/b")
    store.delete("a/b")
    assert [item.key for item in store.list()] == ["a/c"]


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    with pytest.raises(NotADirectoryError):
        list(open_store(str(tmp_path / "a.wav")).list())


def test_a_link_is_made_for_the_object_that_was_listed_and_no_other(store):
    store.write_bytes("a/1.wav", b"sound")
    [item] = store.list()
    store.link("a/1.wav", item.etag, 60)
    store.write_bytes("a/1.wav", b"another")
    with pytest.raises(ObjectChangedError, match="changed after it was listed"):
        store.link("a/1.wav", item.etag, 60)
    with pytest.raises(ObjectChangedError, match="no longer in the store"):
        store.link("a/2.wav", item.etag, 60)


def test_a_folder_has_no_links_and_a_link_of_s3_works_without_credentials_until_it_expires(s3, tmp_path):
    folder = open_store(str(tmp_path / "calls"))
    folder.write_bytes("a.wav", b"sound")
    assert folder.link("a.wav", next(folder.list()).etag, 60) is None
    bucket = open_store(f"s3://{s3.bucket('calls')}/2026")
    bucket.write_bytes("é ~+.wav", b"0123456789")
    [item] = bucket.list()
    with httpx.Client(trust_env=False) as browser:
        link = bucket.link(item.key, item.etag, 2)
        piece = browser.get(link, headers={"Range": "bytes=2-4"})
        assert (piece.status_code, piece.content) == (206, b"234")
        assert browser.get(link.replace("X-Amz-Expires=2", "X-Amz-Expires=600")).status_code == 403
        assert browser.get(link.partition("?")[0]).status_code == 403
        time.sleep(3)
        assert browser.get(link).status_code == 403


def test_folders_directly_below(tmp_path):
    store = open_store(str(tmp_path))
    for key in ("a/day=1/x", "a/day=2/version=m/x", "a/.hidden/x", "a/file", "b/day=3/x"):
        store.write_bytes(key, b"x")
    assert store.folders("a/") == ("day=1", "day=2") and store.folders("a/day=2/") == ("version=m",) and store.folders("nowhere/") == ()


def test_a_listing_by_the_beginning_of_a_name(tmp_path):
    store = open_store(str(tmp_path))
    for key in ("a/merged-1", "a/merged-2/x", "a/mer", "a/other/merged-3", "merged-4"):
        store.write_bytes(key, b"x")
    assert [item.key for item in store.list("a/merged-")] == ["a/merged-1", "a/merged-2/x"]
    assert [item.key for item in store.list("merged-")] == ["merged-4"]
