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
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
import torch

from ser_tasks import logs
from ser_tasks.audio import AudioError, AudioInfo, muting, open_audio
from ser_tasks.audio import activity as acoustics
from ser_tasks.audio.crosstalk import Crosstalk, compare_channels
from ser_tasks.audio.samples import FULL_SCALE, Samples, at_8_khz
from ser_tasks.audio.syllables import syllables
from ser_tasks.audio.turn_taking import turn_taking
from ser_tasks.audio.vad import WINDOW_S, Span, VadResult, detect_speech, detector, segments, speech_spans
from ser_tasks.calls.metadata import PERSON_FACTS, SIDECAR_LIMIT_BYTES, CallMetadata, MetadataError, call_metadata
from ser_tasks.calls.policy import REMEDIES, policy_named
from ser_tasks.calls.roles import ChannelMapError, channel_roles, unknown_roles_hint
from ser_tasks.calls.turns import MonoFacts, mono_facts
from ser_tasks.features import feature_set, features_of
from ser_tasks.features.words import place_words
from ser_tasks.memory import is_out_of_memory, keep_freed_memory, limit_memory
from ser_tasks.pipeline.listing import Recording
from ser_tasks.pipeline.spec import RunSpec
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.settings import Settings
from ser_tasks.storage import ObjectChangedError, ObjectLockedError, ObjectUnusableError, Store, open_store
from ser_tasks.transcripts import roles as stated
from ser_tasks.transcripts import sentiment
from ser_tasks.transcripts.align import align, shifted
from ser_tasks.transcripts.counts import COLUMNS as COUNTED
from ser_tasks.transcripts.counts import counted, roles_of_turns, sure_roles
from ser_tasks.transcripts.reader import LIMIT_BYTES, read_transcript
from ser_tasks.transcripts.recognition import recognised
from ser_tasks.transcripts.redaction import redacted
from ser_tasks.transcripts.said import said
from ser_tasks.transcripts.transcript import Transcript, TranscriptError
from ser_tasks.voices.mono import attribute

BLOCK_S = 10.0
DETECTION_CHANNELS = 32
"""Channels that go through the detector together: from 12 on, more are hardly faster, but the longest remain when others end."""
DETECTION_BYTES = 64 << 20
"""Decoded samples that wait for the detector together: an hour of one channel, as much as a batch of two-channel calls has."""
SEGMENTS_AT_ONCE = 128
"""Segments cut out at once: at most some ten minutes, 25 MB."""
SILENT_SIDE_S = 0.5
"""A side with less speech than this is silent: clicks and coughs are at times taken for speech."""
CONVERSATION_S = 10.0
"""One turn of the customer is no conversation unless it lasts this long: two voices may follow each other without a pause."""
OF_TWO_CHANNELS = ("overlap_s", "interruptions_by_agent", "interruptions_by_customer")
"""Activity that a mono mix does not show: who speaks at once with whom."""
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
    roles_confidence: float | None = None
    roles_evidence: str | None = None
    mono: MonoFacts = field(default_factory=MonoFacts)
    """What is stated of the people on a mono mix, where the policy splits them."""
    transcript: Transcript | None = None
    """Only while the recording is analysed: what was said does not leave the worker."""
    transcript_trusted: bool = True
    """Whether nothing contradicts the roles that the transcript states."""
    words: list[dict[str, Any]] | None = None
    """What was said, turn by turn, redacted; None unless SER_WORDS=keep."""
    redact: tuple[muting.Range, ...] = ()
    """Ranges that nobody may hear, in seconds."""
    info: AudioInfo | None = None
    audio_s: float = 0.0
    activity: dict[str, Any] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker seconds by stage: fetch, decode, speech, features; words, where they are recognised."""

    @property
    def scored_segments(self) -> list[Segment]:
        """Segments that have frames, in their order in the batch's file."""
        return [segment for segment in self.segments if segment.frames]

    def end(self, outcome: str, reason_code: str, reason: str) -> None:
        self.outcome, self.reason_code, self.reason = outcome, reason_code, reason


