"""Nights over mono mixes under the policy customers_mono: who is scored, what the rows say, and what is left of voices."""

import re
import resource
from pathlib import Path

import numpy as np
import pytest

from ser_tasks.lake.catalog import connect
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from tests.factories.calls import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call
from tests.factories.crosstalk import late, with_echo, with_noise
from tests.factories.mono import SPOKEN, mixed

MIX = mixed()
ALONE = mixed([("agent", start, end) for _, start, end in SPOKEN])
TURNS = [{"start_s": start, "end_s": end, "role": who} for who, start, end in SPOKEN]
PROMPT = mixed([("prompt", 0.5, 6), *((who, start + 6, end + 6) for who, start, end in SPOKEN)], 29)
CALL = two_sided([("agent", 0.5, 5), ("customer", 5.5, 8), ("customer", 9, 12)], 13, seed=4).T
CONFERENCE = np.stack([mixed(SPOKEN[::2]), mixed([("customer", 4.6, 7.4), ("prompt", 11.5, 15), ("customer", 18.4, 22)])])
AGENTS = [(start, end) for who, start, end in SPOKEN if who == "agent"]
OWN = "Under the policy customers_mono: it is not safe to say whose voice is the customer's on this mono mix"
CALLS: dict[str, tuple[np.ndarray, dict | None, str]] = {
    "inbound": (MIX, {"direction": "inbound"}, "scored"),
    "outbound": (MIX, {"direction": "Outbound"}, "scored"),
    "turns": (MIX, {"turns": TURNS}, "scored"),
    "own-words": (MIX, {"turns": [turn | {"role": {"agent": "CSR", "customer": "Caller"}[turn["role"]]} for turn in TURNS]}, "scored"),
    "nothing-known": (MIX, None, "which of two voices is the agent's .* SER_CALL_DIRECTION"),
    "one-voice": (ALONE, {"direction": "inbound"}, "there is only one: put turns|voices are too alike"),
    "short": (MIX[: 6 * 8000], {"direction": "inbound"}, "less than 3 s of speech, or there is only one"),
    "four": (MIX, {"direction": "inbound", "speakers": 4}, "4 people speak by the sidecar, and only turns say"),
    "late-turns": (MIX, {"turns": [{**turn, "end_s": turn["end_s"] + 40} for turn in TURNS]}, "another call"),
    "shifted": (MIX, {"turns": [{**turn, "start_s": turn["end_s"], "end_s": turn["end_s"] + 0.3} for turn in TURNS]}, "turns cover"),
    "swapped-half": (MIX, {"turns": TURNS[:3] + [t | {"role": "agent" if t["role"] == "customer" else "customer"} for t in TURNS[3:]]},
                     "voices agree with the turns"),
    "unreadable": (MIX, {"direction": "inbound", "turns": [{"start_s": 3, "end_s": 1, "role": "agent"}]}, "turns.0 cannot be read"),
    "sideways": (MIX, {"direction": "sideways"}, "direction cannot be read"),
    "prompt": (PROMPT, {"direction": "inbound", "prompt_end_s": 6.2}, "scored"),
    "three": (PROMPT, {"direction": "inbound", "speakers": 3}, "scored"),
    "same": (np.stack([MIX, MIX]), {**TWO_SIDED, "direction": "inbound"}, "scored"),
    "6dB": (np.stack([MIX, late(MIX, 0, 6)]), {**TWO_SIDED, "direction": "inbound"}, "scored"),
    "inverted": (np.stack([MIX, -MIX]), {**TWO_SIDED, "direction": "inbound"}, "scored"),
    "packet": (np.stack([MIX, late(MIX, 20)]), {**TWO_SIDED, "direction": "inbound"}, "scored"),
    "noise": (np.stack([MIX, with_noise(MIX[None], -45)[0]]), {**TWO_SIDED, "direction": "inbound"}, "scored"),
    "silent-agent": (np.stack([0 * MIX, MIX]), {**TWO_SIDED, "direction": "inbound"}, "scored"),
    "unread": (np.stack([MIX, with_noise(MIX[None], -45)[0]]), TWO_SIDED, "which of two voices"),
    "no-notice": (MIX, {"direction": "inbound", "notice_given": False}, "not informed"),
    "two-sided": (CALL, TWO_SIDED, "scored"),
    "echo": (with_echo(CALL, 20, 3), TWO_SIDED, "scored"),
    "conference": (CONFERENCE, TWO_SIDED, "scored"),
    "silence": (0 * MIX, {"direction": "inbound"}, "No speech was found"),
}  # fmt: skip


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mono")
    for name, (call, facts, _) in CALLS.items():
        write_call(folder / "calls", f"2026-11-20/{name}.wav", np.atleast_2d(call).T, facts, subtype="PCM_16")
    bundle = tiny_bundle(folder)
    for policy in ("customers_mono", "customers_only"):
        run_night(folder / "calls", folder / policy, bundle, policy=policy)
    return folder


