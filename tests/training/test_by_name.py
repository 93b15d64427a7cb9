"""Every entry of the registries is taken by its name: each network with each feature set, and what does not fit is refused in one line."""

import numpy as np
import pytest
import torch
from torch import nn

from ser_tasks.features import FEATURE_SETS, features_of
from ser_tasks.models import MODELS, make_model
from ser_tasks.training.recipe import RECIPES, recipe_of

OF_FRAMES = [name for name, chosen in FEATURE_SETS.items() if not (chosen.words or chosen.samples)]
OPEN = [name for name, model in MODELS.items() if not model.FEATURE_SETS]


@pytest.fixture(scope="module")
def features():
    """Of two short signals by each feature set, standardised: ``x`` and ``lengths``."""
    rng = np.random.default_rng(0)
    signals = [(0.1 * rng.standard_normal(length)).astype(np.float32) for length in (2400, 1600)]
    made = {}
    for name in OF_FRAMES:
        flat, lengths = features_of(name, {}, signals, 8000)
        standard = torch.from_numpy((flat - flat.mean(axis=0)) / np.maximum(flat.std(axis=0), 1e-3))
        made[name] = nn.utils.rnn.pad_sequence(list(standard.split(lengths.tolist())), batch_first=True), torch.from_numpy(lengths)
    return made


@pytest.mark.parametrize("name", OPEN)
def test_each_network_of_frames_takes_each_feature_set_of_frames(name, features):
    for feature_name in OF_FRAMES:
        assert recipe_of(name, feature_name).feature_set == feature_name
        x, lengths = features[feature_name]
        model = make_model(name, 3, x.shape[2]).eval()
        with torch.inference_mode():
            logits = model(x, lengths)
        assert logits.shape == (2, 3) and torch.isfinite(logits).all(), feature_name


def test_models_with_features_of_their_own_take_no_others():
    fixed = {name: MODELS[name].FEATURE_SETS for name in MODELS if name not in OPEN}
    assert fixed == {name: (RECIPES[name].feature_set,) for name in fixed}
    assert {"ge2e_tcn", "ge2e_lr", "whisper_lr", "joint_lr", "mdre", "mdre_audio", "mdre_text", "wav2vec2", "emotion2vec"} <= set(fixed)
    for name, (own,) in fixed.items():
        assert recipe_of(name, own).feature_set == own
        for other in FEATURE_SETS.keys() - {own}:
            with pytest.raises(ValueError, match=f"'{name}' is made for {own} and cannot read {other}: leave --features out"):
                recipe_of(name, other)


@pytest.mark.parametrize(("feature_name", "holds"), [("mdre40", "numbers of words"), ("wave16k", "samples")])
def test_words_and_samples_are_for_the_models_that_read_them(feature_name, holds):
    readers = ", ".join(name for name in MODELS if feature_name in MODELS[name].FEATURE_SETS)
    for name in OPEN:
        with pytest.raises(ValueError, match=f"{feature_name} holds {holds}, which model '{name}' cannot read: it is for {readers}"):
            recipe_of(name, feature_name)