@dataclass(frozen=True)
class Batch:
    """Recordings that are handled together, and the files in scratch with the frames of all their segments."""

    extracted: list[Extracted]
    frames_files: tuple[Path, ...] = ()
    """Raw float32 (frames, features), the segments one after the other; none without any."""

    @property
    def audio_s(self) -> float:
        return sum(result.audio_s for result in self.extracted)

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each segment that is to be scored, int64, in order."""
        return np.array([segment.frames for result in self.extracted for segment in result.scored_segments], np.int64)


def start_worker(memory_mb: int | None = None) -> None:
    """Makes a process ready to extract: loads the detector, keeps to one thread and its memory, ends when its parent does.

    It never dumps core: its memory holds speech, and for the length of a call vectors that tell voices apart.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
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
                    result.transcript = None
                    if not result.segments:  # an error stopped it half-way
                        file.seek(written)
                        file.truncate()
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(f"{type(error).__name__}: {error}") from error
        raise
    finally:
        marker.close()
    return Batch(results, (path,) if path.stat().st_size else ())


def _detection_batches(
    results: list[Extracted], spec: RunSpec, scratch: Path, marker: ProgressMarker
) -> Iterator[list[tuple[Extracted, Samples]]]:
    """Decoded calls, as many as go through the detector together. Those that cannot be decoded get their outcome, and are in none."""
    batch: list[tuple[Extracted, Samples]] = []
    for index, result in enumerate(results):
        with _outcome_of_errors(result):
            batch.append((result, _decode(result, spec, scratch, functools.partial(marker.at, first=index))))
        calls = [call for _, call in batch]
        if sum(call.channels for call in calls) >= DETECTION_CHANNELS or sum(call.size_bytes for call in calls) >= DETECTION_BYTES:
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
    for key in filter(None, (recording.key, recording.sidecar_key, recording.transcript_key)):
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
            sidecar = _sidecar(store, recording)
            result.facts = call_metadata(recording.key, sidecar, metadata, settings, recording.recording_id)
            if policy_named(spec.policy).splits_mono:
                result.mono = mono_facts(sidecar)
            result.transcript, unread = _transcript(store, recording, settings)
            ranges = result.facts.get("redact") or (), result.transcript.redact if result.transcript else ()
            result.redact = muting.merged(*ranges)
        at("decode")
        raw_channels = len(result.facts.get("channels") or ()) or settings.raw_channels.get(Path(recording.key).suffix.lower())
        with clock("decode"), open_audio(path, max_duration_s=settings.max_duration_s, raw_channels=raw_channels) as reader:
            result.info = reader.info
            call = Samples(reader.info.channels, scratch)
            for block in muting.muted(at_8_khz(reader.native_blocks(BLOCK_S), reader.info.sampling_rate_hz), result.redact):
                call.push(block)
            result.audio_s, result.note = reader.seconds, _join(reader.note, *result.facts.notes, unread) or None
    return call


def _transcript(store: Store, recording: Recording, settings: Settings) -> tuple[Transcript | None, str | None]:
    """The recording's transcript, or None and why it cannot be read: words are never needed."""
    if recording.transcript_key is None:
        return None, None
    place = open_store(settings.transcripts) if settings.transcripts else store
    try:
        data = place.read_bytes(recording.transcript_key, LIMIT_BYTES + 1, recording.transcript_etag)
        return read_transcript(data), None
    except TranscriptError as error:
        return None, f"the transcript is not used: {error}".removesuffix(".")
    except (FileNotFoundError, ObjectChangedError):
        return None, "the transcript is not used: it changed after it was listed"
    except (ObjectUnusableError, PermissionError):
        return None, "the transcript is not used: the store does not deliver it"


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
    settings, facts = spec.settings, result.facts
    result.roles, result.roles_source = channel_roles(call.channels, facts.get("channels"), facts.sources.get("channels"), settings)
    with _Clock(result.seconds)("speech"):
        heard = _with_transcript(result, call, detected, spec) if result.transcript else None
    if heard is None and spec.recogniser:
        with _Clock(result.seconds)("words"):
            heard = _recognised(result, call, detected, spec)
    with _Clock(result.seconds)("speech"):
        spoken, probabilities = _attributed_speech(result, call, detected)
        tracks, doubt = _tracks(result, call, spoken, probabilities, spec)
    refusals = _refusals(result, tracks, spec)
    if doubt:
        refusals["mixed"] = "roles_uncertain"
    speech = _masks(spoken, detected)
    to_score: list[tuple[Segment, Span]] = []
    for track in tracks:
        channel, role = track.channel, track.role
        floor = acoustics.noise_floor(detected.power[channel], speech[channel])
        for stretch in track.spans:
            for span in segments(stretch, probabilities[channel], settings.min_segment_s, settings.max_segment_s):
                power = acoustics.mean_power(span, detected.power[channel])
                start_s, end_s = span.start / SAMPLING_RATE_HZ, span.end / SAMPLING_RATE_HZ
                snr_db = acoustics.snr_db(power, floor)
                segment = Segment(channel, role, start_s, end_s, acoustics.dbfs(power), snr_db, refusals[role])
                result.segments.append(segment)
                if not refusals[role]:
                    to_score.append((segment, span))
    felt_of = _roles_of_words(result, spec) if to_score else []
    result.activity = _activity(result, call, tracks, detected) | _counted(result, tracks, detected, heard, spec, felt_of)
    if to_score:
        with _Clock(result.seconds)("features"):
            _write_frames(to_score, call, spec, frames_file, heard.transcript if heard else None)
    else:
        _end_unscored(result, tracks, refusals, doubt, spec)


