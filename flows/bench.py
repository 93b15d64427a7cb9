"""The bench: the plain way, this pipeline and the floor, in one run, on the same calls and the same cores."""

import contextlib
import multiprocessing
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ser_tasks.printable import printable
from ser_tasks.schemas import SAMPLING_RATE_HZ, STAGES
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import open_store

LIBROSA_RATE_HZ = 22_050
"""The rate to which librosa resamples what it loads."""
_NAMES = ("list and plan", "fetch", "load, decode and resample", "detect speech", "features", "model", "summarise and write")
STAGE_NAMES = dict(zip(STAGES, _NAMES, strict=True))
"""Stages as the report names them."""
MOST_BUSY = 0.25
"""Share of the machine's cores that other work may keep busy: beyond it, the order of the ways decides how they compare."""
BUSY_S = 1.0
"""Seconds over which that is measured, before each way."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class BusyMachineError(ValueError):
    """Other work keeps so many cores busy that timings cannot be compared."""


@dataclass(frozen=True)
class Timing:
    """One way's seconds: audio handled, wall clock in the steady state, start-up before it, and worker seconds by stage."""

    audio_s: float
    wall_s: float
    start_up_s: float
    stages: dict[str, float]
    peak_mb: dict[str, float]
    speeds: tuple[float, ...] = ()
    """Speeds of each repetition, of which this is the median; () of a single one."""

    @property
    def speed(self) -> float:
        """Audio-hours per wall-clock hour."""
        return self.audio_s / self.wall_s


def bench(  # noqa: PLR0913, PLR0917 - the options of the command
    recordings: str,
    model: str | None,
    device: str,
    workers: int | None,
    policy: str,
    audio_h: float,
    repeat: int = 1,
    force: bool = True,
) -> dict[str, Timing]:
    """Timings of ``a`` (the plain way), ``b`` (this pipeline, up to the written parts) and ``c`` (read and decode only).

    ``b`` and ``c`` handle the calls several times over, as separate recordings, until they make up ``audio_h`` hours:
    a handful of calls would time the start and the end of a run. With ``repeat`` the ways take turns, and each figure is a median.
    Every process computes with one thread. Raises ValueError where there is nothing to time, and BusyMachineError, unless ``force``,
    where other work keeps more than MOST_BUSY of the cores busy before one of the ways.
    """
    store = open_store(recordings)
    folder = store.local_root
    if folder is None:
        raise ValueError(f"{recordings} is not a local folder: the bench times the pipeline, not a network; copy some calls here.")
    settings = Settings()
    paths = [folder / item.key for item in store.list() if Path(item.key).suffix.lower() in settings.recording_suffixes]
    if not paths:
        raise ValueError(f"No recordings in {recordings}: give a folder with calls.")
    floor = _alone(force, _floor, paths, 1)
    if floor.audio_s == 0:
        raise ValueError(f"No recording in {recordings} could be decoded.")
    copies = max(1, round(audio_h * 3600 / floor.audio_s))
    ways: dict[str, tuple[Any, ...]] = {
        "a": (_plain_way, paths, model or settings.model, policy),
        "b": (_this_pipeline, folder, copies, model, device, workers, policy),
        "c": (_floor, paths, copies),
    }
    timings: dict[str, list[Timing]] = {way: [] for way in ways}
    for _ in range(repeat):
        for way, task in ways.items():
            timings[way].append(_alone(force, *task))
    return {way: _median(several) for way, several in timings.items()}


def _alone(force: bool, function: Callable[..., Timing], *arguments: Any) -> Timing:
    """The timing of a way in a process of its own, on a machine that other work leaves alone."""
    busy = busy_share()
    if busy > MOST_BUSY and not force:
        raise BusyMachineError(
            f"Other work keeps {busy:.0%} of this machine's {os.cpu_count()} cores busy, more than {MOST_BUSY:.0%}: the ways could not be "
            "compared. Run the bench when the machine is idle, or give --force to measure all the same."
        )
    with _one_thread(), _fresh_process() as process:
        return process.submit(function, *arguments).result()


