"""A small head on a weighted sum of the layers of wav2vec 2.0 (Baevski et al., 2020)."""

from ser_tasks.models.hugging_face import HuggingFaceSum


class Wav2Vec2(HuggingFaceSum):
    """A small head on the layers of wav2vec 2.0 (Baevski et al., 2020), frozen, from a folder in Hugging Face's layout."""

    KIND = "wav2vec2"
    ORIGIN = (
        "Its encoder, wav2vec 2.0 (Baevski et al., 2020), is no part of the bundle: bundle.json names\n"
        "it by its SHA-256, and scoring reads it from its own folder. Its owner's licence applies to it."
    )
