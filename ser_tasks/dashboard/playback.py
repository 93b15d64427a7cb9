"""Playback of a call's recording: whether the viewer may play it, and short-lived links to it.

A link leads directly to the store only if browsers play the file natively and its key has no masked ids of people. The dashboard serves
every other recording itself, decoded to the 8 kHz PCM that the model gets, from a cache of bounded size in scratch.
"""

import contextlib
import functools
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import tempfile
import threading
import time
import wave
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ser_tasks.audio import AudioError, open_audio
from ser_tasks.audio.muting import muted
from ser_tasks.audio.samples import at_8_khz, pcm_16
from ser_tasks.calls.metadata import masked_key, recording_id
from ser_tasks.calls.policy import POLICIES
from ser_tasks.dashboard.viewers import Viewer
from ser_tasks.pseudonyms import KEYED
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write, scratch_folder
from ser_tasks.settings import Settings
from ser_tasks.storage import ObjectChangedError, ObjectGoneError, ObjectUnusableError, Store, StoreAccessError, open_store

Answer = TypeVar("Answer")
Key = TypeVar("Key")

log = logging.getLogger("uvicorn.error")

LINK_S = 300
"""Seconds for which a link is valid. The player requests another for longer playback."""
DECODED_BYTES = 4 << 30
"""Size of the cache of decoded recordings in scratch: 36 hours of two channels. The least recently played are removed first."""
MAX_REMEMBERED_KEYS = 10_000
"""Masked keys whose true keys are cached: to find one takes a listing."""

NATIVE_TYPES = {
    ("WAV", "PCM_16"): "audio/wav",
    ("WAV", "PCM_U8"): "audio/wav",
    ("WAV", "ULAW"): "audio/wav",
    ("WAV", "ALAW"): "audio/wav",
    ("FLAC", "PCM_16"): "audio/flac",
}
"""Container and codec -> media type, for files in which every browser seeks exactly. Not MP3, where Chromium estimates positions."""
PLAYABLE_OUTCOMES = ("scored", "no_speech")
"""Outcomes whose recordings may be played: neither withheld by policy nor unreadable."""


class PlaybackError(Exception):
    """A recording cannot be played. The text is shown to the visitor; ``status`` is the HTTP status of the response."""

    def __init__(self, why: str, status: int = 403):
        super().__init__(why, status)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


