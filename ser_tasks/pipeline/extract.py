"""Extract: recordings → facts, roles, speech, segments and frame features. Runs in worker processes, on CPU.

A recording is read and decoded once, in blocks, to 16-bit samples at 8 kHz. A few recordings at a time (a detection batch) then go
through the speech detector together, and one by one through what follows: roles, segments, and features of what may be scored.
"""

import contextlib
import errno
import functools
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
import torch

from ser_tasks import logs
from ser_tasks.audio import AudioError, AudioInfo, open_audio
from ser_tasks.audio import activity as acoustics
from ser_tasks.audio.crosstalk import Crosstalk, compare_channels
from ser_tasks.audio.samples import FULL_SCALE, IN_MEMORY_BYTES, Samples, at_8_khz
from ser_tasks.audio.vad import Span, VadResult, detect_speech, detector, segments, speech_spans
from ser_tasks.calls.metadata import PERSON_FACTS, SIDECAR_LIMIT_BYTES, CallMetadata, MetadataError, call_metadata
from ser_tasks.calls.policy import REMEDIES, policy_named
from ser_tasks.calls.roles import ChannelMapError, channel_roles, unknown_roles_hint
from ser_tasks.features import features_of
from ser_tasks.memory import is_out_of_memory, keep_freed_memory, limit_memory
from ser_tasks.pipeline.listing import Recording
from ser_tasks.pipeline.spec import RunSpec
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.storage import ObjectChangedError, ObjectLockedError, ObjectUnusableError, Store, open_store

BLOCK_S = 10.0
DETECTION_CHANNELS = 16
"""Channels that go through the detector together: from 8 on, more of them make it no faster."""
SEGMENTS_AT_ONCE = 128
"""Segments cut out at once: at most some ten minutes, 25 MB."""
SILENT_SIDE_S = 0.5
"""A side with less speech than this is silent: clicks and coughs are at times taken for speech."""
CONVERSATION_S = 10.0
"""One turn of the customer is no conversation unless it lasts this long: two voices may follow each other without a pause."""
MACHINE_ERRORS = {errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EDQUOT}
"""Errors of this machine, not of a recording: disk full, a file larger than allowed, no file handles, a disk that went read-only."""

log = logging.getLogger(__name__)


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
    facts: CallMetadata = field(default_factory=CallMetadata)
    roles: list[str] = field(default_factory=list)
    roles_source: str | None = None
    info: AudioInfo | None = None
    audio_s: float = 0.0
    activity: dict[str, Any] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker seconds by stage: fetch, decode, speech, features."""

    @property
    def scored_segments(self) -> list[Segment]:
        """Segments that have frames, in their order in the batch's file."""
        return [segment for segment in self.segments if segment.frames]

    def end(self, outcome: str, reason_code: str, reason: str) -> None:
        self.outcome, self.reason_code, self.reason = outcome, reason_code, reason


@dataclass(frozen=True)
class Batch:
    """Recordings that one worker handled together, and the file in scratch with the frames of all their segments."""

    extracted: list[Extracted]
    frames_file: Path | None
    """Raw float32 (frames, features), the segments one after the other; None without any."""

    @property
    def audio_s(self) -> float:
        return sum(result.audio_s for result in self.extracted)

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each segment that is to be scored, int64, in order."""
        return np.array([segment.frames for result in self.extracted for segment in result.scored_segments], np.int64)


def start_worker(memory_mb: int | None = None) -> None:
    """Makes a process ready to extract: loads the detector, keeps to one thread and its memory, ends when its parent does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    keep_freed_memory()
    detector()
    limit_memory(memory_mb)


class ProgressMarker:
    """A file that says which recordings of its batch a worker is at, and at which stage: what is known of a worker that does not return."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)

    def at(self, stage: str, first: int, last: int | None = None) -> None:
        """``first`` and ``last`` count the batch's recordings from 0. Stages: schemas.WORKER_STAGES."""
        os.pwrite(self._file, f"{stage:<8} {first:>8} {first if last is None else last:>8}".encode(), 0)

    def close(self) -> None:
        os.close(self._file)

    @staticmethod
    def read(path: Path) -> tuple[str, int, int] | None:
        """Stage, first and last recording; None where the worker had not begun."""
        try:
            stage, first, last = path.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return stage, int(first), int(last)


