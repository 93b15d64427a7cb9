"""How a system is trained and tested: ``PROTOCOLS``."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from ser_tasks.datasets import folds_of, refuse_leaks, speaker_ids

RANDOM_FOLDS = 5
"""Of a protocol that splits clips at random: a fifth of them is tested, as by ``train_test_split(test_size=0.2)``."""
MOST_FOLDS = 6
FEW_SPEAKERS = 8
"""A corpus of fewer speakers leaves one out at a time; others two or more, in 6 folds at most."""


@dataclass(frozen=True)
class Protocol:
    """What is fitted to what."""

    name: str
    by_speaker: bool
    """Whether the folds keep speakers apart; otherwise clips, with their augmented copies, are dealt out at random."""
    before_the_split: bool = False
    """Whether scaling, selection, oversampling and augmentation are done before the split, on tested clips as well."""
    epoch_by_test: bool = False
    """Whether a network keeps the epoch that is best on the tested clips, rather than on speakers held out of the training fold."""
    speaker_statistics: bool = False
    """Whether each speaker's clips, also a tested one's, are standardised by that speaker's own mean and deviation."""


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("honest", by_speaker=True),
        Protocol("leaky", by_speaker=False, before_the_split=True, epoch_by_test=True),
        Protocol("leaky_speaker_statistics", by_speaker=False, before_the_split=True, epoch_by_test=True, speaker_statistics=True),
        Protocol("speaker_statistics", by_speaker=True, speaker_statistics=True),
    )
}
"""By name. ``honest`` fits everything inside the training fold. ``leaky`` is what most of the papers do. ``speaker_statistics`` differs
from ``honest`` in one thing, which it prices; ``leaky_speaker_statistics`` is the twin of papers that do both."""
LEAKY = ("leaky", "leaky_speaker_statistics")


def honest_folds(clips: pd.DataFrame, seed: int) -> dict[str, pd.Series]:
    """The side of every clip of one corpus in each fold: whole speakers are trained on, held out (``calibration``) or tested.

    Raises ``ValueError`` with the names where two sides share a speaker or identical clips; there is no way to allow that.
    """
    speakers = speaker_ids(clips).nunique()
    if speakers < 2:
        raise ValueError(f"{clips['corpus'].iloc[0]} has {speakers} speaker: to test by speaker, 2 or more are needed.")
    n_folds = speakers if speakers < FEW_SPEAKERS else min(MOST_FOLDS, speakers // 2)
    folds = folds_of(clips, "k-fold", n_folds, seed=seed)
    for side in folds.values():
        refuse_leaks(clips.assign(side=side), allow=None)
    return folds


def random_folds(truth: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and tested examples of each random fold, stratified by emotion, as indices."""
    folds = min(RANDOM_FOLDS, int(np.unique(truth, return_counts=True)[1].min()))
    if folds < 2:
        raise ValueError("An emotion has 1 clip: to deal clips out at random, each needs 2 or more.")
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(truth)), truth))
