"""Masks over right-padded frames, with which padding does not change a segment's scores."""

import torch
from torch import nn


def valid_frames(lengths: torch.Tensor, n_frames: int) -> torch.Tensor:
    """Bool ``(batch, n_frames)``, true on each segment's first ``lengths`` frames."""
    return torch.arange(n_frames, device=lengths.device) < lengths[:, None]


def check_lengths(x: torch.Tensor, lengths: torch.Tensor) -> None:
    """Raises ``ValueError`` unless ``lengths`` has a value from 1 to frames for each row of ``x (batch, frames, features)``."""
    if lengths.shape != x.shape[:1]:
        raise ValueError(f"Segments and lengths differ in number: {x.shape[0]} != {tuple(lengths.shape)}.")
    shortest, longest = (int(lengths.min()), int(lengths.max())) if len(lengths) else (1, 1)
    if shortest < 1 or longest > x.shape[1]:
        raise ValueError(f"Lengths go from {shortest} to {longest}: they must lie in 1 to {x.shape[1]} frames.")


def masked_mean(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean ``(batch, features)`` over the valid frames of ``x (batch, frames, features)``."""
    valid = valid_frames(lengths, x.shape[1])[:, :, None]
    return x.masked_fill(~valid, 0).sum(dim=1) / lengths[:, None]


def max_pool(x: torch.Tensor, lengths: torch.Tensor, bands: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Maxima over windows of ``bands`` and ``frames`` of ``x (batch, channels, bands, frames)``, and the valid frames that remain.

    A last, incomplete window counts, so that no frame is lost and no segment is too short. Only valid frames are in the maxima; the
    result is 0 beyond the valid frames.
    """
    x = x.masked_fill(~valid_frames(lengths, x.shape[3])[:, None, None], -torch.inf)
    x = nn.functional.pad(x, (0, -x.shape[3] % frames, 0, -x.shape[2] % bands), value=-torch.inf)
    x, lengths = nn.functional.max_pool2d(x, (bands, frames)), -(-lengths // frames)
    return x.masked_fill(~valid_frames(lengths, x.shape[3])[:, None, None], 0), lengths


def runs_over(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Outputs ``(batch, frames, units)`` of a recurrent layer over the valid frames of ``x (batch, frames, features)``."""
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(rnn(packed)[0], batch_first=True)
    return outputs
