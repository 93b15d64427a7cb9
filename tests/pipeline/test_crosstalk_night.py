"""A night over mono mixes and echoes that a sidecar calls two-sided: no agent is scored as a customer, and the outcome says why."""

from pathlib import Path

import numpy as np
import pytest

from ser_tasks.lake.catalog import connect
from tests.factories.calls import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call
from tests.factories.crosstalk import late, with_echo, with_noise

CALL = two_sided([("agent", 0.5, 5), ("customer", 5.5, 8), ("customer", 9, 12)], 13, seed=4).T
MIX = CALL.sum(axis=0)
ECHO = "all speech on channel 1 is an echo of another channel: it is left out"
ONE_SIGNAL = "all channels carry the same signal: treated as a mono mix"
ONE_SIDE = "only the customer's channel carries speech, and it may hold both sides: treated as a mono mix"
CALLS = {
    "two-sided": (CALL, ("scored", None, None)),
    "6dB": (np.stack([MIX, late(MIX, 0, 6)]), ("withheld", "role_mixed", ONE_SIGNAL)),
    "inverted": (np.stack([MIX, -MIX]), ("withheld", "role_mixed", ONE_SIGNAL)),
    "packet": (np.stack([MIX, late(MIX, 20)]), ("withheld", "role_mixed", ONE_SIGNAL)),
    "noise": (np.stack([MIX, with_noise(MIX[None], -45)[0]]), ("withheld", "role_mixed", ONE_SIGNAL)),
    "loud-customer-copy": (np.stack([late(MIX, 0, 20), MIX]), ("withheld", "role_mixed", ONE_SIDE)),
    "silent-agent": (np.stack([0 * MIX, MIX]), ("withheld", "role_mixed", ONE_SIDE)),
    "one-turn": (np.stack([0 * MIX, CALL[1]])[:, : 8 * 8000], ("scored", None, None)),
    "echo-15": (with_echo(CALL * [[1], [0]], 15, 3), ("no_speech", "no_speech", ECHO)),
    "echo-30": (with_echo(CALL * [[1], [0]], 30, 3), ("no_speech", "no_speech", ECHO)),
    "echo-3": (with_echo(CALL * [[1], [0]], 3, 3), ("withheld", "role_mixed", ONE_SIGNAL)),
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crosstalk")
    for name, (call, _) in CALLS.items():
        write_call(folder / "calls", f"2026-11-20/{name}.wav", call.T, TWO_SIDED | {"call_id": name}, subtype="PCM_16")
    run_night(folder / "calls", folder / "lake", tiny_bundle(folder))
    return folder / "lake"


@pytest.mark.parametrize("name", CALLS)
def test_who_speaks_where_decides_the_outcome(lake, name):
    with connect(str(lake)) as connection:
        query = f"SELECT outcome, reason_code, note FROM outcomes WHERE key LIKE '%/{name}.wav'"
        assert connection.execute(query).fetchall() == [CALLS[name][1]]


def test_only_the_customer_is_scored(lake):
    with connect(str(lake)) as connection:
        scored = connection.execute("SELECT call_id, min(start_s) FROM segments WHERE emotion IS NOT NULL GROUP BY call_id").fetchall()
    assert {name for name, _ in scored} == {"two-sided", "one-turn"} and all(start > 5 for _, start in scored)