def extract_batch(recordings: list[Recording], spec: RunSpec, files: Path) -> Batch:
    """Extracts recordings: one result for each, in order, whatever happens to it. ``files`` is the path of the batch's files in scratch,
    without a suffix: frames (.f32) and progress marker (.mark).

    Raises only where the machine is broken (MemoryError, OSError for a full disk), not where a recording is.
    """
    results = [Extracted(recording) for recording in recordings]
    index_of = {id(result): index for index, result in enumerate(results)}
    path = files.with_suffix(".f32")
    marker = ProgressMarker(files.with_suffix(".mark"))
    try:
        with logs.fields(run_id=spec.run_id, chunk=recordings[0].chunk_id if recordings else ""), path.open("wb") as file:
            for batch in _detection_batches(results, spec, files.parent, marker):
                if batch:
                    marker.at("speech", index_of[id(batch[0][0])], index_of[id(batch[-1][0])])
                for result, call, speech in _detect_speech(batch):
                    written = file.tell()
                    marker.at("features", index_of[id(result)])
                    with _outcome_of_errors(result), call:
                        _analyse(result, call, speech, spec, file)
                    if not result.segments:  # an error stopped it half-way
                        file.seek(written)
                        file.truncate()
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(f"{type(error).__name__}: {error}") from error
        raise
    finally:
        marker.close()
    return Batch(results, path if path.stat().st_size else None)


def _detection_batches(
    results: list[Extracted], spec: RunSpec, scratch: Path, marker: ProgressMarker
) -> Iterator[list[tuple[Extracted, Samples]]]:
    """Decoded calls, as many as go through the detector together. Those that cannot be decoded get their outcome, and are in none."""
    batch: list[tuple[Extracted, Samples]] = []
    for index, result in enumerate(results):
        with _outcome_of_errors(result):
            batch.append((result, _decode(result, spec, scratch, functools.partial(marker.at, first=index))))
        calls = [call for _, call in batch]
        if sum(call.channels for call in calls) >= DETECTION_CHANNELS or sum(call.size_bytes for call in calls) >= IN_MEMORY_BYTES:
            yield batch
            batch = []
    yield batch


@contextlib.contextmanager
def _outcome_of_errors(result: Extracted) -> Iterator[None]:
    """Turns an error of a recording into its outcome; an error of the machine is raised."""
    try:
        yield
        return
    except (MetadataError, ChannelMapError) as error:
        result.end("quarantined", "bad_facts", str(error))
    except AudioError as error:
        result.end("quarantined", error.code, str(error))
    except ObjectUnusableError as error:
        result.end("quarantined", error.code, str(error))
    except ObjectChangedError as error:
        result.end("failed", "changed", f"{error} The next listing decides.")
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
            raise
        code = "unreadable" if _is_storage(error) else "internal_error"
        if code == "internal_error":
            log.exception("Recording %r", result.recording.masked_key)
        result.end("failed", code, f"{type(error).__name__}: {error_text(error, result.recording)[:1000]} It is tried again next night.")
    result.segments.clear()


def error_text(error: Exception, recording: Recording) -> str:
    """An error's text without paths of this machine and without the ids that a key may hold, however the text writes the key."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    for key in filter(None, (recording.key, recording.sidecar_key)):
        for written in (key, repr(key)[1:-1], quote(os.fsencode(key))):
            text = text.replace(written, recording.masked_key)
    return text


def _is_storage(error: Exception) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, OSError | BotoCoreError | ClientError)


def _decode(result: Extracted, spec: RunSpec, scratch: Path, at: Callable[[str], None]) -> Samples:
    """Reads the recording's facts, and its audio as 8 kHz samples."""
    settings, recording = spec.settings, result.recording
    clock = _Clock(result.seconds)
    if recording.key is None:
        raise ObjectChangedError("It was planned, but is no longer in the store with that etag.")
    store = open_store(spec.recordings_uri)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        at("fetch")
        with clock("fetch"):
            path, metadata = store.fetch(recording.key, recording.stored_etag or recording.etag, Path(folder))
            result.facts = call_metadata(recording.key, _sidecar(store, recording), metadata, settings, recording.recording_id)
        at("decode")
        raw_channels = len(result.facts.get("channels") or ()) or settings.raw_channels.get(Path(recording.key).suffix.lower())
        with clock("decode"), open_audio(path, max_duration_s=settings.max_duration_s, raw_channels=raw_channels) as reader:
            result.info = reader.info
            call = Samples(reader.info.channels, scratch)
            for block in at_8_khz(reader.blocks(BLOCK_S), reader.info.sampling_rate_hz):
                call.push(block)
            result.audio_s, result.note = reader.seconds, _join(reader.note, *result.facts.notes) or None
    return call


