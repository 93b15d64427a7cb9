"""Composed calls of labelled corpora, written as a store of recordings: the truth of each call is known."""

from pathlib import Path

import pandas as pd

from ser_tasks.datasets import read_corpora
from ser_tasks.evaluation.composed import CallWriter, ComposedCall, compose, people_of, seconds_of


def composed_calls(corpora: list[Path], number: int, seed: int = 0, noises: tuple[str, ...] = ()) -> list[ComposedCall]:
    """``number`` calls of all people of these corpora; no audio is written."""
    clips = pd.concat([corpus.clips for corpus in read_corpora(corpora)], ignore_index=True)
    people = people_of(clips)
    seconds = {clip: seconds_of(clip) for person in people for own in person.clips.values() for clip in own}
    return compose(people, seconds, number, seed, noises)


def write_composed(calls: list[ComposedCall], folder: Path, noises: dict[str, Path] | None = None) -> Path:
    """The recordings and their sidecars, in a folder of recordings."""
    writer = CallWriter(folder, noises or {})
    for call in calls:
        writer(call)
    return folder
