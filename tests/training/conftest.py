"""Fixtures of the tests that train."""

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches this small are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
