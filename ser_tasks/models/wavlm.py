"""A small head on a weighted sum of the layers of WavLM (Chen et al., 2022)."""

from ser_tasks.models.hugging_face import HuggingFaceSum


class WavLM(HuggingFaceSum):
    """A small head on the layers of WavLM (Chen et al., 2022), frozen, from a folder in Hugging Face's layout."""

    KIND = "wavlm"
    ORIGIN = (
        "Its encoder, WavLM (Chen et al., 2022), is no part of the bundle: bundle.json names\n"
        "it by its SHA-256, and scoring reads it from its own folder. Its owner's licence applies to it."
    )
