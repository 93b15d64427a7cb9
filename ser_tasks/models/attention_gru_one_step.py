"""Dynamic Attention-GRU as it was published: its GRU sees one step."""

import torch

from ser_tasks.models.attention_gru import AttentionGru


class AttentionGruOneStep(AttentionGru):
    """As `AttentionGru`, but 128 frames become one, so that the GRU sees one step, as the published code has it for its pieces of 5 s.

    The GRU's recurrent weights then act on a state of zeros: they change nothing and learn nothing. The maximum is taken over the
    frames that are left of longer segments.
    """

    POOLED_FRAMES = (2, 4, 4, 4)

    def _steps(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step: the maximum over bands and frames."""
        return x.amax(dim=(2, 3))[:, None], torch.ones_like(lengths)
