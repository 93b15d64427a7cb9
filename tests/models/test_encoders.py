"""Pretrained encoders from folders as published: their states are those of their owners' code, and a wrong folder is refused."""

import json
import math
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from torch import nn
from torch.nn import functional

from ser_tasks.features import features_of
from ser_tasks.models import make_model
from ser_tasks.models.emotion2vec_encoder import convolutions_of, slopes
from ser_tasks.models.encoder_folder import find_encoder
from tests.factories.encoders import emotion2vec_encoder, emotion2vec_settings, emotion2vec_tensors, hugging_face_encoder

CLASSES = {"wav2vec2": "Wav2Vec2Model", "wavlm": "WavLMModel", "hubert": "HubertModel"}
BASE = {"feat_extract_norm": "group"}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True, "num_hidden_layers": 3, "hidden_size": 32}
STRIDES = {"conv_dim": (8, 16), "conv_kernel": (8, 4), "conv_stride": (4, 3), "num_attention_heads": 2}
PUBLISHED = [(kind, changes) for kind in CLASSES for changes in (BASE, LARGE, STRIDES)]
PUBLISHED += [("hubert", {"feat_proj_layer_norm": False}), ("hubert", {"conv_pos_batch_norm": True})]
ONE_CONVOLUTION = {"conv_dim": (20,), "conv_kernel": (16,), "conv_stride": (8,), "hidden_size": 16, "num_attention_heads": 2}
ODD = {"hidden_size": 30, "num_attention_heads": 6, "num_conv_pos_embedding_groups": 5, "num_conv_pos_embeddings": 7, "hidden_act": "relu"}
FOUR_LAYERS = {"feat_extract_norm": "layer", "num_hidden_layers": 4, "do_stable_layer_norm": True}
PUBLISHED += [(kind, changes) for kind in CLASSES for changes in (ONE_CONVOLUTION, ODD)]
PUBLISHED += [
    ("hubert", FOUR_LAYERS | {"conv_pos_batch_norm": True}),
    ("wavlm", FOUR_LAYERS | {"num_buckets": 8, "max_bucket_distance": 12}),
]
PUBLISHED += [("wav2vec2", {"add_adapter": True, "num_adapter_layers": 2}), ("wav2vec2", FOUR_LAYERS | {"adapter_attn_dim": 8})]
SAMPLES = (1, 40, 399, 1000, 1001, 4803)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def signals_of(lengths=SAMPLES, scale: float = 0.1) -> list[torch.Tensor]:
    return [0.01 + scale * torch.randn(length) for length in lengths]


def encoder_in(folder, kind, monkeypatch):
    """The model with the encoder in this folder, and a function from signals to mean states ``(segments, layers, width)``."""
    monkeypatch.setenv("SER_ENCODERS", str(folder))
    model = make_model(kind, 3, 320).eval()

    @torch.inference_mode()
    def means(signals):
        flat, lengths = features_of("wave16k", {}, [signal.numpy() for signal in signals], 16_000)
        rows = [torch.from_numpy(row) for row in np.split(flat, np.cumsum(lengths)[:-1])]
        x = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=float("nan"))
        return model.pooled(x, torch.from_numpy(lengths)).unflatten(1, (model.encoder.layers, model.encoder.width))

    return model, means


@torch.inference_mode()
def transformers_means(folder, kind: str, signal: torch.Tensor) -> torch.Tensor:
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    published = getattr(transformers, CLASSES[kind]).from_pretrained(folder).eval()
    inputs = extractor(signal.numpy(), sampling_rate=16_000, return_tensors="pt")
    states = published(inputs.input_values, output_hidden_states=True).hidden_states
    return torch.stack([state[0].mean(dim=0) for state in states])


