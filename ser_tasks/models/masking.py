"""Masks over right-padded frames, with which padding does not change a segment's scores."""

import torch


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
