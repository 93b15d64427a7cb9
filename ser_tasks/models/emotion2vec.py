"""A small head on a weighted sum of the blocks of emotion2vec (Ma et al., 2024)."""

from torch import nn

from ser_tasks.models.emotion2vec_encoder import Emotion2vecEncoder, read_settings
from ser_tasks.models.encoder_folder import EncoderFolder
from ser_tasks.models.layer_sum import LayerSum, Shape


class Emotion2vec(LayerSum):
    """A small head on the blocks of emotion2vec, frozen, from a folder in FunASR's layout or with fairseq's checkpoint."""

    KIND = "emotion2vec"
    ORIGIN = (
        "Its encoder, emotion2vec (Ma et al., 2024), is no part of the bundle: bundle.json names\n"
        "it by its SHA-256, and scoring reads it from its own folder. Its owner's licence applies to it."
    )

    @staticmethod
    def open_encoder(folder: EncoderFolder) -> nn.Module:
        """As `LayerSum`'s. Raises ``ValueError`` for a folder that does not hold together."""
        return Emotion2vecEncoder(folder)

    @staticmethod
    def shape_of(folder: EncoderFolder) -> Shape:
        """As `LayerSum`'s. Raises ``ValueError`` where the settings lack them."""
        settings = read_settings(folder)
        layers = settings.prenet_depth + settings.depth + 1
        return layers, settings.width, [(kernel, stride) for _, kernel, stride in settings.convolutions]
