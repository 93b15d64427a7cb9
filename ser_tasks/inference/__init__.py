"""Model bundles, and the scorer: from features to probabilities."""