def busy_share() -> float:
    """Share of the machine's cores, 0 to 1, that were busy in the last BUSY_S seconds; of its load where there is no /proc/stat."""

    def jiffies() -> tuple[int, int]:
        values = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(values), values[3] + values[4]  # idle, and waiting for a disk

    try:
        total, idle = jiffies()
        time.sleep(BUSY_S)
        total_after, idle_after = jiffies()
    except (OSError, ValueError, IndexError):
        return min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return 1 - (idle_after - idle) / max(1, total_after - total)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started in the block compute with one thread each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _median(timings: list[Timing]) -> Timing:
    """The medians of several timings of one way, figure by figure."""
    if len(timings) == 1:
        return timings[0]

    def of(dicts: list[dict[str, float]]) -> dict[str, float]:
        return {name: median(each.get(name, 0.0) for each in dicts) for name in dict.fromkeys(name for each in dicts for name in each)}

    return Timing(
        median(each.audio_s for each in timings),
        median(each.wall_s for each in timings),
        median(each.start_up_s for each in timings),
        of([each.stages for each in timings]),
        of([each.peak_mb for each in timings]),
        tuple(each.speed for each in timings),
    )


def report(timings: dict[str, Timing], recordings: str, model: str, policy: str, price: float | None = None) -> str:
    """The bench's answer as text: speeds, the ratio, stages and peak memory; with the price of this machine for an hour, what it costs."""
    names = {"a": "the plain way, 1 process", "b": "this pipeline, end to end", "c": "the floor: read and decode, 1 process"}
    lines = [
        f"ser {code_version()} on {recordings}, model {model}, policy {policy}, {os.cpu_count()} cores, torch {_version('torch')}, "
        f"{_device()}, 1 thread a process",
        "",
        f"{'':42}{'audio-hours/hour':>17}{'audio h':>9}{'wall s':>8}{'start-up s':>12}{'peak MB':>24}",
    ]
    for way, timing in timings.items():
        memory = ", ".join(f"{name} {mb:.0f}" for name, mb in timing.peak_mb.items())
        lines.append(
            f"({way}) {names[way]:38}{timing.speed:>17,.0f}{timing.audio_s / 3600:>9.2f}{timing.wall_s:>8.1f}"
            f"{timing.start_up_s:>12.1f}{memory:>24}"
        )
        if timing.speeds:
            lowest, highest = min(timing.speeds), max(timing.speeds)
            lines.append(f"    median of {len(timing.speeds)}, {lowest:,.0f} to {highest:,.0f}: a spread of {highest / lowest - 1:.0%}")
    lines += ["", f"ratio b/a: {timings['b'].speed / timings['a'].speed:.1f} x", ""]
    if price is not None:
        hours = 1000 / timings["b"].speed
        lines += [f"1,000 audio-hours: {hours * price:,.2f}, for {hours:,.2f} hours of this machine at {price:g} an hour", ""]
    stages = list(dict.fromkeys(stage for way in "ab" for stage in timings[way].stages))
    lines.append(f"{'seconds per audio-hour, by stage':42}{'(a)':>10}{'(b)':>10}{'share of (b)':>14}")
    total = sum(timings["b"].stages.values())
    for stage in stages:
        per_hour = {way: timings[way].stages.get(stage, 0.0) / timings[way].audio_s * 3600 for way in "ab"}
        share = timings["b"].stages.get(stage, 0.0) / total
        lines.append(f"  {stage:40}{per_hour['a']:>10.3f}{per_hour['b']:>10.3f}{share:>13.0%}")
    lines.append("(b)'s stages add up the seconds of all processes, so they make more than its wall clock.")
    return "\n".join(lines)


