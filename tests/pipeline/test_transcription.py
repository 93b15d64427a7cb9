"""The stage that makes transcripts: which calls get words, what becomes of their rows, and that a killed or failed run loses nothing."""

import dataclasses
import json
from pathlib import Path

import pytest

from ser_tasks.lake.catalog import connect
from ser_tasks.pipeline.transcription import Transcription, with_recogniser
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.schemas import CALL_EMOTIONS, WORD_COLUMNS
from ser_tasks.settings import Settings
from tests.factories import recogniser
from tests.factories.calls import TWO_SIDED, night_of, run_night, two_sided, write_call
from tests.factories.mono import mixed

TURNS = [("agent", 1.0, 5.0), ("customer", 5.5, 9.5), ("agent", 20.0, 24.0), ("customer", 24.5, 28.5)]
CALL = two_sided(TURNS, 30, seed=3)
SAID = json.dumps({"turns": [{"start_s": start, "end_s": end, "role": who, "text": "word " * 8} for who, start, end in TURNS]})
SCORED, MUTED = {"plain", "muted"}, [[24.0, 29.0]]


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(1) as workers:
        yield workers


@pytest.fixture
def calls(tmp_path) -> Path:
    folder = tmp_path / "calls" / "2026-11-20"
    write_call(folder, "plain.wav", CALL, TWO_SIDED)
    write_call(folder, "muted.wav", CALL, TWO_SIDED | {"redact": MUTED})
    write_call(folder, "refused.wav", CALL, TWO_SIDED | {"notice_given": False})
    write_call(folder, "mixed.wav", CALL.sum(axis=1, keepdims=True), None)
    write_call(folder, "theirs.wav", CALL, TWO_SIDED).with_name("theirs.transcript.json").write_text(SAID)
    return folder.parent


def transcribe(calls, lake, bundle, pool, spec=recogniser.SPEC, stop_after=None, **options):
    """The stage without Prefect; returns the number of calls that waited."""
    night = night_of(calls, lake, bundle, pool, only_planned=True, **options)
    with Transcription(dataclasses.replace(night.spec, recogniser=spec), workers=pool) as run:
        plan = run.list_and_plan()
        for day, chunk_id in plan.chunks[:stop_after]:
            run.publish(run.extract(day, chunk_id))
        return plan.recordings


def rows(lake, table="call_emotions") -> dict[str, dict]:
    with connect(str(lake)) as connection:
        found = connection.execute(f"FROM {table} ORDER BY ALL").to_arrow_table().to_pylist()
    return {row["key"].rpartition("/")[2].removesuffix(".wav"): row for row in found} if table != "segments" else dict(enumerate(found))


def test_scored_calls_get_words_and_nothing_else_changes(calls, bundle, pool, tmp_path):
    run_night(calls, tmp_path / "lake", bundle, pool)
    before, segments, outcomes = (rows(tmp_path / "lake", table) for table in ("call_emotions", "segments", "outcomes"))
    assert transcribe(calls, tmp_path / "lake", bundle, pool) == len(SCORED)
    after = rows(tmp_path / "lake")
    assert {name for name, row in after.items() if row["words_source"] == "asr:0123456789ab-int8"} == SCORED
    assert (rows(tmp_path / "lake", "segments"), rows(tmp_path / "lake", "outcomes")) == (segments, outcomes)
    others = [name for name in CALL_EMOTIONS.names if name not in WORD_COLUMNS]
    assert {name: [row[each] for each in others] for name, row in after.items()} == {
        name: [row[each] for each in others] for name, row in before.items()
    }
    assert after["theirs"] == before["theirs"] and after["refused"] == before["refused"] and after["mixed"] == before["mixed"]
    plain = after["plain"]
    assert plain["words_turns"] == 4 and plain["words_offset_s"] == 0 and plain["words_talk_ratio"] == pytest.approx(0.5, abs=0.05)
    assert plain["agent_words_per_minute"] == pytest.approx(120, rel=0.2) and plain["unattributed_words_per_minute"] is None
    assert {row["words"] for row in after.values()} == {None}, "words are counted, and not kept"
    assert after["muted"]["words_turns"] == 3, "nobody hears the muted turn"
    assert transcribe(calls, tmp_path / "lake", bundle, pool) == 0


def test_kept_words_have_times_roles_and_no_digits(calls, bundle, pool, tmp_path):
    keep = Settings(_env_file=None, words="keep")
    run_night(calls, tmp_path / "lake", bundle, pool, settings=keep)
    transcribe(calls, tmp_path / "lake", bundle, pool, settings=keep)
    said = json.loads(rows(tmp_path / "lake")["plain"]["words"])
    said.sort(key=lambda turn: turn["start_s"])
    assert [turn["role"] for turn in said] == [who for who, *_ in TURNS]
    assert [turn["start_s"] for turn in said] == pytest.approx([start for _, start, _ in TURNS], abs=0.7)
    assert "Zanzibar [number]" in said[0]["said"] and "0049" not in str(said)
    with connect(str(tmp_path / "lake")) as connection:
        ((found,),) = connection.execute("SELECT count(DISTINCT call_id) FROM words WHERE said ILIKE '%zanzibar%'").fetchall()
    assert found == len(SCORED)


