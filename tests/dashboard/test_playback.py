"""Rights of playback, and the links by which recordings are played: over a folder and over a real S3 server."""

import base64
import io
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile as sf
from fastapi.testclient import TestClient

from ser_tasks.calls.metadata import masked_key, recording_id
from ser_tasks.dashboard import playback
from ser_tasks.dashboard.app import create_app
from ser_tasks.dashboard.playback import Playback, PlaybackError
from ser_tasks.dashboard.viewers import OWNER, Viewer
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import RATE_HZ, speechlike
from tests.factories.lakes import Call as MadeCall
from tests.factories.lakes import angry, segment, worse, write_calls

CALL = {
    "recording_id": recording_id("2026-11-20/a.wav"),
    "key": "2026-11-20/a.wav",
    "etag": "e1",
    "outcome": "scored",
    "queue": "sales",
    "notice_given": True,
    "policy": "customers_only",
    "container": "WAV",
    "codec": "PCM_16",
    "channels": 2,
    "channel_roles": "agent,customer",
    "note": None,
}
PERSON = "2026-11-20/_CUST_4711_GUID_77_AGENT_maren_DT_2026-11-20T09-00-00.wav"


def two_tones(seconds: float = 4.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """(samples, 2): 300 Hz on the left, 1,000 Hz on the right."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return np.stack([np.sin(2 * np.pi * 300 * t), np.sin(2 * np.pi * 1000 * t)], axis=1).astype(np.float32) * 0.5


def put(store, key: str, sound: np.ndarray, rate_hz: int = RATE_HZ, **options) -> dict:
    """Writes a recording and returns its call's row."""
    file = io.BytesIO()
    sf.write(file, sound, rate_hz, **{"format": "WAV", "subtype": "PCM_16"} | options)
    store.write_bytes(key, file.getvalue())
    masked = masked_key(key, Settings())
    etag = next(item.etag for item in store.list(key))
    channels = sound.shape[1] if sound.ndim == 2 else 1
    return CALL | {"recording_id": recording_id(key), "key": masked, "etag": etag, "channels": channels}


def tone_hz(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * RATE_HZ / len(samples))


@pytest.fixture
def folder(tmp_path):
    return open_store(str(tmp_path / "calls"))


@pytest.fixture
def player(folder, tmp_path):
    made = Playback(folder.uri, Settings(scratch=str(tmp_path / "scratch")))
    yield made
    made.close()


# Rights


def test_a_scored_call_may_be_played_and_does_not_raise(player):
    player.may_play(CALL, OWNER)
    player.may_play(CALL | {"notice_given": None}, OWNER)
    player.may_play(CALL | {"outcome": "no_speech"}, OWNER)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"notice_given": False}, "not informed"),
        ({"outcome": "withheld"}, "withheld"),
        ({"outcome": "quarantined"}, "quarantined"),
        ({"outcome": "failed"}, "failed"),
        ({"policy": "customers_with_notice", "notice_given": None}, "requires it"),
        ({"policy": "of_old_code"}, "is not a policy"),
    ],
)
def test_what_the_policy_does_not_allow_is_not_played(player, change, why):
    with pytest.raises(PlaybackError, match=why):
        player.may_play(CALL | change, OWNER)


def test_the_policy_of_today_counts_beside_that_of_the_row(folder):
    stricter = Playback(folder.uri, Settings(policy="customers_with_notice"))
    stricter.may_play(CALL, OWNER)
    with pytest.raises(PlaybackError, match="requires it"):
        stricter.may_play(CALL | {"notice_given": None}, OWNER)


def test_a_viewer_without_the_right_and_a_page_without_recordings_play_nothing(player):
    with pytest.raises(PlaybackError, match="not listen"):
        player.may_play(CALL, Viewer("ann", everything=True))
    player.may_play(CALL, Viewer("ann", everything=True, playable_queues=("sales",)))
    for queue in ("support", None):
        with pytest.raises(PlaybackError, match="not listen"):
            player.may_play(CALL | {"queue": queue}, Viewer("ann", everything=True, playable_queues=("sales",)))
    with pytest.raises(PlaybackError, match="without --recordings"):
        Playback(None, Settings()).may_play(CALL, OWNER)


