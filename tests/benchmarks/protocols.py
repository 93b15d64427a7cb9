"""UA of `research`'s recipe under two published protocols: all emotions of a corpus, unseen speakers, mu-law at 8 kHz.

python -m tests.benchmarks.protocols emotion/ravdess 6    # 6 folds: actors 1-4, 5-8, ...
python -m tests.benchmarks.protocols emotion/nemo         # leave one speaker out

The states of both encoders are classified by logistic regression, which is fitted anew in each fold, to the other folds' clips of the
corpus alone: no noisy copies, no calibration side, nothing random. Tested clips are standardised by the statistics of the training side,
all emotions with equal weights, and never by their own. Training clips are standardised as the recipe has it, once for each of two shares
of neutral speech, as that of a line of calls is unknown; and, since it is known here, by the statistics of the tested clips alone.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ser_tasks.datasets import emotions_of, read_corpora
from ser_tasks.datasets.conditions import REFERENCE
from ser_tasks.evaluation.metrics import ua
from ser_tasks.evaluation.plan import Plan
from ser_tasks.training.fit_pooled import logistic_regression, reference_statistics
from ser_tasks.training.pooled_states import states_under
from ser_tasks.training.recipe import recipe_of

MODEL = "joint_lr"
RECIPE = recipe_of(MODEL)
RESAMPLES = 1000


def predictions(states: np.ndarray, truth: np.ndarray, folds: np.ndarray, neutral: int, shares: Sequence[float]) -> np.ndarray:
    """The class of each clip, by a regression fitted to the clips of the other folds: ``(clips,)``, as truth and folds."""
    n_classes, predicted = int(truth.max()) + 1, np.empty_like(truth)
    for fold in np.unique(folds):
        x, y = states[folds != fold].astype(np.float64), truth[folds != fold]
        lines = [reference_statistics(x, y, neutral, share) for share in shares]
        repeated = np.tile(y, len(lines))
        coefficients, bias, _ = logistic_regression(
            np.concatenate([(x - mean) / scale for mean, scale in lines]).astype(np.float32),
            repeated,
            1 / np.bincount(repeated, minlength=n_classes)[repeated],
            n_classes,
            RECIPE.ridge,
        )
        mean, scale = reference_statistics(x, y, neutral, 1 / len(np.unique(y)))
        predicted[folds == fold] = (((states[folds == fold] - mean) / scale) @ coefficients.T + bias).argmax(axis=1)
    return predicted


def interval(truth: np.ndarray, predicted: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """The 95 % interval of UA, by resampling speakers."""
    rng, members = np.random.default_rng(0), [np.flatnonzero(speakers == each) for each in np.unique(speakers)]
    drawn = (np.concatenate([members[each] for each in rng.integers(len(members), size=len(members))]) for _ in range(RESAMPLES))
    return np.quantile([ua(truth[clips], predicted[clips]) for clips in drawn], (0.025, 0.975))


def main(corpus: str, n_folds: str = "") -> None:
    clips = read_corpora([Path(corpus)])[0].clips
    labels, speakers = list(emotions_of(clips)), clips["speaker"].to_numpy(str)
    with Progress() as progress:
        states = states_under(clips, MODEL, RECIPE, REFERENCE, [[]] * len(clips), Plan(), progress)
    names = np.unique(speakers)
    blocks = np.array_split(names, int(n_folds) if n_folds else len(names))
    folds = np.select([np.isin(speakers, block) for block in blocks], range(len(blocks)))
    truth = clips["emotion"].map(labels.index).to_numpy()
    for way, shares in (("as the recipe", RECIPE.neutral_shares), ("as the tested clips", (1 / len(labels),))):
        predicted = predictions(states, truth, folds, labels.index("neutral"), shares)
        low, high = interval(truth, predicted, speakers)
        each = [f"{ua(truth[speakers == name], predicted[speakers == name]):.2f}" for name in names]
        print(f"{way}: UA {ua(truth, predicted):.3f} ({low:.3f} to {high:.3f}); by speaker {', '.join(each)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
