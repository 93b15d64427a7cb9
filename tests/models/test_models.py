"""Every entry of ``MODELS`` keeps the contract; the two classic models keep their shapes."""

import pytest
import safetensors.torch
import torch
from torch import nn

from ser_tasks.models import MODELS, NoveltyAware, PooledLinear, load_classic, make_model
from ser_tasks.models.attention_gru import DynamicConv
from ser_tasks.models.ge2e import WEIGHTS as ENCODER
from ser_tasks.models.ge2e import Ge2eEncoder
from ser_tasks.models.key_windows import key_windows
from ser_tasks.models.masking import max_pool
from ser_tasks.models.whisper import WEIGHTS as WHISPER
from ser_tasks.models.whisper import WhisperEncoder

pytestmark = pytest.mark.usefixtures("encoders_at_hand")

FEATURES = (4, 13, 32, 40, 64, 81)
SLOW = ("cnn", "lflb_lstm", "attention_gru", "attention_gru_one_step", "clustered_bilstm", "keyframe_cnn3d", "two_way_image")
ON_WORDS = ("mdre", "mdre_audio", "mdre_text")
WITHOUT_AUDIO = ("mdre_text",)
"""Words are numbers, which no gradient reaches."""
WITH_ENCODER = ("wav2vec2", "wavlm", "hubert", "emotion2vec")
FEATURES_OF_LARGE = {"whisper_lr": (80,), "joint_lr": (112,)} | dict.fromkeys(SLOW + ON_WORDS, (4, 41)) | dict.fromkeys(WITH_ENCODER, (40,))
"""For models that are slow to test: those of the pretrained encoder, or few; others are in the tests with 40 features."""
WITHOUT_RECURRENCE = {"attention_gru_one_step": {"gru.weight_hh_l0"}}
"""Parameters that act on a state of zeros alone, as in the published network, and learn nothing."""
MODELS_AND_FEATURES = [(name, n_features) for name in MODELS for n_features in FEATURES_OF_LARGE.get(name, FEATURES)]
LENGTHS = (1, 2, 3, 4, 5, 7, 8, 97, 100, 143)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def segments_of(n_features: int) -> list[torch.Tensor]:
    return [3 * torch.randn(length, n_features) for length in LENGTHS]


def padded(segments: list[torch.Tensor], filling: float, extra_frames: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(segment) for segment in segments])
    x = torch.full((len(segments), int(lengths.max()) + extra_frames, segments[0].shape[1]), filling)
    for row, segment in zip(x, segments, strict=True):
        row[: len(segment)] = segment
    return x, lengths


