"""Nights over recordings with transcripts: what is counted, whose roles are taken, and what is not used and says so."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ser_tasks.inference.bundle import load_bundle, save_bundle
from ser_tasks.inference.fusion import Fusion, Weight
from ser_tasks.lake.catalog import connect
from ser_tasks.maintenance import retention, withdrawal
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from ser_tasks.transcripts.counts import sure_roles
from ser_tasks.transcripts.redaction import redacted
from ser_tasks.transcripts.sentiment import EMPTY, sentiment
from ser_tasks.transcripts.transcript import Turn
from tests.factories.calls import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call

SECRET = "Zanzibar"


def dialogue(seed: int, seconds: float = 60) -> list[tuple[str, float, float]]:
    """Turns of two people, one after the other, of all lengths."""
    rng, at, turns = np.random.default_rng(seed), 1.0, []
    while True:
        length = float(rng.uniform(1, 7))
        if at + length > seconds - 1:
            return turns
        turns.append((("agent", "customer")[len(turns) % 2], round(at, 2), round(at + length, 2)))
        at += length + float(rng.uniform(0.3, 2.5))


TURNS = dialogue(1)
CALL = two_sided(TURNS, 60, seed=1)


def said(turns, by=2.0):
    """Words of a turn: so many a second, the last of an agent's turn with a question mark."""
    return [
        (who, start, end, " ".join([SECRET] * round(by * (end - start))) + ("?" if who == "agent" else ".")) for who, start, end in turns
    ]


def vtt(turns, offset_s=0.0):
    def clock(time_s):
        return f"{int(time_s // 3600):02}:{int(time_s // 60 % 60):02}:{time_s % 60:06.3f}"

    cues = [f"{clock(s + offset_s)} --> {clock(e + offset_s)}\n<v {who.title()}>{text}" for who, s, e, text in said(turns)]
    return "WEBVTT\n\n" + "\n\n".join(cues)


def deepgram(turns):
    utterances = [{"start": s, "end": e, "channel": int(who == "customer"), "transcript": text} for who, s, e, text in said(turns)]
    return json.dumps({"results": {"utterances": utterances}})


def plain_turns(turns):
    return [{"start_s": start, "end_s": end, "role": who, "text": text} for who, start, end, text in said(turns)]


SWAPPED = [({"agent": "customer", "customer": "agent"}[who], start, end) for who, start, end in TURNS]
CASES = {  # the sidecar, the transcript's suffix and text
    "counted": (TWO_SIDED, ".vtt", vtt(TURNS)),
    "roles": (None, ".transcript.json", json.dumps({"turns": plain_turns(TURNS)})),
    "no-roles": (TWO_SIDED, ".transcript.json", deepgram(TURNS)),
    "late": (TWO_SIDED, ".vtt", vtt(TURNS, 5)),
    "too-late": (TWO_SIDED, ".vtt", vtt(TURNS, 45)),
    "another": (TWO_SIDED, ".vtt", vtt(dialogue(2))),
    "swapped": (TWO_SIDED, ".vtt", vtt(SWAPPED)),
    "broken": (TWO_SIDED, ".transcript.json", '{"results": {"items": [' + SECRET),
    "empty": (TWO_SIDED, ".srt", ""),
    "without": (TWO_SIDED, None, None),
}  # fmt: skip