@pytest.mark.parametrize(("kind", "changes"), PUBLISHED)
@pytest.mark.parametrize("do_normalize", [True, False])
def test_states_are_those_of_transformers_whatever_the_batch(kind, changes, do_normalize, tmp_path, monkeypatch):
    folder = hugging_face_encoder(tmp_path / "encoder", kind, 1, do_normalize, **changes)
    model, means = encoder_in(folder, kind, monkeypatch)
    signals = [signal for signal in signals_of() if len(signal) >= model.encoder.least_samples]
    assert len(signals) >= 4
    together = means([*signals, signals[-1].flip(0)])
    for signal, found in zip(signals, together, strict=False):
        torch.testing.assert_close(found, transformers_means(folder, kind, signal), atol=2e-5, rtol=1e-4)
    assert (together[-1] - together[-2]).abs().max() > 1e-3
    torch.testing.assert_close(means(signals[::-1]), together[:-1].flip(0), atol=1e-5, rtol=0)


def test_segments_that_are_too_short_for_a_state_are_lengthened_by_zeros(tmp_path, monkeypatch):
    model, means = encoder_in(hugging_face_encoder(tmp_path / "encoder", "wav2vec2"), "wav2vec2", monkeypatch)
    assert model.encoder.least_samples == 40
    short = 0.1 * torch.randn(7)
    torch.testing.assert_close(means([short]), means([functional.pad(short, (0, 33))]))


@pytest.mark.parametrize("kind", CLASSES)
def test_segments_of_one_sample_have_finite_states_whatever_the_convolutions(kind, tmp_path, monkeypatch):
    """The first convolution's values may be normalised over time, which one value alone cannot be."""
    model, means = encoder_in(hugging_face_encoder(tmp_path / "encoder", kind, **ONE_CONVOLUTION), kind, monkeypatch)
    assert model.encoder.least_samples == 16 + 8
    assert torch.isfinite(means(signals_of((1, 23, 24)))).all()


def test_what_a_configuration_leaves_out_has_the_default_of_its_kind(tmp_path, monkeypatch):
    """As in a configuration that was written by hand: of the published base's size but for its layers."""
    changes = {"conv_dim": (8,) * 7, "conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2), "num_hidden_layers": 12}
    folder = hugging_face_encoder(tmp_path / "encoder", "wav2vec2", **changes)
    config = json.loads((folder / "config.json").read_text())
    for name in ("conv_kernel", "conv_stride", "num_hidden_layers"):
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    model, means = encoder_in(folder, "wav2vec2", monkeypatch)
    assert (model.encoder.layers, model.encoder.least_samples) == (13, 400)
    signal = signals_of((4000,))
    torch.testing.assert_close(means(signal)[0], transformers_means(folder, "wav2vec2", signal[0]), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("beside", [True, False])
def test_settings_of_signals_are_found_where_transformers_5_saves_them_with_a_tokeniser(beside, tmp_path, monkeypatch):
    """In processor_config.json, which then also goes before preprocessor_config.json."""
    folder = hugging_face_encoder(tmp_path / "encoder", "wav2vec2", feat_extract_norm="layer", conv_bias=True)
    preprocessor = folder / "preprocessor_config.json"
    nested = {"feature_extractor": json.loads(preprocessor.read_text()) | {"do_normalize": False}}
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "Wav2Vec2Processor"}))
    without = find_encoder_in(folder, monkeypatch).sha256
    (folder / "processor_config.json").write_text(json.dumps(nested | {"processor_class": "Wav2Vec2Processor"}))
    if not beside:
        preprocessor.unlink()
    signal = signals_of((4000,))
    _, means = encoder_in(folder, "wav2vec2", monkeypatch)
    torch.testing.assert_close(means(signal)[0], transformers_means(folder, "wav2vec2", signal[0]), atol=2e-5, rtol=1e-4)
    assert find_encoder_in(folder, monkeypatch).sha256 != without
    nested["feature_extractor"]["do_normalize"] = True
    (folder / "processor_config.json").write_text(json.dumps(nested))
    assert (encoder_in(folder, "wav2vec2", monkeypatch)[1](signal) - means(signal)).abs().max() > 1e-3


def find_encoder_in(folder, monkeypatch):
    monkeypatch.setenv("SER_ENCODERS", str(folder))
    return find_encoder("wav2vec2")