def test_a_call_without_words_is_done(calls, bundle, pool, tmp_path):
    run_night(calls, tmp_path / "lake", bundle, pool)
    transcribe(calls, tmp_path / "lake", bundle, pool, recogniser.SILENT)
    row = rows(tmp_path / "lake")["plain"]
    assert (row["words_source"], row["words_turns"], row["customer_words_per_minute"]) == ("asr:0123456789ab-int8", 0, None)
    assert transcribe(calls, tmp_path / "lake", bundle, pool) == 0


def test_a_recogniser_that_breaks_leaves_the_scores(calls, bundle, pool, tmp_path):
    run_night(calls, tmp_path / "lake", bundle, pool)
    before = [rows(tmp_path / "lake", table) for table in ("call_emotions", "segments", "outcomes")]
    transcribe(calls, tmp_path / "lake", bundle, pool, recogniser.BROKEN)
    assert [rows(tmp_path / "lake", table) for table in ("call_emotions", "segments", "outcomes")] == before
    assert transcribe(calls, tmp_path / "lake", bundle, pool) == len(SCORED)


def test_a_run_that_was_stopped_goes_on_with_the_chunks_that_are_left(calls, bundle, pool, tmp_path):
    settings = Settings(_env_file=None, chunk_recordings=1)
    run_night(calls, tmp_path / "lake", bundle, pool, settings=settings)
    assert transcribe(calls, tmp_path / "lake", bundle, pool, stop_after=1, settings=settings) == 2
    assert transcribe(calls, tmp_path / "lake", bundle, pool, settings=settings) == 1
    assert {name for name, row in rows(tmp_path / "lake").items() if (row["words_source"] or "").startswith("asr:")} == SCORED


def test_a_recording_that_left_the_store_is_left_alone(calls, bundle, pool, tmp_path):
    run_night(calls, tmp_path / "lake", bundle, pool)
    (calls / "2026-11-20" / "plain.wav").unlink()
    assert transcribe(calls, tmp_path / "lake", bundle, pool) == 1
    assert rows(tmp_path / "lake")["plain"]["words_source"] is None


@pytest.mark.parametrize(("folder", "says"), [(None, "SER_ASR_MODEL is not set"), ("nowhere", "no model.bin|not installed")])
def test_without_a_model_the_stage_says_what_is_missing(calls, bundle, pool, tmp_path, folder, says):
    night = night_of(calls, tmp_path / "lake", bundle, pool, settings=Settings(_env_file=None, asr_model=folder))
    with pytest.raises(ValueError, match=says):
        with_recogniser(night.spec)


def test_a_greeting_says_whose_voice_a_mono_mix_has(bundle, pool, tmp_path):
    write_call(tmp_path / "calls" / "2026-11-20", "mono.wav", mixed()[:, None], None, subtype="PCM_16")
    lake, policy = tmp_path / "lake", "customers_mono"
    run_night(tmp_path / "calls", lake, bundle, pool, policy=policy)
    before = rows(lake, "outcomes")["mono"]
    assert (before["outcome"], before["reason_code"]) == ("withheld", "roles_uncertain")
    assert transcribe(tmp_path / "calls", lake, bundle, pool, recogniser.GREETS, policy=policy) == 1
    after, outcome, segments = rows(lake)["mono"], rows(lake, "outcomes")["mono"], rows(lake, "segments").values()
    assert (outcome["outcome"], outcome["run_id"]) == ("scored", before["run_id"])
    assert (after["outcome"], after["emotion_role"], after["roles_source"]) == ("scored", "customer", "first_speaker")
    assert {row["role"] for row in segments if row["emotion"] is not None} == {"customer"}
    assert after["words_source"] == "asr:0123456789ab-int8" and transcribe(tmp_path / "calls", lake, bundle, pool, policy=policy) == 0


def test_a_mono_mix_whose_words_say_nothing_stays_withheld(bundle, pool, tmp_path):
    write_call(tmp_path / "calls" / "2026-11-20", "mono.wav", mixed()[:, None], None, subtype="PCM_16")
    keep = Settings(_env_file=None, words="keep")
    options = {"policy": "customers_mono", "settings": keep}
    run_night(tmp_path / "calls", tmp_path / "lake", bundle, pool, **options)
    before = rows(tmp_path / "lake", "outcomes")
    assert transcribe(tmp_path / "calls", tmp_path / "lake", bundle, pool, **options) == 1
    row = rows(tmp_path / "lake")["mono"]
    assert rows(tmp_path / "lake", "outcomes") == before and row["emotion_role"] is None
    assert row["words"] is None and row["words_turns"] > 0, "of a withheld call words are counted at most"
    assert transcribe(tmp_path / "calls", tmp_path / "lake", bundle, pool, **options) == 0