@torch.inference_mode()
def logits_alone(model: nn.Module, segments: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([model(segment[None], torch.tensor([len(segment)])) for segment in segments])


FILLINGS = (0.0, 1e4, float("nan"), float("inf"))


@pytest.mark.parametrize(("name", "n_features"), MODELS_AND_FEATURES)
def test_logits_depend_neither_on_the_batch_nor_on_padding(name, n_features):
    """Every filling in both orders, and every amount of padding with each filling or each order."""
    model = make_model(name, 4, n_features).eval()
    segments = segments_of(n_features)
    alone = logits_alone(model, segments)
    assert torch.isfinite(alone).all()
    assert (alone.std(dim=0) > 1e-4).all(), "segments that all score alike would prove nothing"
    orders = (list(range(len(segments))), torch.randperm(len(segments)).tolist())
    for number, filling in enumerate(FILLINGS):
        for order, extra_frames in zip(orders, ((0, 50), (50, 1), (1, 2), (2, 0))[number], strict=True):
            with torch.inference_mode():
                together = model(*padded([segments[index] for index in order], filling, extra_frames))
            what = f"filled with {filling}, {extra_frames} frames more, in the order {order}: "
            torch.testing.assert_close(together, alone[order], atol=1e-5, rtol=0, msg=lambda text, what=what: what + text)


@pytest.mark.parametrize(
    ("name", "n_features", "n_classes"),
    [
        (name, n_features, (1, 2, 4, 8, 11)[(number + of_name) % 5])
        for of_name, name in enumerate(MODELS)
        for number, n_features in enumerate(FEATURES_OF_LARGE.get(name, FEATURES))
    ]
    + [(name, FEATURES_OF_LARGE.get(name, (40,))[0], n_classes) for name in MODELS for n_classes in (1, 11)],
)
def test_any_class_count_and_feature_count(name, n_classes, n_features):
    logits = make_model(name, n_classes, n_features)(*padded(segments_of(n_features), 0.0))
    assert logits.shape == (len(LENGTHS), n_classes) and logits.dtype == torch.float32


@pytest.mark.parametrize("name", MODELS)
def test_every_valid_frame_counts(name):
    """A change in any eighth of a segment moves its logits: no read-out of the last step alone."""
    model = make_model(name, 4, 40).eval()
    segment = torch.randn(64, 40)
    with torch.inference_mode():
        before = model(segment[None], torch.tensor([64]))
        for start in range(0, 64, 8):
            changed = segment.clone()
            changed[start : start + 8] += 2
            assert (model(changed[None], torch.tensor([64])) - before).abs().max() > 1e-4, f"frames from {start} do not count"


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter_and_no_padding(name):
    model = make_model(name, 4, 40)
    x, lengths = padded(segments_of(40), 0.0, extra_frames=5)
    x.requires_grad_()
    nn.functional.cross_entropy(model(x, lengths), torch.arange(len(lengths)) % 4).backward()
    idle = {key for key, parameter in model.named_parameters() if parameter.grad is None or parameter.grad.abs().sum() == 0}
    assert idle == WITHOUT_RECURRENCE.get(name, set())
    for row, length in zip(x.grad, lengths, strict=True) if name not in WITHOUT_AUDIO else ():
        assert (row[length:] == 0).all() and (row[: length // 4 * 4] != 0).any() == (length >= 4)


@pytest.mark.parametrize("name", MODELS)
def test_lengths_outside_the_frames_are_refused(name):
    model = make_model(name, 4, 40)
    with pytest.raises(ValueError, match="Lengths go from 0 to 5: they must lie in 1 to 5 frames"):
        model(torch.zeros(2, 5, 40), torch.tensor([0, 5]))
    with pytest.raises(ValueError, match="Lengths go from 1 to 6"):
        model(torch.zeros(2, 5, 40), torch.tensor([1, 6]))
    with pytest.raises(ValueError, match=r"Segments and lengths differ in number: 2 != \(3,\)"):
        model(torch.zeros(2, 5, 40), torch.tensor([1, 2, 3]))


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if issubclass(model, NoveltyAware)])
def test_what_is_unlike_the_training_clips_is_scored_with_less_confidence(name):
    model = make_model(name, 4, 32).eval()
    usual = [torch.randn(60, 32) * 0.3 + torch.randn(32) * 0.1 for _ in range(80)]
    novel = [torch.randn(60, 32) * 2 + 1 for _ in range(20)]
    before = logits_alone(model, usual + novel)
    model.fit_novelty(torch.cat([model.summary(segment[None], torch.tensor([60])) for segment in usual]))
    after = logits_alone(model, usual + novel)
    assert torch.equal(after.argmax(dim=1), before.argmax(dim=1)), "confidence changes, never the label"
    divided_by = (before / after).mean(dim=1)
    assert divided_by[:80].log().mean().abs() < 0.1
    assert divided_by[80:].min() > 2 * divided_by[:80].max()
    for extra_frames in (0, 50):
        with torch.inference_mode():
            together = model(*padded(usual[:5] + novel[:5], float("nan"), extra_frames))
        torch.testing.assert_close(together, torch.cat([after[:5], after[80:85]]), atol=1e-5, rtol=0)


def classic_cnn_lstm(n_classes: int) -> nn.Module:
    lstm = nn.LSTM(64, 128, batch_first=True)
    return nn.ModuleDict({"cnn": nn.Conv1d(40, 64, 3), "rnn": lstm, "out": nn.Linear(128, n_classes)})


def classic_crnn(n_classes: int, n_mels: int) -> nn.Module:
    convolutions = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    )
    recurrence = nn.GRU(64 * (n_mels // 4), 128, bidirectional=True)
    return nn.ModuleDict({"features": convolutions, "rnn": recurrence, "classifier": nn.Linear(256, n_classes)})


@pytest.mark.parametrize("n_classes", [4, 8])
def test_classic_state_dicts_load(n_classes):
    for classic, model in (
        (classic_cnn_lstm(n_classes), make_model("cnn_lstm", n_classes, 40)),
        (classic_crnn(n_classes, 64), make_model("crnn", n_classes, 64)),
        (classic_crnn(n_classes, 128), make_model("crnn", n_classes, 128)),
    ):
        load_classic(model, classic.state_dict())
        for given, loaded in zip(classic.state_dict().values(), model.state_dict().values(), strict=True):
            assert torch.equal(given, loaded)


def test_crnn_with_classic_weights_scores_like_the_classic_layers():
    """One segment without padding: the classic layers, run batch first and averaged over time."""
    classic, model = classic_crnn(4, 64), make_model("crnn", 4, 64)
    load_classic(model, classic.state_dict())
    segment = torch.randn(1, 120, 64)
    with torch.inference_mode():
        channels = classic["features"](segment.transpose(1, 2)[:, None])  # (1, 64, 16, 30)
        steps, _ = classic["rnn"](channels.permute(3, 0, 1, 2).flatten(2))  # (30, 1, 256), time first
        expected = classic["classifier"](steps.mean(dim=0))
        torch.testing.assert_close(model(segment, torch.tensor([120])), expected, atol=1e-5, rtol=0)


def test_state_dicts_that_do_not_fit_name_the_first_tensor():
    model = make_model("cnn_lstm", 4, 40)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"Tensor 'out.weight' does not fit 'fc.weight': \(7, 128\) != \(4, 128\)"):
        load_classic(model, classic_cnn_lstm(7).state_dict())
    with pytest.raises(ValueError, match=r"differ in number: 7 != 8. 'fc.bias' has no match"):
        load_classic(model, {name: tensor for name, tensor in before.items() if name != "fc.bias"})
    with pytest.raises(ValueError, match=r"differ in number: 9 != 8. 'more' has no match"):
        load_classic(model, {**classic_cnn_lstm(4).state_dict(), "more": torch.zeros(1)})
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_state_dict_with_the_same_names_loads_in_any_order():
    source, model = make_model("crnn", 4, 40), make_model("crnn", 4, 40)
    load_classic(model, dict(reversed(source.state_dict().items())))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in source.state_dict().items())


