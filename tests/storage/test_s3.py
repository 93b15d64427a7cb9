"""S3 as a store when S3 breaks: what is retried, what the messages say, and unusual keys.

The server is a real one; a proxy in front of it breaks chosen requests.
"""

import random
from datetime import UTC, datetime, timedelta

import pytest

from ser_tasks.storage import ObjectChangedError, ObjectLockedError, StoreAccessError, open_store
from ser_tasks.storage import s3 as s3_module
from tests.support.faulty_s3 import at, sometimes

ODD_KEYS = [  # but for the backslash, which the test server takes for a slash
    "2026-11-20/a b.wav",
    "2026-11-20/a+b.wav",
    "2026-11-20/100%25.wav",
    "2026-11-20/%2e%2e%2fa.wav",
    '2026-11-20/it\'s "quoted" & <b>.wav',
    "2026-11-20/ключ-通話-é-e\u0301.wav",
    "2026-11-20/A.wav",
    "2026-11-20/a.wav",
    "2026-11-20/a..b/c...wav",
    "2026-11-20/new\nline\ttab.wav",
    "2026-11-20/'; DROP TABLE listing; --.wav",
    "2026-11-20/?query#fragment=1.wav",
    "2026-11-20/day=2026-11-21/x=[1]*{2}|~^`.wav",
    "2026-11-20/" + "long" * 60 + ".wav",
    "/".join(["deep"] * 150) + "/2026-11-20.wav",
]


@pytest.fixture
def store(faulty_s3, s3):
    """A store behind the proxy."""
    return open_store(f"s3://{s3.bucket('store')}/some/prefix")