# The audio


def test_native_files_are_served_unchanged(folder, player):
    call = put(folder, "2026-11-20/a.wav", two_tones())
    path, media_type = player.file(call)
    assert (path, media_type) == (Path(folder.uri) / "2026-11-20/a.wav", "audio/wav")


def test_ranges_that_nobody_may_hear_are_silence_and_the_file_itself_is_not_served(folder, player):
    call = put(folder, "2026-11-20/a.wav", two_tones()) | {"redact": "[[1.0, 1.5], [3.9, 60.0]]"}
    path, _ = player.file(call)
    decoded, _ = sf.read(path, dtype="int16", always_2d=True)
    assert not decoded[RATE_HZ : RATE_HZ * 3 // 2].any() and not decoded[int(3.9 * RATE_HZ) :].any()
    assert decoded[: RATE_HZ - 1].any(axis=1).mean() > 0.9 and decoded[RATE_HZ * 3 // 2 : 3 * RATE_HZ].any(axis=1).mean() > 0.9
    assert player.link(call, "/calls/a/audio").startswith("/calls/a/audio?")
    assert player.file(call | {"redact": None})[0] != path


@pytest.mark.parametrize(
    ("name", "options", "row"),
    [
        ("a.wav", {"subtype": "GSM610"}, {"codec": "GSM610"}),
        ("a.ulaw", {"format": "RAW", "subtype": "ULAW"}, {"container": "RAW", "codec": "ULAW"}),
        ("a.ogg", {"format": "OGG", "subtype": "OPUS"}, {"container": "OGG", "codec": "OPUS"}),
        ("a.mp3", {"format": "MP3", "subtype": "MPEG_LAYER_III"}, {"container": "MP3", "codec": "MP3"}),
        ("a.wav", {"rate_hz": 44100}, {"note": "truncated: the header promises more"}),
    ],
)
def test_other_files_are_decoded_to_what_the_model_gets(folder, player, name, options, row):
    mono = "GSM610" in options.values() or "RAW" in options.values()
    sound = two_tones(rate_hz=options.get("rate_hz", RATE_HZ))
    call = put(folder, f"2026-11-20/{name}", sound[:, 1] if mono else sound, **options) | row
    path, media_type = player.file(call)
    decoded, found_hz = sf.read(path, always_2d=True)
    assert (media_type, found_hz, sf.info(path).subtype) == ("audio/wav", RATE_HZ, "PCM_16")
    assert decoded.shape[1] == call["channels"] and abs(len(decoded) - 4 * RATE_HZ) < 0.2 * RATE_HZ
    assert tone_hz(decoded[:, -1]) == pytest.approx(1000, rel=0.01)  # the right channel stays on the right
    written = path.stat().st_mtime_ns, path.stat().st_ino
    assert player.file(call)[0].stat().st_ino == written[1], "it was decoded again"


def test_of_many_channels_customers_are_heard_on_the_right(folder, player):
    t = np.arange(2 * RATE_HZ) / RATE_HZ
    sound = np.stack([0.2 * np.sin(2 * np.pi * hz * t) for hz in (300, 1000, 500)], axis=1)
    call = put(folder, "2026-11-20/a.wav", sound) | {"channel_roles": "agent,customer,unknown"}
    decoded, _ = sf.read(player.file(call)[0])
    assert decoded.shape[1] == 2
    assert tone_hz(decoded[:, 1]) == 1000 and tone_hz(decoded[:, 0]) in (300, 500)


def test_a_masked_key_is_found_by_its_hash_among_its_neighbours(folder, player):
    for customer in ("1", "4712", "47110"):
        put(folder, PERSON.replace("4711", customer), two_tones(1))
    call = put(folder, PERSON, two_tones(2))
    assert "4711" not in call["key"] and "~" in call["key"]
    assert sf.info(player.file(call)[0]).duration == 2
    assert "4711" not in player.link(call, "/sound")


def test_a_key_that_is_no_utf8_is_found(folder, player):
    try:
        call = put(folder, b"2026-11-20/caf\xe9.wav".decode("utf-8", "surrogateescape"), two_tones(1))
    except OSError:
        pytest.skip("this disk takes names in UTF-8 only")
    assert "\\" in call["key"] and player.file(call)[0].name.startswith("caf")


def test_a_new_upload_and_a_deleted_recording_are_reported_and_not_played(folder, player):
    call = put(folder, "2026-11-20/a.wav", two_tones())
    put(folder, "2026-11-20/a.wav", two_tones(1))
    for ask in (player.file, lambda call: player.link(call, "/sound")):
        with pytest.raises(PlaybackError, match="uploaded again") as error:
            ask(call)
        assert error.value.status == 409
    folder.delete("2026-11-20/a.wav")
    for name in (call, CALL | {"recording_id": recording_id(PERSON), "key": masked_key(PERSON, Settings())}):
        with pytest.raises(PlaybackError, match="no longer in the store") as error:
            player.link(name, "/sound")
        assert error.value.status == 404


def test_a_copy_with_another_time_is_played_and_read_once_for_it(folder, player, monkeypatch):
    call = put(folder, "2026-11-20/a.wav", two_tones())
    path = folder.local_root / "2026-11-20/a.wav"
    call["content_hash"] = folder.content("2026-11-20/a.wav").hash
    os.utime(path, (2e9, 2e9))
    read = []
    real = type(folder).content
    monkeypatch.setattr(type(folder), "content", lambda store, key: read.append(key) or real(store, key))
    assert player.file(call)[0] == path and player.link(call, "/sound").startswith("/sound?until=")
    assert read == ["2026-11-20/a.wav"]
    with pytest.raises(PlaybackError, match="uploaded again"):
        player.file(call | {"etag": "e0", "content_hash": None})
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PlaybackError, match="uploaded again"):
        player.file(call)


def test_a_keyed_id_needs_no_key_to_be_played(folder, player):
    keys = Settings(pseudonym_key="a key of the tests").pseudonym_keys()
    keyed = {}
    for number in (1, 2):
        key = f"2026-11-20/+4917012345{number}.wav"
        keyed[key] = put(folder, key, two_tones(number)) | {"recording_id": recording_id(key, keys)}
        assert keyed[key]["key"] == "2026-11-20/~.wav"
    for key, call in keyed.items():
        assert player.file(call)[0].name == key.rpartition("/")[2]
    plain = put(folder, "2026-11-20/a.wav", two_tones(3))
    assert player.file(plain | {"recording_id": recording_id("2026-11-20/a.wav", keys)})[0].name == "a.wav"
    with pytest.raises(PlaybackError, match="no longer in the store"):  # two are alike, and none has this etag
        player.link(call | {"recording_id": "k" + 32 * "0", "etag": "another"}, "/sound")


def test_a_decoded_recording_is_not_played_past_its_upload(folder, player):
    call = put(folder, "2026-11-20/a.ogg", two_tones(), format="OGG", subtype="OPUS") | {"container": "OGG", "codec": "OPUS"}
    player.file(call)
    folder.delete("2026-11-20/a.ogg")
    with pytest.raises(PlaybackError, match="no longer in the store"):
        player.link(call, "/sound")


def test_scratch_has_a_bounded_size_and_is_removed_on_close(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(playback, "DECODED_BYTES", 100_000)
    player = Playback(folder.uri, Settings(scratch=str(tmp_path / "scratch")))
    for played_at, name in enumerate("abc"):
        call = put(folder, f"2026-11-20/{name}.ogg", two_tones(2), format="OGG", subtype="OPUS") | {"container": "OGG", "codec": "OPUS"}
        path, _ = player.file(call)  # some 64 kB each
        os.utime(path, (played_at, played_at))
    [folder_of_scratch] = [path for path in (tmp_path / "scratch").iterdir() if path.is_dir()]
    assert folder_of_scratch.stat().st_mode & 0o77 == 0
    assert [path.name for path in folder_of_scratch.iterdir()] == [player.file(call)[0].name]
    player.close()
    assert not list((tmp_path / "scratch").iterdir())


def test_an_undecodable_recording_is_reported(folder, player):
    folder.write_bytes("2026-11-20/a.wav", b"no sound at all")
    call = CALL | {"etag": next(folder.list()).etag, "codec": "GSM610"}
    with pytest.raises(PlaybackError, match="Not played"):
        player.file(call)


# Links


def test_a_link_is_good_for_its_call_its_upload_and_its_time(folder, player, monkeypatch):
    call = put(folder, "2026-11-20/a.wav", two_tones())
    link = urlsplit(player.link(call, "/calls/x/sound"))
    signed = dict(pair.split("=") for pair in link.query.split("&"))
    assert link.path == "/calls/x/sound" and player.is_signed(call, **signed)
    for change in ({"recording_id": "other"}, {"etag": "other"}):
        assert not player.is_signed(call | change, **signed)
    assert not player.is_signed(call, str(int(signed["until"]) + 1), signed["sign"])
    assert not player.is_signed(call, signed["until"], signed["sign"][:-1] + "é")
    assert not player.is_signed(call, "", "") and not player.is_signed(call, "9" * 30, signed["sign"])
    assert not Playback(folder.uri, Settings()).is_signed(call, **signed), "another process made it"
    later = time.time() + playback.LINK_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not player.is_signed(call, **signed)


def test_s3_gives_a_presigned_link_for_native_files_without_masked_ids(s3):
    store = open_store(f"s3://{s3.bucket('calls')}/2026")
    player = Playback(store.uri, Settings())
    call = put(store, "2026-11-20/a.wav", two_tones())
    link = player.link(call, "/sound")
    assert link.startswith(player.origins[0]) and player.origins == [s3.endpoint_url]
    with httpx.Client(trust_env=False) as browser:
        piece = browser.get(link, headers={"Range": "bytes=0-3"})
    assert (piece.status_code, piece.content) == (206, b"RIFF")
    assert f"X-Amz-Expires={playback.LINK_S}" in link


def test_s3_keys_with_masked_ids_and_what_browsers_do_not_play_come_through_the_page(s3, tmp_path):
    store = open_store(f"s3://{s3.bucket('calls')}")
    player = Playback(store.uri, Settings(scratch=str(tmp_path)))
    masked = put(store, PERSON, two_tones())
    opus = put(store, "2026-11-20/a.ogg", two_tones(), format="OGG", subtype="OPUS") | {"container": "OGG", "codec": "OPUS"}
    for call in (masked, opus):
        assert player.link(call, "/sound").startswith("/sound?until=")
        assert sf.info(player.file(call)[0]).duration == pytest.approx(4, abs=0.1)
    kept = [path.suffix for folder in tmp_path.glob("ser-scratch-*") if folder.is_dir() for path in folder.iterdir()]
    assert kept == [".wav", ".wav"], "what was fetched is gone"
    player.close()


def test_the_error_of_a_store_that_refuses_omits_the_key(s3, monkeypatch, caplog):
    store = open_store(f"s3://{s3.bucket('calls')}")
    call = put(store, PERSON, two_tones())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    open_store.cache_clear()
    with pytest.raises(PlaybackError, match="cannot deliver the recording at the moment") as error:
        Playback(store.uri, Settings()).link(call, "/sound")
    assert error.value.status == 503 and "4711" not in caplog.text


@pytest.mark.parametrize("key", ["../outside.wav", "/etc/hostname", "2026-11-20/../../outside.wav", "../~.wav"])
def test_a_key_that_leads_out_of_the_store_is_not_followed(folder, player, caplog, key):
    outside = Path(folder.uri).parent / "outside.wav"
    sf.write(outside, two_tones(1), RATE_HZ)
    for wanted in (key, "../outside.wav"):
        call = CALL | {"recording_id": recording_id(wanted), "key": key}
        for ask in (player.file, lambda call: player.link(call, "/sound")):
            with pytest.raises(PlaybackError):
                ask(call)
    assert "outside" not in caplog.text


def test_the_error_of_an_unreadable_file_omits_its_name(folder, player, monkeypatch, caplog):
    call = put(folder, PERSON, two_tones(1))

    def forbidden(key, *_):
        raise PermissionError(13, "Permission denied", key)

    monkeypatch.setattr(folder, "fetch", forbidden)
    with pytest.raises(PlaybackError, match="at the moment") as error:
        player.file(call)
    assert error.value.status == 503 and "PermissionError" in caplog.text and "4711" not in caplog.text + str(error.value)


# Over the page


def recorded(call: MadeCall, store, key: str, sound: np.ndarray, **facts) -> MadeCall:
    """The made-up call with a real recording behind it."""
    found = put(store, key, sound)
    for row in (call.recording, call.outcome, *call.segments, call.facts):
        row |= {"recording_id": found["recording_id"], "etag": found["etag"]} | ({"key": found["key"]} if "key" in row else {})
    call.facts |= {"codec": "PCM_16", "channels": found["channels"], "channel_roles": "agent,customer"} | facts
    return call


@pytest.fixture
def app(folder, tmp_path):
    uninformed = MadeCall("uninformed", [segment(1, 5)], notice_given=False, outcome="withheld", reason_code="no_notice")
    calls = [
        recorded(angry(), folder, "2026-11-20/angry.wav", two_tones(40)),
        recorded(uninformed, folder, "u.wav", two_tones(5)),
    ]
    write_calls(str(tmp_path / "lake"), calls)
    return create_app(str(tmp_path / "lake"), folder.uri, Settings(scratch=str(tmp_path / "scratch")))


def page_of(app, **options):
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000), **options)