def test_errors_name_the_value_and_the_way_out():
    with pytest.raises(ValueError, match="'crn' is unknown: choose one of cnn_lstm, crnn"):
        make_model("crn", 4, 40)
    with pytest.raises(ValueError, match="3 features: .* at least 4"):
        make_model("crnn", 4, 3)


def test_ge2e_tcn_keeps_the_speaker_encoder_as_it_is():
    """With mel32's 32 bands the encoder has its weights from the file and learns nothing; the heads learn."""
    model = make_model("ge2e_tcn", 4, 32)
    kept = safetensors.torch.load_file(ENCODER)
    optimiser = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    heads = model.logits[0].weight.detach().clone()
    nn.functional.cross_entropy(model(*padded(segments_of(32), 0.0)), torch.arange(len(LENGTHS)) % 4).backward()
    optimiser.step()
    assert kept.keys() == model.encoder.state_dict().keys()
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, kept[name]), name
    assert not torch.equal(model.logits[0].weight, heads)
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000


@pytest.mark.parametrize("encoder", [WhisperEncoder, Ge2eEncoder])
def test_states_of_a_segment_are_the_same_alone_and_beside_longer_ones(encoder):
    """To 1e-4, where states deviate by about 1."""
    pretrained = encoder(encoder.BANDS).eval()
    segments = [torch.randn(length, encoder.BANDS).cumsum(0).mul(0.1).tanh() for length in (1, 2, 3, 50, 101, 300, 600)]
    with torch.inference_mode():
        together, counted = pretrained(*padded(segments, float("nan"), extra_frames=37))
        for index, segment in enumerate(segments):
            alone, count = pretrained(segment[None], torch.tensor([len(segment)]))
            assert count[0] == counted[index]
            for state, beside in zip(alone, together, strict=True):
                assert state[0, : count[0]].std() > 0.002
                torch.testing.assert_close(state[0, : count[0]], beside[index, : count[0]], atol=1e-4, rtol=1e-5)


def test_weights_of_whisper_are_those_of_the_file_and_exact_in_bfloat16():
    """The weights' rounding would shift all states of a segment alike."""
    encoder = WhisperEncoder(WhisperEncoder.BANDS)
    for name, stored in safetensors.torch.load_file(WHISPER).items():
        if stored.dtype == torch.int8:
            weight, scale = (getattr(encoder, name.replace("weight", part).replace(".", "_")) for part in ("weight", "scale"))
            assert torch.equal(weight.bfloat16().float(), weight)
            flat = safetensors.torch.load_file(WHISPER)[name.replace("weight", "scale")][:, None] * stored.flatten(1)
            torch.testing.assert_close(weight.flatten(1) * scale[:, None], flat, atol=0, rtol=1e-6)


def test_bfloat16_moves_the_pooled_states_of_whisper_by_little():
    """By 0.0025 of their norm here."""
    model = make_model("whisper_lr", 4, WhisperEncoder.BANDS).eval()
    x, lengths = padded([torch.randn(length, 80).cumsum(0).mul(0.1).tanh() for length in (60, 150, 300)], 0.0)
    with torch.inference_mode():
        exact = model.pooled(x, lengths)
        with torch.autocast("cpu", torch.bfloat16):
            short = model.pooled(x, lengths)
    assert (short - exact).norm() < 0.003 * exact.norm()


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if issubclass(model, PooledLinear)])
def test_the_statistics_of_a_line_are_all_that_adaptation_replaces(name):
    """Statistics of another line act on the pooled states as their definition says."""
    model = make_model(name, 4, 13).eval()
    x, lengths = padded(segments_of(13), 0.0)
    mean, scale = torch.randn(model.N_POOLED), torch.rand(model.N_POOLED) + 0.5
    with torch.inference_mode():
        pooled = model.pooled(x, lengths)
        before = model(x, lengths)
        torch.testing.assert_close(before, model.classify(pooled), atol=1e-5, rtol=0)
        model.line_mean.copy_(mean)
        model.line_scale.copy_(scale)
        after = model(x, lengths)
    torch.testing.assert_close(after, model.classify((pooled - mean) / scale), atol=1e-5, rtol=0)
    assert (after - before).abs().max() > 0.1