class Playback:
    """The recordings of a dashboard. Errors of a store that cannot make links propagate."""

    def __init__(self, recordings: str | None, settings: Settings):
        self._store = open_store(recordings) if recordings else None
        self._settings = settings
        self._secret = secrets.token_bytes(32)
        self._keys: OrderedDict[str, str] = OrderedDict()
        self._etags: OrderedDict[tuple[str, str], str] = OrderedDict()
        """By recording and etag in the lake, the store's etag of the same bytes: a copy of a folder has other times."""
        self.compares_content = self._store is not None and self._store.local_root is not None
        """Whether a call needs the ``content_hash`` of its manifest's row, too."""
        self._decoding = threading.Lock()
        self._open = contextlib.ExitStack()
        self.origins = [self._store.link_origin] if self._store and self._store.link_origin else []
        """Origins that links lead to, beside the dashboard itself."""

    @functools.cached_property
    def _scratch(self) -> Path:
        return self._open.enter_context(scratch_folder(self._settings.scratch))

    def close(self) -> None:
        """Removes the decoded recordings."""
        self._open.close()

    def may_play(self, call: dict[str, Any], viewer: Viewer) -> None:
        """Raises PlaybackError unless policy, notice to the caller and the viewer's rights all allow it. Unknown is not allowed."""
        if self._store is None:
            raise PlaybackError("No recordings: the dashboard was started without --recordings.", 404)
        if not viewer.may_play_queue(call["queue"]):
            raise PlaybackError("Your groups may see this call, but not listen to it.")
        if call["notice_given"] is False:
            raise PlaybackError("Not played: the caller was not informed (notice_given is false).")
        if call["outcome"] not in PLAYABLE_OUTCOMES:
            raise PlaybackError(
                f"Not played: the call is {call['outcome']}. Only readable recordings that the policy does not withhold may be played."
            )
        for name in {call["policy"], self._settings.policy}:
            if name not in POLICIES:
                raise PlaybackError(f"Not played: {name!r} is not a policy of this version of the software.")
            if POLICIES[name].notice_required and call["notice_given"] is None:
                raise PlaybackError(f"Not played: it is unknown whether the caller was informed, and the policy {name} requires it.")

    def link(self, call: dict[str, Any], path: str, viewer_name: str = "") -> str:
        """A link that is valid for LINK_S seconds: to the store, or to ``path``, where ``file`` is served to that viewer only.

        Raises PlaybackError if the recording was deleted or uploaded again, or if the store does not answer.
        """
        key, presigned = self._from_store(call, lambda store, key, etag: (key, store.link(key, etag, LINK_S)))
        if presigned and _plays_natively(call) and key == call["key"]:
            return presigned
        until = int(time.time()) + LINK_S
        return f"{path}?until={until}&sign={self._sign(call, until, viewer_name)}"

    def is_signed(self, call: dict[str, Any], until: str, sign: str, viewer_name: str = "") -> bool:
        """Whether ``link`` made this signature for this call, upload and viewer, in this process, and it has not expired."""
        if not re.fullmatch("[0-9]{1,12}", until) or not re.fullmatch("[0-9a-f]{64}", sign):
            return False
        return hmac.compare_digest(self._sign(call, int(until), viewer_name), sign) and time.time() < int(until)

    def _sign(self, call: dict[str, Any], until: int, viewer_name: str) -> str:
        message = "\0".join([call["recording_id"], call["etag"], str(until), viewer_name])
        return hmac.new(self._secret, message.encode("utf-8", "surrogateescape"), "sha256").hexdigest()

    def file(self, call: dict[str, Any]) -> tuple[Path, str]:
        """A local file with the call's audio, and its media type. Raises PlaybackError as ``link`` does."""
        if _plays_natively(call) and self._store and self._store.local_root:
            path, _ = self._from_store(call, lambda store, key, etag: store.fetch(key, etag, self._scratch))
            return path, NATIVE_TYPES[call["container"], call["codec"]]
        return self._decoded(call), "audio/wav"

    def fetch(self, call: dict[str, Any], folder: Path) -> Path:
        """The call's recording as the store holds it: a local path, in ``folder`` where it is downloaded. Raises PlaybackError."""
        path, _ = self._from_store(call, lambda store, key, etag: store.fetch(key, etag, folder))
        return path

    def _decoded(self, call: dict[str, Any]) -> Path:
        upload = f"{call['recording_id']} {call['etag']} {call.get('redact') or ''}"
        name = hashlib.sha256(upload.encode("utf-8", "surrogateescape")).hexdigest()
        path = self._scratch / f"{name[:32]}.wav"
        with self._decoding:  # one decoder in memory at a time
            if not path.exists():
                with tempfile.TemporaryDirectory(dir=self._scratch) as folder, atomic_write(path) as temporary:
                    source, _ = self._from_store(call, lambda store, key, etag: store.fetch(key, etag, Path(folder)))
                    try:
                        _write_wav(source, temporary, call, self._settings.max_duration_s)
                    except AudioError as error:
                        raise PlaybackError(f"Not played: {error}", 409) from None
                self._make_room(path)
            os.utime(path)
        return path

    def _make_room(self, latest: Path) -> None:
        kept_bytes = 0
        for path in sorted(self._scratch.glob("*.wav"), key=lambda path: path.stat().st_mtime, reverse=True):
            kept_bytes += path.stat().st_size
            if kept_bytes > DECODED_BYTES and path != latest:
                path.unlink()  # open downloads keep it until they end

    def _from_store(self, call: dict[str, Any], request: Callable[[Store, str, str], Answer]) -> Answer:
        """The store's answer for the call's recording. Its errors become PlaybackError, without the recording's key."""
        assert self._store is not None, "call may_play first"
        try:
            key = self._key(self._store, call)
            upload = call["recording_id"], call["etag"]
            try:
                return request(self._store, key, self._etags.get(upload, call["etag"]))
            except ObjectGoneError:
                raise
            except ObjectChangedError:
                content = self._store.content(key)
                if content is None or content.hash != call.get("content_hash"):
                    raise
                _remember(self._etags, upload, content.etag)
                return request(self._store, key, content.etag)
        except (ObjectGoneError, FileNotFoundError):
            self._keys.pop(call["recording_id"], None)
            raise PlaybackError("The recording is no longer in the store: it was deleted or moved.", 404) from None
        except ObjectChangedError:
            raise PlaybackError("The recording was uploaded again: this page shows the previous upload.", 409) from None
        except ObjectUnusableError as error:
            raise PlaybackError(f"Not played: {error}", 409) from None
        except (OSError, ValueError) as error:  # a plain OSError names the file, a ValueError the key
            cause = error if isinstance(error, StoreAccessError | ConnectionError) else type(error).__name__
            log.warning("A recording could not be fetched: %s", cause)
            raise PlaybackError(
                "The store cannot deliver the recording at the moment: the log of ser dashboard has the cause.", 503
            ) from None

    def _key(self, store: Store, call: dict[str, Any]) -> str:
        """The recording's real key. Where ids of people are masked, it is the key that hashes to the recording's id.

        A keyed id needs no key here: it is the key that is masked in the same way and, of several, has the same etag.
        """
        masked, wanted = str(call["key"]), call["recording_id"]
        keyed = wanted.startswith(KEYED)
        if recording_id(masked) == wanted or (keyed and not re.search(r"[~\\]", masked)):
            return masked
        if wanted not in self._keys:
            prefix = re.split(r"[~\\]", masked, maxsplit=1)[0]  # a backslash may stand for bytes that are not UTF-8
            alike = self._alike(store, prefix, call) if keyed else (each.key for each in store.list(prefix))
            key = next((each for each in alike if keyed or recording_id(each) == wanted), None)
            if key is None:
                raise FileNotFoundError
            _remember(self._keys, wanted, key)
        return self._keys[wanted]

    def _alike(self, store: Store, prefix: str, call: dict[str, Any]) -> list[str]:
        """The one key that is masked as the call's, of several the one with its etag; none where two would do."""
        alike = [each for each in store.list(prefix) if masked_key(each.key, self._settings) == call["key"]]
        if len(alike) > 1:
            alike = [each for each in alike if each.etag == call["etag"]] or [
                each for each in alike if (content := store.content(each.key)) and content.hash == call.get("content_hash")
            ]
        return [each.key for each in alike] if len(alike) == 1 else []


