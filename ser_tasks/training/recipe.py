"""How each model is trained: ``RECIPES``, with which the shipped bundles were trained."""

from dataclasses import dataclass, field, replace
from typing import Any

from ser_tasks.features import feature_set
from ser_tasks.models import MODELS, PooledLinear


@dataclass(frozen=True)
class Recipe:
    """Features and hyperparameters of a training."""

    feature_set: str
    epochs: int
    feature_params: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 2e-3
    """The maximum of the one-cycle schedule (Smith and Topin, 2018)."""
    weight_decay: float = 0.01
    batch: int = 24
    crop_s: tuple[float, float] = (1.5, 3.5)
    """Shortest and longest random crop of a clip; one length for all clips of a batch."""
    copies: int = 7
    """Augmented copies of each clip; every epoch takes one of them or the clip itself, at random. Models on pooled states take all."""
    voices: int = 0
    """Further copies of each clip, in other voices (``voices.py``)."""
    babble_share: float = 0.25
    """Share of a batch's clips that are mixed with speech of other training speakers; none, for features that are no levels of bands."""
    babble_snr_db: tuple[float, float] = (0.0, 22.0)
    offset_std: float = 0.25
    """Standard deviation of a random constant added to each normalised feature, which imitates another voice or line."""
    mixup: float = 0.0
    """Both parameters of mixup's beta distribution (Zhang et al., 2018); 0 for none. 0.3 was tried: it only slowed the training."""
    label_smoothing: float = 0.05
    averaging: float = 0.995
    """Decay of the running mean of the weights, which is what training returns (Polyak and Juditsky, 1992)."""

    other_emotions: bool = True
    """Train on clips of emotions that are no label, too; their outputs are dropped afterwards."""
    ridge: float = 0.1
    """Of models on pooled states (`PooledLinear`), which are trained without epochs and batches, and whose copies are in noise and in
    babble by turns (`pooled_states.py`): weight of the squared coefficients."""
    neutral_shares: tuple[float, ...] = (0.25, 0.8)
    """Shares of neutral speech, 0 to 1, for which a corpus's statistics are computed. Models on pooled states are trained on each clip once
    with each of them; others that are trained ``by_line`` draw one for each crop."""
    by_line: bool = False
    """Standardise the features of each training clip by the statistics of its corpus, as those of a call are by its line's, and make a
    bundle that takes line profiles. Of models without pooled states."""

    @property
    def all_copies(self) -> int:
        """Copies of each clip, of both kinds."""
        return self.copies + self.voices


RECIPES = (
    {
        "cnn_lstm": Recipe("mfcc40", epochs=16),
        "crnn": Recipe("logmel8k", epochs=8),
        "ge2e_tcn": Recipe("mel32", epochs=10, weight_decay=0.05, batch=32, offset_std=0.1),
        "ge2e_lr": Recipe("mel32", epochs=1, copies=2, other_emotions=False),
        "whisper_lr": Recipe("whisper80", epochs=1, copies=2, other_emotions=False),
        "joint_lr": Recipe("mel112", epochs=1, copies=2, other_emotions=False),
        "cnn_tcn": Recipe("logmel8k", epochs=18, feature_params={"per_band": True}),
        "cnn": Recipe("mfcc40", epochs=16),
        "lstm": Recipe("mfcc40", epochs=16),
        "lflb_lstm": Recipe("logmel8k", epochs=12, feature_params={"n_mels": 128}),
        "attention_gru": Recipe("mfcc40", epochs=12, feature_params={"n_mfcc": 128}),
        "attention_gru_one_step": Recipe("mfcc40", epochs=12, feature_params={"n_mfcc": 128}),
        "ensemble_1d": Recipe("vector162", epochs=40, batch=64, learning_rate=1e-3),
        "mean_cnn": Recipe("mfcc40", epochs=40),
        "clustered_bilstm": Recipe("logmel8k", epochs=12),
        "keyframe_cnn3d": Recipe("logmel8k", epochs=12),
        "two_way_dense": Recipe("vector180", epochs=40, learning_rate=3e-3),
        "two_way_image": Recipe("logmel8k", epochs=12, learning_rate=1e-3),
    }
    | {
        name: Recipe("wave16k", epochs=40, learning_rate=1e-3, batch=64, copies=2, other_emotions=False)
        for name in ("wav2vec2", "wavlm", "hubert", "emotion2vec")
    }
    | {
        name: Recipe("mdre40", epochs=16, learning_rate=1e-3, batch=32, offset_std=0.0)  # an offset would make other words of the words
        for name in ("mdre", "mdre_audio", "mdre_text")
    }
)
"""By model. A model that is not here needs a feature set, and takes the hyperparameters of the first."""


def recipe_of(
    model: str,
    feature_name: str | None = None,
    params: dict[str, Any] | None = None,
    epochs: int | None = None,
    by_line: bool = False,
    voices: int = 0,
) -> Recipe:
    """The model's recipe with the given values in place of its own. Raises ``ValueError`` for an unknown model, for one that has no recipe
    where no feature set is given, for one that cannot read the feature set, and for a model on pooled states ``by_line``, as these
    standardise their states anyway."""
    if model not in MODELS:
        raise ValueError(f"Model {model!r} is unknown: choose one of {', '.join(MODELS)}, or a classical system as svm:egemaps.")
    recipe = RECIPES.get(model)
    if recipe is None:
        if not feature_name:
            raise ValueError(f"Model {model!r} has no feature set of its own ({', '.join(RECIPES)} have): name one.")
        recipe = replace(next(iter(RECIPES.values())), feature_set=feature_name, feature_params={})
    if by_line and issubclass(MODELS[model], PooledLinear):
        raise ValueError(f"Model {model!r} takes line profiles anyway, by its pooled states: leave --by-line out.")
    feature_name = feature_name or recipe.feature_set
    _check_fits(model, feature_name)
    given = params if params is not None else (recipe.feature_params if feature_name == recipe.feature_set else {})
    complete = feature_set(feature_name).complete(given)
    if by_line and feature_set(feature_name).words:
        raise ValueError(f"{feature_name} holds numbers of words, which no line standardises: leave --by-line out.")
    return replace(
        recipe,
        feature_set=feature_name,
        feature_params=complete,
        epochs=epochs or recipe.epochs,
        by_line=by_line or recipe.by_line,
        voices=voices or recipe.voices,
    )


def _check_fits(model: str, feature_name: str) -> None:
    """Raises ``ValueError`` where the model cannot read the feature set."""
    chosen, takes = feature_set(feature_name), MODELS[model].FEATURE_SETS
    if takes and feature_name not in takes:
        raise ValueError(f"Model {model!r} is made for {', '.join(takes)} and cannot read {feature_name}: leave --features out.")
    if (chosen.words or chosen.samples) and not takes:
        readers = ", ".join(name for name, each in MODELS.items() if feature_name in each.FEATURE_SETS)
        holds = "numbers of words" if chosen.words else "samples"
        raise ValueError(f"{feature_name} holds {holds}, which model {model!r} cannot read: it is for {readers}.")