def test_pretrained_weights_of_whisper_are_refused_where_they_are_not_those_of_training():
    """They are no part of a bundle, which has only their digest, and are frozen."""
    model = make_model("whisper_lr", 4, 80)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == {"logits.weight", "logits.bias"}
    tensors = model.state_dict()
    assert set(tensors) == {"line_mean", "line_scale", "logits.weight", "logits.bias", "encoder.digest"}
    model.load_state_dict(tensors)
    tensors["encoder.digest"] = tensors["encoder.digest"] ^ 1
    with pytest.raises(ValueError, match=r"trained with another encoder, of SHA-256 [0-9a-f]{16}: this package has [0-9a-f]{16}"):
        model.load_state_dict(tensors)


def test_key_windows_stand_for_every_kind_of_frames():
    """Three stretches of different frames: with three clusters, one window of each is kept, in the order of time."""
    kinds = torch.tensor([[5.0, 0.0], [0.0, 5.0], [-5.0, -5.0]])
    frames = torch.cat([kind + 0.1 * torch.randn(200, 2) for kind in kinds])
    starts = key_windows(frames, window=50, hop=25, clusters=3)
    assert [int(start) // 200 for start in starts] == [0, 1, 2]
    assert key_windows(frames, window=50, hop=25, clusters=99).tolist() == list(range(0, 551, 25))
    assert key_windows(frames[:60], window=50, hop=25, clusters=8).tolist() == [0, 10], "the last window ends with the segment"
    assert key_windows(frames[:3], window=50, hop=25, clusters=8).tolist() == [0]


def test_the_published_attention_gru_sees_one_step_and_ours_sees_time():
    """The order of what is left of a segment's frames changes the scores of the one that sees time alone."""
    seen = {}
    for name in ("attention_gru", "attention_gru_one_step"):
        model = make_model(name, 4, 41).eval()
        inputs = []
        model.gru.register_forward_pre_hook(lambda module, given, inputs=inputs: inputs.append(given[0]))
        with torch.inference_mode():
            model(torch.randn(1, 600, 41), torch.tensor([600]))
        seen[name] = inputs[0].batch_sizes.numel()
    assert seen == {"attention_gru": 150, "attention_gru_one_step": 1}


def test_the_dynamic_convolution_is_a_convolution_of_the_kernels_weighted_by_the_segment():
    layer = DynamicConv(2, 3).eval()
    x, mean = torch.randn(2, 2, 9, 11), torch.randn(2, 2)
    with torch.inference_mode():
        together = layer(x, mean)
        for row in range(2):
            hidden = torch.relu(layer.hidden(mean[row]))
            kernel = (torch.softmax(layer.of_kernel(hidden), dim=0)[:, None, None, None, None] * layer.weight).sum(dim=0)
            kernel = kernel * torch.sigmoid(layer.of_position(hidden)).view(7, 7)
            kernel = (
                kernel * torch.sigmoid(layer.of_input(hidden))[:, None, None] * torch.sigmoid(layer.of_output(hidden))[:, None, None, None]
            )
            torch.testing.assert_close(together[row], nn.functional.conv2d(x[row], kernel, padding=3), atol=1e-5, rtol=1e-4)


def test_the_ensemble_is_the_weighted_average_of_its_three_networks():
    model = make_model("ensemble_1d", 4, 40).eval()
    x, lengths = padded(segments_of(40), 0.0)
    alone = []
    with torch.inference_mode():
        for network in range(3):
            model.shares.copy_(torch.full((3,), -100.0).index_fill(0, torch.tensor([network]), 0.0))
            alone.append(model(x, lengths))
        model.shares.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
        torch.testing.assert_close(model(x, lengths), 0.5 * alone[0] + 0.3 * alone[1] + 0.2 * alone[2], atol=1e-5, rtol=0)
    assert (alone[0] - alone[1]).abs().max() > 1e-3 < (alone[1] - alone[2]).abs().max()


def test_maxima_of_valid_frames_alone():
    x, lengths = torch.full((2, 1, 3, 5), -2.0), torch.tensor([5, 3])
    x[1, :, :, 3:] = 9.0
    pooled, left = max_pool(x, lengths, bands=2, frames=2)
    assert left.tolist() == [3, 2] and pooled.shape == (2, 1, 2, 3)
    assert (pooled[0] == -2).all() and (pooled[1, ..., :2] == -2).all() and (pooled[1, ..., 2] == 0).all()
