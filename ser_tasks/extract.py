"""Extract: recordings → facts, roles, speech, segments and frame features. Runs in worker processes, on CPU.

One recording is read and decoded once, in blocks. What the second look needs (cutting segments out of speech found by
then) is kept as 8 kHz 16-bit samples, in memory for ordinary calls and in scratch for hours.
"""

import errno
import logging
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from ser_tasks import acoustics
from ser_tasks.audio import AudioInfo, BadAudio, open_audio
from ser_tasks.facts import SIDECAR_LIMIT_BYTES, BadFacts, Facts, facts_of
from ser_tasks.features import features_of
from ser_tasks.ingest import Recording
from ser_tasks.policy import WAY_OUT, policy_named
from ser_tasks.roles import channel_roles
from ser_tasks.settings import Settings
from ser_tasks.speech import SAMPLING_RATE_HZ, WINDOW, Span, SpeechStream, segments, stretches
from ser_tasks.store import ChangedObject, Store, open_store

BLOCK_S = 30.0
SAME_SIGNAL = 1e-3
"""Channels that differ by less than this share of their energy (-30 dB) are one signal."""
_IN_MEMORY_BYTES = 32 << 20
_MACHINE_ERRORS = {errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS, errno.EDQUOT}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What every worker of a run needs to know; small enough to be sent along with each batch."""

    recordings_uri: str
    policy: str
    feature_set: str
    feature_params: dict[str, Any]
    scratch: Path
    settings: Settings


@dataclass
class Segment:
    """One segment: where it is, how it sounds, and why it is not scored (None where it is)."""

    channel: int
    role: str
    start_s: float
    end_s: float
    loudness_dbfs: float
    snr_db: float | None
    not_scored_reason: str | None
    frames: int = 0
    """Feature frames, 0 where it is not scored."""


@dataclass
class Extracted:
    """What became of one recording. ``outcome`` stays None until the score stage, where its emotion may be scored."""

    recording: Recording
    outcome: str | None = None
    reason_code: str | None = None
    reason: str | None = None
    note: str | None = None
    facts: Facts = field(default_factory=Facts)
    roles: list[str] = field(default_factory=list)
    roles_source: str | None = None
    info: AudioInfo | None = None
    audio_s: float = 0.0
    activity: dict[str, Any] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker seconds by stage: fetch, decode, speech, features."""

    def end(self, outcome: str, reason_code: str, reason: str) -> None:
        self.outcome, self.reason_code, self.reason = outcome, reason_code, reason


@dataclass(frozen=True)
class Batch:
    """Recordings that one worker handled together, and the file in scratch with the frames of all their segments."""

    extracted: list[Extracted]
    frames_file: Path | None
    """float32 (frames, features), the segments one after the other; None without any."""

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each segment that is to be scored, int64, in order."""
        return np.array([s.frames for result in self.extracted for s in result.segments if s.frames], np.int64)


def start_worker() -> None:
    """Makes a process ready to extract: loads the detector, keeps to one thread, ends when its parent does."""
    import multiprocessing
    import os
    import threading

    import torch

    from ser_tasks.speech import detector

    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    detector()


def extract_batch(recordings: list[Recording], job: Job) -> Batch:
    """Extracts recordings one after the other: one result for each, in order, whatever happens to it.

    Raises only where the machine is broken (no space, no memory), not where a recording is.
    """
    results, frames = [], []
    for recording in recordings:
        result, own_frames = extract(recording, job)
        results.append(result)
        if own_frames is not None:
            frames.append(own_frames)
    if not frames:
        return Batch(results, None)
    path = job.scratch / f"frames-{uuid.uuid4().hex}.npy"
    np.save(path, np.concatenate(frames))
    return Batch(results, path)


def extract(recording: Recording, job: Job) -> tuple[Extracted, np.ndarray | None]:
    """One recording's result, and the frames (frames, features) of its segments one after the other."""
    result = Extracted(recording)
    try:
        with tempfile.TemporaryDirectory(dir=job.scratch) as folder:
            return result, _extract(result, job, Path(folder))
    except BadFacts as error:
        result.end("quarantined", "bad_facts", str(error))
    except BadAudio as error:
        result.end("quarantined", error.code, str(error))
    except ChangedObject as error:
        result.end("failed", "changed", f"{error} The next listing decides.")
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
            raise
        code = "unreadable" if _is_storage(error) else "internal_error"
        text = f"{type(error).__name__}: {error}".replace(recording.key or "\0", recording.masked_key)
        if code == "internal_error":
            log.exception("Recording %s", recording.masked_key)
        result.end("failed", code, f"{text[:1000]} It is tried again next night.")
    result.segments.clear()
    return result, None


