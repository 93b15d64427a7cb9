from ser_tasks.calls.roles import channel_roles
from ser_tasks.settings import Settings

MAP = Settings(channel_roles={0: "agent", 1: "customer"})


def test_the_sidecar_comes_first():
    assert channel_roles(2, {0: "customer", 1: "agent"}, "sidecar", MAP) == (["customer", "agent"], "sidecar")


def test_then_the_settings_map():
    assert channel_roles(2, None, None, MAP) == (["agent", "customer"], "settings")
    assert channel_roles(3, None, None, MAP) == (["agent", "customer", "unknown"], "settings")


def test_else_unknown_and_a_lone_channel_is_a_mix():
    assert channel_roles(2, None, None, Settings()) == (["unknown", "unknown"], None)
    assert channel_roles(1, None, None, Settings()) == (["mixed"], None)


def test_a_map_of_two_sides_says_nothing_of_a_mono_mix():
    assert channel_roles(1, None, None, MAP) == (["mixed"], None)
    assert channel_roles(1, None, None, Settings(channel_roles={0: "customer"})) == (["customer"], "settings")
    assert channel_roles(1, {0: "agent"}, "sidecar", MAP) == (["agent"], "sidecar")


def test_what_is_no_role_fails_closed():
    assert channel_roles(2, None, None, Settings(channel_roles={0: "boss", 1: "Customer"})) == (["unknown", "customer"], "settings")
    assert channel_roles(2, {0: "agent", 5: "customer"}, "sidecar", Settings()) == (["agent", "unknown"], "sidecar")