def _end_unscored(result: Extracted, tracks: list["_Track"], refusals: dict[str, str | None], doubt: str | None, spec: RunSpec) -> None:
    """The outcome of a call without a segment to score."""
    settings, facts = spec.settings, result.facts
    if all(refusals.values()):
        # With several channels the most useful reason: one that a setting can change comes before "it is an agent".
        code = max(filter(None, refusals.values()), key=lambda code: code != "role_agent")
        hint = ""
        if code == "role_unknown":
            people = (facts.get(name) for name in PERSON_FACTS)
            hint = unknown_roles_hint(len(result.roles), facts.get("channels"), settings, people)
        elif code == "roles_uncertain":
            hint = f": {doubt}"
        result.end("withheld", code, f"Under the policy {spec.policy}: {REMEDIES[code]}{hint}.")
        return
    scorable_s = sum(stretch.seconds for track in tracks if not refusals[track.role] for stretch in track.spans)
    if scorable_s:
        reason = f"{scorable_s:.1f} s of speech that may be scored, never {settings.min_segment_s} s at a stretch."
        result.end("no_speech", "short_speech", reason)
    else:
        result.end("no_speech", "no_speech", "No speech was found on the channels that may be scored.")


@dataclass(frozen=True)
class _Track:
    """Speech of one role on one channel."""

    channel: int
    role: str
    spans: list[Span]


def _tracks(
    result: Extracted, call: Samples, spoken: list[list[Span]], probabilities: np.ndarray, spec: RunSpec
) -> tuple[list[_Track], str | None]:
    """The speech of each channel, or of each role on a mono mix that the policy splits; and why such a mix could not be split safely."""
    tracks = [_Track(channel, role, spans) for channel, (role, spans) in enumerate(zip(result.roles, spoken, strict=True))]
    mix = _mix(result.roles, spoken) if policy_named(spec.policy).splits_mono else None
    customer = _Track(0, "customer", [])
    if mix is None or _refusals(result, [customer], spec)["customer"]:
        return tracks, None
    facts = result.mono.or_else(spec.settings.call_direction, spec.settings.prompt_s)
    found = attribute(call, mix, spoken[mix], probabilities[mix], facts)
    result.roles_source, result.roles_confidence, result.roles_evidence = found.source, found.confidence, found.evidence
    if found.doubt:
        return tracks, found.doubt
    others = [track for track in tracks if track.channel != mix and track.spans]
    return others + [_Track(mix, role, spans) for role, spans in found.spans.items()], None


def _refusals(result: Extracted, tracks: list[_Track], spec: RunSpec) -> dict[str, str | None]:
    """Why each role is not scored; None for one that is."""
    policy, facts = policy_named(spec.policy), result.facts
    consent = facts.get("notice_given"), facts.notice_unclear, result.recording.opted_out
    return {track.role: policy.refusal(track.role, *consent) for track in tracks}


