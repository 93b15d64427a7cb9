"""Score: frame features → calibrated probabilities, in batches sorted by length, on CUDA where there is one.

A shorter precision rounds what float32 keeps, so that its scores would show the shape of their batch: on a CPU its batches have shapes
that only a segment's own length chooses. A segment then has the same scores, bit by bit, in any company.
"""

import contextlib
import copy
import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from ser_tasks.inference import checked
from ser_tasks.inference.bundle import Bundle, shared_bundle
from ser_tasks.inference.devices import check_device_name
from ser_tasks.inference.line_profile import Standards
from ser_tasks.inference.line_statistics import frame_statistics
from ser_tasks.inference.precision import CHECK_LIMIT, Int8Products, check_frames
from ser_tasks.memory import is_out_of_memory
from ser_tasks.models.processor import has_bfloat16

FRAMES_PER_BATCH = {"cpu": 4096, "cuda": 131_072}
"""Frames in a batch, padding included, where the settings say nothing: a CPU is fastest while a batch stays in its cache."""

AT_ONCE_BYTES = 64 * 2**20
"""Bytes of frames that are read from scratch at once: the more segments there are, the fewer batches are not full."""

WIDTH_STEP = 64
"""Frames to a multiple of which segments are padded on a CPU in a shorter precision."""
ROWS, ROWS_FRAMES = 16, 4096
"""Segments in such a batch: so many, or fewer where they would hold more frames."""

log = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device. Raises ValueError where it is not there."""
    check_device_name(name)
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("No CUDA device is visible to torch: use --device cpu, or auto to take CUDA where there is one.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class ScorerSpec:
    """What a process needs to score a run's segments. Sent to worker processes."""

    model: str
    """The bundle's shipped name, folder or s3://bucket/prefix."""
    model_id: str
    device: str
    """cpu or cuda."""
    frames_per_batch: int | None = None
    """Frames in one batch of the model; None: FRAMES_PER_BATCH of the device."""
    precision: str = "float32"
    """float32, bfloat16, float16 or int8."""
    priors: tuple[tuple[str, float], ...] = ()


def with_usable_precision(asked: ScorerSpec) -> ScorerSpec:
    """The specification in a precision that this machine uses: ``auto`` is bfloat16 on a CPU that multiplies it, else float32.

    Without these instructions bfloat16 is float32, as it would take many times as long. So is a model that is not SAFE_IN_SHORT, and one
    whose scores of a fixed input move by more than CHECK_LIMIT. A warning says so where another precision was asked for.
    """
    return replace(asked, precision=_usable_precision(asked))


@functools.lru_cache(maxsize=8)
def _usable_precision(asked: ScorerSpec) -> str:
    precision = asked.precision
    if precision == "auto":
        precision = "bfloat16" if asked.device == "cpu" and has_bfloat16() else "float32"
    if precision == "float32":
        return precision
    why = _unsafe(asked, precision)
    if why is None:
        return precision
    log.log(
        logging.INFO if asked.precision == "auto" else logging.WARNING,
        "The model %s is scored in float32: %s %s.",
        asked.model_id,
        precision,
        why,
    )
    return "float32"


def _unsafe(asked: ScorerSpec, precision: str) -> str | None:
    """Why a precision is not used; None where it may be."""
    if precision == "int8" and asked.device != "cpu":
        return "is computed on a CPU alone"
    if precision == "bfloat16" and asked.device == "cpu" and not has_bfloat16():
        return "needs a processor with AMX or AVX512-BF16"
    scorer = scorer_of(replace(asked, precision=precision))
    if not scorer.bundle.module.SAFE_IN_SHORT:
        return "moves some of its scores by more than is allowed"
    key = checked.key_of(asked.model_id, asked.device, precision)
    difference = checked.known_difference(key)
    if difference is None:
        difference = precision_difference(scorer)
        checked.keep_difference(key, difference)
    if difference > CHECK_LIMIT:
        return f"moves its scores by {difference:.3g} at the start's check, more than {CHECK_LIMIT:g}"
    return None


def precision_difference(short: "Scorer") -> float:
    """Largest difference of a probability from float32's on ``check_frames``; infinity where one is not finite."""
    exact = Scorer(short.bundle, short.device, short.frames_per_batch)
    frames, lengths = check_frames(short.bundle)
    difference = np.abs(short.score(frames, lengths) - exact.score(frames, lengths)).max()
    return float(difference) if np.isfinite(difference) else float("inf")


