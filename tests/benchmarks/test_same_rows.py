"""Two lakes are compared row by row."""

import copy

from tests.benchmarks.same_rows import differences
from tests.factories.lakes import Call, segment, write_calls


def lake(folder, changes=lambda calls: None) -> str:
    turns = [segment(1.0, 4.0, (0.7, 0.1, 0.1, 0.1)), segment(5.0, 9.0, (0.1, 0.2, 0.6, 0.1)), segment(2.0, 3.0, None, "agent", 0)]
    calls = [Call(f"call-{number}", copy.deepcopy(turns)) for number in range(3)]
    changes(calls)
    write_calls(str(folder), calls)
    return str(folder)


def test_the_same_rows_are_the_same(tmp_path):
    found = differences(lake(tmp_path / "one"), lake(tmp_path / "other"))
    assert (found.recordings, found.segments, found.same) == (3, 9, True)
    assert "3 recordings, 9 segments: 0 other outcomes" in found.report()


def test_probabilities_and_edges_may_differ_by_so_much_and_no_more(tmp_path):
    one = lake(tmp_path / "one")

    def changed(**values):
        def change(calls):
            calls[1].segments[1] |= values

        return change

    within = differences(one, lake(tmp_path / "a", changed(p_anger=0.1009)))
    beyond = differences(one, lake(tmp_path / "b", changed(p_anger=0.102)))
    assert within.same and not beyond.same and abs(beyond.probability - 0.002) < 1e-6
    near = differences(one, lake(tmp_path / "c", changed(end_s=9.064, p_anger=0.2)))
    assert near.same and abs(near.edge_s - 0.064) < 1e-6
    far = differences(one, lake(tmp_path / "d", changed(end_s=9.096)))
    assert not far.same and len(far.edges) == 1


def test_missing_segments_recordings_and_outcomes_are_named(tmp_path):
    one = lake(tmp_path / "one")
    fewer = differences(one, lake(tmp_path / "a", lambda calls: calls[0].segments.pop(1)))
    assert not fewer.same and len(fewer.counts) == 1 and fewer.counts[0].endswith(" 1")
    gone = differences(one, lake(tmp_path / "b", lambda calls: calls.pop()))
    assert not gone.same and len(gone.outcomes) == 1 and gone.recordings == 3
    unscored = {f"p_{emotion}": None for emotion in ("anger", "happiness", "neutral", "sadness")}
    lost = differences(one, lake(tmp_path / "c", lambda calls: calls[0].segments[0].update(unscored)))
    assert not lost.same and lost.unscored == 1