def ask(lake: Path, query: str) -> list[tuple]:
    with connect(str(lake)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def night(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("transcripts")
    for name, (facts, suffix, text) in CASES.items():
        path = write_call(folder / "calls", f"2026-11-20/{name}.wav", CALL, facts)
        if suffix:
            path.with_name(name + suffix).write_text(text)
    run_night(folder / "calls", folder / "lake", tiny_bundle(folder))
    return folder


def row(night: Path, name: str, *columns: str) -> tuple:
    (found,) = ask(
        night / "lake",
        f"SELECT {', '.join(columns)} FROM call_emotions JOIN outcomes USING (recording_id) WHERE call_emotions.key LIKE '%/{name}.wav'",
    )
    return found


def test_no_transcript_stops_a_call(night):
    outcomes = dict(ask(night / "lake", "SELECT regexp_extract(key, '([^/]+)[.]wav', 1), outcome FROM outcomes"))
    assert outcomes == dict.fromkeys(CASES, "scored") | {"swapped": "withheld"}


@pytest.mark.parametrize("name", ["counted", "roles", "no-roles"])
def test_words_are_counted(night, name):
    words = {who: [len(text.split()) for of, *_, text in said(TURNS) if of == who] for who in ("agent", "customer")}
    minutes = {who: sum(end - start for of, start, end in TURNS if of == who) / 60 for who in ("agent", "customer")}
    found = row(night, name, "words_offset_s", "words_turns", "agent_words_per_minute", "customer_words_per_minute", "agent_questions",
                "customer_questions", "words_agent_longest_turn_s", "words_talk_ratio", "unattributed_words_per_minute")  # fmt: skip
    assert found[0] == 0 and found[1] == len(TURNS) and found[8] is None
    assert found[2:4] == pytest.approx([sum(words[who]) / minutes[who] for who in words], rel=1e-4)
    assert found[4:6] == (len(words["agent"]), 0)
    assert found[6] == pytest.approx(max(end - start for who, start, end in TURNS if who == "agent"))
    assert found[7] == pytest.approx(minutes["agent"] / sum(minutes.values()), rel=1e-4)


def test_turn_taking_needs_no_transcript(night):
    columns = (
        "talk_ratio",
        "turns_per_minute",
        "agent_longest_turn_s",
        "customer_response_s",
        "agent_syllables_per_s",
        "words_source",
        "redact",
    )
    found = row(night, "without", *columns)
    lengths = {who: sum(end - start for of, start, end in TURNS if of == who) for who in ("agent", "customer")}
    answers = [after[1] - before[2] for before, after in zip(TURNS, TURNS[1:], strict=False) if after[0] == "customer"]
    assert found[0] == pytest.approx(lengths["agent"] / sum(lengths.values()), abs=0.03)
    assert found[1] == pytest.approx(len(TURNS), abs=1)
    assert found[2] == pytest.approx(max(end - start for who, start, end in TURNS if who == "agent"), abs=0.5)
    assert found[3] == pytest.approx(float(np.median(answers)), abs=0.3)
    assert found[4] == pytest.approx(4.2, abs=1.0), "the buzz has 4.2 syllables a second"
    assert found[5:] == (None, None)
    assert found[:5] == row(night, "counted", *columns[:5])


def test_roles_come_from_a_transcript_with_provenance(night):
    assert row(night, "roles", "channel_roles", "roles_source", "emotion_role") == ("agent,customer", "transcript", "customer")
    assert row(night, "counted", "channel_roles", "roles_source") == ("agent,customer", "sidecar")


def test_a_contradiction_leaves_roles_unknown(night):
    found = row(night, "swapped", "channel_roles", "roles_source", "reason_code", "note", "words_turns", "agent_words_per_minute")
    assert found[:3] == ("unknown,unknown", None, "role_unknown")
    assert "another than agent speaks on channel 0: roles are unknown" in found[3]
    assert found[4] == 1 and found[5] is None


def test_times_that_are_off_are_corrected_or_refused(night):
    offset_s, turns, note = row(night, "late", "words_offset_s", "words_turns", "note")
    assert offset_s == pytest.approx(-5, abs=0.2) and turns == len(TURNS)
    assert "times were off by +" in note and "corrected" in note
    for name in ("too-late", "another"):
        source, turns, note = row(night, name, "words_source", "words_turns", "note")
        assert source is None and turns is None and note.startswith("the transcript is not used: "), note
        assert "another call's" in note


def test_a_broken_transcript_is_a_note_without_what_was_said(night):
    assert row(night, "broken", "note") == (
        "the transcript is not used: It is no whole JSON document at character 23: it may be cut off. Export the transcript again",
    )
    assert "of no known format" in row(night, "empty", "note")[0]
    assert row(night, "without", "note") == (None,)


def test_nothing_that_was_said_is_kept_by_default(night):
    for path in (night / "lake").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_a_later_transcript_is_planned_and_a_lost_one_is_not(tmp_path):
    bundle = tiny_bundle(tmp_path)
    path = write_call(tmp_path / "calls", "2026-11-20/a.wav", CALL, TWO_SIDED)
    assert run_night(tmp_path / "calls", tmp_path / "lake", bundle)["scored"] == 1
    path.with_suffix(".vtt").write_text(vtt(TURNS))
    assert run_night(tmp_path / "calls", tmp_path / "lake", bundle)["scored"] == 1
    assert ask(tmp_path / "lake", "SELECT words_source FROM call_emotions") == [("webvtt",)]
    assert run_night(tmp_path / "calls", tmp_path / "lake", bundle)["planned"] == 0
    path.with_suffix(".vtt").unlink()
    assert run_night(tmp_path / "calls", tmp_path / "lake", bundle)["planned"] == 0


def test_transcripts_lie_in_a_store_of_their_own_or_under_a_services_name(tmp_path):
    for name in ("a", "b"):
        write_call(tmp_path / "calls", f"2026-11-20/{name}.wav", CALL, TWO_SIDED)
    (tmp_path / "texts/2026-11-20").mkdir(parents=True)
    (tmp_path / "texts/2026-11-20/a.wav.json").write_text(deepgram(TURNS))
    (tmp_path / "texts/2026-11-20/b_analytics.json").write_text(deepgram(TURNS))
    settings = Settings(transcripts=str(tmp_path / "texts"), transcript_pattern=r"(?P<stem>.+)_analytics\.json")
    run_night(tmp_path / "calls", tmp_path / "lake", tiny_bundle(tmp_path), settings=settings)
    assert ask(tmp_path / "lake", "SELECT words_source FROM call_emotions") == [("deepgram",)] * 2


def test_what_nobody_may_hear_is_silence(tmp_path):
    bundle = tiny_bundle(tmp_path)
    first, second = TURNS[1][1:], TURNS[3][1:]
    texts = {"turns": [{"start_s": s, "end_s": e, "role": w, "text": "x"} for w, s, e in TURNS], "redact": [list(second)]}
    path = write_call(tmp_path / "calls", "2026-11-20/a.wav", CALL, TWO_SIDED | {"redact": [list(first)]})
    path.with_suffix(".transcript.json").write_text(json.dumps(texts))
    write_call(tmp_path / "calls", "2026-11-20/bad.wav", CALL, TWO_SIDED | {"redact": [[5, 4]]})
    run_night(tmp_path / "calls", tmp_path / "lake", bundle)
    [(redact,)] = ask(tmp_path / "lake", "SELECT redact FROM call_emotions")
    assert json.loads(redact) == [list(first), list(second)]
    spans = ask(tmp_path / "lake", "SELECT start_s, end_s FROM segments")
    assert len(spans) > 3
    for start, end in (first, second):
        assert all(min(end, e) - max(start, s) < 0.25 for s, e in spans)
    [(code, reason)] = ask(tmp_path / "lake", "SELECT reason_code, reason FROM outcomes WHERE outcome = 'quarantined'")
    assert code == "bad_facts" and "redact: write ranges in seconds, as [[12.4, 31.0]]" in reason


WORDS = {"turns": [{"start_s": start, "end_s": end, "role": who, "text": f"Turn {number}: mail ann.b@example.org, call 0170/123 45"}
                   for number, (who, start, end) in enumerate(TURNS)], "redact": [[TURNS[2][1], TURNS[2][2]]]}  # fmt: skip


def test_words_are_kept_on_request_redacted_until_their_retention_or_an_erasure(tmp_path):
    bundle, keep = tiny_bundle(tmp_path), Settings(words="keep", keep_words_days=30)
    newer = datetime.now(UTC).date() - timedelta(days=2)
    facts = TWO_SIDED | {"customer_id": "c-1"}
    days = {"2026-01-20": facts, str(newer): facts, f"{newer} no": facts | {"notice_given": False}}
    for day, of in days.items():
        path = write_call(tmp_path / "calls", f"{day[:10]}/{day[10:].strip() or 'a'}.wav", CALL, of)
        path.with_suffix(".transcript.json").write_text(json.dumps(WORDS))
    lake = tmp_path / "lake"
    run_night(tmp_path / "calls", lake, bundle, settings=keep.model_copy(update={"keep_words_days": None}))
    found = ask(lake, "SELECT call_date, role, start_s, end_s, said FROM words ORDER BY ALL")
    assert len(found) == 2 * (len(TURNS) - 1), "neither a muted turn nor a withheld call has words"
    (first, *_) = found
    assert first[1:] == (TURNS[0][0], *TURNS[0][1:], "Turn [number]: mail [e-mail], call [number]")
    assert ask(lake, "SELECT count(*) FROM words WHERE said ILIKE '%MAIL%'") == [(len(found),)]
    assert all(b"example.org" not in path.read_bytes() for path in lake.rglob("*.parquet"))

    store = open_store(str(lake))
    past = retention.expired_words(store, keep)
    assert (past.days, past.recordings) == ((date(2026, 1, 20),), 1) and past.summary().startswith("words of 1 days: 1 rows")
    assert retention.delete_words(store, past, 0, 0) == 1
    assert {day for (day,) in ask(lake, "SELECT call_date FROM words")} == {newer}
    assert ask(lake, "SELECT count(*), count(words_turns) FROM call_emotions") == [(3, 3)]
    assert retention.expired_words(store, keep).days == ()
    assert retention.expired_words(store, Settings()).days == ()

    run_night(tmp_path / "calls", tmp_path / "again", bundle, settings=keep)
    assert {day for (day,) in ask(tmp_path / "again", "SELECT call_date FROM words")} == {newer}, "a new night brings none back"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Card 4111 1111-1111.1111, thanks", "Card [number], thanks"),
        ("It is +49 (0)170 1234567.", "It is [number]."),
        ("write to a.b+c@sub.example.co.uk or x @ y.de!", "write to [e-mail] or [e-mail]"),
        ("٤٥٦ and 24/7 at 10:30", "[number] and [number] at [number]"),
        ("No numbers here?", "No numbers here?"),
    ],
)
def test_digits_and_addresses_are_taken_out(text, kept):
    assert redacted(text).replace("[e-mail]!", "[e-mail]") == kept