def test_the_player_is_sent_on_to_a_link_that_gives_any_piece(app):
    path = f"/calls/{recording_id('2026-11-20/angry.wav')}"
    with page_of(app, follow_redirects=False) as browser:
        assert browser.get(f"{path}/playable").json() == {"problem": None}
        sent_on = browser.get(f"{path}/recording")
        assert sent_on.status_code == 307 and sent_on.headers["cache-control"] == "no-store"
        link = sent_on.headers["location"]
        piece = browser.get(link, headers={"Range": "bytes=100000-100003"})
        assert (piece.status_code, len(piece.content)) == (206, 4)
        assert browser.get(link.replace("until=", "until=1")).status_code == 403
        assert browser.get(link.partition("?")[0]).status_code == 403


def test_a_call_whose_caller_was_not_informed_has_no_player_and_says_so(app):
    path = f"/calls/{recording_id('u.wav')}"
    with page_of(app, follow_redirects=False) as browser:
        shown = browser.get(path).text
        assert "the caller was not informed" in shown and "<audio" not in shown
        assert browser.get(f"{path}/recording").status_code == 403
        assert "not informed" in browser.get(f"{path}/playable").json()["problem"]


def test_the_right_to_play_is_checked_again_for_the_audio(folder, tmp_path, app):
    """A link does not outlive the right: a viewer without it gets nothing by another viewer's link."""
    secret = "0123456789abcdef"
    groups = {"hears": {"queues": ["sales"], "may_play": True}, "looks": {"queues": ["sales"]}}
    groups["other"] = {"queues": ["support"], "may_play": True}
    app = create_app(str(tmp_path / "lake"), folder.uri, Settings(dashboard_secret=secret, dashboard_groups=groups))
    basic = base64.b64encode(f"x:{secret}".encode()).decode()

    def as_group(group):
        return {"Authorization": f"Basic {basic}", "X-Forwarded-User": "ann", "X-Forwarded-Groups": group}

    path = f"/calls/{recording_id('2026-11-20/angry.wav')}"
    with page_of(app, follow_redirects=False) as browser:
        link = browser.get(f"{path}/recording", headers=as_group("hears")).headers["location"]
        assert browser.get(link, headers=as_group("hears")).status_code == 200
        assert browser.get(link, headers=as_group("looks")).status_code == 403
        assert browser.get(link, headers=as_group("other")).status_code == 404
        assert browser.get(f"{path}/recording", headers=as_group("looks")).status_code == 403
        assert browser.get(f"{path}/recording", headers=as_group("other")).status_code == 404
        assert browser.get(link).status_code == 401


