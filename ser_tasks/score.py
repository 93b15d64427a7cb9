"""Score: frame features → calibrated probabilities, in batches sorted by length, on CUDA where there is one."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ser_tasks.bundle import Bundle

TOLERANCE = 1e-2
"""Largest difference from float32's probabilities that a shorter precision may make."""

log = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device. Raises ValueError where it is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"{name!r} is no device: choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("No CUDA device is visible to torch: use --device cpu, or auto to take CUDA where there is one.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass
class Scorer:
    """A bundle on a device. One per process: the GPU's batches are its own."""

    bundle: Bundle
    device: torch.device
    frames_per_batch: int
    precision: str = "float32"

    def __post_init__(self) -> None:
        self.bundle.module.to(self.device).eval()
        self._checked = self.precision == "float32"

    def score(self, frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Probabilities float32 (segments, labels), in the segments' order.

        ``frames`` float32 (sum of lengths, features) holds the segments one after the other. Segments that are not
        finite come back as NaN. Batches hold at most ``frames_per_batch`` frames, padding included; one that does
        not fit into memory is halved.
        """
        probabilities = np.full((len(lengths), len(self.bundle.labels)), np.nan, np.float32)
        if len(lengths) == 0:
            return probabilities
        ends = np.cumsum(lengths)
        starts = ends - lengths
        finite = np.logical_and.reduceat(np.isfinite(frames).all(axis=1), starts) & (lengths > 0)
        for members in self._batches(lengths, np.flatnonzero(finite)):
            for part, scores in self._run(frames, starts, lengths, members):
                probabilities[part] = scores
        return probabilities

    def _batches(self, lengths: np.ndarray, members: np.ndarray) -> Iterator[np.ndarray]:
        ordered = members[np.argsort(lengths[members], kind="stable")]
        first = 0
        while first < len(ordered):
            # Lengths rise, so a batch of n is as wide as its last: the largest n that fits is found by bisection.
            widths = lengths[ordered[first:]] * np.arange(1, len(ordered) - first + 1)
            count = max(1, int(np.searchsorted(widths, self.frames_per_batch, side="right")))
            yield ordered[first : first + count]
            first += count

    def _run(
        self, frames: np.ndarray, starts: np.ndarray, lengths: np.ndarray, members: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        try:
            own = lengths[members]
            index = starts[members, None] + np.minimum(np.arange(own.max()), own[:, None] - 1)
            x = torch.from_numpy(frames[index]).to(self.device)
            yield members, self._probabilities(x, torch.from_numpy(own)).float().cpu().numpy()
        except (torch.OutOfMemoryError, MemoryError):
            if len(members) == 1:
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            log.warning("A batch of %d segments does not fit into memory: halved.", len(members))
            middle = len(members) // 2
            yield from self._run(frames, starts, lengths, members[:middle])
            yield from self._run(frames, starts, lengths, members[middle:])

    @torch.inference_mode()
    def _probabilities(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        run: Callable[[], torch.Tensor] = lambda: self.bundle.probabilities(x, lengths)  # noqa: E731
        if self.precision == "float32":
            return run()
        with torch.autocast(self.device.type, dtype=getattr(torch, self.precision)):
            short = run().float()
        if not self._checked:
            self._checked = True
            difference = float((short - run()).abs().max())
            if difference > TOLERANCE:
                log.warning("%s moves scores by %.3g, more than %g: float32 is used.", self.precision, difference, TOLERANCE)
                self.precision = "float32"
                return run()
        return short