SAID = {"agent": "I am sorry, that is a terrible mistake of my colleague.", "customer": "Thank you, that is very kind of you."}
FURIOUS = "This is a disgrace, I hate it!"
GERMAN = "Ich bin sehr wütend, die Rechnung war falsch."
LOW = [number for number, (who, *_) in enumerate(TURNS) if who == "customer"][2]
"""The turn in which the customer is furious."""


def english(texts: dict[str, str] = SAID, language: str | None = "en-US", **facts) -> str:
    said = [FURIOUS if number == LOW and texts is SAID else texts[who] for number, (who, *_) in enumerate(TURNS)]
    turns = [{"start_s": s, "end_s": e, "role": who, "text": text} for (who, s, e), text in zip(TURNS, said, strict=True)]
    return json.dumps({"turns": turns, "language": language} | facts)


FELT = {  # the sidecar's facts, the transcript
    "english": ({}, english()),
    "of-sidecar": ({"language": "en"}, english(language=None)),
    "unknown": ({}, english(language=None)),
    "two-languages": ({"language": "de"}, english()),
    "german": ({}, english(dict.fromkeys(SAID, GERMAN), "de-DE")),
    "german-as-english": ({}, english(dict.fromkeys(SAID, GERMAN))),
    "refused": ({"notice_given": False}, english()),
    "muted": ({}, english(redact=[list(TURNS[LOW][1:])])),
    "none": ({"language": "en"}, None),
}  # fmt: skip