def _remember(known: OrderedDict[Key, str], name: Key, value: str) -> None:
    known[name] = value
    if len(known) > MAX_REMEMBERED_KEYS:
        known.popitem(last=False)


def _plays_natively(call: dict[str, Any]) -> bool:
    """Whether browsers may get the file itself: a known type, complete, with at most two channels, and nothing that nobody may hear."""
    known = (call["container"], call["codec"]) in NATIVE_TYPES and call["channels"] <= 2
    return known and call["note"] is None and not call.get("redact")


def _write_wav(source: Path, target: Path, call: dict[str, Any], max_duration_s: float) -> None:
    """Decodes to 16-bit PCM at 8 kHz, block by block. One or two channels are kept; with more, customers are mixed to the right channel."""
    with open_audio(source, max_duration_s=max_duration_s, raw_channels=call["channels"]) as reader, wave.open(str(target), "wb") as out:
        channels = reader.info.channels
        roles = (call["channel_roles"] or "").split(",")
        right = np.array([number < len(roles) and roles[number] == "customer" for number in range(channels)])
        out.setnchannels(min(channels, 2))
        out.setsampwidth(2)
        out.setframerate(SAMPLING_RATE_HZ)
        for block in muted(at_8_khz(reader.blocks(10.0), reader.info.sampling_rate_hz), json.loads(call.get("redact") or "[]")):
            if channels > 2:
                block = np.stack([block[~right].sum(axis=0), block[right].sum(axis=0)])
            out.writeframes(pcm_16(block).tobytes())