def _this_pipeline(source: Path, repeats: int, model: str | None, device: str, workers: int | None, policy: str) -> Timing:
    """The nightly flow itself, over copies of the calls, into a lake that is thrown away.

    No line profile is made of a sample first: only a lake's first night does so. What the night finds wrong with the calls is printed.
    """
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("SER_PSEUDONYM_KEY", secrets.token_hex(32))
    begun = time.perf_counter()
    from flows.nightly import IncompleteNightError, nightly
    from flows.server import prefect_server

    with prefect_server(), tempfile.TemporaryDirectory() as folder:
        recordings, lake = Path(folder, "recordings"), Path(folder, "lake")
        for number in range(repeats):
            for item in open_store(str(source)).list():
                copy = recordings / f"{number:04}" / item.key
                copy.parent.mkdir(parents=True, exist_ok=True)
                if number:
                    os.link(recordings / "0000" / item.key, copy)
                else:
                    shutil.copyfile(source / item.key, copy)
        with _largest_worker() as largest:
            try:
                run = nightly(str(recordings), str(lake), device=device, workers=workers, policy=policy, model=model, adapt=False)
            except IncompleteNightError as error:
                run = error.run
                for trouble in error.troubles:
                    if "calls_recorded_twice" not in trouble:  # each copy of a call is one
                        print(printable(f"(b) {trouble}"), file=sys.stderr)
        worker_mb = largest()
    stages = {name: run[f"{stage}_s"] for stage, name in STAGE_NAMES.items()}
    start_up_s = time.perf_counter() - begun - run["wall_s"]
    return Timing(run["audio_s"], run["wall_s"], start_up_s, stages, {"main": _peak_mb(), "worker": worker_mb})


def _plain_way(paths: list[Path], model: str, policy_name: str) -> Timing:
    """A loop as one would write it in a notebook, over the channels that the policy lets score."""
    begun = time.perf_counter()
    import librosa
    import numpy as np
    import torch
    from silero_vad import load_silero_vad

    from ser_tasks.calls.policy import policy_named
    from ser_tasks.inference.bundle import load_bundle

    torch.set_num_threads(1)
    bundle: Any = load_bundle(model)
    features = _plain_features(bundle)
    features(np.random.default_rng(0).standard_normal(LIBROSA_RATE_HZ).astype(np.float32))  # librosa compiles on first use
    plain = _PlainWay(bundle, load_silero_vad(), features, policy_named(policy_name), Settings())
    start_up_s = time.perf_counter() - begun
    audio_s = 0.0
    for path in paths:
        try:
            channels = plain.timed("decode", librosa.load, path, sr=LIBROSA_RATE_HZ, mono=False)[0]
        except Exception as error:
            print(printable(f"(a) leaves out {path.name}: {error}"), file=sys.stderr)
            continue
        audio_s += channels.shape[-1] / LIBROSA_RATE_HZ
        plain.score(path, np.atleast_2d(channels))
    stages = {STAGE_NAMES[stage]: seconds for stage, seconds in plain.stages.items()}
    return Timing(audio_s, sum(stages.values()), start_up_s, stages, {"main": _peak_mb()})


def _plain_features(bundle: Any) -> Callable[[Any], Any]:
    """The bundle's features of a signal at LIBROSA_RATE_HZ, computed with librosa. Raises ValueError for other feature sets."""
    import librosa

    def mel(y: Any, rate_hz: int, **options: Any) -> Any:
        narrow = librosa.resample(y, orig_sr=LIBROSA_RATE_HZ, target_sr=rate_hz, res_type="soxr_hq")
        return librosa.power_to_db(librosa.feature.melspectrogram(y=narrow, sr=rate_hz, **options))

    plain_features: dict[str, Callable[[Any], Any]] = {
        "mel32": lambda y: mel(y, 16_000, n_fft=400, hop_length=160, n_mels=40)[:32],
        "whisper80": lambda y: mel(y, 16_000, n_fft=400, hop_length=160, n_mels=80),
        "mfcc40": lambda y: librosa.feature.mfcc(y=y, sr=LIBROSA_RATE_HZ, n_mfcc=40),
        "logmel8k": lambda y: mel(y, SAMPLING_RATE_HZ, n_fft=256, hop_length=80, n_mels=bundle.feature_params.get("n_mels", 64)),
    }
    if bundle.feature_set not in plain_features:
        raise ValueError(f"The plain way cannot compute {bundle.feature_set}, only {', '.join(plain_features)}: choose another --model.")
    return plain_features[bundle.feature_set]


