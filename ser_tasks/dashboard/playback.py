"""A call's recording for the player: whether it may be played, where it lies, and short-lived links to it.

A link to the store itself is given only where a browser plays the file as it is and its key names nobody. Every other recording
comes through this page: decoded to what the model heard (PCM at 8 kHz) in scratch, as long as there is room.
"""

import contextlib
import functools
import hashlib
import hmac
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
from ser_tasks.audio.samples import at_8_khz, pcm_16
from ser_tasks.calls.metadata import recording_id
from ser_tasks.calls.policy import POLICIES
from ser_tasks.dashboard.viewers import Viewer
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write, scratch_folder
from ser_tasks.settings import Settings
from ser_tasks.storage import ObjectChangedError, ObjectGoneError, ObjectUnusableError, Store, StoreAccessError, open_store

Answer = TypeVar("Answer")

log = logging.getLogger("uvicorn.error")

LINK_S = 300
"""For so many seconds a link works. The player asks for another where it goes on for longer."""
DECODED_BYTES = 4 << 30
"""Decoded recordings kept in scratch: 36 hours of two channels. The ones played longest ago go first."""
KNOWN_KEYS = 10_000
"""Masked keys whose true keys are remembered: to find one takes a listing."""

AS_THEY_ARE = {
    ("WAV", "PCM_16"): "audio/wav",
    ("WAV", "PCM_U8"): "audio/wav",
    ("WAV", "ULAW"): "audio/wav",
    ("WAV", "ALAW"): "audio/wav",
    ("FLAC", "PCM_16"): "audio/flac",
}
"""Container and codec -> media type of what every browser plays and goes to any second of exactly. Not MP3, where Chromium guesses."""
HEARD = ("scored", "no_speech")
"""Outcomes whose recordings may be played. What the policy withheld, or nobody could read, stays unheard."""


class NotPlayed(Exception):
    """Why a recording is not played, in words for the page; ``status`` is the answer's HTTP status."""

    def __init__(self, why: str, status: int = 403):
        super().__init__(why)
        self.status = status