def _sidecar(store: Store, recording: Recording) -> bytes | None:
    if recording.sidecar_key is None:
        return None
    try:
        etag = recording.stored_sidecar_etag or recording.sidecar_etag
        return store.read_bytes(recording.sidecar_key, SIDECAR_LIMIT_BYTES + 1, etag)
    except ObjectLockedError as error:
        raise ObjectLockedError(f"Its sidecar: {error}", error.code) from None
    except ObjectUnusableError as error:
        raise ObjectUnusableError(f"Its sidecar: {error}") from None
    except FileNotFoundError:
        raise ObjectChangedError("Its sidecar was listed, but is no longer in the store.") from None
    except ObjectChangedError:
        raise ObjectChangedError("Its sidecar changed after it was listed.") from None


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


def _detect_speech(batch: list[tuple[Extracted, Samples]]) -> Iterator[tuple[Extracted, Samples, VadResult]]:
    started = time.perf_counter()
    detected = detect_speech([call for _, call in batch])
    seconds = time.perf_counter() - started
    total_bytes = sum(call.size_bytes for _, call in batch)
    for (result, call), speech in zip(batch, detected, strict=True):
        result.seconds["speech"] = seconds * call.size_bytes / max(1, total_bytes)
        yield result, call, speech


def _analyse(result: Extracted, call: Samples, detected: VadResult, spec: RunSpec, frames_file: BinaryIO) -> None:
    """Fills in roles, activity and segments; writes the frames of the segments that the policy lets score."""
    settings, policy, facts = spec.settings, policy_named(spec.policy), result.facts
    result.roles, result.roles_source = channel_roles(call.channels, facts.get("channels"), facts.sources.get("channels"), settings)
    with _Clock(result.seconds)("speech"):
        spoken, probabilities = _attributed_speech(result, call, detected)
    consent = facts.get("notice_given"), facts.notice_unclear, result.recording.opted_out
    refusals = {role: policy.refusal(role, *consent) for role in result.roles}
    speech = _masks(spoken, detected)
    to_score: list[tuple[Segment, Span]] = []
    for channel, (role, spans) in enumerate(zip(result.roles, spoken, strict=True)):
        floor = acoustics.noise_floor(detected.power[channel], speech[channel])
        for stretch in spans:
            for span in segments(stretch, probabilities[channel], settings.min_segment_s, settings.max_segment_s):
                power = acoustics.mean_power(span, detected.power[channel])
                start_s, end_s = span.start / SAMPLING_RATE_HZ, span.end / SAMPLING_RATE_HZ
                snr_db = acoustics.snr_db(power, floor)
                segment = Segment(channel, role, start_s, end_s, acoustics.dbfs(power), snr_db, refusals[role])
                result.segments.append(segment)
                if not refusals[role]:
                    to_score.append((segment, span))
    result.activity = acoustics.activity(result.roles, speech, detected.power, result.audio_s)

    if all(refusals.values()):
        # With several channels the most useful reason: one that a setting can change comes before "it is an agent".
        code = max(filter(None, refusals.values()), key=lambda code: code != "role_agent")
        hint = ""
        if code == "role_unknown":
            people = (facts.get(name) for name in PERSON_FACTS)
            hint = unknown_roles_hint(call.channels, facts.get("channels"), settings, people)
        result.end("withheld", code, f"Under the policy {policy.name}: {REMEDIES[code]}{hint}.")
    elif not to_score:
        scorable_s = sum(
            stretch.seconds for role, spans in zip(result.roles, spoken, strict=True) if not refusals[role] for stretch in spans
        )
        if scorable_s:
            reason = f"{scorable_s:.1f} s of speech that may be scored, never {settings.min_segment_s} s at a stretch."
            result.end("no_speech", "short_speech", reason)
        else:
            result.end("no_speech", "no_speech", "No speech was found on the channels that may be scored.")
    else:
        with _Clock(result.seconds)("features"):
            _write_frames(to_score, call, spec, frames_file)