FUSION = Fusion(
    voice="",
    intercept=-2.0,
    weights={
        "call_anger_logit": Weight(-1.0, 1.0, 0.7),
        "talk_ratio": Weight(0.5, 0.2, -1.0),
        "customer_words_sentiment": Weight(0.0, 0.2, -1.0),
    },
    parts={"voice": 0.2, "turn_taking": 0.4, "words": 0.4},
    calls=40,
    angry=20,
    callers=40,
    scores={},
)


@pytest.fixture(scope="module")
def felt(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("felt")
    for name, (facts, text) in FELT.items():
        path = write_call(folder / "calls", f"2026-11-20/{name}.wav", CALL, TWO_SIDED | facts)
        if text:
            path.with_suffix(".transcript.json").write_text(text)
    voice = load_bundle(tiny_bundle(folder))
    fused = save_bundle(replace(voice, name="fused", fusion=replace(FUSION, voice=voice.model_id)), folder / "fused")
    assert run_night(folder / "calls", folder / "lake", fused, settings=Settings(words="keep"))["checks_failed"] == 0
    return folder


def test_words_have_a_sentiment_beside_the_voice(felt):
    customers = [number for number, (who, *_) in enumerate(TURNS) if who == "customer"]
    for name in ("english", "of-sidecar"):
        mean, share, at_s, agent, reason = row(felt, name, "customer_words_sentiment", "customer_words_negative_share",
                                               "customer_words_lowest_at_s", "agent_words_sentiment", "words_sentiment_reason")  # fmt: skip
        assert share == pytest.approx(1 / len(customers)) and at_s == TURNS[LOW][1] and (agent, reason) == (None, None)
        assert mean == pytest.approx((sentiment(FURIOUS) + (len(customers) - 1) * sentiment(SAID["customer"])) / len(customers))
    voice = "call_anger", "customer_loudness_dbfs", "share_anger", "words_turns"
    assert row(felt, "english", *voice) == row(felt, "german", *voice), "what is said changes nothing of the voice"
    turns = ask(felt / "lake", "SELECT role, sentiment FROM words WHERE call_id LIKE '%/english' ORDER BY start_s")
    assert [value for role, value in turns if role == "agent"] == [None] * (len(TURNS) - len(customers))
    assert turns[LOW][1] == pytest.approx(sentiment(FURIOUS))


@pytest.mark.parametrize(
    ("name", "language", "reason"),
    [
        ("unknown", None, "language_unknown"),
        ("two-languages", "en-US", "language_contradicted"),
        ("german", "de-DE", "language_unsupported"),
        ("german-as-english", "en-US", "not_english"),
        ("refused", "en-US", "not_scored"),
        ("none", None, None),
    ],
)
def test_words_without_a_sentiment_say_why(felt, name, language, reason):
    values = row(felt, name, "words_language", "words_sentiment_reason", *EMPTY)
    assert values == (language, reason, *[None] * len(EMPTY))
    assert ask(felt / "lake", f"SELECT count(sentiment) FROM words WHERE call_id LIKE '%/{name}'") == [(0,)]


def test_words_that_nobody_may_hear_have_none(felt):
    share, at_s = row(felt, "muted", "customer_words_negative_share", "customer_words_lowest_at_s")
    assert (share, at_s) == (0, None)


def test_agents_words_have_a_sentiment_only_where_the_policy_scores_agents(felt, tmp_path):
    run_night(felt / "calls", tmp_path / "lake", tiny_bundle(tmp_path), policy="everyone")
    found = ask(
        tmp_path / "lake",
        "SELECT count(agent_words_sentiment), max(agent_words_sentiment) FROM call_emotions WHERE words_language = 'en-US'",
    )
    assert found == [(2, pytest.approx(sentiment(SAID["agent"])))] and found[0][1] < 0


def test_a_turn_of_a_doubtful_role_is_nobodys():
    turns = [Turn(0, 4, None, "x"), Turn(4, 8, None, "x"), Turn(9, 9.5, None, "x")]
    speech = {"agent": np.repeat([True, False, False], [40, 40, 20]), "customer": np.repeat([False, True, False], [40, 40, 20])}
    assert sure_roles(["customer", "customer", "customer"], turns, speech, 0.1) == ["unattributed", "customer", "unattributed"]
    assert sure_roles(["agent", "customer", "customer"], turns, {}, 0.1) == ["agent", "customer", "customer"]


def test_a_refusal_takes_the_sentiment_too(felt, tmp_path):
    lake, calls = tmp_path / "lake", tmp_path / "calls"
    shutil.copytree(felt / "lake", lake)
    shutil.copytree(felt / "calls", calls)
    (calls / "2026-11-20/english.json").write_text(json.dumps(TWO_SIDED | {"notice_given": False}))
    run_night(calls, lake, tiny_bundle(tmp_path))
    store = open_store(str(lake))
    withdrawal.withdraw(store, withdrawal.find(store), 0, 0)
    found = [row for path in lake.rglob("call_emotions/**/*.parquet") for row in pq.ParquetFile(path).read().to_pylist()]
    mine = [row for row in found if row["key"].endswith("/english.wav")]
    assert mine and all(row[name] is None for row in mine for name in EMPTY)


def test_a_fusion_takes_the_words_in_beside_the_voice(felt, night):
    columns = "call_anger", "call_anger_fused", "emotion_role", "talk_ratio", "customer_words_sentiment"
    words, none, german = (dict(zip(columns, row(felt, name, *columns), strict=True)) for name in ("english", "none", "german"))
    for facts in (words, none, german):
        assert facts["call_anger_fused"] == pytest.approx(FUSION.anger_of(facts), rel=1e-4)
    assert words["customer_words_sentiment"] > 0 and words["call_anger"] == none["call_anger"] == german["call_anger"]
    assert words["call_anger_fused"] < none["call_anger_fused"] == german["call_anger_fused"]
    assert row(felt, "refused", "call_anger_fused") == (None,)
    assert ask(night / "lake", "SELECT count(call_anger) > 0, count(call_anger_fused) FROM call_emotions") == [(True, 0)]
