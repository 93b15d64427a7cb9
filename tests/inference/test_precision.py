"""Shorter precisions on a CPU: near float32, a segment's scores the same bit by bit in any company, and float32 where they are not safe."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from ser_tasks.inference import checked
from ser_tasks.inference import scorer as scoring
from ser_tasks.inference.bundle import load_bundle, shared_bundle
from ser_tasks.inference.precision import CHECK_LIMIT, TOLERANCE, Int8Products, check_input
from ser_tasks.inference.scorer import (
    ROWS,
    ROWS_FRAMES,
    Scorer,
    ScorerSpec,
    precision_difference,
    shaped_batches,
    shares,
    with_usable_precision,
)
from ser_tasks.models.processor import has_bfloat16
from ser_tasks.settings import Settings
from tests.factories.calls import tiny_bundle, two_sided, write_call

SHORT = ("bfloat16", "int8")


@pytest.fixture(scope="module", params=["cnn_lstm", "ge2e_lr"])
def bundle(request, tmp_path_factory):
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("bundles"), model=request.param, temperature=1.0))


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch, tmp_path):
    monkeypatch.setattr(checked, "folder", lambda: tmp_path / "cache" / "precision")
    scoring._usable_precision.cache_clear()
    scoring.scorer_of.cache_clear()


def segments(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    frames = np.random.default_rng(0).normal(-30, 15, (sum(lengths), 40)).astype(np.float32)
    return frames, np.array(lengths, np.int64)


def scorer(bundle, precision: str, frames_per_batch: int = 2000) -> Scorer:
    return Scorer(bundle, torch.device("cpu"), frames_per_batch, precision)


@pytest.mark.parametrize("precision", SHORT)
@pytest.mark.parametrize("seed", range(2))
def test_a_segment_has_the_same_scores_bit_by_bit_in_any_company(bundle, precision, seed):
    rng = np.random.default_rng(seed)
    frames, counts = segments(rng.integers(1, 300, 20).tolist())
    together = scorer(bundle, precision, int(rng.integers(1, 3000))).score(frames, counts)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    starts = np.cumsum(counts) - counts
    order = rng.permutation(20)[:10]  # half of them, in another order
    rows = np.concatenate([np.arange(starts[one], starts[one] + counts[one]) for one in order])
    np.testing.assert_array_equal(scorer(bundle, precision).score(frames[rows], counts[order]), together[order])
    one = order[0]
    alone = scorer(bundle, precision).score(frames[starts[one] : starts[one] + counts[one]], counts[[one]])
    np.testing.assert_array_equal(alone[0], together[one])


@pytest.mark.parametrize("precision", SHORT)
def test_a_segment_that_is_not_finite_is_null_and_spoils_no_other(bundle, precision):
    frames, lengths = segments([50, 60, 70])
    clean = scorer(bundle, precision).score(frames, lengths)
    frames[70] = np.nan
    spoilt = scorer(bundle, precision).score(frames, lengths)
    assert np.isnan(spoilt[1]).all()
    np.testing.assert_array_equal(spoilt[[0, 2]], clean[[0, 2]])


def test_shapes_follow_from_a_segments_own_length(bundle):
    _, lengths = segments([1, 64, 65, 200, 300, 5000] + [130] * 40)
    shapes = {}
    for members, (rows, width) in shaped_batches(lengths, np.arange(len(lengths))):
        assert len(members) <= rows <= ROWS and rows * width <= max(ROWS_FRAMES, width) and (lengths[members] <= width).all()
        shapes |= {int(member): (rows, width) for member in members}
    assert [shapes[member] for member in range(7)] == [(16, 64), (16, 64), (16, 128), (16, 256), (12, 320), (1, 5056), (16, 192)]
    assert len(shapes) == 46 and len({shapes[member] for member in range(6, 46)}) == 1


@pytest.mark.parametrize("count", [1, 2, 16])
def test_shares_hold_every_segment_once_and_whole_batches(count):
    lengths = np.random.default_rng(1).integers(0, 460, 300)
    parts = shares(lengths, count)
    assert len(parts) <= count and sorted(np.concatenate(parts)) == list(range(300)) and all((np.diff(part) > 0).all() for part in parts)

    def frames(members) -> int:
        return sum(rows * width for _, (rows, width) in shaped_batches(np.maximum(lengths[members], 1), np.arange(len(members))))

    assert sum(map(frames, parts)) == frames(np.arange(300)), "no batch is computed twice"
    assert max(map(frames, parts)) <= frames(np.arange(300)) / len(parts) + ROWS_FRAMES
    assert shares(np.zeros(0, np.int64), count) == []


@pytest.mark.skipif(not has_bfloat16(), reason="no bfloat16 here")
@pytest.mark.parametrize("name", ["fast", "cnn_tcn", "cnn_lstm"])
def test_shipped_models_pass_the_check_in_bfloat16(name):
    assert 0 < precision_difference(scorer(shared_bundle(name, {}), "bfloat16")) <= CHECK_LIMIT < TOLERANCE


def test_the_input_of_the_check_is_the_same_everywhere():
    signals = check_input()
    assert [len(signal) for signal in signals] == [8800, 12800, 16800, 20800] * 2
    again = check_input()
    assert all(np.array_equal(one, other) and one.dtype == np.float32 for one, other in zip(signals, again, strict=True))
    assert all(0.03 < signal.std() < 0.5 and np.abs(signal).max() <= 1 for signal in signals)


def asked(name: str, precision: str, device: str = "cpu") -> ScorerSpec:
    return ScorerSpec(name, shared_bundle(name, {}).model_id, device, precision=precision)


@pytest.mark.parametrize(("has", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_where_the_processor_multiplies_it(monkeypatch, has, expected):
    monkeypatch.setattr(scoring, "has_bfloat16", lambda: has)
    monkeypatch.setattr(scoring, "precision_difference", lambda short: CHECK_LIMIT)
    assert with_usable_precision(asked("cnn_tcn", "auto")).precision == expected
    assert with_usable_precision(asked("cnn_tcn", "bfloat16")).precision == expected
    assert with_usable_precision(asked("cnn_tcn", "float32")).precision == "float32"


def asked_anew(given: ScorerSpec) -> str:
    """The precision that another process on this machine would find."""
    scoring._usable_precision.cache_clear()
    return with_usable_precision(given).precision


@pytest.fixture
def checks(monkeypatch):
    """The checks that were made, each of which finds 0.001."""
    made: list[str] = []
    monkeypatch.setattr(scoring, "has_bfloat16", lambda: True)
    monkeypatch.setattr(scoring, "precision_difference", lambda short: made.append(short.precision) or 0.001)
    return made


def test_a_check_is_made_once_on_a_machine_for_each_model_and_precision(checks):
    for _ in range(2):
        assert asked_anew(asked("cnn_tcn", "bfloat16")) == asked_anew(asked("cnn_tcn", "auto")) == "bfloat16"
    assert checks == ["bfloat16"]
    assert asked_anew(asked("cnn_tcn", "int8")) == "int8"
    assert asked_anew(asked("fast", "bfloat16")) == "bfloat16"
    assert checks == ["bfloat16", "int8", "bfloat16"]


@pytest.mark.parametrize("what", ["torch", "threads", "code", "processor"])
def test_what_was_checked_with_something_else_is_checked_again(checks, monkeypatch, what):
    asked_anew(asked("cnn_tcn", "int8"))
    if what == "torch":
        monkeypatch.setattr(torch, "__version__", "0.0.0")
    elif what == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    else:
        monkeypatch.setattr(checked, {"code": "_code", "processor": "_name"}[what], lambda *of: "another")
    assert asked_anew(asked("cnn_tcn", "int8")) == "int8"
    assert len(checks) == 2


BROKEN = [b"", b"{", b"[]", b"\xff\xfe", b'{"key": {}, "difference": 0}', b'{"difference": 0}']


@pytest.mark.parametrize("content", [*BROKEN, "NaN", "-1", "true", '"0"', "null"])
def test_what_cannot_be_read_is_checked_again_and_replaced(checks, content):
    asked_anew(asked("cnn_tcn", "int8"))
    [file] = checked.folder().iterdir()
    whole = file.read_bytes()
    file.write_bytes(content if isinstance(content, bytes) else whole.replace(b"0.001", content.encode()))
    assert asked_anew(asked("cnn_tcn", "int8")) == "int8" and len(checks) == 2
    assert file.read_bytes() == whole and list(checked.folder().iterdir()) == [file]


def test_a_check_that_failed_is_remembered_too(checks, monkeypatch):
    monkeypatch.setattr(scoring, "precision_difference", lambda short: checks.append("") or float("inf"))
    assert [asked_anew(asked("cnn_tcn", "int8")) for _ in range(2)] == ["float32"] * 2
    assert len(checks) == 1


@pytest.mark.parametrize("place", ["a file", "/proc"])
def test_without_a_folder_to_write_to_each_process_checks(checks, monkeypatch, tmp_path, place):
    (tmp_path / "a file").write_text("-")
    monkeypatch.setattr(checked, "folder", lambda: tmp_path / place / "here")
    assert [asked_anew(asked("cnn_tcn", "int8")) for _ in range(2)] == ["int8"] * 2
    assert len(checks) == 2


def test_auto_on_cuda_is_float32(monkeypatch):
    monkeypatch.setattr(scoring, "has_bfloat16", lambda: True)
    assert with_usable_precision(asked("cnn_tcn", "auto", "cuda")).precision == "float32"


@pytest.mark.parametrize("precision", SHORT)
def test_a_precision_that_fails_the_check_is_float32_with_a_warning(monkeypatch, caplog, precision):
    monkeypatch.setattr(scoring, "has_bfloat16", lambda: True)
    monkeypatch.setattr(scoring, "precision_difference", lambda short: CHECK_LIMIT * 1.01)
    assert with_usable_precision(asked("cnn_tcn", precision)).precision == "float32"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "is scored in float32" in caplog.text and precision in caplog.text


def test_a_model_whose_scores_move_too_far_is_float32(monkeypatch, caplog):
    monkeypatch.setattr(scoring, "has_bfloat16", lambda: True)
    assert with_usable_precision(asked("ge2e_tcn", "bfloat16")).precision == "float32"
    assert "moves some of its scores" in caplog.text


def test_the_check_sees_a_network_that_does_not_bear_rounding(monkeypatch):
    bundle = shared_bundle("cnn_lstm", {})
    real = type(bundle).probabilities
    wild = lambda self, x, n: real(self, x, n) + (0.5 if torch.is_autocast_enabled("cpu") else 0)  # noqa: E731
    monkeypatch.setattr(type(bundle), "probabilities", wild)
    assert precision_difference(scorer(bundle, "bfloat16")) == pytest.approx(0.5, abs=0.01)
    nan = lambda self, x, n: real(self, x, n) * (torch.nan if torch.is_autocast_enabled("cpu") else 1)  # noqa: E731
    monkeypatch.setattr(type(bundle), "probabilities", nan)
    assert precision_difference(scorer(bundle, "bfloat16")) == np.inf


def test_products_in_8_bits_have_a_scale_for_each_row():
    rng = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(96, 128, generator=rng), torch.randn(96, generator=rng)
    x = torch.randn(40, 128, generator=rng) * torch.logspace(-3, 3, 40)[:, None]  # rows of very different size
    exact = functional.linear(x, weight, bias)
    with Int8Products():
        short = functional.linear(x, weight, bias)
        one = functional.linear(x[7:8], weight, bias)
        small = functional.linear(x[:, :32], weight[:, :32])
    error = (short - exact).abs().amax(dim=1) / (exact - bias).abs().amax(dim=1)
    assert 0 < error.max() < 0.02
    assert torch.equal(short[7:8], one)
    assert torch.equal(small, functional.linear(x[:, :32], weight[:, :32]))
    assert functional.linear(torch.zeros(2, 128), weight, bias).allclose(bias.expand(2, -1))


def test_settings_know_the_precisions():
    assert Settings.model_fields["precision"].default == "auto"
    with pytest.raises(ValueError, match="choose auto, float32, bfloat16, float16 or int8"):
        Settings(precision="int4")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_rows_and_run_say_the_precision(tmp_path, monkeypatch, precision):
    from ser_tasks.lake import catalog, read_only
    from tests.factories.calls import run_night

    calls = tmp_path / "calls"
    monkeypatch.setattr(scoring, "has_bfloat16", lambda: True)
    monkeypatch.setattr(scoring, "precision_difference", lambda short: 0.0)
    write_call(calls / "2026-11-20", "one.wav", two_sided([("agent", 0.2, 3.0), ("customer", 4.0, 9.0)], 10))
    write_call(calls / "2026-11-20", "quiet.wav", np.zeros((40_000, 1), np.float32))
    given = Settings().model_copy(update={"precision": precision})
    row = run_night(calls, tmp_path / "lake", tiny_bundle(tmp_path), settings=given, policy="everyone")
    assert row["precision"] == precision
    with catalog.connect(str(tmp_path / "lake")) as connection:
        rows = {tuple(each.values()) for each in read_only.query(connection, "SELECT outcome, precision FROM call_emotions").to_pylist()}
        of_segments = read_only.query(connection, "SELECT DISTINCT precision FROM segments").to_pylist()
    assert rows == {("scored", precision), ("no_speech", None)}
    assert of_segments == [{"precision": precision}]


def test_a_specification_keeps_everything_else():
    spec = replace(asked("cnn_tcn", "auto"), frames_per_batch=77)
    assert replace(with_usable_precision(spec), precision="auto") == spec