def _attributed_speech(result: Extracted, call: Samples, detected: VadResult) -> tuple[list[list[Span]], np.ndarray]:
    """The spans of each channel's own speech, and the probabilities (channels, windows) that they were made from.

    Where it cannot be known whose voice a channel carries, its role becomes mixed, and the note says why: on channels with the same
    signal, of which the first keeps its speech, and on a customer's channel that holds a conversation while all others are silent.
    """
    spoken = [speech_spans(channel, call.samples) for channel in detected.probabilities]
    if detected.same_signal:
        crosstalk = Crosstalk(np.zeros(detected.power.shape, bool), (0,) * call.channels)
    else:
        shared = [index for index, role in enumerate(result.roles) if role == "mixed"]
        crosstalk = compare_channels(call, _masks(spoken, detected), shared)
    probabilities = np.where(crosstalk.foreign, np.float32(0), detected.probabilities)
    for index, foreign in enumerate(crosstalk.foreign):
        if crosstalk.copy_of[index] != index:
            spoken[index] = []
        elif foreign.any():
            spoken[index] = speech_spans(probabilities[index], call.samples)
            if result.roles[index] == "customer" and not spoken[index]:
                result.note = _join(result.note, f"all speech on channel {index} is an echo of another channel: it is left out")
    copies = [index for index, of in enumerate(crosstalk.copy_of) if crosstalk.copy_of.count(of) > 1]
    for index in copies:
        result.roles[index] = "mixed"
    if len(copies) == call.channels and copies:
        result.roles_source = None
        result.note = _join(result.note, "all channels carry the same signal: treated as a mono mix")
    elif copies:
        names = ", ".join(map(str, copies))
        result.note = _join(result.note, f"channels {names} carry the same signal: treated as a mono mix")
    elif _one_sided_conversation(result.roles, spoken):
        result.roles = ["mixed" if role == "customer" else role for role in result.roles]
        result.note = _join(result.note, "only the customer's channel carries speech, and it may hold both sides: treated as a mono mix")
    return spoken, probabilities


def _one_sided_conversation(roles: list[str], spoken: list[list[Span]]) -> bool:
    """Whether customers' channels hold a conversation, several turns or a long one, beside channels of others that carry no speech.

    Then the recorder may have put both sides on one channel. Nothing in the signal says for certain how many people speak.
    """
    customers = [span for role, spans in zip(roles, spoken, strict=True) if role == "customer" for span in spans]
    others = [spans for role, spans in zip(roles, spoken, strict=True) if role != "customer"]
    silent = bool(others) and sum(span.seconds for spans in others for span in spans) < SILENT_SIDE_S
    return silent and (len(customers) > 1 or sum(span.seconds for span in customers) >= CONVERSATION_S)


def _masks(spoken: list[list[Span]], detected: VadResult) -> np.ndarray:
    return np.array([acoustics.speech_mask(spans, detected.power.shape[1]) for spans in spoken])


def _write_frames(to_score: list[tuple[Segment, Span]], call: Samples, spec: RunSpec, file: BinaryIO) -> None:
    """Writes the segments' frames, float32, one segment after the other, and their number into each segment."""
    for first in range(0, len(to_score), SEGMENTS_AT_ONCE):
        group = to_score[first : first + SEGMENTS_AT_ONCE]
        cuts = [call.read(span.start, span.end)[segment.channel].astype(np.float32) / FULL_SCALE for segment, span in group]
        frames, lengths = features_of(spec.feature_set, spec.feature_params, cuts, SAMPLING_RATE_HZ)
        for (segment, _), length in zip(group, lengths, strict=True):
            segment.frames = int(length)
        file.write(frames.data)


def _join(*notes: str | None) -> str:
    return "; ".join(note for note in notes if note)