@dataclass(frozen=True)
class ScoredFile:
    probabilities: NDArray[np.float32]
    """(segments, labels), NaN where a segment cannot be scored."""
    distances: NDArray[np.float32]
    """(segments,): mean square of each segment's standardised pooled features; NaN where it is scored raw."""
    seconds: float
    precision: str | None = None
    """None where there was nothing to score."""


@functools.lru_cache(maxsize=2)
def scorer_of(spec: ScorerSpec) -> "Scorer":
    """This process's scorer. Raises ValueError where ``spec.model`` is no longer the bundle ``spec.model_id``."""
    bundle = shared_bundle(spec.model, dict(spec.priors))
    if bundle.model_id != spec.model_id:
        raise ValueError(f"The bundle {spec.model} changed during the run: it was {spec.model_id} and is {bundle.model_id}. Run again.")
    if spec.device != "cpu":
        bundle = replace(bundle, module=copy.deepcopy(bundle.module))  # the shared one stays on the CPU
    return Scorer(bundle, torch.device(spec.device), spec.frames_per_batch or FRAMES_PER_BATCH[spec.device], spec.precision)


def score_files(
    frames_files: Sequence[Path],
    lengths: NDArray[np.int64],
    spec: ScorerSpec,
    standards: Standards | None = None,
    members: NDArray[np.int64] | None = None,
) -> ScoredFile:
    """Scores the segments whose frames (float32, one after the other) files in scratch hold. ``lengths`` are their frames.

    ``standards`` says by what each segment is standardised; None: all are scored raw. ``members`` are the indices, rising, of the only
    segments to score, at least one; the answer has theirs alone.
    """
    started = time.perf_counter()
    scorer = scorer_of(spec)
    wanted = np.ones(len(lengths), bool) if members is None else np.isin(np.arange(len(lengths)), members)
    scored = []
    for frames, group in _groups(frames_files, lengths):
        chosen = group[wanted[group]]
        if len(chosen) < len(group):
            frames = frames[np.repeat(wanted[group], lengths[group])]
        if len(chosen):
            scored.append(scorer.score_on_lines(frames, lengths[chosen], standards and standards.of(chosen)))
    probabilities, distances = (np.concatenate(each) for each in zip(*scored, strict=True))
    return ScoredFile(probabilities, distances, time.perf_counter() - started, scorer.precision)


