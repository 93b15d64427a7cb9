"""A small head on a weighted sum of the layers of HuBERT (Hsu et al., 2021)."""

from ser_tasks.models.hugging_face import HuggingFaceSum


class HuBert(HuggingFaceSum):
    """A small head on the layers of HuBERT (Hsu et al., 2021), frozen, from a folder in Hugging Face's layout."""

    KIND = "hubert"
    ORIGIN = (
        "Its encoder, HuBERT (Hsu et al., 2021), is no part of the bundle: bundle.json names\n"
        "it by its SHA-256, and scoring reads it from its own folder. Its owner's licence applies to it."
    )
