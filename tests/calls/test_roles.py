"""Who speaks on which channel: a stated map is held against the file, and what is not certain is unknown."""

import pytest

from ser_tasks.calls.roles import ChannelMapError, channel_roles, roles_of, unknown_roles_hint
from ser_tasks.settings import Settings

MAP = Settings(channel_roles={0: "agent", 1: "customer"})
NONE = Settings()


def test_the_sidecar_comes_first():
    assert channel_roles(2, {0: "customer", 1: "agent"}, "sidecar", MAP) == (["customer", "agent"], "sidecar")


def test_then_the_settings_map():
    assert channel_roles(2, None, None, MAP) == (["agent", "customer"], "settings")
    assert channel_roles(2, {}, None, MAP) == (["agent", "customer"], "settings")
    assert channel_roles(3, None, None, MAP) == (["agent", "customer", "unknown"], "settings")


@pytest.mark.parametrize(
    ("channels", "stated", "roles"),
    [
        (2, {0: "customer"}, ["customer", "unknown"]),
        (2, {1: "agent"}, ["unknown", "agent"]),
        (2, {0: "unknown"}, ["unknown", "unknown"]),
        (2, {1: "boss"}, ["unknown", "unknown"]),
        (3, {2: "customer"}, ["unknown", "unknown", "customer"]),
    ],
)
def test_a_stated_map_replaces_the_settings_as_a_whole(channels, stated, roles):
    assert channel_roles(channels, stated, "sidecar", MAP) == (roles, "sidecar")


def test_else_unknown_and_a_lone_channel_is_a_mix():
    assert channel_roles(2, None, None, NONE) == (["unknown", "unknown"], None)
    assert channel_roles(1, None, None, NONE) == (["mixed"], None)


def test_a_map_of_two_sides_says_nothing_of_a_mono_mix():
    assert channel_roles(1, None, None, MAP) == (["mixed"], None)
    assert channel_roles(1, None, None, Settings(channel_roles={0: "customer"})) == (["customer"], "settings")
    assert channel_roles(1, {0: "agent"}, "sidecar", MAP) == (["agent"], "sidecar")


def test_a_settings_map_that_counts_from_1_or_names_more_channels_applies_to_no_recording_that_lacks_them():
    for configured in ({1: "customer", 2: "agent"}, {0: "customer", 1: "agent", 2: "mixed"}):
        settings = Settings(channel_roles=configured)
        assert channel_roles(2, None, None, settings) == (["unknown", "unknown"], None)
        assert "SER_CHANNEL_ROLES names channel 2" in unknown_roles_hint(2, None, settings)
    assert channel_roles(1, None, None, Settings(channel_roles={1: "customer"})) == (["mixed"], None)


@pytest.mark.parametrize(
    ("channels", "stated", "says"),
    [
        (1, {0: "customer", 1: "agent"}, "channel 1, but the recording has 1 channel, numbered 0. Number"),
        (1, {0: "customer", 1: "customer", 2: "customer"}, "channel 1"),
        (1, {1: "customer"}, "counted from 1"),
        (
            2,
            {1: "customer", 2: "agent"},
            "channel 2, but the recording has 2 channels, numbered 0 to 1. The channels seem to be counted from 1",
        ),
        (2, {0: "agent", 5: "customer"}, "channel 5"),
        (2, {2: "customer"}, "channel 2"),
        (3, {1: "agent", 2: "customer", 3: "agent"}, "counted from 1"),
    ],
)
def test_a_map_that_names_channels_the_file_lacks_is_refused(channels, stated, says):
    with pytest.raises(ChannelMapError, match=says):
        channel_roles(channels, stated, "sidecar", MAP)


@pytest.mark.parametrize(
    ("words", "roles"),
    [
        ((" agent ", "\tCUSTOMER"), ("agent", "customer")),
        (("agent", "client"), ("agent", "customer")),
        (("Caller", "Agent"), ("customer", "agent")),
        (("internal", "external"), ("agent", "customer")),
        (("Representative", "End_User"), ("agent", "customer")),
        (("HUMAN_AGENT", "END_USER"), ("agent", "customer")),
        (("humanAgent", "endUser"), ("agent", "customer")),
        (("consultant", "guest"), ("agent", "customer")),
        (("caller", "callee"), ("unknown", "unknown")),  # an outbound call's caller is the agent
        (("client", "client"), ("unknown", "unknown")),
        (("external", "boss"), ("unknown", "unknown")),
        (("customer", "caller"), ("customer", "unknown")),
        (("not a customer", "customer service"), ("unknown", "unknown")),
        (("", "no agent"), ("unknown", "unknown")),
        (("mixed", "unknown"), ("mixed", "unknown")),
    ],
)
def test_words_of_telephony_systems(words, roles):
    assert tuple(roles_of(dict(enumerate(words))).values()) == roles
    assert channel_roles(2, dict(enumerate(words)), "object", MAP) == (list(roles), "object")
    assert channel_roles(2, None, None, Settings(channel_roles=dict(enumerate(words)))) == (list(roles), "settings")


def test_an_unknown_word_is_named_unless_it_may_be_an_id():
    assert unknown_roles_hint(2, None, NONE) == "" == unknown_roles_hint(2, {0: "unknown"}, MAP)
    assert "'boss' in channels is no role: write customer, agent, mixed or unknown" in unknown_roles_hint(2, {0: "Boss"}, NONE)
    assert "'boss' in SER_CHANNEL_ROLES" in unknown_roles_hint(2, None, Settings(channel_roles={0: "boss"}))
    assert "'client' in channels, which means the customer only beside" in unknown_roles_hint(2, {0: "client"}, NONE)
    for word in ("maren", "Maren Doe", "+49 170 1234567", "4711", "a@b.example", "x" * 30, ""):
        hint = unknown_roles_hint(2, {0: word}, NONE, ["maren", None, "doe"])
        assert "a word in channels is no role" in hint and (not word or word.casefold() not in hint)
