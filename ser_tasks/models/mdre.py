"""Multimodal dual recurrent encoder: one GRU over frames of audio, one over words, and a layer on both (Yoon, Byun and Jung, 2018)."""

from typing import ClassVar

import torch
from torch import nn

from ser_tasks.features.words import VOCABULARY
from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean, runs_over, valid_frames

EMBEDDED, UNITS, DROPOUT = 100, 200, 0.3


class Mdre(SegmentModel):
    """GRU(features→200) over the audio, GRU(100→200) over embedded words, their means over time, Linear(400→n_classes).

    The last feature is the number of a word in its frame, 0 for none (``place_words``); the others are of the audio. A segment without
    words has a mean of zeros. Unlike the published network, it reads means in place of last states, words that are hashed and embedded
    here in place of GloVe's vectors, and no 35 prosodic values.
    """

    HEADS = ("out",)
    FEATURE_SETS = ("mdre40",)
    HEARS: ClassVar[bool] = True
    """Whether it has the encoder of audio."""
    READS: ClassVar[bool] = True
    """Whether it has the encoder of words."""

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        if n_features < 2:
            raise ValueError(f"{n_features} features: MDRE needs the word of each frame and at least 1 feature of the audio.")
        if self.HEARS:
            self.audio = nn.GRU(n_features - 1, UNITS, batch_first=True)
        if self.READS:
            self.embedding = nn.Embedding(VOCABULARY, EMBEDDED, padding_idx=0)
            self.words = nn.GRU(EMBEDDED, UNITS, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.out = nn.Linear(UNITS * (self.HEARS + self.READS), n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0)
        encoded = []
        if self.HEARS:
            encoded.append(masked_mean(runs_over(self.audio, x[:, : int(lengths.max()), :-1], lengths), lengths))
        if self.READS:
            encoded.append(self._read(x[:, :, -1].round().clamp(0, VOCABULARY - 1).long()))
        logits: torch.Tensor = self.out(self.dropout(torch.cat(encoded, dim=1)))
        return logits

    def _read(self, frames: torch.Tensor) -> torch.Tensor:
        """Means ``(batch, 200)`` of the states of words, of their numbers ``(batch, frames)``."""
        counts = (frames > 0).sum(dim=1)
        order = torch.argsort((frames == 0).int(), dim=1, stable=True)  # words first, in their order
        words = frames.gather(1, order)[:, : max(1, int(counts.max()))]
        at_least_one = counts.clamp(min=1)
        means = masked_mean(runs_over(self.words, self.embedding(words), at_least_one), at_least_one)
        return means * (counts > 0)[:, None]
