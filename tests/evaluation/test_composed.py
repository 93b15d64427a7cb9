"""Composed calls: what the truth says is in the audio, who speaks on which side, and that a seed gives the same call again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from ser_tasks.evaluation.composed import ANGRY_KINDS, CallWriter, PhoneLine, call_table, compose, people_of, turn_table
from tests.factories.composed import composed_calls, write_composed
from tests.factories.speakers import made_corpus, speechlike_corpus

RATE_HZ = 8000


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return [speechlike_corpus(folder / "one", 5), speechlike_corpus(folder / "two", 3, first=10)]


@pytest.fixture(scope="module")
def calls(corpora):
    return composed_calls(corpora, 48)


@pytest.fixture(scope="module")
def truth(calls):
    return call_table(calls)


def level_dbfs(samples):
    return 10 * np.log10(np.mean(np.square(samples)))


def spoken(call, role, samples, margin_s=0.0):
    """Whether this role speaks at each sample, (samples,)."""
    spans = np.zeros(samples, bool)
    for turn in call.turns:
        if turn.role == role:
            spans[round((turn.start_s - margin_s) * RATE_HZ) : round((turn.end_s + margin_s) * RATE_HZ)] = True
    return spans


def on_line(call, **facts):
    line = PhoneLine(snr_db=20.0, noise="hiss", leak="none", leak_below_db=20.0, leak_late_s=0.1)
    return replace(call, line=replace(line, **facts))


def test_calls_last_two_to_twelve_minutes_and_are_mostly_neutral(truth):
    assert truth.duration_s.between(115, 750).all() and truth.duration_s.max() > 600 and truth.duration_s.min() < 140
    assert truth.neutral_share.between(0.58, 0.96).all() and truth.neutral_share.max() - truth.neutral_share.min() > 0.2
    share = truth.anger_s / truth.customer_speech_s
    assert (truth.anger_s[truth.kind == "none"] == 0).all() and share[truth.kind == "throughout"].between(0.15, 0.25).all()
    assert dict(truth.kind.value_counts()) == {"none": 24} | dict.fromkeys(ANGRY_KINDS, 8)
    assert (truth.has_anger == (truth.kind != "none")).all()
    mean_s = truth.groupby("kind").duration_s.mean()
    assert mean_s.max() / mean_s.min() < 1.1  # length says nothing of the kind


def test_anger_comes_when_its_kind_says(calls, truth):
    turns = turn_table(calls).merge(truth[["call_id", "kind", "duration_s"]], on="call_id")
    angry = turns[turns.emotion == "anger"]
    when = angry.start_s / angry.duration_s
    rising = truth[truth.kind == "rising"]
    assert (rising.onset_s / rising.duration_s).between(0.25, 0.9).all()
    assert truth.onset_s[truth.kind != "rising"].isna().all()
    first_s = angry.groupby("call_id").start_s.min()
    assert (first_s[rising.call_id].to_numpy() == rising.onset_s.to_numpy()).all()
    assert when[angry.kind == "rising"].mean() > 0.65
    quarters = np.histogram(when[angry.kind == "throughout"], [0, 0.25, 0.5, 0.75, 1])[0]
    assert quarters.min() > 0.8 * quarters.max()


def test_customer_and_agent_are_two_people_of_one_corpus_who_speak_their_own_clips(calls, truth):
    assert (truth.customer != truth.agent).all()
    assert set(truth.customer) == {f"one/s{number}" for number in range(5)} | {f"two/s{number}" for number in range(10, 13)}
    assert set(truth.groupby("customer").kind.nunique()) == {4}  # the person says nothing of the kind
    for call in calls:
        assert call.customer.partition("/")[0] == call.agent.partition("/")[0] == call.corpus
        for role, person in (("customer", call.customer), ("agent", call.agent)):
            own = [turn for turn in call.turns if turn.role == role]
            number = person.partition("/s")[2]
            assert all(turn.clip.rpartition("/")[2].startswith(f"{number}_{turn.emotion}_") for turn in own)
            assert all(one.clip != other.clip and one.end_s < other.start_s for one, other in zip(own, own[1:], strict=False))
        assert {turn.emotion for turn in call.turns if turn.role == "agent"} == {"neutral"}


def test_all_of_a_persons_clips_are_used_before_one_comes_back(calls):
    for call in calls[:8]:
        neutral = [turn.clip for turn in call.turns if turn.role == "customer" and turn.emotion == "neutral"]
        assert all(len(set(neutral[at : at + 3])) == 3 for at in range(0, len(neutral) - 2, 3))


def test_the_truth_is_in_the_audio(calls, tmp_path):
    call = on_line(calls[1])
    write_composed([call], tmp_path)
    signal, rate_hz = soundfile.read(tmp_path / call.key, dtype="float32")
    info = soundfile.info(tmp_path / call.key)
    assert (rate_hz, info.channels, info.subtype) == (RATE_HZ, 2, "ULAW")
    assert len(signal) / RATE_HZ == pytest.approx(call.duration_s, abs=0.01)
    for channel, role in enumerate(("agent", "customer")):
        voice = spoken(call, role, len(signal))
        assert level_dbfs(signal[voice, channel]) == pytest.approx(-26, abs=0.5)
        assert level_dbfs(signal[~voice, channel]) == pytest.approx(-46, abs=0.5)
    facts = json.loads((tmp_path / call.key).with_suffix(".json").read_text())
    assert facts["channels"] == {"0": "agent", "1": "customer"} and facts["customer_id"] == call.customer
    assert facts.keys() == {"call_id", "channels", "customer_id", "agent_id", "queue", "language"}


@pytest.mark.parametrize("leak", ["none", "echo", "crosstalk"])
def test_the_agent_is_heard_on_the_customers_channel_as_the_line_says(calls, leak, tmp_path):
    late_s = 0.1 if leak == "echo" else 0.0
    call = on_line(calls[1], leak=leak, snr_db=40.0, leak_late_s=late_s)
    write_composed([call], tmp_path)
    agent, customer = soundfile.read(tmp_path / call.key, dtype="float32")[0].T
    late = round(late_s * RATE_HZ)
    source, heard = agent[: len(agent) - late], customer[late:]
    alone = ~spoken(call, "customer", len(customer), 0.2)[late:] & spoken(call, "agent", len(source))
    gain = np.dot(heard[alone], source[alone]) / np.dot(source[alone], source[alone])
    assert gain == pytest.approx(0.0 if leak == "none" else 0.1, abs=0.005)


def test_noise_of_a_file_is_brought_to_its_level(calls, tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    soundfile.write(tmp_path / "hum.wav", tone, 16000)
    call = on_line(calls[1], noise="hum.wav", snr_db=15.0)
    write_composed([call], tmp_path, {"hum.wav": tmp_path / "hum.wav"})
    customer = soundfile.read(tmp_path / call.key, dtype="float32")[0][:, 1]
    rest = customer[~spoken(call, "customer", len(customer))]
    assert level_dbfs(rest) == pytest.approx(-41, abs=0.5)
    spectrum = np.abs(np.fft.rfft(rest[:RATE_HZ]))
    assert spectrum.argmax() == 1000


def test_a_seed_gives_the_same_calls_whoever_writes_them(corpora, calls, tmp_path):
    again = composed_calls(corpora[::-1], 48)
    assert again == calls and composed_calls(corpora, 48, seed=1) != calls
    for folder, own in (("one", calls[:3]), ("other", again[2::-1])):
        write_composed(own, tmp_path / folder)
    for call in calls[:3]:
        assert (tmp_path / "one" / call.key).read_bytes() == (tmp_path / "other" / call.key).read_bytes()
    kept = (tmp_path / "one" / calls[0].key).stat().st_mtime_ns
    CallWriter(tmp_path / "one", {})(calls[0])
    assert (tmp_path / "one" / calls[0].key).stat().st_mtime_ns == kept


def test_the_agent_may_be_of_another_corpus_where_there_is_nobody_else(tmp_path):
    calls = composed_calls([speechlike_corpus(tmp_path / "one", 1), made_corpus(tmp_path / "two", 1, first=7)], 4)
    assert {(call.customer, call.agent) for call in calls} == {("one/s0", "two/s7"), ("two/s7", "one/s0")}


def test_without_two_people_there_is_no_call(tmp_path):
    with pytest.raises(ValueError, match="Of 1 people with two neutral clips, 1 have two of anger"):
        composed_calls([made_corpus(tmp_path / "one", 1)], 4)
    with pytest.raises(ValueError, match="Of 0 people"):
        compose([], {}, 4, 0)


def test_who_has_one_neutral_clip_is_in_no_call(corpora):
    from ser_tasks.datasets import read_corpora

    [corpus] = read_corpora(corpora[:1])
    clips = corpus.clips
    few = clips[(clips.speaker != "s2") | (clips.emotion != "neutral") | clips.file.str.endswith("_0.wav")]
    assert [person.name for person in people_of(few)] == ["one/s0", "one/s1", "one/s3", "one/s4"]
