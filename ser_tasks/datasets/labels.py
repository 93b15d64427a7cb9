"""What the corpora's labels mean in the project's taxonomy (``schemas.EMOTIONS``), in one table."""

EMOTION_OF_LABEL = {
    "anger": "anger",
    "angry": "anger",
    "calm": "calm",
    "disgust": "disgust",
    "disgusted": "disgust",
    "fear": "fear",
    "fearful": "fear",
    "anxiety": "fear",
    "happiness": "happiness",
    "happy": "happiness",
    "joy": "happiness",
    "excited": "happiness",  # IEMOCAP: the field's custom since its 4-class results
    "neutral": "neutral",
    "sadness": "sadness",
    "sad": "sadness",
    "surprise": "surprise",
    "surprised": "surprise",
    "pleasant surprise": "surprise",  # TESS
}
"""Spellings, in lower case, and the emotion that each means."""

LEFT_OUT = {
    "boredom": "the taxonomy has no boredom (EMO-DB)",
    "bored": "the taxonomy has no boredom",
    "frustration": "between anger and sadness, and neither (IEMOCAP)",
    "other": "an emotion that the corpus does not name",
    "undecided": "its annotators did not agree (IEMOCAP)",
}
"""Labels that stand for no emotion of the taxonomy: their clips are left out, for this reason."""
