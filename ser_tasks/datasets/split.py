"""Splits into training, calibration and test sides: ``SPLITS``. All but ``random-clips`` keep speakers apart."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ser_tasks.datasets.corpus import speaker_ids

SIDES = ("train", "calibration", "test")
HELD_OUT_SHARE = 0.2
"""Share of each corpus's speakers on the calibration side, and on the test side, of a single split; at least one each."""
CALIBRATION_SHARE = 0.12
"""Share of a fold's training speakers, in each corpus, that are moved to the calibration side; at least one."""

Masks = tuple[np.ndarray, np.ndarray]
"""Of clips: on the test side, and available for training. Clips in neither are left out of the fold."""


@dataclass(frozen=True)
class Split:
    """A way to make folds of clips."""

    folds: Callable[[pd.DataFrame, list[str], int], dict[str, Masks]]
    """From all clips, the corpora to test on and the number of folds: masks by name of the fold."""
    apart: tuple[str, ...] = ("speaker", "digest")
    """Columns of which no two sides of a fold may share a value."""
    by_speaker: bool = True
    """Whether the calibration side is made of whole speakers, or else of random clips."""


def split_by_speaker(clips: pd.DataFrame, seed: int) -> pd.Series:
    """The side (``SIDES``) of every clip: within each corpus, all clips of a speaker are on one side.

    ``clips`` needs corpus, speaker and gender. Genders alternate on the held-out sides, where they are known. A corpus of
    fewer than 3 speakers is on the training side only. Names of speakers are unique within their corpus only.
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


def folds_of(clips: pd.DataFrame, split: str, n_folds: int = 6, tested: list[str] | None = None, seed: int = 0) -> dict[str, pd.Series]:
    """The side of every clip in each fold of a split of ``SPLITS``, by the fold's name; null where a clip is left out of the fold.

    ``clips`` needs corpus, speaker, gender, sentence and digest. Every clip of the ``tested`` corpora (all of them if not named) is
    on the test side of one fold; other corpora are only trained on. Each fold's calibration side is taken from its training
    speakers, so that temperature and threshold do not depend on the test side. Raises ValueError where the corpora do not allow the split.
    """
    if split not in SPLITS:
        raise ValueError(f"{split!r} is no split: choose one of {', '.join(SPLITS)}.")
    names = sorted(clips["corpus"].unique())
    if unknown := sorted(set(tested or ()) - set(names)):
        raise ValueError(f"There is no corpus {', '.join(unknown)} to test on: these are {', '.join(names)}.")
    folds = {}
    for name, (test, train) in SPLITS[split].folds(clips, tested or names, n_folds).items():
        side = pd.Series(None, index=clips.index, dtype=object)
        side[test], side[train] = "test", "train"
        side[_calibrating(clips, train, np.random.default_rng(seed), SPLITS[split].by_speaker)] = "calibration"
        folds[name] = side
    return folds


def _k_fold(clips: pd.DataFrame, tested: list[str], n_folds: int) -> dict[str, Masks]:
    """Fold k tests the k-th block of every tested corpus's speakers in the order of their names: RAVDESS 1-4, 5-8, ...

    Beside a corpus of enough speakers, one of fewer speakers than folds has one block a speaker.
    """
    speakers = clips[clips["corpus"].isin(tested)].groupby("corpus")["speaker"].nunique()
    block = _blocks(clips, "speaker", tested, n_folds, fewer=bool(speakers.max() >= n_folds))
    return {f"fold {number + 1} of {n_folds}": (block == number, block != number) for number in range(n_folds)}


def _leave_one_speaker_out(clips: pd.DataFrame, tested: list[str], n_folds: int) -> dict[str, Masks]:
    speaker = speaker_ids(clips).to_numpy()
    names = sorted(set(speaker[clips["corpus"].isin(tested)]))
    return {f"without {name}": (speaker == name, speaker != name) for name in names}


def _leave_one_corpus_out(clips: pd.DataFrame, tested: list[str], n_folds: int) -> dict[str, Masks]:
    corpus = clips["corpus"].to_numpy()
    if len(set(corpus)) < 2:
        raise ValueError(f"There is one corpus, {corpus[0]}: to leave one out, give two or more.")
    return {f"without {name}": (corpus == name, corpus != name) for name in tested}


def _sentence_independent(clips: pd.DataFrame, tested: list[str], n_folds: int) -> dict[str, Masks]:
    """Fold k tests block k of the speakers on block k of the sentences; other clips of these speakers or sentences are left out.

    Corpora with fewer sentences than folds have one block a sentence; their fold k tests block k modulo that number.
    """
    if unknown := sorted(clips["corpus"][clips["sentence"].isna() & clips["corpus"].isin(tested)].unique()):
        raise ValueError(f"The sentences of {', '.join(unknown)} are not known: this split needs a sentence with every clip.")
    speakers, sentences = _blocks(clips, "speaker", tested, n_folds), _blocks(clips, "sentence", tested, n_folds, fewer=True)
    counts = clips.assign(block=sentences).groupby("corpus")["block"].transform("max").to_numpy() + 1
    if alone := sorted(clips["corpus"][(counts == 1) & clips["corpus"].isin(tested)].unique()):
        raise ValueError(f"{', '.join(alone)} has one sentence: none is left to train on. Leave it out.")
    folds = {}
    for number in range(n_folds):
        its_sentences = (sentences >= 0) & (sentences == number % np.maximum(counts, 1))
        test = (speakers == number) & its_sentences
        folds[f"fold {number + 1} of {n_folds}"] = (test, (speakers != number) & ~its_sentences)
    return folds


def _random_clips(clips: pd.DataFrame, tested: list[str], n_folds: int) -> dict[str, Masks]:
    """Random clips, as in much of the literature: training and test share speakers."""
    number = np.random.default_rng(0).permutation(len(clips)) % n_folds
    number[~clips["corpus"].isin(tested).to_numpy()] = -1
    return {f"fold {fold + 1} of {n_folds}": (number == fold, number != fold) for fold in range(n_folds)}


SPLITS: dict[str, Split] = {
    "k-fold": Split(_k_fold),
    "leave-one-speaker-out": Split(_leave_one_speaker_out),
    "leave-one-corpus-out": Split(_leave_one_corpus_out),
    "sentence-independent": Split(_sentence_independent, apart=("speaker", "digest", "sentence")),
    "random-clips": Split(_random_clips, by_speaker=False),
}
"""By name. The last one leaks: it is refused unless leaks are allowed, and serves to measure how much leaks improve scores."""


def _blocks(clips: pd.DataFrame, column: str, tested: list[str], n_folds: int, fewer: bool = False) -> np.ndarray:
    """The block, from 0, of each clip's speaker or sentence among its corpus's in the order of names; -1 in corpora not tested."""
    block = np.full(len(clips), -1)
    for corpus in tested:
        members = (clips["corpus"] == corpus).to_numpy()
        names = sorted(clips[column][members].unique())
        if len(names) < n_folds and not fewer:
            raise ValueError(f"{corpus} has {len(names)} {column}s: that is too few for {n_folds} folds. Choose fewer.")
        parts = np.array_split(np.arange(len(names)), min(n_folds, len(names)))
        number_of = {names[index]: number for number, part in enumerate(parts) for index in part}
        block[members] = clips[column][members].map(number_of)
    return block


def _calibrating(clips: pd.DataFrame, train: np.ndarray, rng: np.random.Generator, by_speaker: bool) -> np.ndarray:
    """Mask of the training clips moved to the calibration side: those of some speakers, or random clips in the leaky split."""
    if not by_speaker:
        return train & (rng.random(len(clips)) < CALIBRATION_SHARE)
    chosen = np.zeros(len(clips), bool)
    for corpus, of_corpus in clips[train].groupby("corpus", sort=True):
        speakers = _genders_in_turn(of_corpus, rng)
        count = max(1, round(CALIBRATION_SHARE * len(speakers))) if len(speakers) >= 3 else 0
        chosen |= train & (clips["corpus"] == corpus).to_numpy() & clips["speaker"].isin(speakers[:count]).to_numpy()
    return chosen


def _genders_in_turn(clips: pd.DataFrame, rng: np.random.Generator) -> list[str]:
    """Speakers in random order, female and male alternating while both remain."""
    gender_of = clips.groupby("speaker", sort=True)["gender"].first()
    shuffled = gender_of.iloc[rng.permutation(len(gender_of))]
    turn = shuffled.groupby(shuffled.fillna("unknown")).cumcount()
    return list(shuffled.index[np.argsort(turn.to_numpy(), kind="stable")])