class _PlainWay:
    """What the loop has loaded before its first call, and its seconds by stage."""

    def __init__(self, bundle: Any, detector: Any, features: Callable[[Any], Any], policy: Any, settings: Settings):
        self.bundle, self.detector, self.features, self.policy, self.settings = bundle, detector, features, policy, settings
        self.stages: dict[str, float] = defaultdict(float)

    def timed(self, stage: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        answer = function(*arguments, **options)
        self.stages[stage] += time.perf_counter() - start
        return answer

    def score(self, path: Path, channels: Any) -> None:
        """Detects speech on each channel, and scores those that may be scored."""
        from ser_tasks.calls.metadata import call_metadata
        from ser_tasks.calls.roles import channel_roles

        sidecar = path.with_suffix(".json")
        facts = call_metadata(path.name, sidecar.read_bytes() if sidecar.exists() else None, {}, self.settings)
        roles, _ = channel_roles(len(channels), facts.get("channels"), None, self.settings)
        for channel, role in zip(channels, roles, strict=True):
            spans = self._speech(channel)
            if not self.policy.refusal(role, facts.get("notice_given"), facts.notice_unclear):
                self._score_channel(channel, spans)

    def _speech(self, channel: Any) -> list[dict[str, int]]:
        import librosa
        import torch
        from silero_vad import get_speech_timestamps

        rates: dict[str, Any] = {"orig_sr": LIBROSA_RATE_HZ, "target_sr": SAMPLING_RATE_HZ, "res_type": "soxr_hq"}
        narrow = torch.from_numpy(self.timed("decode", librosa.resample, channel, **rates))
        options = {"min_silence_duration_ms": 300, "max_speech_duration_s": self.settings.max_segment_s}
        spans: list[dict[str, int]] = self.timed(
            "speech", get_speech_timestamps, narrow, self.detector, sampling_rate=SAMPLING_RATE_HZ, **options
        )
        return spans

    def _score_channel(self, channel: Any, spans: list[dict[str, int]]) -> None:
        import numpy as np
        import torch

        for span in spans:
            first, last = (int(span[edge] * LIBROSA_RATE_HZ / SAMPLING_RATE_HZ) for edge in ("start", "end"))
            if last - first < self.settings.min_segment_s * LIBROSA_RATE_HZ:
                continue
            matrix = self.timed("features", self.features, channel[first:last])
            x = torch.from_numpy(np.ascontiguousarray(matrix.T))[None]
            with torch.inference_mode():
                self.timed("score", self.bundle.probabilities, x, torch.tensor([x.shape[1]]))


def _floor(paths: list[Path], repeats: int) -> Timing:
    """Reading and decoding the same bytes, and nothing else."""
    begun = time.perf_counter()
    from ser_tasks.audio import AudioError, open_audio

    start_up_s = time.perf_counter() - begun
    audio_s = 0.0
    begun = time.perf_counter()
    for _ in range(repeats):
        for path in paths:
            try:
                with open_audio(path, max_duration_s=Settings().max_duration_s) as reader:
                    for _block in reader.blocks():
                        pass
                    audio_s += reader.seconds
            except AudioError:
                continue
    wall_s = time.perf_counter() - begun
    return Timing(audio_s, wall_s, start_up_s, {}, {"main": _peak_mb()})


def _fresh_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


@contextlib.contextmanager
def _largest_worker() -> Iterator[Callable[[], float]]:
    """Watches this process's workers; what it gives answers with the peak memory of the largest in MB."""
    peaks, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            peaks.extend(_peak_mb(str(child.pid)) for child in multiprocessing.active_children())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: max(peaks)
    finally:
        ended.set()
        watcher.join()


def _peak_mb(pid: str = "self") -> float:
    """Peak resident memory of a process; 0 where it has ended, or the system does not say.

    Not getrusage: on Linux its figure starts with the peak of the parent process.
    """
    try:
        status = Path("/proc", pid, "status").read_text()
    except OSError:
        return 0.0
    return int(re.search(r"VmHWM:\s+(\d+) kB", status + "VmHWM: 0 kB")[1]) / 1024  # type: ignore[index]


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
