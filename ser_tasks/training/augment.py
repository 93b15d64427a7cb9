"""What changes in a training clip's features from one epoch to the next: other voices on top, masks, offsets, mixtures."""

import numpy as np

from ser_tasks.features import FeatureSet

VOICES = 5
"""Other speakers in babble, at most."""
MASKED_FEATURES = 1 / 8
MASKED_FRAMES = 1 / 5


def babbled(
    features: np.ndarray, others: list[np.ndarray], snr_db: float, of: FeatureSet, params: dict, rng: np.random.Generator
) -> np.ndarray:
    """Features float32 ``(frames, features)`` as if the others talked at the same time, so much below the clip.

    Powers of bands add up, but for the phases, which differ at random: the expected value is the sum.
    """
    power = 10 ** (of.bands_db(features, params) / 10)
    babble = np.zeros_like(power)
    for other in others:
        own = 10 ** (of.bands_db(other, params) / 10)
        babble += np.roll(np.resize(own, power.shape), rng.integers(len(power)), axis=0)
    if not babble.any():
        return features
    babble *= power.mean() / babble.mean() / 10 ** (snr_db / 10)
    return of.of_bands_db(10 * np.log10(power + babble), params)


def offset(normalised: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """A batch ``(clips, frames, features)``, to each of whose features, in each clip, a constant is added."""
    return normalised + rng.normal(0, std, (len(normalised), 1, normalised.shape[2])).astype(np.float32)


def masked(normalised: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment (Park et al., 2019): in each clip one stretch of up to 1/8 of the features and one of 1/5 of the frames is 0."""
    n_features = normalised.shape[2]
    for clip, n_frames in zip(normalised, lengths, strict=True):
        width, stretch = rng.integers(0, int(n_features * MASKED_FEATURES) + 1), rng.integers(0, int(n_frames * MASKED_FRAMES) + 1)
        lowest, first = rng.integers(0, n_features - width + 1), rng.integers(0, n_frames - stretch + 1)
        clip[:, lowest : lowest + width] = 0
        clip[first : first + stretch] = 0
    return normalised


def mixed(
    x: np.ndarray, lengths: np.ndarray, targets: np.ndarray, mixup: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mixup: each clip of a batch, and its target probabilities, with a smaller share of another's; 0 for none."""
    if not mixup:
        return x, lengths, targets
    share = rng.beta(mixup, mixup)
    share, partner = np.float32(max(share, 1 - share)), rng.permutation(len(x))
    return share * x + (1 - share) * x[partner], np.maximum(lengths, lengths[partner]), share * targets + (1 - share) * targets[partner]
