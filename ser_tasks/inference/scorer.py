"""Score: frame features → calibrated probabilities, in batches sorted by length, on CUDA where there is one."""

import copy
import functools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ser_tasks.inference.bundle import Bundle, shared_bundle
from ser_tasks.inference.line_profile import Standards
from ser_tasks.memory import is_out_of_memory
from ser_tasks.models import LineModel

TOLERANCE = 1e-2
"""Largest difference from float32's probabilities that a shorter precision may make."""

FRAMES_PER_BATCH = {"cpu": 4096, "cuda": 131_072}
"""Frames in a batch, padding included, where the settings say nothing: a CPU is fastest while a batch stays in its cache."""

BATCHES_AT_ONCE = 16
"""Batches' worth of frames that are read from scratch at once."""

log = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device. Raises ValueError where it is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"{name!r} is no device: choose auto, cpu or cuda.")
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
    priors: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ScoredFile:
    probabilities: NDArray[np.float32]
    """(segments, labels), NaN where a segment cannot be scored."""
    distances: NDArray[np.float32]
    """(segments,): mean square of each segment's standardised pooled features; NaN where it is scored raw."""
    seconds: float


@functools.lru_cache(maxsize=2)
def scorer_of(spec: ScorerSpec) -> "Scorer":
    """This process's scorer. Raises ValueError where ``spec.model`` is no longer the bundle ``spec.model_id``."""
    bundle = shared_bundle(spec.model, dict(spec.priors))
    if bundle.model_id != spec.model_id:
        raise ValueError(f"The bundle {spec.model} changed during the run: it was {spec.model_id} and is {bundle.model_id}. Run again.")
    if spec.device != "cpu":
        bundle = replace(bundle, module=copy.deepcopy(bundle.module))  # the shared one stays on the CPU
    return Scorer(bundle, torch.device(spec.device), spec.frames_per_batch or FRAMES_PER_BATCH[spec.device], spec.precision)


def score_file(frames_file: Path, lengths: NDArray[np.int64], spec: ScorerSpec, standards: Standards | None = None) -> ScoredFile:
    """Scores the segments whose frames (float32, one after the other) a file in scratch holds. ``lengths`` are their frames.

    ``standards`` says by what each segment is standardised; None: all are scored raw.
    """
    started = time.perf_counter()
    scorer = scorer_of(spec)
    scored = [
        scorer.score_on_lines(frames, lengths[members], standards and standards.of(members))
        for frames, members in _groups(frames_file, lengths, scorer.frames_per_batch)
    ]
    probabilities, distances = (np.concatenate(each) for each in zip(*scored, strict=True))
    return ScoredFile(probabilities, distances, time.perf_counter() - started)


def pool_file(frames_file: Path, lengths: NDArray[np.int64], spec: ScorerSpec) -> NDArray[np.float32]:
    """The pooled features (segments, pooled) of the segments in a file, for line statistics. NaN where frames are not finite.

    Raises TypeError where the model has none.
    """
    scorer = scorer_of(spec)
    return np.concatenate(
        [scorer.pool(frames, lengths[members]) for frames, members in _groups(frames_file, lengths, scorer.frames_per_batch)]
    )


