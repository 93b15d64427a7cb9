"""A small head on a weighted sum of the blocks of emotion2vec (Ma et al., 2024)."""

from ser_tasks.models.emotion2vec_encoder import Emotion2vecEncoder, shape_of
from ser_tasks.models.layer_sum import LayerSum


class Emotion2vec(LayerSum):
    """A small head on the blocks of emotion2vec, frozen, from a folder in FunASR's layout or with fairseq's checkpoint."""

    KIND = "emotion2vec"
    LOAD = Emotion2vecEncoder
    SHAPE = shape_of
    ORIGIN = (
        "Its encoder, emotion2vec (Ma et al., 2024), is no part of the bundle: bundle.json names\n"
        "it by its SHA-256, and scoring reads it from its own folder. Its owner's licence applies to it."
    )