def _mix(roles: list[str], spoken: list[list[Span]]) -> int | None:
    """The one channel of a mono mix, where nobody speaks on another. None for other calls, whose channels keep their roles."""
    speaking = [channel for channel, spans in enumerate(spoken) if sum(span.seconds for span in spans) >= SILENT_SIDE_S]
    mixed = [channel for channel in speaking or range(len(roles)) if roles[channel] == "mixed"]
    return mixed[0] if mixed and len(speaking) <= 1 else None


def _activity(result: Extracted, call: Samples, tracks: list[_Track], detected: VadResult) -> dict[str, Any]:
    windows = detected.power.shape[1]
    speech = np.array([acoustics.speech_mask(track.spans, windows) for track in tracks])
    power = detected.power[[track.channel for track in tracks]]
    activity = acoustics.activity([track.role for track in tracks], speech, power, result.audio_s)
    shared = len({track.channel for track in tracks}) < len(tracks)
    of_two_channels = dict.fromkeys(OF_TWO_CHANNELS) if shared else {}
    stretches = [(span.start / SAMPLING_RATE_HZ, span.end / SAMPLING_RATE_HZ, track.role) for track in tracks for span in track.spans]
    return activity | of_two_channels | turn_taking(stretches, result.audio_s) | _talk_speed(call, tracks)


def _talk_speed(call: Samples, tracks: list[_Track]) -> dict[str, float | None]:
    """Syllables a second of speech, by whose speech it is; null without any."""
    columns: dict[str, float | None] = {}
    for name, roles in (("agent", {"agent"}), ("customer", {"customer"}), ("unattributed", {"mixed", "unknown"})):
        own = [track for track in tracks if track.role in roles]
        seconds = sum(span.seconds for track in own for span in track.spans)
        nuclei = sum(syllables(call, track.channel, track.spans) for track in own)
        columns[f"{name}_syllables_per_s"] = nuclei / seconds if seconds else None
    return columns


@dataclass(frozen=True)
class _Aligned:
    """A transcript that is this call's, with times of the recording."""

    transcript: Transcript
    offset_s: float


def _with_transcript(result: Extracted, call: Samples, detected: VadResult, spec: RunSpec) -> _Aligned | None:
    """Holds the transcript against the speech, and takes roles from it; None where it is not used, which a note then says."""
    assert result.transcript is not None
    speech = _masks([speech_spans(channel, call.samples) for channel in detected.probabilities], detected)
    fit = align(result.transcript, speech, WINDOW_S, result.audio_s)
    if fit.problem:
        result.note = _join(result.note, f"the transcript is not used: {fit.problem}")
        return None
    transcript = shifted(result.transcript, fit.offset_s)
    if fit.offset_s:
        result.note = _join(result.note, f"the transcript's times were off by {-fit.offset_s:+.1f} s: they are corrected")
        result.redact = muting.merged(result.redact, transcript.redact)
        for start_s, end_s in transcript.redact:
            detected.probabilities[:, int(start_s / WINDOW_S) : int(np.ceil(end_s / WINDOW_S))] = 0
    against = stated.contradicted(result.roles, transcript, speech, WINDOW_S)
    if against is not None:
        said = f"the transcript says that another than {result.roles[against]} speaks on channel {against}: roles are unknown, correct one"
        result.roles, result.roles_source, result.transcript_trusted = ["unknown"] * call.channels, None, False
        result.note = _join(result.note, said)
    elif set(result.roles) == {"unknown"} and (roles := stated.channel_roles(transcript, speech, WINDOW_S)):
        result.roles, result.roles_source = roles, stated.SOURCE
    if policy_named(spec.policy).splits_mono:
        result.mono = _with_words(result.mono, transcript, spec)
    return _Aligned(transcript, fit.offset_s)


def _recognised(result: Extracted, call: Samples, detected: VadResult, spec: RunSpec) -> _Aligned | None:
    """The words of a call without a transcript, recognised on channels' own speech; None where the call may not be scored.

    They are this call's, and their times its own: nothing is held against the speech. Roles are those of the channels.
    """
    assert spec.recogniser is not None
    if _refusals(result, [_Track(0, "customer", [])], spec)["customer"]:
        return None
    unmixed = replace(result, roles=list(result.roles))  # what is found of the channels is noted once, by _analyse
    spoken, probabilities = _attributed_speech(unmixed, call, detected)
    found = recognised(call, spoken, probabilities, result.facts.get("language"), spec.recogniser)
    known = [role if role in ("agent", "customer") else None for role in unmixed.roles]
    turns = tuple(replace(turn, role=known[turn.channel or 0]) for turn in found.turns)
    transcript = replace(found, turns=turns)
    if policy_named(spec.policy).splits_mono:
        result.mono = _with_words(result.mono, transcript, spec)
    return _Aligned(transcript, 0.0)