def _groups(
    frames_file: Path, lengths: NDArray[np.int64], frames_per_batch: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The frames of some segments at a time, and the indices of those segments."""
    n_features = frames_file.stat().st_size // 4 // int(lengths.sum())
    group = np.cumsum(lengths) // (BATCHES_AT_ONCE * frames_per_batch)
    with frames_file.open("rb") as file:
        for members in np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(group)) + 1):
            count = int(lengths[members].sum())
            yield np.fromfile(file, np.float32, count * n_features).reshape(-1, n_features), members


@dataclass
class Scorer:
    """A bundle on a device, which scores segments in batches. There is one in a process."""

    bundle: Bundle
    device: torch.device
    frames_per_batch: int
    precision: str = "float32"

    def __post_init__(self) -> None:
        self.bundle.module.to(self.device).eval()
        self._checked = self.precision == "float32"

    def score(self, frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Probabilities, float32 (segments, labels), of segments that are scored raw. Otherwise as ``score_on_lines``."""
        return self.score_on_lines(frames, lengths, None)[0]

    def score_on_lines(self, frames: np.ndarray, lengths: np.ndarray, standards: Standards | None) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities, float32 (segments, labels), and distances (segments,), as in ``ScoredFile``, in the order of the segments.

        ``frames``, float32 (sum of lengths, features), holds the segments one after the other. A segment that is not finite gets NaN.
        Batches hold at most ``frames_per_batch`` frames, padding included; a batch that does not fit into memory is halved.
        """
        n_labels = len(self.bundle.labels)
        results = self._in_batches(
            frames, lengths, n_labels + 1, lambda x, counts, members: self._probabilities(x, counts, standards and standards.of(members))
        )
        return results[:, :n_labels], results[:, n_labels]

    def pool(self, frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Pooled features, float32 (segments, pooled), of frames as in ``score``. Raises TypeError where the model has none."""
        model = self._line_model()
        return self._in_batches(frames, lengths, len(model.line_mean), lambda x, counts, _: self._pooled(x, counts))

    def _in_batches(self, frames: np.ndarray, lengths: np.ndarray, width: int, run: "Run") -> np.ndarray:
        """What ``run`` returns of each segment, float32 (segments, width), NaN where the segment's frames are not finite."""
        results = np.full((len(lengths), width), np.nan, np.float32)
        if len(lengths) == 0:
            return results
        starts = np.cumsum(lengths) - lengths
        finite = np.logical_and.reduceat(np.isfinite(frames).all(axis=1), starts) & (lengths > 0)
        for members in self.batches(lengths, np.flatnonzero(finite)):
            for part, values in self._run(frames, starts, lengths, members, run):
                results[part] = values
        return results

    def batches(self, lengths: np.ndarray, members: np.ndarray) -> Iterator[np.ndarray]:
        """Indices of the segments in each batch, of the segments ``members``, by rising length."""
        ordered = members[np.argsort(lengths[members], kind="stable")]
        first = 0
        while first < len(ordered):
            # Lengths rise, so the last segment sets the width of a batch: the largest batch that fits is found by bisection.
            widths = lengths[ordered[first:]] * np.arange(1, len(ordered) - first + 1)
            count = max(1, int(np.searchsorted(widths, self.frames_per_batch, side="right")))
            yield ordered[first : first + count]
            first += count

    def _run(
        self, frames: np.ndarray, starts: np.ndarray, lengths: np.ndarray, members: np.ndarray, run: "Run"
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        try:
            counts = lengths[members]
            index = starts[members, None] + np.minimum(np.arange(counts.max()), counts[:, None] - 1)
            x = torch.from_numpy(frames[index]).to(self.device)
            yield members, run(x, torch.from_numpy(counts), members).float().cpu().numpy()
        except (MemoryError, RuntimeError) as error:
            if len(members) == 1 or not (isinstance(error, torch.OutOfMemoryError) or is_out_of_memory(error)):
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            log.warning("A batch of %d segments does not fit into memory: halved.", len(members))
            middle = len(members) // 2
            yield from self._run(frames, starts, lengths, members[:middle], run)
            yield from self._run(frames, starts, lengths, members[middle:], run)

    @torch.inference_mode()
    def _probabilities(self, x: torch.Tensor, lengths: torch.Tensor, standards: Standards | None) -> torch.Tensor:
        """Probabilities, and the distance as a last column, (batch, labels + 1)."""
        run: Callable[[], torch.Tensor] = lambda: self._scores(x, lengths, standards)  # noqa: E731
        if self.precision == "float32":
            return run()
        with torch.autocast(self.device.type, dtype=getattr(torch, self.precision)):
            short = run().float()
        if not self._checked:
            self._checked = True
            difference = float((short - run())[:, :-1].abs().max())
            if difference > TOLERANCE:
                log.warning("%s moves scores by %.3g, more than %g: float32 is used.", self.precision, difference, TOLERANCE)
                self.precision = "float32"
                return run()
        return short

    def _scores(self, x: torch.Tensor, lengths: torch.Tensor, standards: Standards | None) -> torch.Tensor:
        bundle = self.bundle
        if standards is None:
            probabilities = bundle.probabilities(x, lengths)
            return torch.cat([probabilities, torch.full_like(probabilities[:, :1], torch.nan)], dim=1)
        model = self._line_model()
        pooled = model.pooled(bundle.normalised(x), lengths).float()
        raw = torch.from_numpy(standards.index < 0).to(x.device)
        row = torch.from_numpy(standards.index).clamp(min=0).to(x.device)
        mean, deviation = (torch.from_numpy(values).to(x.device)[row] for values in (standards.mean, standards.deviation))
        mean = torch.where(raw[:, None], model.line_mean, mean)
        deviation = torch.where(raw[:, None], model.line_scale, deviation)
        standardised = (pooled - mean) / deviation
        probabilities = bundle.calibrated(model.classify(standardised))
        distance = standardised.square().mean(dim=1).masked_fill(raw, torch.nan)
        return torch.cat([probabilities, distance[:, None]], dim=1)

    @torch.inference_mode()
    def _pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self._line_model().pooled(self.bundle.normalised(x), lengths)

    def _line_model(self) -> LineModel:
        model = self.bundle.line_model
        if model is None:
            raise TypeError(f"The model of {self.bundle.model_id} has no pooled features: it cannot be standardised to a line.")
        return model


Run = Callable[[torch.Tensor, torch.Tensor, np.ndarray], torch.Tensor]
"""(frames of a batch, their lengths, the segments' indices) -> (batch, width)."""