class Playback:
    """The recordings behind a dashboard. Raises what the store raises where it can't make links."""

    def __init__(self, recordings: str | None, settings: Settings):
        self._store = open_store(recordings) if recordings else None
        self._settings = settings
        self._secret = secrets.token_bytes(32)
        self._keys: OrderedDict[str, str] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        self._open = contextlib.ExitStack()
        self.origins = [self._store.link_origin] if self._store and self._store.link_origin else []
        """Where links lead, beside this page."""

    @functools.cached_property
    def _scratch(self) -> Path:
        return self._open.enter_context(scratch_folder(self._settings.scratch))

    def close(self) -> None:
        """Removes what was decoded."""
        self._open.close()

    def may_play(self, call: dict[str, Any], viewer: Viewer) -> None:
        """Raises NotPlayed unless policy, notice and the viewer's rights all allow it. What nobody says does not count as allowed."""
        if self._store is None:
            raise NotPlayed("No recordings: this page was started without --recordings.", 404)
        if not viewer.may_hear(call["queue"]):
            raise NotPlayed("Your groups may see this call, but not listen to it.")
        if call["notice_given"] is False:
            raise NotPlayed("Not played: the caller was not told (notice_given is false).")
        if call["outcome"] not in HEARD:
            raise NotPlayed(
                f"Not played: the call is {call['outcome']}. Only what could be read, and the policy lets be scored, may be heard."
            )
        for name in {call["policy"], self._settings.policy}:
            if name not in POLICIES:
                raise NotPlayed(f"Not played: {name!r} is no policy that this page knows.")
            if POLICIES[name].notice_required and call["notice_given"] is None:
                raise NotPlayed(f"Not played: nothing says that the caller was told, and the policy {name} demands it.")

    def link(self, call: dict[str, Any], path: str) -> str:
        """A link that works for LINK_S seconds: to the store, or else to ``path``, where ``file`` is served.

        Raises NotPlayed where the recording is gone, was uploaded again, or cannot be had just now.
        """
        key, presigned = self._asked(call, lambda store, key: (key, store.link(key, call["etag"], LINK_S)))
        if presigned and _as_it_is(call) and key == call["key"]:
            return presigned
        until = int(time.time()) + LINK_S
        return f"{path}?until={until}&sign={self._sign(call, until)}"

    def is_signed(self, call: dict[str, Any], until: str, sign: str) -> bool:
        """Whether ``link`` made this and its time has not run out. It is good for this call, this upload and this process only."""
        if not re.fullmatch("[0-9]{1,12}", until) or not re.fullmatch("[0-9a-f]{64}", sign):
            return False
        return hmac.compare_digest(self._sign(call, int(until)), sign) and time.time() < int(until)

    def _sign(self, call: dict[str, Any], until: int) -> str:
        message = "\0".join([call["recording_id"], call["etag"], str(until)])
        return hmac.new(self._secret, message.encode("utf-8", "surrogateescape"), "sha256").hexdigest()

    def file(self, call: dict[str, Any]) -> tuple[Path, str]:
        """A local file with the call's sound, and its media type. Raises NotPlayed as ``link`` does."""
        if _as_it_is(call) and self._store and self._store.local_root:
            path, _ = self._asked(call, lambda store, key: store.fetch(key, call["etag"], self._scratch))
            return path, AS_THEY_ARE[call["container"], call["codec"]]
        return self._decoded(call), "audio/wav"

    def _decoded(self, call: dict[str, Any]) -> Path:
        name = hashlib.sha256(f"{call['recording_id']} {call['etag']}".encode("utf-8", "surrogateescape")).hexdigest()
        path = self._scratch / f"{name[:32]}.wav"
        with self._one_at_a_time:  # so that memory holds one decoder
            if not path.exists():
                with tempfile.TemporaryDirectory(dir=self._scratch) as folder, atomic_write(path) as temporary:
                    source, _ = self._asked(call, lambda store, key: store.fetch(key, call["etag"], Path(folder)))
                    try:
                        _write_wav(source, temporary, call, self._settings.max_duration_s)
                    except AudioError as error:
                        raise NotPlayed(f"Not played: {error}", 409) from None
                self._make_room(path)
            os.utime(path)
        return path

    def _make_room(self, latest: Path) -> None:
        kept_bytes = 0
        for path in sorted(self._scratch.glob("*.wav"), key=lambda path: path.stat().st_mtime, reverse=True):
            kept_bytes += path.stat().st_size
            if kept_bytes > DECODED_BYTES and path != latest:
                path.unlink()  # whoever is listening has it open

    def _asked(self, call: dict[str, Any], ask: Callable[[Store, str], Answer]) -> Answer:
        """What the store answers about the call's recording. Its errors become NotPlayed; none of them says a key."""
        assert self._store is not None, "may_play comes first"
        try:
            return ask(self._store, self._key(call))
        except (ObjectGoneError, FileNotFoundError):
            self._keys.pop(call["recording_id"], None)
            raise NotPlayed("The recording is no longer in the store: it was deleted or moved.", 404) from None
        except ObjectChangedError:
            raise NotPlayed("The recording was uploaded again: what is shown here belongs to the former upload.", 409) from None
        except ObjectUnusableError as error:
            raise NotPlayed(f"Not played: {error}", 409) from None
        except (OSError, ValueError) as error:  # a plain OSError names the file, a ValueError the key
            says = error if isinstance(error, StoreAccessError | ConnectionError) else type(error).__name__
            log.warning("A recording could not be had: %s", says)
            raise NotPlayed("The store does not give the recording out just now: the log of ser dashboard says why.", 503) from None

    def _key(self, call: dict[str, Any]) -> str:
        """The recording's true key. Where ids of people are masked in it, it is the one that hashes to the recording's id."""
        masked, wanted = call["key"], call["recording_id"]
        if recording_id(masked) == wanted:
            return masked
        if wanted not in self._keys:
            known = re.split(r"[~\\]", masked, maxsplit=1)[0]  # a backslash may stand for bytes that are no UTF-8
            found = next((item.key for item in self._store.list(known) if recording_id(item.key) == wanted), None)
            if found is None:
                raise FileNotFoundError
            self._keys[wanted] = found
            if len(self._keys) > KNOWN_KEYS:
                self._keys.popitem(last=False)
        return self._keys[wanted]


def _as_it_is(call: dict[str, Any]) -> bool:
    """Whether browsers play the file well: a kind that all of them know, whole, and not more than two channels."""
    return (call["container"], call["codec"]) in AS_THEY_ARE and call["channels"] <= 2 and call["note"] is None


def _write_wav(source: Path, target: Path, call: dict[str, Any], max_duration_s: float) -> None:
    """Decodes to 16-bit PCM at 8 kHz, in blocks. One or two channels stay as recorded; of more, customers go to the right."""
    with open_audio(source, max_duration_s=max_duration_s) as reader, wave.open(str(target), "wb") as out:
        channels = reader.info.channels
        roles = (call["channel_roles"] or "").split(",")
        right = np.array([number < len(roles) and roles[number] == "customer" for number in range(channels)])
        out.setnchannels(min(channels, 2))
        out.setsampwidth(2)
        out.setframerate(SAMPLING_RATE_HZ)
        for block in at_8_khz(reader.blocks(10.0), reader.info.sampling_rate_hz):
            if channels > 2:
                block = np.stack([block[~right].sum(axis=0), block[right].sum(axis=0)])
            out.writeframes(pcm_16(block).tobytes())
