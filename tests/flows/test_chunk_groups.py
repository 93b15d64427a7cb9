"""Chunks that share task runs: which ones do, and that each ends for itself."""

from datetime import date

import pytest

from flows.chunk_groups import GROUP_AUDIO_S, GROUP_RECORDINGS, Group, grouped

DAY = date(2026, 11, 20)


def chunks_of(count):
    return [(DAY, f"{number:04}") for number in range(count)]


def test_up_to_a_hundred_chunks_have_task_runs_of_their_own():
    groups = grouped(chunks_of(100), {})
    assert [group.chunks for group in groups] == [(chunk,) for chunk in chunks_of(100)]
    assert str(groups[7]) == "0007"


def test_ten_thousand_chunks_of_one_short_call_make_as_many_task_runs_as_usual_chunks_would():
    chunks = chunks_of(10_000)
    groups = grouped(chunks, {chunk_id: (1, 3.0) for _, chunk_id in chunks})
    assert [len(group.chunks) for group in groups] == [GROUP_RECORDINGS] * 20
    assert [chunk for group in groups for chunk in group.chunks] == chunks  # none lost, in their order
    assert str(groups[1]) == "0500 and 499 more"


def test_a_group_holds_no_more_audio_than_a_usual_chunk():
    chunks = chunks_of(101)
    groups = grouped(chunks, {chunk_id: (10, 3000.0) for _, chunk_id in chunks})
    assert [len(group.chunks) for group in groups] == [2] * 50 + [1]
    assert 2 * 3000.0 <= GROUP_AUDIO_S < 3 * 3000.0
    whole = grouped(chunks, {chunk_id: (2000, 28_800.0) for _, chunk_id in chunks})
    assert [len(group.chunks) for group in whole] == [1] * 101  # larger than a group: alone


def test_an_error_worth_another_try_is_the_one_that_is_raised():
    group = Group(chunks_of(3))
    errors = {"0000": ValueError("broken"), "0001": ConnectionError("away")}

    def work(day, chunk_id):
        if chunk_id in errors:
            raise errors[chunk_id]

    with pytest.raises(ConnectionError, match="away"):
        group.each(group.chunks, work)
    assert group.failed == errors
    del errors["0001"]
    with pytest.raises(ValueError, match="broken"):
        group.each(group.chunks, work)
    assert group.failed == errors


def test_an_error_of_the_task_run_itself_is_one_of_every_chunk_without_its_own():
    group, lost, own = Group(chunks_of(3)), RuntimeError("the task run was cancelled"), ValueError("its own")
    group.extracted["0000"] = object()
    group.failed["0001"] = own
    group.fail_unextracted(lost)
    assert group.failed == {"0001": own, "0002": lost}
    group.fail_unpublished(lost)
    assert group.failed == {"0001": own, "0002": lost, "0000": lost}
