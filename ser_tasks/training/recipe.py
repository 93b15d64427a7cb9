"""How each model is trained: ``RECIPES``, from which the shipped bundles come."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Settings of a training."""

    feature_set: str
    epochs: int
    feature_params: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 2e-3
    """The highest of one cycle (Smith and Topin, 2018)."""
    weight_decay: float = 0.01
    batch: int = 24
    crop_s: tuple[float, float] = (1.5, 3.5)
    """A batch hears as much of each clip, at random places."""
    copies: int = 7
    """Altered copies of each clip, beside the clip itself, of which every epoch takes one at random."""
    babble_share: float = 0.25
    """Clips of a batch over which other training speakers talk."""
    babble_snr_db: tuple[float, float] = (0.0, 22.0)
    offset_std: float = 0.25
    """Of a random constant added to each normalised feature: another voice, another line."""
    mixup: float = 0.0
    """Both parameters of the beta distribution of mixup's share (Zhang et al., 2018); 0 for none: 0.3 only slowed learning."""
    label_smoothing: float = 0.05
    averaging: float = 0.995
    """Of the running mean of the weights, which is what remains (Polyak and Juditsky, 1992)."""


RECIPES = {
    "cnn_lstm": Recipe("mfcc40", epochs=16),
    "crnn": Recipe("logmel8k", epochs=8),
    "ge2e_tcn": Recipe("mel32", epochs=10, weight_decay=0.05, batch=32, offset_std=0.1),
    "cnn_tcn": Recipe("logmel8k", epochs=18, feature_params={"per_band": True}),
}
"""By model. Another model names its feature set, and takes what the first says for the rest."""
