"""Line profiles, from a sample of calls to the rows that name them: which counts for a recording, and that it holds nothing personal."""

import json

import numpy as np
import pytest

from ser_tasks.inference import base_rates
from ser_tasks.inference.line_profile import ALL
from ser_tasks.inference.scores import shares_of
from ser_tasks.lake import profiles
from ser_tasks.pipeline.adapt import adapt
from ser_tasks.pipeline.lines import profile_of_rows, profile_rows
from ser_tasks.pipeline.progress import SampleProgress
from ser_tasks.pipeline.spec import with_profile
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, night_of, tiny_bundle, two_sided, write_call
from tests.factories.nights import ask

CALLERS = 6


@pytest.fixture(scope="module")
def workers():
    with WorkerPool(1) as pool:
        pool.start()
        yield pool


@pytest.fixture(scope="module")
def line_bundle(tmp_path_factory):
    """A model that can be standardised, with random weights in its head."""
    return str(tiny_bundle(tmp_path_factory.mktemp("bundles"), "line", "ge2e_lr", "mel32", temperature=5.0))


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Six callers, one call each, six segments a call, in two languages."""
    folder = tmp_path_factory.mktemp("calls")
    for number in range(CALLERS):
        add_call(folder, number, "2026-11-20")
    return folder


def add_call(folder, number, day, language=None):
    turns = [("agent", 0.2, 1.0)] + [("customer", 2.0 + 4 * turn, 5.0 + 4 * turn) for turn in range(6)]
    facts = {"customer_id": f"C-{number}-Müller", "language": language or ("de" if number < 5 else "en")}
    write_call(folder, f"{day}/call-{number}.wav", two_sided(turns, 27, seed=number + 1), facts | TWO_SIDED)


def run(recordings, lake, bundle, workers, adapting=True, profile=None, **options):
    """A night as the flow runs it: adapts first where it should."""
    with night_of(recordings, lake, bundle, workers, **options) as night:
        if profile:
            night.use(with_profile(night.spec, profile))
        plan = night.list_and_plan()
        if plan.chunks and adapting and night.lacks_profile():
            night.adapt()
        for day, chunk_id in plan.chunks:
            night.publish(night.extract(day, chunk_id))
        return night.write_run(night.check())


@pytest.fixture(scope="module")
def adapted(calls, line_bundle, workers, tmp_path_factory):
    lake = tmp_path_factory.mktemp("adapted") / "lake"
    run(calls, lake, line_bundle, workers)
    return lake


def test_the_first_night_adapts_to_its_own_calls(adapted, calls, line_bundle, workers, tmp_path):
    [(profile_id, counts_from, segments, callers)] = ask(
        adapted, "SELECT profile_id, counts_from, segments, callers FROM profiles WHERE line = 'all'"
    )
    assert (counts_from, segments, callers) == (None, 36, CALLERS)
    rows = ask(adapted, "SELECT line_profile, line, line_distance FROM call_emotions ORDER BY key")
    assert [(row[0], row[1]) for row in rows] == [(profile_id, "language=de,codec=ULAW")] * 5 + [(profile_id, ALL)]
    assert all(0.3 < distance < 2 for *_, distance in rows)
    assert ask(adapted, "SELECT DISTINCT line_profile FROM segments WHERE emotion IS NOT NULL") == [(profile_id,)]
    run(calls, tmp_path / "raw", line_bundle, workers, adapting=False)
    assert ask(tmp_path / "raw", "SELECT DISTINCT line_profile, line, line_distance FROM call_emotions") == [(None, None, None)]
    query = "SELECT p_anger FROM segments WHERE emotion IS NOT NULL ORDER BY call_id, start_s"
    assert np.abs(np.subtract(ask(adapted, query), ask(tmp_path / "raw", query))).max() > 0.05


def test_adapting_says_how_far_it_is(calls, line_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("ser_tasks.pipeline.progress.LINE_EVERY_S", 1e9)  # a slow machine adds lines
    lines = []
    adapt(str(calls), str(tmp_path / "lake"), Settings(model=line_bundle), device="cpu", workers=1, progress=SampleProgress(lines.append))
    assert lines[0].startswith(f"adapting to a sample of {CALLERS} recordings, about 0.0")
    assert lines[1] == f"recordings sampled: {CALLERS} of {CALLERS}"
    assert lines[2].startswith("files pooled: ") and len(lines) == 3


def test_a_line_without_enough_callers_says_why(adapted):
    lines = dict(ask(adapted, "SELECT line, refused FROM profiles"))
    assert lines.keys() == {"all", "language=de", "language=de,codec=ULAW", "language=en", "language=en,codec=ULAW"}
    assert "of 1 callers are too few" in lines["language=en"] and lines["language=de"] is None


def test_the_same_calls_make_the_same_profile_and_rows(adapted, calls, line_bundle, tmp_path):
    run(calls, tmp_path / "again", line_bundle, workers=1, settings=Settings(chunk_recordings=1))
    query = "SELECT profile_id, line, mean, deviation FROM profiles ORDER BY line"
    for one, other in zip(ask(adapted, query), ask(tmp_path / "again", query), strict=True):
        assert one[1] == other[1]
        if one[2]:
            np.testing.assert_allclose(one[2], other[2], rtol=1e-3, atol=1e-4)
    query = "SELECT p_anger FROM segments WHERE emotion IS NOT NULL ORDER BY call_id, start_s"
    np.testing.assert_allclose(ask(adapted, query), ask(tmp_path / "again", query), atol=1e-3)


def test_a_new_profile_counts_for_later_recordings_only(adapted, calls, line_bundle, workers, tmp_path):
    import shutil

    lake, folder = shutil.copytree(adapted, tmp_path / "lake"), shutil.copytree(calls, tmp_path / "calls")
    [(first,)] = ask(lake, "SELECT DISTINCT profile_id FROM profiles")
    for number in range(CALLERS, CALLERS + 3):
        add_call(folder, number, "2026-11-21", "de")
    second = adapt(str(folder), str(lake), Settings(model=line_bundle), device="cpu", workers=1)
    assert second.counts_from is not None and second.profile_id != first
    report = run(folder, lake, line_bundle, workers)
    assert report["scored"] == 3  # nothing old is scored anew
    query = "SELECT day::VARCHAR, line_profile, count(*) FROM call_emotions GROUP BY ALL ORDER BY ALL"
    assert ask(lake, query) == [("2026-11-20", first, CALLERS), ("2026-11-21", second.profile_id, 3)]

    report = run(folder, lake, line_bundle, workers, profile="newest", only_planned=True)
    assert report["scored"] == CALLERS + 3
    assert ask(lake, "SELECT line_profile, count(*) FROM call_emotions GROUP BY ALL") == [(second.profile_id, CALLERS + 3)]
    assert ask(lake, "SELECT count(*) FROM call_emotions_all") == [(2 * (CALLERS + 3),)]


@pytest.mark.parametrize("callers", [0, 1])
def test_too_few_callers_are_scored_raw(callers, line_bundle, workers, tmp_path):
    """One angry caller would be made neutral by his own statistics."""
    folder = tmp_path / "calls"
    for number in range(callers or 1):
        add_call(folder, number, "2026-11-20")
    run(folder, tmp_path / "lake", line_bundle, workers)
    assert ask(tmp_path / "lake", "SELECT count(*), count(line_profile) FROM call_emotions") == [(1, 0)]
    assert ask(tmp_path / "lake", "SELECT count(*) FROM profiles") == [(0,)]


def test_callers_who_were_not_informed_are_in_no_profile(line_bundle, tmp_path):
    folder = tmp_path / "calls"
    for number in range(CALLERS):
        add_call(folder, number, "2026-11-20")
        sidecar = folder / f"2026-11-20/call-{number}.json"
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"notice_given": False}))
    profile = adapt(str(folder), str(tmp_path / "lake"), Settings(model=line_bundle), device="cpu", workers=1)
    assert (profile.lines[ALL].segments, profile.lines[ALL].recordings) == (0, 0)
    assert "0 segments of 0 callers are too few" in profile.lines[ALL].refused
    assert not (tmp_path / "lake/profiles").exists()


def test_a_profile_holds_nothing_of_a_person(adapted):
    [part] = (adapted / "profiles").rglob("*.parquet")
    [columns] = ask(adapted, "SELECT list(column_name) FROM (DESCRIBE profiles)")
    assert not {"recording_id", "call_id", "customer_pseudonym", "key", "etag"} & set(columns[0])
    assert b"C-0" not in part.read_bytes() and "Müller".encode() not in part.read_bytes()


def test_a_profile_survives_its_rows(adapted, line_bundle):
    store = open_store(str(adapted))
    [(model_id,)] = ask(adapted, "SELECT DISTINCT model FROM profiles")
    [key] = profiles.keys(store, model_id)
    rows = profiles.read(store, key)
    assert profile_rows(profile_of_rows(rows), rows[0]["code_version"]) == rows


def test_base_rates_of_a_line_are_shown_and_not_used_where_the_model_may_miss_them(adapted):
    rows = ask(adapted, "SELECT base_rates, base_rates_low, base_rates_high, base_rates_used, refused FROM profiles")
    for rates, low, high, used, refused in rows:
        assert (rates is None) == (low is None) == (high is None) == (used is None) == (refused is not None)
        if rates:
            assert sum(shares_of(rates).values()) == pytest.approx(1, abs=1e-3) and used is False
            assert all(shares_of(low)[label] <= rate <= shares_of(high)[label] for label, rate in shares_of(rates).items())
    assert ask(adapted, "SELECT DISTINCT priors, priors_source FROM call_emotions") == [(None, None)]


@pytest.mark.slow
def test_base_rates_that_are_certain_are_used_and_named(calls, workers, tmp_path, monkeypatch):
    """A bundle that states smaller errors has narrower intervals; six callers alone are too few, so the bound is raised here."""
    labels = ("anger", "happiness", "neutral", "sadness")
    own = {"temperature": 5.0, "priors": dict.fromkeys(labels, 0.25), "base_rate_errors": dict.fromkeys(labels, 0.0)}
    certain = str(tiny_bundle(tmp_path, "certain", "ge2e_lr", "mel32", **own))
    run(calls, tmp_path / "unsure", certain, workers)
    query = "SELECT DISTINCT priors, priors_source FROM call_emotions"
    assert ask(tmp_path / "unsure", query) == [("anger=0.25,happiness=0.25,neutral=0.25,sadness=0.25", "bundle")]

    monkeypatch.setattr(base_rates, "NARROW", 1.0)
    run(calls, tmp_path / "lake", certain, workers)
    lines = dict(ask(tmp_path / "lake", "SELECT line, base_rates FROM profiles WHERE base_rates_used"))
    assert lines.keys() == {ALL, "language=de", "language=de,codec=ULAW"}
    rows = ask(tmp_path / "lake", "SELECT line, priors, priors_source FROM call_emotions")
    assert len(rows) == CALLERS and all((priors, source) == (lines[line], "line") for line, priors, source in rows)

    moved = "SELECT p_anger, p_happiness, p_neutral, p_sadness FROM segments WHERE emotion IS NOT NULL ORDER BY call_id, start_s"
    before, after = np.array(ask(tmp_path / "unsure", moved)), np.array(ask(tmp_path / "lake", moved))
    priors = ask(tmp_path / "lake", "SELECT priors FROM segments WHERE emotion IS NOT NULL ORDER BY call_id, start_s")
    shares = np.array([[shares_of(text)[label] for label in labels] for (text,) in priors])
    np.testing.assert_allclose(after, before * shares / (before * shares).sum(axis=1, keepdims=True), atol=1e-5)

    given = Settings(priors={"anger": 0.1, "happiness": 0.2, "neutral": 0.5, "sadness": 0.2})
    run(calls, tmp_path / "given", certain, workers, settings=given)
    assert ask(tmp_path / "given", query) == [("anger=0.1,happiness=0.2,neutral=0.5,sadness=0.2", "settings")]
    assert ask(tmp_path / "given", "SELECT DISTINCT base_rates_used FROM profiles WHERE line = 'all'") == [(True,)]


def test_features_of_a_network_are_standardised_by_the_first_night_as_pooled_states_are(calls, workers, tmp_path):
    """From the same sample: same lines, fallback and refusals; base rates by scores of each line; the same rows from other batches."""
    labels = ("anger", "happiness", "neutral", "sadness")
    priors = {"anger": 0.1, "happiness": 0.2, "neutral": 0.5, "sadness": 0.2}
    network = str(tiny_bundle(tmp_path, "network", by_line=True, priors=priors))
    lake, again = tmp_path / "lake", tmp_path / "again"
    run(calls, lake, network, workers)
    [(profile_id,)] = ask(lake, "SELECT DISTINCT profile_id FROM profiles")
    rows = ask(lake, "SELECT line_profile, line, line_distance FROM call_emotions ORDER BY key")
    assert [(row[0], row[1]) for row in rows] == [(profile_id, "language=de,codec=ULAW")] * 5 + [(profile_id, ALL)]
    assert all(0.3 < distance < 2 for *_, distance in rows)
    refused = dict(ask(lake, "SELECT line, refused IS NOT NULL FROM profiles"))
    assert refused == {
        ALL: False,
        "language=de": False,
        "language=de,codec=ULAW": False,
        "language=en": True,
        "language=en,codec=ULAW": True,
    }
    [(mean, deviation)] = ask(lake, "SELECT len(mean), len(deviation) FROM profiles WHERE line = 'all'")
    assert mean == deviation == 2 * 40  # no frame, no segment
    for rates, refusal in ask(lake, "SELECT base_rates, refused FROM profiles"):
        assert (rates is None) == (refusal is not None) and (rates is None or set(shares_of(rates)) == set(labels))

    run(calls, again, network, workers, settings=Settings(chunk_recordings=1, frames_per_batch=300))
    query = "SELECT p_anger, p_happiness, p_neutral, p_sadness FROM segments WHERE emotion IS NOT NULL ORDER BY call_id, start_s"
    np.testing.assert_allclose(ask(again, query), ask(lake, query), atol=1e-3)

    run(calls, tmp_path / "raw", network, workers, adapting=False)
    assert np.abs(np.array(ask(tmp_path / "raw", query)) - ask(lake, query)).max() > 0.01
    adapt(str(calls), str(tmp_path / "raw"), Settings(model=network), device="cpu", workers=1)
    report = run(calls, tmp_path / "raw", network, workers, profile="newest", only_planned=True)
    assert report["scored"] == CALLERS
    np.testing.assert_allclose(ask(tmp_path / "raw", query), ask(lake, query), atol=1e-3)


def test_a_model_without_pooled_features_takes_no_profile(calls, bundle, tmp_path):
    with pytest.raises(ValueError, match="takes no line profile"):
        adapt(str(calls), str(tmp_path), Settings(model=bundle), device="cpu", workers=1)


def test_a_profile_is_named_by_its_beginning(adapted, calls, line_bundle):
    night = night_of(calls, adapted, line_bundle)
    [(profile_id,)] = ask(adapted, "SELECT DISTINCT profile_id FROM profiles")
    assert with_profile(night.spec, profile_id[:5]).of_profile == profile_id
    assert f"-on-{profile_id}." in with_profile(night.spec, "newest").version
    with pytest.raises(ValueError, match=f"'zz' names 0 line profiles of .*: it has {profile_id}"):
        with_profile(night.spec, "zz")