def _is_storage(error: Exception) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, OSError | BotoCoreError | ClientError)


def _extract(result: Extracted, job: Job, folder: Path) -> np.ndarray | None:
    settings, recording = job.settings, result.recording
    clock = _Clock(result.seconds)
    if recording.key is None:
        raise ChangedObject("It was planned, but is no longer in the store with that etag.")
    store = open_store(job.recordings_uri)
    with clock("fetch"):
        path, metadata = store.fetch(recording.key, recording.etag, folder)
        result.facts = facts_of(recording.key, _sidecar(store, recording), metadata, settings)
    with open_audio(path, max_duration_s=settings.max_duration_s) as reader:
        result.info = reader.info
        with clock("decode"):
            blocks = reader.blocks(BLOCK_S)
        call = _Call(reader.info.channels, folder)
        for block in _at_8_khz(blocks, reader.info.sampling_rate_hz, clock):
            call.push(block, clock)
        call.finish(clock)
        result.audio_s, result.note = reader.seconds, reader.note
    return _look(result, call, job, clock)


def _sidecar(store: Store, recording: Recording) -> bytes | None:
    if recording.sidecar_key is None:
        return None
    try:
        return store.read_bytes(recording.sidecar_key, SIDECAR_LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise ChangedObject("Its sidecar was listed, but is no longer in the store.") from None


def _at_8_khz(blocks: Iterator[np.ndarray], rate_hz: int, clock: "_Clock") -> Iterator[np.ndarray]:
    """Blocks (channels, samples) resampled to 8 kHz as one stream, so that a block's edge leaves no trace."""
    resampler = None
    while True:
        with clock("decode"):
            block = next(blocks, None)
            last = block is None
            if block is not None and rate_hz != SAMPLING_RATE_HZ:
                resampler = resampler or soxr.ResampleStream(rate_hz, SAMPLING_RATE_HZ, len(block), "float32", "HQ")
                channels = len(block)
                block = resampler.resample_chunk(np.ascontiguousarray(block.T)).reshape(-1, channels).T
            elif block is None and resampler is not None:
                block = resampler.resample_chunk(np.zeros((0, channels), np.float32), last=True).reshape(-1, channels).T
        if block is not None and block.shape[1]:
            yield block
        if last:
            return


class _Clock:
    """Adds up seconds by stage."""

    def __init__(self, seconds: dict[str, float]):
        self._seconds = seconds

    def __call__(self, stage: str) -> "_Clock":
        self._stage, self._start = stage, 0.0
        return self

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + time.perf_counter() - self._start


class _Call:
    """A call's sound at 8 kHz while it streams in: speech probabilities, power, and the samples for a second look."""

    def __init__(self, channels: int, folder: Path):
        self.channels = channels
        self.samples = 0
        self._energy = self._difference = 0.0
        self._stream = SpeechStream(channels)
        self._rest = np.zeros((channels, 0), np.float32)
        self._probabilities: list[np.ndarray] = []
        self._power: list[np.ndarray] = []
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=folder)  # noqa: SIM115 - lives as long as the call

    def push(self, block: np.ndarray, clock: _Clock) -> None:
        with clock("speech"):
            self._probabilities.append(self._stream.push(block))
        with clock("decode"):
            self.samples += block.shape[1]
            self._energy += float(np.vdot(block, block))
            self._difference += float(np.square(block - block[0]).sum())
            joined = np.concatenate([self._rest, block], axis=1)
            whole = joined.shape[1] // WINDOW * WINDOW
            self._rest = joined[:, whole:]
            self._power.append(acoustics.window_power(joined[:, :whole]))
            quantised = np.rint(np.clip(block, -1, 32767 / 32768) * 32768).astype(np.int16)
            self._spool.write(np.ascontiguousarray(quantised.T).tobytes())

    def finish(self, clock: _Clock) -> None:
        nothing = np.zeros((self.channels, 0), np.float32)
        with clock("speech"):
            self._probabilities.append(self._stream.push(nothing, last=True))
        if self._rest.shape[1]:
            self._power.append((self._rest**2).mean(axis=1, keepdims=True))
        self.probabilities = np.concatenate([nothing, *self._probabilities], axis=1)
        self.power = np.concatenate([nothing, *self._power], axis=1)

    @property
    def same_signal(self) -> bool:
        """Whether all of several channels carry one signal: a mono mix saved as stereo, perhaps through a lossy codec."""
        return self.channels > 1 and self._difference < SAME_SIGNAL * self._energy

    def cut(self, channel: int, span: Span) -> np.ndarray:
        """The samples of a span, float32 (samples,)."""
        self._spool.seek(span.start * self.channels * 2)
        raw = self._spool.read((span.end - span.start) * self.channels * 2)
        return np.frombuffer(raw, np.int16)[channel :: self.channels].astype(np.float32) / 32768


