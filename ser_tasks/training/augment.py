"""Augmentation of training features, drawn in every epoch: babble, masks, offsets and mixup."""

from typing import Any

import numpy as np

from ser_tasks.features import FeatureSet

BABBLE_VOICES = 5
"""Other speakers in babble, at most."""
MASKED_FEATURES = 1 / 8
MASKED_FRAMES = 1 / 5


def add_babble(
    features: np.ndarray, others: list[np.ndarray], snr_db: float, feature_set: FeatureSet, params: dict[str, Any], rng: np.random.Generator
) -> np.ndarray:
    """Features float32 ``(frames, features)`` of the clip mixed with the ``others`` at ``snr_db``.

    The powers of bands are added, which is the expected value of the mixture for random phases.
    """
    if feature_set.bands_db is None or feature_set.of_bands_db is None:
        raise ValueError(f"{feature_set.name} has no levels of bands: babble can't be mixed into it.")
    power = 10 ** (feature_set.bands_db(features, params) / 10)
    babble = np.zeros_like(power)
    for other in others:
        other_power = 10 ** (feature_set.bands_db(other, params) / 10)
        babble += np.roll(np.resize(other_power, power.shape), rng.integers(len(power)), axis=0)
    if not babble.any():
        return features
    babble *= power.mean() / babble.mean() / 10 ** (snr_db / 10)
    return feature_set.of_bands_db(10 * np.log10(power + babble), params)


def add_offset(normalised: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """A batch ``(clips, frames, features)`` with a random constant added to each feature of each clip."""
    return normalised + rng.normal(0, std, (len(normalised), 1, normalised.shape[2])).astype(np.float32)


def mask(normalised: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment (Park et al., 2019), in place: in each clip, a band of up to 1/8 of the features and a span of up to 1/5 of the
    frames are set to 0."""
    n_features = normalised.shape[2]
    for clip, n_frames in zip(normalised, lengths, strict=True):
        width, span = rng.integers(0, int(n_features * MASKED_FEATURES) + 1), rng.integers(0, int(n_frames * MASKED_FRAMES) + 1)
        lowest, first = rng.integers(0, n_features - width + 1), rng.integers(0, n_frames - span + 1)
        clip[:, lowest : lowest + width] = 0
        clip[first : first + span] = 0
    return normalised


def mix_up(
    x: np.ndarray, lengths: np.ndarray, targets: np.ndarray, mixup: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mixup (Zhang et al., 2018): adds to each clip of a batch, and to its target probabilities, the smaller share of another clip.

    ``mixup`` is both parameters of the share's beta distribution; 0 changes nothing.
    """
    if not mixup:
        return x, lengths, targets
    drawn = rng.beta(mixup, mixup)
    share, partner = np.float32(max(drawn, 1 - drawn)), rng.permutation(len(x))
    return share * x + (1 - share) * x[partner], np.maximum(lengths, lengths[partner]), share * targets + (1 - share) * targets[partner]