def shares(lengths: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """Segments of these lengths in at most ``count`` shares, for as many processes: the indices in each, rising.

    A batch of ``shaped_batches`` is in one share, so that no more batches than needed are filled up with copies; the shares' batches
    hold about as many frames.
    """
    held: list[list[NDArray[np.int64]]] = [[] for _ in range(count)]
    frames = [0] * count
    batches = shaped_batches(np.maximum(lengths, 1), np.arange(len(lengths)))
    for members, (rows, width) in sorted(batches, key=lambda batch: -batch[1][0] * batch[1][1]):
        smallest = frames.index(min(frames))
        held[smallest].append(members)
        frames[smallest] += rows * width
    return [np.sort(np.concatenate(share)) for share in held if share]


def put_together(parts: Sequence[tuple[NDArray[np.int64], ScoredFile]]) -> ScoredFile:
    """The scores of all segments, from those of shares: the indices in each, and its scores. At least one."""
    members = np.concatenate([each for each, _ in parts])
    order = np.argsort(members)
    scores = [scored for _, scored in parts]
    return ScoredFile(
        np.concatenate([scored.probabilities for scored in scores])[order],
        np.concatenate([scored.distances for scored in scores])[order],
        sum(scored.seconds for scored in scores),
        scores[0].precision,
    )


def pool_files(frames_files: Sequence[Path], lengths: NDArray[np.int64], spec: ScorerSpec) -> NDArray[np.float32]:
    """The pooled features (segments, pooled) of the segments in files, for line statistics. NaN where frames are not finite.

    Raises TypeError where the model has none.
    """
    scorer = scorer_of(spec)
    return np.concatenate([scorer.pool(frames, lengths[members]) for frames, members in _groups(frames_files, lengths)])


def _groups(frames_files: Sequence[Path], lengths: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The frames of some segments at a time, and the indices of those segments."""
    n_features = sum(file.stat().st_size for file in frames_files) // 4 // int(lengths.sum())
    group = np.cumsum(lengths) // max(1, AT_ONCE_BYTES // (4 * n_features))
    with contextlib.ExitStack() as opened:
        files: list[BinaryIO] = [opened.enter_context(file.open("rb")) for file in frames_files]
        for members in np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(group)) + 1):
            yield _read(files, int(lengths[members].sum()) * n_features).reshape(-1, n_features), members


def _read(files: list[BinaryIO], count: int) -> NDArray[np.float32]:
    """The next ``count`` values of files that are read one after the other."""
    pieces: list[NDArray[np.float32]] = []
    while count:
        piece = np.fromfile(files[0], np.float32, count)
        count -= len(piece)
        pieces.append(piece)
        if count:
            files.pop(0)
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


@dataclass
class Scorer:
    """A bundle on a device, which scores segments in batches. There is one in a process."""

    bundle: Bundle
    device: torch.device
    frames_per_batch: int
    precision: str = "float32"

    def __post_init__(self) -> None:
        self.bundle.module.to(self.device).eval()
        self._same_shapes = self.precision != "float32" and self.device.type == "cpu"
        self._int8 = Int8Products()

    def score(self, frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Probabilities, float32 (segments, labels), of segments that are scored raw. Otherwise as ``score_on_lines``."""
        return self.score_on_lines(frames, lengths, None)[0]

    def score_on_lines(self, frames: np.ndarray, lengths: np.ndarray, standards: Standards | None) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities, float32 (segments, labels), and distances (segments,), as in ``ScoredFile``, in the order of the segments.

        ``frames``, float32 (sum of lengths, features), holds the segments one after the other. A segment that is not finite gets NaN.
        Batches hold at most ``frames_per_batch`` frames, padding included, or in a shorter precision on a CPU have the shape that
        ``shaped_batches`` states; a batch that does not fit into memory is halved.
        """
        n_labels = len(self.bundle.labels)
        batches = shaped_batches if self._same_shapes else self.batches
        results = self._in_batches(
            frames,
            lengths,
            n_labels + 1,
            lambda x, counts, members: self._probabilities(x, counts, standards and standards.of(members)),
            batches,
        )
        return results[:, :n_labels], results[:, n_labels]

    def pool(self, frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Pooled features, float32 (segments, pooled), of frames as in ``score``. Raises TypeError where the model has none."""
        return self._in_batches(frames, lengths, self.bundle.n_pooled, lambda x, counts, _: self._pooled(x, counts), self.batches)

    def _in_batches(self, frames: np.ndarray, lengths: np.ndarray, width: int, run: "Run", batches: "Batches") -> np.ndarray:
        """What ``run`` returns of each segment, float32 (segments, width), NaN where the segment's frames are not finite."""
        results = np.full((len(lengths), width), np.nan, np.float32)
        if len(lengths) == 0:
            return results
        starts = np.cumsum(lengths) - lengths
        finite = np.logical_and.reduceat(np.isfinite(frames).all(axis=1), starts) & (lengths > 0)
        for members, shape in batches(lengths, np.flatnonzero(finite)):
            for part, values in self._run(frames, starts, lengths, members, shape, run):
                results[part] = values
        return results

    def batches(self, lengths: np.ndarray, members: np.ndarray) -> Iterator["Batch"]:
        """Batches of the segments ``members``, by rising length."""
        ordered = members[np.argsort(lengths[members], kind="stable")]
        first = 0
        while first < len(ordered):
            # Lengths rise, so the last segment sets the width of a batch: the largest batch that fits is found by bisection.
            widths = lengths[ordered[first:]] * np.arange(1, len(ordered) - first + 1)
            count = max(1, int(np.searchsorted(widths, self.frames_per_batch, side="right")))
            batch = ordered[first : first + count]
            yield batch, (count, int(lengths[batch[-1]]))
            first += count

    def _run(
        self, frames: np.ndarray, starts: np.ndarray, lengths: np.ndarray, members: np.ndarray, shape: tuple[int, int], run: "Run"
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows, width = shape
        try:
            filled = np.resize(members, rows)  # the members again, where they are fewer
            counts = lengths[filled]
            index = starts[filled, None] + np.minimum(np.arange(width), counts[:, None] - 1)
            x = torch.from_numpy(frames[index]).to(self.device)
            yield members, run(x, torch.from_numpy(counts), filled).float().cpu().numpy()[: len(members)]
        except (MemoryError, RuntimeError) as error:
            if len(members) == 1 or not (isinstance(error, torch.OutOfMemoryError) or is_out_of_memory(error)):
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            log.warning("A batch of %d segments does not fit into memory: halved.", len(members))
            middle = len(members) // 2
            for half in (members[:middle], members[middle:]):
                yield from self._run(frames, starts, lengths, half, (len(half), width), run)

    @torch.inference_mode()
    def _probabilities(self, x: torch.Tensor, lengths: torch.Tensor, standards: Standards | None) -> torch.Tensor:
        """Probabilities, and the distance as a last column, (batch, labels + 1)."""
        with self._in_precision():
            return self._scores(x, lengths, standards).float()

    def _in_precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "float32":
            return contextlib.nullcontext()
        if self.precision == "int8":
            return self._int8
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision))

    def _scores(self, x: torch.Tensor, lengths: torch.Tensor, standards: Standards | None) -> torch.Tensor:
        bundle = self.bundle
        if standards is None:
            probabilities = bundle.probabilities(x, lengths)
            return torch.cat([probabilities, torch.full_like(probabilities[:, :1], torch.nan)], dim=1)
        raw = torch.from_numpy(standards.index < 0).to(x.device)
        logits, standardised = (
            self._pooled_on_lines(x, lengths, standards, raw) if bundle.line_model else self._frames_on_lines(x, lengths, standards, raw)
        )
        distance = standardised.square().mean(dim=1).masked_fill(raw, torch.nan)
        return torch.cat([bundle.calibrated(logits), distance[:, None]], dim=1)

    def _pooled_on_lines(
        self, x: torch.Tensor, lengths: torch.Tensor, standards: Standards, raw: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of pooled states that are standardised by the segments' lines, and these states."""
        model = self.bundle.line_model
        assert model is not None
        mean, deviation = _of_segments(standards, (standards.mean, standards.deviation), x.device)
        mean = torch.where(raw[:, None], model.line_mean, mean)
        deviation = torch.where(raw[:, None], model.line_scale, deviation)
        standardised = (self.bundle.pooled(x, lengths) - mean) / deviation
        return model.classify(standardised), standardised

    def _frames_on_lines(
        self, x: torch.Tensor, lengths: torch.Tensor, standards: Standards, raw: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of features that are standardised by the segments' lines, and the segments' standardised means and deviations."""
        mean, deviation = _of_segments(standards, (standards.mean, standards.deviation), x.device)
        standardised = (self.bundle.pooled(x, lengths) - mean) / deviation
        mean, deviation = _of_segments(standards, frame_statistics(standards.mean, standards.deviation), x.device)
        mean, deviation = mean.masked_fill(raw[:, None], 0), deviation.masked_fill(raw[:, None], 1)
        logits: torch.Tensor = self.bundle.module((self.bundle.normalised(x) - mean[:, None]) / deviation[:, None], lengths)
        return logits, standardised

    @torch.inference_mode()
    def _pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.bundle.pooled(x, lengths)


def shaped_batches(lengths: np.ndarray, members: np.ndarray) -> Iterator["Batch"]:
    """Batches of the segments ``members``, in shapes that each segment's own length chooses, whatever it is scored with."""
    widths = -(-lengths[members] // WIDTH_STEP) * WIDTH_STEP
    for width in np.unique(widths).tolist():
        alike, rows = members[widths == width], max(1, min(ROWS, ROWS_FRAMES // width))
        for first in range(0, len(alike), rows):
            yield alike[first : first + rows], (rows, width)


def _of_segments(standards: Standards, values: Iterable[NDArray[np.float32]], device: torch.device) -> list[torch.Tensor]:
    """Each of the values (lines, n) as (segments, n), by the segments' lines. What a segment without a line gets means nothing."""
    row = torch.from_numpy(standards.index).clamp(min=0).to(device)
    return [torch.from_numpy(each).to(device)[row] for each in values]


Batch = tuple[np.ndarray, tuple[int, int]]
"""(indices of segments, (rows, frames)): the segments of a batch, and its shape."""
Batches = Callable[[np.ndarray, np.ndarray], Iterator[Batch]]
"""(lengths of all segments, indices of those that are scored) -> their batches."""
Run = Callable[[torch.Tensor, torch.Tensor, np.ndarray], torch.Tensor]
"""(frames of a batch, their lengths, the segments' indices) -> (batch, width)."""