def _look(result: Extracted, call: _Call, job: Job, clock: _Clock) -> np.ndarray | None:
    """Fills in roles, activity and segments; returns the frames of the segments that the policy lets score."""
    settings, policy = job.settings, policy_named(job.policy)
    facts = result.facts
    if call.same_signal:
        result.roles, result.roles_source = ["mixed"] * call.channels, None
        result.note = _join(result.note, "all channels carry the same signal: treated as a mono mix")
    else:
        result.roles, result.roles_source = channel_roles(call.channels, facts.get("channels"), facts.sources.get("channels"), settings)
    refusals = {role: policy.refusal(role, facts.get("notice_given")) for role in result.roles}

    cuts: list[np.ndarray] = []
    windows = call.probabilities.shape[1]
    found = [stretches(channel, call.samples) for channel in call.probabilities]
    if not call.same_signal:
        found = acoustics.without_crosstalk(found, call.power)
    speech = np.array([acoustics.speech_mask(own, windows) for own in found])
    scored_speech_s = 0.0
    for channel, role in enumerate(result.roles):
        if call.same_signal and channel:
            continue
        floor = acoustics.noise_floor(call.power[channel], speech[channel])
        refusal = refusals[role]
        for stretch in found[channel]:
            scored_speech_s += 0 if refusal else stretch.seconds
            for span in segments(stretch, call.probabilities[channel], settings.min_segment_s, settings.max_segment_s):
                power = acoustics.level_of(span, call.power[channel])
                result.segments.append(
                    Segment(
                        channel,
                        role,
                        span.start / SAMPLING_RATE_HZ,
                        span.end / SAMPLING_RATE_HZ,
                        acoustics.dbfs(power),
                        acoustics.snr_db(power, floor),
                        refusal,
                    )
                )
                if not refusal:
                    cuts.append(call.cut(channel, span))
    result.activity = acoustics.activity(result.roles, speech, call.power, result.audio_s)

    if all(refusals.values()):
        # With several channels the most telling reason: one that a setting can change comes before "it is an agent".
        code = max(filter(None, refusals.values()), key=lambda code: code != "role_agent")
        result.end("withheld", code, f"Under the policy {policy.name}: {WAY_OUT[code]}.")
        return None
    if not cuts:
        shortest = settings.min_segment_s
        if scored_speech_s:
            result.end(
                "no_speech", "short_speech", f"{scored_speech_s:.1f} s of speech that may be scored, never {shortest} s at a stretch."
            )
        else:
            result.end("no_speech", "no_speech", "No speech was found on the channels that may be scored.")
        return None
    with clock("features"):
        frames, lengths = features_of(job.feature_set, job.feature_params, cuts, SAMPLING_RATE_HZ)
    to_score = (segment for segment in result.segments if segment.not_scored_reason is None)
    for segment, length in zip(to_score, lengths, strict=True):
        segment.frames = int(length)
    return frames


def _join(*notes: str | None) -> str:
    return "; ".join(note for note in notes if note)