def ask(lake: Path, query: str) -> list[tuple]:
    with connect(str(lake)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("name", CALLS)
def test_a_mono_mix_is_scored_or_says_what_would_help(nights, name):
    expected = CALLS[name][2]
    ((outcome, code, reason),) = ask(
        nights / "customers_mono", f"SELECT outcome, reason_code, reason FROM outcomes WHERE key LIKE '%/{name}.wav'"
    )
    if expected == "scored":
        assert outcome == "scored", reason
        return
    assert outcome != "scored" and re.search(expected, reason), reason
    if code == "roles_uncertain":
        assert reason.startswith(OWN)


def test_only_the_customer_is_scored(nights):
    scored = ask(nights / "customers_mono", "SELECT call_id, role, start_s, end_s FROM segments WHERE emotion IS NOT NULL")
    assert {role for _, role, _, _ in scored} == {"customer"}
    for call, _, start_s, end_s in scored:
        name = call.rpartition("/")[2]
        if name in ("outbound", "two-sided", "echo", "conference"):
            continue
        late_s = 6 if name in ("prompt", "three") else 0
        for from_s, to_s in AGENTS:
            assert min(end_s, to_s + late_s) - max(start_s, from_s + late_s) < 0.2, (name, start_s, end_s)
    assert {call.rpartition("/")[2] for call, *_ in scored} == {name for name, (_, _, expected) in CALLS.items() if expected == "scored"}


def test_outbound_is_the_mirror_of_inbound(nights):
    def starts(name: str, role: str) -> list[float]:
        query = f"SELECT start_s FROM segments WHERE call_id LIKE '%{name}' AND role = '{role}' ORDER BY start_s"
        return [start for (start,) in ask(nights / "customers_mono", query)]

    assert starts("inbound", "customer") == starts("outbound", "agent") != []
    assert starts("inbound", "agent") == starts("outbound", "customer") != []


def test_rows_say_where_roles_come_from(nights):
    query = """SELECT channel_roles, roles_source, round(roles_confidence::DOUBLE, 2), roles_evidence, emotion_role, overlap_s,
                      interruptions_by_agent, customer_speech_s > 8, agent_speech_s > 7, unattributed_speech_s < 2
               FROM call_emotions WHERE call_id LIKE '%/{}'"""
    (inbound,) = ask(nights / "customers_mono", query.format("inbound"))
    assert inbound == ("mixed", "first_speaker", 0.95, "first_speaker 0.95, talk_share 0.51", "customer", None, None, True, True, True)
    (turns,) = ask(nights / "customers_mono", query.format("turns"))
    assert turns[:5] == ("mixed", "turns", 1.0, "turns 1.00", "customer")
    (two_sided_call,) = ask(nights / "customers_mono", query.format("two-sided"))
    assert two_sided_call[:5] == ("agent,customer", "sidecar", None, None, "customer")


def test_by_default_a_mono_mix_is_withheld_as_ever(nights):
    found = ask(nights / "customers_only", "SELECT regexp_extract(key, '([^/]+)[.]wav', 1), outcome, reason_code, note FROM outcomes")
    told_apart = ("two-sided", "echo", "conference")
    assert len(found) == len(CALLS)
    for name, outcome, code, note in found:
        if name in told_apart:
            assert outcome == "scored"
        else:
            assert (outcome, code) == ("withheld", "no_notice" if name == "no-notice" else "role_mixed"), name
        assert "sidecar" not in (note or "")
    assert ask(nights / "customers_only", "SELECT count(roles_confidence), count(roles_evidence) FROM call_emotions") == [(0, 0)]


def test_channels_with_roles_are_the_same_under_both_policies(nights):
    query = """SELECT call_id, role, channel, start_s, end_s, round(p_anger, 4) FROM segments
               WHERE call_id LIKE '%/two-sided' OR call_id LIKE '%/echo' OR call_id LIKE '%/conference' ORDER BY ALL"""
    assert ask(nights / "customers_mono", query) == ask(nights / "customers_only", query) != []


def test_a_setting_states_who_calls(tmp_path):
    write_call(tmp_path / "calls", "2026-11-20/a.wav", MIX, None)
    write_call(tmp_path / "calls", "2026-11-20/p.wav", PROMPT, None)
    settings = Settings(call_direction="outbound", prompt_s=6.2)
    run_night(tmp_path / "calls", tmp_path / "lake", tiny_bundle(tmp_path), policy="customers_mono", settings=settings)
    found = ask(tmp_path / "lake", "SELECT call_id, min(start_s), max(end_s) FROM segments WHERE emotion IS NOT NULL GROUP BY 1 ORDER BY 1")
    assert [call[-1] for call, *_ in found] == ["a", "p"] or found
    (_, start_s, end_s) = found[-1]
    assert 6 < start_s < 7 and 23 < end_s < 24.5, "the first speaker after the prompt is the customer of an outbound call"


def _core_limit() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_CORE)


def test_workers_never_dump_core():
    with WorkerPool(1) as pool:
        assert pool.map(_core_limit, [()]) == [(0, 0)]


@pytest.mark.slow
def test_four_hours_stay_within_the_memory_of_a_worker(tmp_path):
    """A conversation of 23 s every minute, for four hours."""
    minute = np.pad(MIX, (0, 37 * 8000))
    write_call(tmp_path / "calls", "2026-11-20/long.wav", np.tile(minute, 240)[:, None], {"direction": "inbound"})
    run_night(tmp_path / "calls", tmp_path / "lake", tiny_bundle(tmp_path), policy="customers_mono")
    ((outcome, audio_s),) = ask(tmp_path / "lake", "SELECT outcome, audio_s FROM outcomes")
    assert (outcome, audio_s) == ("scored", 4 * 3600)
    ((customer_s, agent_s),) = ask(tmp_path / "lake", "SELECT customer_speech_s, agent_speech_s FROM call_emotions")
    assert 8 * 240 < customer_s < 11 * 240 and 7 * 240 < agent_s < 11 * 240