def _with_words(facts: MonoFacts, transcript: Transcript, spec: RunSpec) -> MonoFacts:
    """The facts of a mono call with what a transcript says of its people: its turns, else who called by its greeting."""
    facts = stated.with_turns(facts, transcript)
    return facts if spec.settings.call_direction else stated.with_greeting(facts, transcript)


def _counted(
    result: Extracted, tracks: list[_Track], detected: VadResult, heard: _Aligned | None, spec: RunSpec, felt_of: list[str]
) -> dict[str, Any]:
    """The columns that are counted of a transcript, and the sentiment of the words of roles in ``felt_of``; null without one."""
    if heard is None:
        return {"words_source": None, "words_offset_s": None} | dict.fromkeys((*COUNTED, *sentiment.COLUMNS))
    windows, turns = detected.power.shape[1], heard.transcript.turns
    speech = {
        role: np.any([acoustics.speech_mask(track.spans, windows) for track in tracks if track.role == role], axis=0)
        for role in {track.role for track in tracks} & {"agent", "customer"}
    }
    roles = roles_of_turns(turns, speech, WINDOW_S, result.transcript_trusted)
    audible = [not any(turn.start_s < end_s and turn.end_s > start_s for start_s, end_s in result.redact) for turn in turns]
    sure = sure_roles(roles, turns, speech, WINDOW_S)
    felt = sentiment.columns_of(
        [turn for turn, use in zip(turns, audible, strict=True) if use],
        [role for role, use in zip(sure, audible, strict=True) if use],
        (heard.transcript.language, result.facts.get("language")),
        felt_of,
    )
    if spec.settings.words == "keep":
        of_turns = iter(felt.of_turns)
        result.words = [
            {"start_s": turn.start_s, "end_s": turn.end_s, "role": role, "said": redacted(turn.text), "sentiment": next(of_turns)}
            for turn, role, use in zip(turns, roles, audible, strict=True)
            if use
        ]
    columns = {"words_source": heard.transcript.format, "words_offset_s": heard.offset_s}
    return columns | counted(turns, roles, result.audio_s) | felt.columns


def _roles_of_words(result: Extracted, spec: RunSpec) -> list[str]:
    """The roles whose words may have a sentiment: those whose emotion may be scored. Of nobody known, only where that may be anybody's."""
    policy, facts = policy_named(spec.policy), result.facts
    consent = facts.get("notice_given"), facts.notice_unclear, result.recording.opted_out
    of_policy = {"agent": "agent", "customer": "customer", "unattributed": "unknown"}
    return [role for role, whose in of_policy.items() if not policy.refusal(whose, *consent)]


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


def _write_frames(
    to_score: list[tuple[Segment, Span]], call: Samples, spec: RunSpec, file: BinaryIO, transcript: Transcript | None
) -> None:
    """Writes the segments' frames, float32, one segment after the other, and their number into each segment."""
    for first in range(0, len(to_score), SEGMENTS_AT_ONCE):
        group = to_score[first : first + SEGMENTS_AT_ONCE]
        cuts = [call.read(span.start, span.end)[segment.channel].astype(np.float32) / FULL_SCALE for segment, span in group]
        frames, lengths = features_of(spec.feature_set, spec.feature_params, cuts, SAMPLING_RATE_HZ)
        if transcript and feature_set(spec.feature_set).words:
            spoken = [said(transcript, segment.channel, segment.role, segment.start_s, segment.end_s) for segment, _ in group]
            place_words(frames, lengths, spoken)
        for (segment, _), length in zip(group, lengths, strict=True):
            segment.frames = int(length)
        file.write(frames.data)


def _join(*notes: str | None) -> str:
    return "; ".join(note for note in notes if note)