def test_calls_at_8_khz_are_resampled(tmp_path, monkeypatch):
    """A tone has nearly the states of the same tone sampled twice as often, and far from those of its samples taken as 16 kHz."""
    _, means = encoder_in(hugging_face_encoder(tmp_path / "encoder", "wavlm"), "wavlm", monkeypatch)
    slow, fast = (np.sin(2 * np.pi * 300 * np.arange(rate) / rate).astype(np.float32) for rate in (8000, 16_000))
    flat, lengths = features_of("wave16k", {}, [slow], 8000)
    assert lengths.tolist() == [51] and (flat.reshape(-1)[:16_000] < 1.2).all() and (flat.reshape(-1)[16_000:] > 1e38).all()
    resampled = torch.from_numpy(flat.reshape(-1)[:16_000])
    near, far = ((means([signal]) - means([torch.from_numpy(fast)])).norm() for signal in (resampled, torch.from_numpy(slow)))
    assert near < 0.1 * far


def as_pickle(folder, tensors):
    torch.save(tensors, folder / "pytorch_model.bin")


def as_shards(folder, tensors):
    names, half = list(tensors), len(tensors) // 2
    files = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
    for file, some in files.items():
        safetensors.torch.save_file({name: tensors[name].contiguous() for name in some}, folder / file)
    index = {"weight_map": {name: file for file, some in files.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def as_pickle_shards(folder, tensors):
    """As of models above the size of one file, with the names of weight norm before PyTorch 2.1."""
    tensors = {old_names(name): tensor for name, tensor in tensors.items()}
    names = list(tensors)
    files = {f"pytorch_model-0000{number + 1}-of-00003.bin": names[number::3] for number in range(3)}
    for file, some in files.items():
        torch.save({name: tensors[name] for name in some}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, some in files.items() for name in some}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def as_half_precision(folder, tensors):
    safetensors.torch.save_file(
        {f"hubert.{old_names(name)}": tensor.bfloat16() for name, tensor in tensors.items()}, folder / "model.safetensors"
    )


def old_names(name):
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, before in old.items():
        name = name.replace(new, before)
    return name


def as_pretraining(folder, tensors):
    """As facebook/wav2vec2-base: a prefix, a head, and the old names of weight norm, in half precision."""
    renamed = {f"hubert.{old_names(name)}": tensor.half() for name, tensor in tensors.items()}
    torch.save(renamed | {"project_hid.weight": torch.zeros(3, 3)}, folder / "pytorch_model.bin")


FORMS = [(as_pickle, None), (as_shards, None), (as_pickle_shards, None), (as_pretraining, torch.half), (as_half_precision, torch.bfloat16)]


@pytest.mark.parametrize(("write", "precision"), FORMS)
def test_every_published_form_of_the_weights_is_read(write, precision, tmp_path, monkeypatch):
    folder = hugging_face_encoder(tmp_path / "encoder", "hubert")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    if precision is not None:
        tensors = {name: tensor.to(precision).float() for name, tensor in tensors.items()}
        safetensors.torch.save_file(tensors, folder / "model.safetensors")
    signals = signals_of((4000,))
    expected = encoder_in(folder, "hubert", monkeypatch)[1](signals)
    (folder / "model.safetensors").unlink()
    write(folder, tensors)
    torch.testing.assert_close(encoder_in(folder, "hubert", monkeypatch)[1](signals), expected, atol=1e-6, rtol=0)


VARIANTS = (
    {},
    {"layer_norm_first": True, "depth": 3, "num_alibi_heads": 2},
    {"extractor_mode": "default", "conv_pos_pre_ln": True, "learned_alibi_scale_per_layer": True, "prenet_depth": 2},
    {"use_alibi_encoder": False, "num_extra_tokens": 0, "normalize": False},
    {"embed_dim": 36, "num_heads": 6, "num_alibi_heads": 6, "conv_pos_depth": 2, "learned_alibi_scale_per_head": False},
    {"norm_affine": False, "feature_encoder_spec": "[(8, 8, 4), (12, 4, 3)]", "conv_pos_width": 8},
)


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize(("layout", "prefix"), [("funasr", ""), ("funasr", "d2v_model."), ("fairseq", "")])
def test_states_of_emotion2vec_are_those_of_its_definition(changes, layout, prefix, tmp_path, monkeypatch):
    folder = emotion2vec_encoder(tmp_path / "encoder", 3, layout, prefix, **changes)
    model, means = encoder_in(folder, "emotion2vec", monkeypatch)
    signals = [signal for signal in signals_of() if len(signal) >= model.encoder.least_samples]
    settings = emotion2vec_settings(**changes)
    tensors = emotion2vec_tensors(settings, 3)
    for signal, found in zip(signals, means(signals), strict=True):
        stated = torch.stack([state.mean(dim=0) for state in emotion2vec_restated(settings, tensors, signal)])
        torch.testing.assert_close(found, stated, atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def emotion2vec_restated(settings, tensors, signal):  # noqa: PLR0915  one formula after the other
    """States of one signal by the formulas of data2vec 2.0, one head and one position at a time; independent of the encoder's code."""
    audio, width, heads = settings["modalities"]["audio"], settings["embed_dim"], settings["num_heads"]
    at = "modality_encoders.AUDIO"

    def linear(name, x):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def standard(x, eps=1e-5):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + eps).sqrt()

    def norm(name, x):
        return standard(x) * tensors[f"{name}.weight"] + tensors[f"{name}.bias"] if f"{name}.weight" in tensors else standard(x)

    x = (standard(signal) if settings["normalize"] else signal)[None]  # (channels, samples)
    for number, (_, _, stride) in enumerate(eval(audio["feature_encoder_spec"])):
        name = f"{at}.local_encoder.conv_layers.{number}"
        windows = x.unfold(1, tensors[f"{name}.0.weight"].shape[2], stride)
        x = torch.einsum("cfk,ock->of", windows, tensors[f"{name}.0.weight"])
        if audio["extractor_mode"] == "layer_norm":
            x = norm(f"{name}.2.1", x.T).T
        elif number == 0:
            x = standard(x) * tensors[f"{name}.2.weight"][:, None] + tensors[f"{name}.2.bias"][:, None]
        x = functional.gelu(x)
    x = linear(f"{at}.project_features.2", norm(f"{at}.project_features.1", x.T))  # (states, width)
    n_states, n_extra = len(x), audio["num_extra_tokens"]
    place, positions = x, f"{at}.relative_positional_encoder"
    if audio["conv_pos_pre_ln"]:
        place, positions = norm(f"{positions}.0", place), f"{positions}.1"
    for number in range(audio["conv_pos_depth"]):
        weight, bias = (tensors[f"{positions}.{number + 1}.0.{part}"] for part in ("weight", "bias"))
        kernel, group = weight.shape[2], width // audio["conv_pos_groups"]
        padded = functional.pad(place.T, (kernel // 2, kernel // 2))
        rows = []
        for channel in range(width):
            first = channel // group * group
            rows.append((padded[first : first + group].unfold(1, kernel, 1)[:, :n_states] * weight[channel][:, None]).sum((0, 2)))
        place = functional.gelu(standard(torch.stack(rows, dim=1) + bias))
    x = x + place
    if n_extra:
        x = torch.cat([tensors[f"{at}.extra_tokens"][0], x])
    if not settings["layer_norm_first"]:
        x = norm(f"{at}.context_encoder.norm", x)

    def bias_of(head, block):
        bias = torch.zeros(n_extra + n_states, n_extra + n_states)
        if audio["use_alibi_encoder"] and head < audio["num_alibi_heads"]:
            scales = tensors[f"{at}.alibi_scale"]
            scales = scales[min(block, len(scales) - 1), 0, :, 0, 0].clamp(min=0)
            slope = published_slopes(audio["num_alibi_heads"])[head] * scales[min(head, len(scales) - 1)]
            for row in range(n_states):
                bias[n_extra + row, n_extra:] = -slope * (torch.arange(n_states) - row).abs()
        return bias

    def attention(name, x, block):
        qkv = linear(f"{name}.attn.qkv", x).view(-1, 3, heads, width // heads)
        mixed = []
        for head in range(heads):
            query, key, value = (qkv[:, part, head] for part in range(3))
            mixed.append((query @ key.T / math.sqrt(width // heads) + bias_of(head, block)).softmax(-1) @ value)
        return linear(f"{name}.attn.proj", torch.cat(mixed, dim=1))

    states = [x]
    names = [f"{at}.context_encoder.blocks.{number}" for number in range(audio["prenet_depth"])]
    for block, name in enumerate([*names, *(f"blocks.{number}" for number in range(settings["depth"]))]):
        if settings["layer_norm_first"]:
            x = norm(f"{name}.norm2", x + attention(name, norm(f"{name}.norm1", x), block))
            x = 2 * linear(f"{name}.mlp.fc2", functional.gelu(linear(f"{name}.mlp.fc1", x)))
        else:
            x = norm(f"{name}.norm1", x + attention(name, x, block))
            x = norm(f"{name}.norm2", x + linear(f"{name}.mlp.fc2", functional.gelu(linear(f"{name}.mlp.fc1", x))))
        states.append(x)
    if settings["layer_norm_first"]:
        states[-1] = norm("norm", x)
    return [state[n_extra:] for state in states]


def published_slopes(heads: int) -> list[float]:
    return {2: [2**-4, 2**-8], 4: [2**-2, 2**-4, 2**-6, 2**-8], 6: [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]}[heads]


def test_slopes_of_heads_that_are_no_power_of_two():
    assert slopes(8) == [2.0**-number for number in range(1, 9)]
    assert slopes(12) == [*(2.0**-number for number in range(1, 9)), *(2.0**-number for number in (0.5, 1.5, 2.5, 3.5))]
    assert slopes(6) == published_slopes(6)


def test_the_published_convolutions_are_read_and_nothing_is_run():
    published = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    assert convolutions_of(published) == [(512, 10, 5), *[(512, 3, 2)] * 4, (512, 2, 2), (512, 2, 2)]
    for text in ("__import__('os').system('true')", "[(1, 2)]", "[(512, 10, 5)] * 99999999", "[]", "[(0, 1, 1)]", "((", "7"):
        with pytest.raises(ValueError, match="feature_encoder_spec is"):
            convolutions_of(text)


def test_the_encoder_is_no_part_of_the_model_and_another_is_refused(tmp_path, monkeypatch):
    folder = hugging_face_encoder(tmp_path / "one", "wav2vec2", 1)
    model, _ = encoder_in(folder, "wav2vec2", monkeypatch)
    tensors = model.state_dict()
    assert {"encoder.digest", "layer_weights", "hidden.weight", "logits.weight", "line_mean"} <= tensors.keys()
    assert not [name for name in tensors if name.startswith("encoder.") and name != "encoder.digest"]
    assert not [name for name, _ in model.named_parameters() if name.startswith("encoder")]
    other, _ = encoder_in(hugging_face_encoder(tmp_path / "two", "wav2vec2", 2), "wav2vec2", monkeypatch)
    with pytest.raises(ValueError, match=r"trained with another encoder, of SHA-256 [0-9a-f]{16}: .*two has [0-9a-f]{16}"):
        other.load_state_dict(tensors)


def test_of_several_encoders_the_one_that_is_named_is_taken(tmp_path, monkeypatch):
    folders = [hugging_face_encoder(tmp_path / "of" / name, "hubert", seed) for seed, name in enumerate(("a", "b"))]
    monkeypatch.setenv("SER_ENCODERS", str(tmp_path))
    with pytest.raises(ValueError, match=r"holds several hubert encoders: a, b\. Name one by --encoder"):
        find_encoder("hubert")
    monkeypatch.setenv("SER_ENCODERS", str(folders[1]))
    wanted = find_encoder("hubert").sha256
    monkeypatch.setenv("SER_ENCODERS", str(tmp_path))
    assert find_encoder("hubert", wanted).path.name == "b"
    shutil.copytree(folders[1], tmp_path / "c")
    shutil.rmtree(folders[0])
    assert find_encoder("hubert").sha256 == wanted, "copies of one encoder are one encoder"


def test_folders_that_cannot_be_used_say_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.delenv("SER_ENCODERS", raising=False)
    with pytest.raises(FileNotFoundError, match=r"wavlm needs a pretrained encoder.*--encoder DIR or SER_ENCODERS"):
        make_model("wavlm", 2, 320)
    monkeypatch.setenv("SER_ENCODERS", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere"):
        make_model("wavlm", 2, 320)
    folder = hugging_face_encoder(tmp_path / "encoder", "hubert")
    monkeypatch.setenv("SER_ENCODERS", str(folder))
    with pytest.raises(FileNotFoundError, match=r"holds no wavlm encoder: it has encoder \(hubert\)"):
        make_model("wavlm", 2, 320)
    with pytest.raises(ValueError, match="trained with the hubert encoder of SHA-256 0{16}: .*encoder [0-9a-f]{16}"):
        make_model("hubert", 2, 320, "0" * 64)


def truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def spoil_config(folder):
    (folder / "config.json").write_text("{")


def other_size(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))


def lacks_a_shard(folder):
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    as_shards(folder, tensors)
    (folder / "model-00002-of-00002.safetensors").unlink()


def truncated_pickle(folder):
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    as_pickle(folder, tensors)
    file = folder / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def without_convolutions(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"conv_kernel": [], "conv_stride": [], "conv_dim": []}))


def deeper(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))


def at_8_khz(folder):
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 8000}))


def without_preprocessor(folder):
    (folder / "preprocessor_config.json").unlink()


def not_finite(folder):
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["encoder.layer_norm.bias"][0] = float("nan")
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


class Malicious:
    def __reduce__(self):
        return print, ("this must never be run",)


def code_in_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Malicious()}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "model.safetensors cannot be read: .*Copy the encoder's folder again"),
        (truncated_pickle, "pytorch_model.bin cannot be read: .*Copy the encoder's folder again"),
        (lacks_a_shard, "model-00002-of-00002.safetensors is not there: the encoder's folder is incomplete, copy it again"),
        (without_weights, "it has no encoder at all. Give a folder with config.json, preprocessor_config.json and model.safetensors"),
        (without_convolutions, "describes no wav2vec2 encoder: .*convolution"),
        (spoil_config, "config.json cannot be read"),
        (other_size, "does not fit its configuration"),
        (deeper, "lacks .* tensors of its configuration"),
        (at_8_khz, "is of an encoder of 8000 Hz: only encoders of 16000 Hz"),
        (without_preprocessor, "There is no preprocessor_config.json"),
        (not_finite, "holds values that are not finite"),
        (code_in_a_pickle, "pytorch_model.bin cannot be read"),
    ],
)
def test_spoilt_folders_are_refused(spoil, message, tmp_path, monkeypatch, capsys):
    folder = hugging_face_encoder(tmp_path / "encoder", "wav2vec2")
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        encoder_in(folder, "wav2vec2", monkeypatch)[1](signals_of((1000,)))
    assert "never be run" not in capsys.readouterr().out


def test_checkpoints_of_emotion2vec_that_cannot_be_used_say_what_is_wrong(tmp_path, monkeypatch):
    emotion2vec_encoder(tmp_path / "learned", learned_alibi=True)
    emotion2vec_encoder(tmp_path / "mode", extractor_mode="default", use_alibi_encoder=False)
    config = tmp_path / "mode" / "config.yaml"
    config.write_text(config.read_text().replace("extractor_mode: default", "extractor_mode: layer_norm"))
    for name, message in (("learned", "learned_alibi is true"), ("mode", "lacks 6 tensors of its configuration")):
        with pytest.raises(ValueError, match=message):
            encoder_in(tmp_path / name, "emotion2vec", monkeypatch)[1](signals_of((1000,)))
