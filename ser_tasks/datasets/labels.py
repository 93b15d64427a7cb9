"""The corpora's labels in the project's taxonomy (``schemas.EMOTIONS``), in one table."""

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
    "elation": "happiness",  # EmoGator
    "excited": "happiness",  # IEMOCAP: customary since the first 4-class results
    "neutral": "neutral",
    "neutrality": "neutral",  # Emozionalmente
    "sadness": "sadness",
    "sad": "sadness",
    "surprise": "surprise",
    "surprised": "surprise",
    "pleasant surprise": "surprise",  # TESS
}
"""Emotion by label in lower case."""

OF_CORPUS = {
    "emospeech_india": {"calm": "neutral"},  # the plain way to say a word, nearer to others' neutral than to RAVDESS's calm
    "turev": {"calm": "neutral"},
}
"""Labels that mean something else in one corpus."""

LEFT_OUT = {
    "boredom": "the taxonomy has no boredom (EMO-DB)",
    "bored": "the taxonomy has no boredom",
    "frustration": "between anger and sadness, and neither (IEMOCAP)",
    "other": "an emotion that the corpus does not name",
    "sarcastic": "a way of speaking, and no emotion (EMNS)",
    "undecided": "its annotators did not agree (IEMOCAP)",
}
"""Labels outside the taxonomy, whose clips are left out, with the reason."""
