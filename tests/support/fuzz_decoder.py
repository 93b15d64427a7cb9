"""Decodes broken files in processes that may crash: `decode_all` starts new ones and says which file caused the crash.

Run as a script, this file is such a process: it reads one case from each line and prints one JSON object a line.
"""

import ast
import contextlib
import functools
import json
import os
import re
import resource
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

HANG_S = 30.0
"""A file that takes longer counts as hung; a good one takes a few ms."""
LONGEST_S = 600.0
MEMORY_BYTES = 1 << 30
"""Address space that a process may take in addition to what it has after its imports."""
FILE_BYTES = 200 << 20
"""Size limit of a file: 16 channels for LONGEST_S take 154 MB of scratch."""
NAME_OF_PERSON = "CUST_4711"


@dataclass(frozen=True)
class Answer:
    """The result of a case: ``ended`` is decoded, bad_audio, or one of the failures raised, crashed, hung and wrong."""

    case: str
    ended: str
    details: str
    seconds: float = 0.0
    grown_bytes: int = 0


def decode_all(cases: Iterable, folder: Path, bases: Path) -> list[Answer]:
    """The answer to each case. The processes may write to ``folder``/recordings and ``folder``/scratch; ``bases`` holds the good files."""
    for name in ("recordings", "scratch", "tmp", "cwd", "home"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    answers: list[Answer] = []
    process = None
    try:
        for case in cases:
            if process is None:
                process = _Process(folder, bases)
            answer = process.ask(str(case))
            answers.append(answer)
            if answer.ended in ("crashed", "hung"):
                process.close()
                process = None
    finally:
        if process is not None:
            process.close()
    return answers


class _Process:
    def __init__(self, folder: Path, bases: Path):
        roots = [str(Path(__file__).parents[2])]
        self.errors = folder / "stderr.txt"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "tests.support.fuzz_decoder", str(folder), str(bases)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder / "cwd",
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(roots),
                    "TMPDIR": str(folder / "tmp"),
                    "HOME": str(folder / "home"),
                    "OMP_NUM_THREADS": "1",
                },
            )
        assert self._line(60.0) == b"ready\n", self.errors.read_text(errors="replace")

    def ask(self, case: str) -> Answer:
        begun = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(case.encode() + b"\n")
            self.process.stdin.flush()
        line = self._line(HANG_S)
        if line is None:
            return Answer(case, "hung", f"no answer in {HANG_S:.0f} s", time.monotonic() - begun)
        if not line:
            code = self.process.wait(10)
            return Answer(case, "crashed", f"exit {code}: {self.errors.read_text(errors='replace')[-1500:]}", time.monotonic() - begun)
        return Answer(case, **json.loads(line))

    def _line(self, limit_s: float) -> bytes | None:
        ready, _, _ = select.select([self.process.stdout], [], [], limit_s)
        return self.process.stdout.readline() if ready else None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def main(folder: Path, base_folder: Path) -> None:
    from tests.factories.broken_audio import absurd_files, case_bytes

    bases = {path.name: path.read_bytes() for path in sorted(base_folder.iterdir())}
    absurd: dict[str, tuple[bytes, str]] = {}
    for name in ("aac.m4a", "opus.opus"):  # what is loaded at the first use does not count as growth
        _decode(base_folder / name, folder)
    answers = _confine()
    before = _peak_bytes()
    print("ready", file=answers)
    for line in sys.stdin:
        case = _read(line)
        begun = time.perf_counter()
        if case.kind == "planted":
            ended, details = _plant(case.base, folder)
        else:
            if case.kind == "absurd":
                absurd = absurd or absurd_files(bases)
                name, data = case.base, absurd[case.base][0]
            else:
                name, data = case_bytes(bases, case)
            path = folder / "recordings" / f"{NAME_OF_PERSON}_{name}"
            path.write_bytes(data)
            ended, details = _decode(path, folder)
            path.unlink()
        details = details.encode("utf-8", "backslashreplace").decode()
        grown = _peak_bytes() - before
        print(json.dumps({"ended": ended, "details": details, "seconds": time.perf_counter() - begun, "grown_bytes": grown}), file=answers)


def _confine() -> TextIO:
    """Limits this process's memory, files and core dumps, and returns the file for its answers, which only Python writes to."""
    if sys.platform == "linux":
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES, taken + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a C library may print
    return answers


def _decode(path: Path, folder: Path) -> tuple[str, str]:
    """How the decoding of a file ended, and the details."""
    import numpy as np

    from ser_tasks.audio import AudioError, open_audio
    from ser_tasks.audio.samples import Samples, at_8_khz

    try:
        with open_audio(path, max_duration_s=LONGEST_S) as reader, Samples(reader.info.channels, folder / "scratch") as call:
            for block in at_8_khz(reader.blocks(10.0), reader.info.sampling_rate_hz):
                assert block.dtype == np.float32 and np.isfinite(block).all(), "samples that are not finite float32"
                call.push(block)
            assert 0 < reader.seconds <= LONGEST_S, f"{reader.seconds} s"
            assert abs(call.samples / 8000 - reader.seconds) < 0.01, f"{call.samples} samples of {reader.seconds} s"
            return "decoded", f"{reader.info.codec} in {reader.info.container}: {reader.note}"
    except AudioError as error:
        fault = _fault_of(error.code, str(error), path)
        return ("wrong", f"{fault}: {error}") if fault else ("bad_audio", f"{error.code}: {error}")
    except Exception as error:
        return "raised", f"{type(error).__name__}: {error}"


@functools.cache
def _codes() -> set[str]:
    """The reason codes in the table of `ser_tasks.audio`."""
    return set(re.findall(r"^\| ([a-z_]+) +\|", sys.modules["ser_tasks.audio"].__doc__ or "", re.MULTILINE)) - {"code"}


def _peak_bytes() -> int:
    if sys.platform == "linux":  # ru_maxrss starts with the parent's memory there
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _read(line: str):
    from tests.factories.broken_audio import Case

    return Case(*ast.literal_eval(line.strip().removeprefix("Case")))


def _plant(what: str, folder: Path) -> tuple[str, str]:
    """Causes a failure on purpose, which the tests expect to be detected."""
    if what == "crash":
        os.abort()
    if what == "hang":
        time.sleep(10 * HANG_S)
    if what == "memory":
        bytearray(b"x") * (200 << 20)
    if what == "file":
        Path("left-behind").touch()
    return "decoded", what


def _fault_of(code: str, message: str, path: Path) -> str | None:
    """The fault of an error: an unknown code, no advice, or a name or a path in the message; None without a fault."""
    if code not in _codes():
        return f"the table lacks the code {code}"
    if not re.search(r"(Upload|Export|Split|Scale|remove|leave the file out).*\.$", message):
        return "no advice at the end"
    if NAME_OF_PERSON in message or path.parent.name in message or str(path.parent.parent) in message:
        return "a name or a path in the message"
    return None if len(message) < 500 and message.isprintable() else "too long or not printable"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