@pytest.fixture
def quick(monkeypatch):
    """Two attempts instead of five, so that a test of the last one does not wait for four pauses."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr(s3_module, "ATTEMPTS", 2)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_key_is_written_listed_read_and_fetched(store, key, tmp_path):
    store.write_bytes(key, key.encode())
    [item] = store.list()
    assert item.key == key
    assert store.read_bytes(key) == key.encode() and store.exists(key)
    path, _ = store.fetch(key, item.etag, tmp_path)
    assert path.read_bytes() == key.encode() and path.parent == tmp_path and path.suffix == ".wav"
    assert not store.create_bytes(key, b"other")


def error_of(write) -> str:
    """The message of the error that a write ends in; empty where it works."""
    try:
        write()
    except Exception as error:
        return str(error)
    return ""


def test_keys_with_dots_for_folders_do_not_leave_the_prefix_or_the_folder(store, s3, tmp_path):
    """A server may take such a key or refuse it. Nothing lands elsewhere."""
    for key in ("../outside.wav", "a/../../outside.wav", "a/./b.wav"):
        assert key not in error_of(lambda key=key: store.write_bytes(key, b"x"))
        for item in store.list():
            path, _ = store.fetch(item.key, item.etag, tmp_path)
            assert path.parent == tmp_path
    listed = [item["Key"] for item in s3.client.list_objects_v2(Bucket=store.bucket).get("Contents", [])]
    assert all(key.startswith("some/prefix/") for key in listed)


def test_past_a_thousand_keys_all_are_listed_once_though_pages_break(store, faulty_s3):
    """2,100 keys, three pages; the second page fails once, the third is cut off once."""
    for number in range(2100):
        store.client.put_object(Bucket=store.bucket, Key=f"{store.prefix}{number % 7}/k{number:04}", Body=b"")
    faulty_s3.choose(at({1: "slow_down", 3: "cut_body"}))
    keys = [item.key for item in store.list()]
    assert len(faulty_s3.broken) == 2 and len(faulty_s3.requests) == 5
    assert sorted(keys) == sorted(f"{number % 7}/k{number:04}" for number in range(2100))


def test_an_object_uploaded_in_pieces_is_fetched_by_its_etag(store, s3, tmp_path):
    from boto3.s3.transfer import TransferConfig

    data = random.Random(0).randbytes(11 << 20)
    (tmp_path / "big").write_bytes(data)
    pieces = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.client.upload_file(str(tmp_path / "big"), store.bucket, f"{store.prefix}big.wav", Config=pieces)
    [item] = store.list()
    assert item.etag.endswith("-3") and item.size_bytes == len(data)
    assert store.fetch("big.wav", item.etag, tmp_path)[0].read_bytes() == data
    s3.client.upload_file(str(tmp_path / "big"), store.bucket, f"{store.prefix}big.wav")
    with pytest.raises(ObjectChangedError):
        store.fetch("big.wav", item.etag, tmp_path)


def test_a_large_part_is_written_in_pieces_and_an_upload_that_fails_leaves_none(store, s3, faulty_s3, monkeypatch):
    monkeypatch.setattr(s3_module, "UPLOAD_BYTES", 5 << 20)
    data = random.Random(1).randbytes(11 << 20)
    faulty_s3.choose(at({2: "reset_before", 4: "reset_after"}))
    store.write_bytes("big", data)
    assert len(faulty_s3.broken) == 2
    assert store.read_bytes("big") == data
    faulty_s3.choose(at({2: "expired"}))
    with pytest.raises(StoreAccessError, match="expired"):
        store.write_bytes("big", data[::-1])
    assert faulty_s3.requests[-1].method == "DELETE"
    assert not s3.client.list_multipart_uploads(Bucket=store.bucket).get("Uploads")
    assert store.read_bytes("big") == data


@pytest.mark.parametrize("fault", ["slow_down", "server_error", "reset_before", "reset_after", "cut_body", "slow_body"])
def test_one_fault_in_any_request_is_not_noticed(store, faulty_s3, fault, tmp_path):
    for number, verb in enumerate(("write", "create", "list", "read", "exists", "fetch")):
        faulty_s3.choose(at({0: fault}))
        if verb == "write":
            store.write_bytes("a.wav", b"sound" * 1000)
        elif verb == "create":
            assert store.create_bytes("b.wav", b"mine"), "its own lost answer is no other writer"
        elif verb == "list":
            items = {item.key: item for item in store.list()}
            assert items.keys() == {"a.wav", "b.wav"}
        elif verb == "read":
            assert store.read_bytes("a.wav", 12) == b"soundsoundso"
        elif verb == "exists":
            assert store.exists("a.wav")
        else:
            assert store.fetch("a.wav", items["a.wav"].etag, tmp_path)[0].read_bytes() == b"sound" * 1000
        assert [what for what, _ in faulty_s3.broken] == [fault], number
    assert not store.create_bytes("b.wav", b"another's")
    assert store.read_bytes("b.wav") == b"mine"


def test_what_another_wrote_while_our_answer_was_lost_stays(store, s3, faulty_s3):
    """Our request is lost on the way there, another writer takes the key, our retry finds it taken."""

    def lose_and_take(request):
        if request.index == 0:
            s3.client.put_object(Bucket=store.bucket, Key=f"{store.prefix}manifest", Body=b"another's")
            return "reset_before"
        return None

    faulty_s3.choose(lose_and_take)
    assert not store.create_bytes("manifest", b"mine")
    assert store.read_bytes("manifest") == b"another's"


def test_a_conflict_of_two_writers_is_asked_again(store, faulty_s3):
    """Amazon's server says 409 while another request for the key is under way: who got it is not known yet."""
    faulty_s3.choose(at({0: "conflict"}))
    assert store.create_bytes("manifest", b"mine")


def test_bytes_that_come_slowly_and_are_cut_again_and_again_come_whole(store, faulty_s3, tmp_path):
    store.write_bytes("a.wav", random.Random(2).randbytes(300_000))
    [item] = store.list()
    faulty_s3.choose(at({0: "cut_body", 1: "slow_body"}))
    whole = store.fetch("a.wav", item.etag, tmp_path)[0].read_bytes()
    assert whole == random.Random(2).randbytes(300_000)
    faulty_s3.choose(lambda request: "cut_body")
    with pytest.raises(ConnectionError, match=f"{faulty_s3.url} cut the download off"):
        store.fetch("a.wav", item.etag, tmp_path)


