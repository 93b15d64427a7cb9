"""Stretches that nobody may hear are digital silence, wherever blocks end."""

import numpy as np
import pytest

from ser_tasks.audio.muting import merged, muted


@pytest.mark.parametrize("length", [1, 7, 100, 1000])
def test_ranges_are_silent_and_the_rest_is_untouched(length):
    signal = np.arange(1, 2001, dtype=np.float32).reshape(2, 1000)
    blocks = [signal[:, first : first + length] for first in range(0, 1000, length)]
    found = np.concatenate(list(muted(iter(blocks), [(0.1234, 0.2), (0.5, 0.5), (0.95, 9)], rate_hz=1000)), axis=1)
    silent = np.zeros(1000, bool)
    silent[123:200] = silent[950:] = True
    assert not found[:, silent].any() and (found[:, ~silent] == signal[:, ~silent]).all()
    assert signal.all(), "the blocks themselves stay"


def test_ranges_are_merged():
    assert merged([(5, 6), (1, 2)], [(1.5, 3)], ()) == ((1, 3), (5, 6))
