"""The windows of a segment that stand for all of them: those nearest to the centres of clusters."""

import torch

ROUNDS = 10


@torch.no_grad()
def key_windows(frames: torch.Tensor, window: int, hop: int, clusters: int) -> torch.Tensor:
    """First frames, int64 and ascending, of at most ``clusters`` windows of one segment ``(frames, features)``.

    Windows of ``window`` frames follow each other every ``hop`` frames; the last ends with the segment. They are clustered by mean and
    deviation of each feature (k-means, Lloyd, 1982, from centres spread evenly in time), and the one nearest to each centre is kept.
    """
    count = max(0, -(-(len(frames) - window) // hop)) + 1
    starts = (torch.arange(count, device=frames.device) * hop).clamp(max=max(0, len(frames) - window))
    if count <= clusters:
        return starts
    pieces = frames.double().unfold(0, window, 1)[starts]  # (windows, features, window)
    described = torch.cat([pieces.mean(dim=2), pieces.std(dim=2)], dim=1)
    centres = described[torch.linspace(0, count - 1, clusters).round().long()].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(described, centres).argmin(dim=1)
        for cluster in range(clusters):
            if (nearest == cluster).any():
                centres[cluster] = described[nearest == cluster].mean(dim=0)
    return starts[sorted(set(torch.cdist(described, centres).argmin(dim=0).tolist()))]


def windows_at(frames: torch.Tensor, starts: torch.Tensor, window: int) -> torch.Tensor:
    """Windows ``(starts, window, features)`` of a segment ``(frames, features)``, which is padded with zeros to one window."""
    padded = torch.nn.functional.pad(frames, (0, 0, 0, max(0, window - len(frames))))
    return padded[starts[:, None] + torch.arange(window, device=frames.device)]