def test_an_object_that_changes_between_two_attempts_is_not_mixed(store, s3, faulty_s3, tmp_path):
    """The first half of the old bytes came; the retry finds new ones."""
    store.write_bytes("a.wav", b"old" * 100_000)
    [item] = store.list()

    def cut_and_change(request):
        if request.index == 0:
            return "cut_body"
        if request.index == 1:
            s3.client.put_object(Bucket=store.bucket, Key=f"{store.prefix}a.wav", Body=b"new" * 100_000)
        return None

    faulty_s3.choose(cut_and_change)
    with pytest.raises(ObjectChangedError, match="no longer has the etag"):
        store.fetch("a.wav", item.etag, tmp_path)
    faulty_s3.choose(lambda request: s3.client.delete_object(Bucket=store.bucket, Key=f"{store.prefix}a.wav") and None)
    with pytest.raises(ObjectChangedError, match="no longer in the store"):
        store.fetch("a.wav", item.etag, tmp_path)


def test_a_free_key_is_told_from_a_forbidden_one(s3, monkeypatch):
    """To who may list only the lake's prefix, Amazon's server answers 403 for a free key."""
    bucket = s3.bucket("lake")
    [listing, reading] = [
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{bucket}",
            "Condition": {"StringLike": {"s3:prefix": "lake/*"}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/lake/open/*"},
    ]
    store = open_store(f"s3://{bucket}/lake")
    store.write_bytes("closed/a", b"x")
    for name, value in s3.identity(listing, reading).items():
        monkeypatch.setenv(name, value)
    open_store.cache_clear()
    store = open_store(f"s3://{bucket}/lake")
    for ask in (store.exists, store.read_bytes):
        with pytest.raises(StoreAccessError, match="may not read"):
            ask("closed/a")
    assert not store.exists("closed/b")
    with pytest.raises(FileNotFoundError):
        store.read_bytes("closed/b")


# What a person reads


def message(ask) -> str:
    with pytest.raises((StoreAccessError, ConnectionError)) as error:
        ask()
    return str(error.value)


def test_a_refused_request_says_whose_rights_are_missing(s3, monkeypatch):
    bucket = s3.bucket("calls")
    for name, value in s3.identity({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}).items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{bucket}")
    assert list(store.list()) == []
    text = message(lambda: store.write_bytes("CUST_123_.wav", b"x"))
    assert f"s3://{bucket} at {s3.endpoint_url}: these credentials may not write there" in text
    assert "deploy/storage-policy.json" in text and "CUST_123" not in text
    text = message(lambda: list(open_store("s3://ready").list()))
    assert "s3://ready" in text and "may not list there" in text


@pytest.mark.parametrize(
    ("variable", "value", "advice"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "check AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "NOBODY", "check AWS_ACCESS_KEY_ID"),
    ],
)
def test_wrong_credentials_are_named_and_not_shown(s3, monkeypatch, variable, value, advice):
    monkeypatch.setenv(variable, value)
    store = open_store(f"s3://{s3.bucket('secret')}")
    for ask in (store.check, lambda: list(store.list()), lambda: store.write_bytes("a", b"x"), lambda: store.read_bytes("a")):
        text = message(ask)
        assert advice in text and s3.endpoint_url in text
        assert s3.secret_key not in text and value not in text


def test_no_credentials_say_where_to_put_them(s3, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in message(open_store("s3://some-bucket").check)
    open_store.cache_clear()
    monkeypatch.setenv("AWS_PROFILE", "nights")
    assert "nights" in message(open_store("s3://some-bucket").check)


def test_a_missing_bucket_is_an_error_not_an_empty_list_or_a_free_key(faulty_s3, tmp_path):
    store = open_store("s3://no-such-bucket-here/lake")
    for ask in (store.check, lambda: list(store.list())):
        assert "there is no such bucket" in message(ask)
    faulty_s3.choose(lambda request: "no_bucket")  # the test server makes buckets for an admin, and finds no key in none
    for ask in (lambda: store.read_bytes("a"), lambda: store.fetch("a", "e", tmp_path), lambda: store.create_bytes("a", b"x")):
        assert "there is no such bucket" in message(ask)
    with pytest.raises(ValueError, match="'no bucket' is no bucket's name"):
        open_store("s3://no bucket").write_bytes("a", b"x")


def test_a_wrong_clock_is_named(s3, monkeypatch):
    """The clock that signs is an hour late; the server refuses."""
    import botocore.auth

    store = open_store(f"s3://{s3.bucket('clock')}")
    late = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: late.replace(tzinfo=None))
    assert "set the clock" in message(store.check)


@pytest.mark.parametrize("code", ["skewed", "forbidden", "expired"])
def test_what_a_person_must_mend_is_not_tried_again(store, faulty_s3, code):
    faulty_s3.choose(lambda request: code)
    advice = {"skewed": "set the clock", "forbidden": "may not list", "expired": "renew them"}[code]
    assert advice in message(store.check)
    assert len(faulty_s3.requests) == 1


def test_a_server_that_is_not_there_is_named(s3, quick, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://user:password@127.0.0.1:9")
    text = message(open_store("s3://calls/2026").check)
    assert "http://127.0.0.1:9 does not answer for s3://calls/2026" in text and "AWS_ENDPOINT_URL_S3" in text
    assert "password" not in text


def test_a_server_that_stays_overloaded_is_named(store, faulty_s3, quick):
    faulty_s3.choose(lambda request: "slow_down")
    assert f"{faulty_s3.url} could not list {store.uri} just now (SlowDown)" in message(store.check)
    assert len(faulty_s3.requests) == 2


def test_a_request_is_tried_five_times(store, faulty_s3):
    faulty_s3.choose(at(dict.fromkeys(range(4), "slow_down")))
    store.check()
    assert len(faulty_s3.requests) == 5


def test_a_stream_of_random_faults_changes_no_answer(store, faulty_s3):
    faulty_s3.choose(sometimes(4, 0.15, ("slow_down", "server_error", "reset_before", "reset_after", "cut_body")))
    kept = {}
    for number in range(60):
        key, data = f"k{number % 20}", f"{number}".encode() * 50
        if number % 2:
            store.write_bytes(key, data)
            kept[key] = data
        elif store.create_bytes(key, data):
            assert key not in kept
            kept[key] = data
    assert {item.key: store.read_bytes(item.key) for item in store.list()} == kept
    assert len(faulty_s3.broken) > 10


def test_a_free_key_is_found_free_though_the_answer_is_cut_off(store, faulty_s3):
    """The text of an error may be cut off, too: boto3 lets that pass as urllib3's own error."""
    faulty_s3.choose(at({0: "cut_body"}))
    with pytest.raises(FileNotFoundError):
        store.read_bytes("nothing")
    assert len(faulty_s3.requests) == 2
    faulty_s3.choose(lambda request: "cut_body")
    with pytest.raises(ConnectionError, match="cut the download off"):
        store.read_bytes("nothing")


@pytest.mark.parametrize(("fault", "code", "advice"), [("archived", "archived", "restore it"), ("kms", "key_denied", "kms:Decrypt")])
def test_an_object_that_waits_for_a_person_is_named_as_such(store, faulty_s3, fault, code, advice, tmp_path):
    store.write_bytes("call.wav", b"audio")
    [item] = store.list()
    faulty_s3.choose(lambda request: fault if request.method == "GET" and request.key.endswith("call.wav") else None)
    for read in (lambda: store.fetch("call.wav", item.etag, tmp_path), lambda: store.read_bytes("call.wav")):
        with pytest.raises(ObjectLockedError, match=advice) as caught:
            read()
        assert caught.value.code == code and "storage-policy" not in str(caught.value)
    assert len([request for request in faulty_s3.requests if request.method == "GET" and request.key]) == 2  # no attempts in vain


def test_a_write_that_the_bucket_s_key_refuses_says_so(store, faulty_s3):
    faulty_s3.choose(lambda request: "kms" if request.method == "PUT" else None)
    with pytest.raises(StoreAccessError, match="kms:GenerateDataKey") as caught:
        store.write_bytes("part", b"rows")
    assert not isinstance(caught.value, ObjectLockedError)


def test_folders_directly_below(s3):
    store = open_store(f"s3://{s3.bucket()}/lake")
    for key in ("a/day=1/x", "a/day=2/version=m/x", "a/.hidden/x", "a/file", "b/day=3/x"):
        store.write_bytes(key, b"x")
    assert store.folders("a/") == ("day=1", "day=2") and store.folders("a/day=2/") == ("version=m",) and store.folders("nowhere/") == ()