def test_the_right_to_play_holds_for_each_queue_separately(folder, tmp_path):
    """A viewer of two groups: one may play sales, the other sees every queue."""
    lake, secret = str(tmp_path / "lake"), "0123456789abcdef"
    of_support = recorded(worse(queue="support"), folder, "2026-11-20/worse.wav", two_tones(20))
    write_calls(lake, [recorded(angry(), folder, "2026-11-20/angry.wav", two_tones(40)), of_support])
    groups = {"hears": {"queues": ["sales"], "may_play": True}, "sees": {"queues": "all"}}
    app = create_app(lake, folder.uri, Settings(dashboard_secret=secret, dashboard_groups=groups, scratch=str(tmp_path / "scratch")))
    basic = base64.b64encode(f"x:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "X-Forwarded-User": "ann", "X-Forwarded-Groups": "hears,sees"}
    with page_of(app, follow_redirects=False, headers=headers) as browser:
        for name, status in (("angry", 307), ("worse", 403)):
            path = f"/calls/{recording_id(f'2026-11-20/{name}.wav')}"
            assert browser.get(path).status_code == 200 and browser.get(f"{path}/recording").status_code == status


def test_links_and_headers_neither_leak_nor_are_cached(app):
    path = f"/calls/{recording_id('2026-11-20/angry.wav')}"
    with page_of(app, follow_redirects=False) as browser:
        link = browser.get(f"{path}/recording").headers["location"]
        for address in (path, f"{path}/recording", f"{path}/playable", link):
            headers = browser.get(address).headers
            assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-resource-policy"] == "same-origin" and headers["x-content-type-options"] == "nosniff"
            assert "content-disposition" not in headers, "it would say the file's name"


@pytest.mark.parametrize(
    ("asked", "status", "length"),
    [
        ("bytes=0-0", 206, 1),
        ("bytes=-4", 206, 4),
        ("bytes=99999999-", 416, None),
        ("bytes=5-2", 400, None),
        ("bytes=abc", 400, None),
        ("lines=1-2", 400, None),
    ],
)
def test_odd_ranges_are_answered_and_break_nothing(app, asked, status, length):
    path = f"/calls/{recording_id('2026-11-20/angry.wav')}"
    with page_of(app) as browser:
        answer = browser.get(f"{path}/recording", headers={"Range": asked})
        assert answer.status_code == status and (length is None or len(answer.content) == length)


def test_no_page_shows_the_person_in_a_key(folder, tmp_path):
    lake = str(tmp_path / "lake2")
    call = MadeCall("77", [segment(0, 2, (0.7, 0.1, 0.1, 0.1))])
    recorded(call, folder, PERSON, speechlike(3, 1)[:, None], agent_pseudonym="f" * 32, customer_pseudonym="c" * 32)
    write_calls(lake, [call])
    app = create_app(lake, folder.uri, Settings(scratch=str(tmp_path / "scratch")))
    path = f"/calls/{recording_id(PERSON)}"
    with page_of(app) as browser:
        seen = [browser.get(place, follow_redirects=False) for place in (path, "/calls", "/calls.csv", f"{path}/recording")]
        assert browser.get(f"{path}/recording").status_code == 200
    for answer in seen:
        text = answer.text + str(answer.headers)
        assert "4711" not in text and "maren" not in text and "f" * 32 not in text and "c" * 32 not in text
