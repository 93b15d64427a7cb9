"""Chunks that share task runs: which ones do, and that each ends for itself."""

from datetime import date

import pytest
from prefect import flow
from prefect.runtime import task_run
from prefect.testing.utilities import prefect_test_harness

from flows import chunk_groups, nightly, retries
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


class Recorded:
    """A night of chunks that do nothing, and what was done with them. ``trouble``: errors by stage and chunk, one for each attempt."""

    def __init__(self, count, trouble=None):
        self.plan = self.listing = self.handler = self
        self.chunks, self.device, self.trouble = chunks_of(count), "cpu", trouble or {}
        self.done, self.given_up = [], {}

    def start_workers(self):
        pass

    def sizes(self):
        return {chunk_id: (1, 3.0) for _, chunk_id in self.chunks}

    def batch_done(self, batch):
        raise AssertionError("there are no batches")

    def _stage(self, stage, chunk_id):
        self.done.append((stage, chunk_id, task_run.name))
        if self.trouble.get((stage, chunk_id)):
            raise self.trouble[stage, chunk_id].pop()

    def extract(self, day, chunk_id, progress):
        self._stage("extract", chunk_id)
        return chunk_id

    def publish(self, extracted):
        self._stage("score", extracted)
        return f"report of {extracted}"

    def give_up(self, day, chunk_id, error):
        self.given_up[chunk_id] = error

    def chunk_done(self, chunk_id, report):
        assert report == f"report of {chunk_id}"
        self.done.append(("published", chunk_id, None))

    def error(self, *_, **__):
        pass

    def of(self, stage):
        return [chunk_id for done, chunk_id, _ in self.done if done == stage]


@pytest.fixture(scope="module")
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def two_to_a_group(prefect, monkeypatch):
    monkeypatch.setattr(chunk_groups, "SINGLE_UP_TO", 2)
    monkeypatch.setattr(chunk_groups, "GROUP_RECORDINGS", 2)


def run(night):
    extract, score = (task.with_options(retry_delay_seconds=[0, 0]) for task in (nightly.extract, nightly.score))

    @flow(task_runner=nightly.EXTRACTION, persist_result=False)
    def chunks_only():
        nightly.score_here(night, night, night)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nightly, "extract", extract)
        patch.setattr(nightly, "score", score)
        chunks_only()


def test_two_task_runs_a_group_whose_names_say_what_they_hold(two_to_a_group):
    night = Recorded(5)
    run(night)
    assert {name for *_, name in night.done if name} == {
        f"{stage} {group}" for stage in ("extract", "score") for group in ("0000 and 1 more", "0002 and 1 more", "0004")
    }
    every = [chunk_id for _, chunk_id in night.chunks]
    assert sorted(night.of("extract")) == night.of("score") == night.of("published") == every


def test_a_chunk_that_fails_in_a_group_is_given_up_and_the_others_are_published(two_to_a_group):
    not_extracted, not_published = RuntimeError("a broken machine"), RuntimeError("an illegal memory access")
    night = Recorded(5, {("extract", "0000"): [not_extracted], ("score", "0003"): [not_published]})
    run(night)
    assert night.given_up == {"0000": not_extracted, "0003": not_published}
    assert night.of("published") == ["0001", "0002", "0004"]
    assert len(night.of("extract")) == 5  # no error of storage: no other try


def test_a_retry_of_a_group_does_again_what_failed_and_nothing_else(two_to_a_group):
    night = Recorded(4, {("extract", "0001"): [ConnectionError("away")], ("score", "0002"): [ConnectionError("away")] * 2})
    run(night)
    assert night.given_up == {}
    assert sorted(night.of("extract")) == ["0000", "0001", "0001", "0002", "0003"]
    assert sorted(night.of("score")) == ["0000", "0001", "0002", "0002", "0002", "0003"]
    assert sorted(night.of("published")) == ["0000", "0001", "0002", "0003"]
    assert retries.OPTIONS["retries"] == 2
