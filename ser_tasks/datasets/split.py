"""Speakers, each on one side of a split."""

import numpy as np
import pandas as pd

SIDES = ("train", "calibration", "test")
HELD_OUT_SHARE = 0.2
"""Share of each corpus's speakers for calibration, and again for the test; at least one speaker each."""


def split_by_speaker(clips: pd.DataFrame, seed: int) -> pd.Series:
    """The side (``SIDES``) of every clip: within each corpus, all clips of a speaker are on one side.

    ``clips`` needs corpus, speaker and gender. The held-out sides take genders in turn, where they are known. A corpus of
    fewer than 3 speakers is all for training. A speaker of that name in another corpus is another speaker.
    """
    side_of = {}
    rng = np.random.default_rng(seed)
    for corpus, of_corpus in clips.groupby("corpus", sort=True):
        speakers = _genders_in_turn(of_corpus, rng)
        n_held_out = max(1, int(HELD_OUT_SHARE * len(speakers) + 0.5)) if len(speakers) >= 3 else 0
        for position, speaker in enumerate(speakers):
            if position < n_held_out:
                side = "test"
            elif position < 2 * n_held_out:
                side = "calibration"
            else:
                side = "train"
            side_of[corpus, speaker] = side
    pairs = zip(clips["corpus"], clips["speaker"], strict=True)
    return pd.Series([side_of[pair] for pair in pairs], index=clips.index, dtype=object)


def _genders_in_turn(clips: pd.DataFrame, rng: np.random.Generator) -> list[str]:
    """Speakers in random order, female and male in turn as far as they go."""
    gender_of = clips.groupby("speaker", sort=True)["gender"].first()
    shuffled = gender_of.iloc[rng.permutation(len(gender_of))]
    turn = shuffled.groupby(shuffled.fillna("unknown")).cumcount()
    return list(shuffled.index[np.argsort(turn.to_numpy(), kind="stable")])
