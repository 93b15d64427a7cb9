"""Feature sets: one file a set, listed in ``FEATURE_SETS``. ``features_of`` computes one over many segments."""

from ser_tasks.features.registry import FEATURE_SETS, FeatureSet, feature_set, features_of

__all__ = ["FEATURE_SETS", "FeatureSet", "feature_set", "features_of"]
