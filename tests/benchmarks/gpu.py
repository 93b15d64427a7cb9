"""Times whole nights on a GPU and on the CPU of one machine, under 5 minutes, and compares their scores.

python -m tests.benchmarks.gpu [--model NAME] [--minutes 30] [--copies 8] [--out FOLDER]

It needs this checkout and what `pip install --no-index --find-links WHEELS .` installs, and makes its audio on the spot. It prints, for
each device, the audio-hours per hour, the seconds of each stage, how much of the night both stages worked at once and how busy the GPU
was; then the largest difference of a score. Exit code 1 where the devices' scores differ by more than 0.01, 0 without a GPU.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ser_tasks.lake import catalog
from ser_tasks.pipeline.run import Night
from ser_tasks.pipeline.spec import make_spec, run_settings
from ser_tasks.schemas import STAGES
from ser_tasks.settings import Settings
from tests.factories.calls import TWO_SIDED, two_sided, write_call

TOLERANCE = 0.01
CALL_S = 150.0
AHEAD = 2
"""As in flows/nightly.py: chunks that are extracted before the oldest of them is scored."""


def make_calls(folder: Path, minutes: float, copies: int) -> float:
    """Two-sided calls of 150 s with turns of 3 to 9 s, each linked ``copies`` times. Returns seconds of audio."""
    count = max(1, round(minutes * 60 / CALL_S))
    for number in range(count):
        turns, at, side = [], 1.0, 0
        while at < CALL_S - 10:
            length = 3.0 + (number + len(turns)) % 7
            turns.append(("agent" if side else "customer", at, at + length))
            at, side = at + length + 0.6, 1 - side
        first = write_call(folder / "0000", f"2026-11-20/call-{number:03}.wav", two_sided(turns, CALL_S, number), TWO_SIDED)
        for copy in range(1, copies):
            for path in (first, first.with_suffix(".json")):
                twin = folder / f"{copy:04}" / "2026-11-20" / path.name
                twin.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, twin)
    return count * copies * CALL_S


@contextlib.contextmanager
def utilisation() -> Iterator[Callable[[], list[int]]]:
    """Percent of the time that the GPU computed, sampled each half second by nvidia-smi; [] where that is missing."""
    seen: list[int] = []
    ended = threading.Event()
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]

    def watch() -> None:
        while not ended.wait(0.5):
            with contextlib.suppress(ValueError, IndexError, subprocess.SubprocessError):
                seen.append(int(subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.split()[0]))

    watcher = threading.Thread(target=watch) if shutil.which(command[0]) else None
    if watcher:
        watcher.start()
    try:
        yield lambda: seen
    finally:
        ended.set()
        if watcher:
            watcher.join()


def overlap(extracting: list[tuple[float, float]], scoring: list[tuple[float, float]]) -> float:
    """Seconds in which a chunk was extracted while another was scored. Spans of one stage may overlap each other."""
    edges = sorted({edge for span in (*extracting, *scoring) for edge in span})

    def at_work(spans: list[tuple[float, float]], moment: float) -> bool:
        return any(start <= moment < end for start, end in spans)

    return sum(end - start for start, end in zip(edges, edges[1:], strict=False) if at_work(extracting, start) and at_work(scoring, start))


def night(recordings: Path, lake: Path, model: str | None, device: str) -> dict[str, Any]:
    """One night without Prefect: its stages run as the flow runs them, chunks ahead included. Returns its figures."""
    from concurrent.futures import Future, ThreadPoolExecutor

    settings = run_settings(Settings(chunk_audio_s=1800), model, "everyone")
    spans: dict[str, list[tuple[float, float]]] = {"extract": [], "score": []}

    def timed(stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        answer = function(*arguments)
        spans[stage].append((start, time.perf_counter()))
        return answer

    with Night(make_spec(str(recordings), str(lake), settings, device)) as run, utilisation() as busy, ThreadPoolExecutor(AHEAD) as threads:
        chunks = list(run.list_and_plan().chunks)
        run.start_workers()
        begun = time.perf_counter()
        ahead: list[Future[Any]] = []
        while chunks or ahead:
            while chunks and len(ahead) < AHEAD:
                ahead.append(threads.submit(timed, "extract", run.extract, *chunks.pop(0)))
            timed("score", run.publish, ahead.pop(0).result())
        wall_s = time.perf_counter() - begun
        row = run.write_run(run.check())
        sampled = list(busy())
    both_s = overlap(spans["extract"], spans["score"])
    return {
        "device": row["device"],
        "audio_h_per_h": row["audio_s"] / wall_s,
        "wall_s": wall_s,
        "stages_s_per_audio_h": {stage: row[f"{stage}_s"] / row["audio_s"] * 3600 for stage in STAGES},
        "overlap": both_s / wall_s,
        "gpu_busy": sum(sampled) / len(sampled) / 100 if sampled else None,
        "scored": row["scored"],
    }


def largest_difference(one: Path, other: Path) -> tuple[int, float]:
    """Segments that both lakes scored, and the largest difference of a probability."""
    scores = []
    for lake in (one, other):
        with catalog.connect(str(lake)) as connection:
            query = (
                "SELECT recording_id, channel, start_s, p_anger, p_happiness, p_neutral, p_sadness FROM segments WHERE emotion IS NOT NULL"
            )
            scores.append({tuple(row[:3]): row[3:] for row in connection.execute(query).fetchall()})
    if scores[0].keys() != scores[1].keys():
        raise SystemExit(f"The devices scored other segments: {len(scores[0])} and {len(scores[1])}.")
    pairs = [(a, b) for key in scores[0] for a, b in zip(scores[0][key], scores[1][key], strict=True) if a is not None and b is not None]
    return len(scores[0]), max((abs(a - b) for a, b in pairs), default=0.0)


def main(arguments: list[str] | None = None) -> int:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the default model, if it is left out")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--copies", type=int, default=8, help="for the GPU; the CPU handles each call once")
    parser.add_argument("--out", type=Path, help="folder for results.json")
    options = parser.parse_args(arguments)
    has_gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        calls = {"cpu": Path(folder, "calls", "0000"), "cuda": Path(folder, "calls")}
        audio_s = make_calls(calls["cuda"], options.minutes, options.copies if has_gpu else 1)
        print(f"{audio_s / 3600:.2f} audio-hours, {os.cpu_count()} cores, {torch.cuda.get_device_name() if has_gpu else 'no GPU'}")
        results = []
        for name, device, recordings in [("cpu", "cpu", calls["cpu"])] + (
            [("same calls", "cuda", calls["cpu"]), ("many calls", "cuda", calls["cuda"])] if has_gpu else []
        ):
            result = {"night": name} | night(recordings, Path(folder, f"lake {name}"), options.model, device)
            results.append(result)
            stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in result["stages_s_per_audio_h"].items())
            busy = "not known" if result["gpu_busy"] is None else f"{result['gpu_busy']:.0%}"
            print(f"{name:10} {result['device']:4} {result['audio_h_per_h']:8,.0f} audio-hours per hour, {result['wall_s']:.1f} s")
            print(f"{'':15} seconds per audio-hour: {stages}; both stages at work {result['overlap']:.0%}, GPU busy {busy}", flush=True)
        code = 0
        if has_gpu:
            segments, difference = largest_difference(Path(folder, "lake cpu"), Path(folder, "lake same calls"))
            code = int(difference > TOLERANCE or not segments)
            print(f"{segments} segments: the GPU's scores differ from the CPU's by at most {difference:.2g} (allowed: {TOLERANCE})")
        else:
            print("No GPU: nothing was compared.")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "results.json").write_text(json.dumps(results, indent=1))
    return code


if __name__ == "__main__":
    sys.exit(main())
