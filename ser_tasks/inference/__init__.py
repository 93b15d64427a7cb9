"""From features to probabilities: model bundles and the scorer."""
