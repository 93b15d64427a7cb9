"""Leaks: speakers, sentences and clips that the sides of a split share."""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from ser_tasks.datasets.clip import Stretch, stretch_of
from ser_tasks.datasets.credits import CREDITS

SHOWN = 5
LEAKING = ("speaker", "digest")
"""Columns of which no two sides may share a value. Shared sentences are reported only: a corpus may have two sentences in all."""


@dataclass(frozen=True)
class Leak:
    """Speakers and sentences (``corpus/name``) on more than one side, and files of identical clips."""

    speakers: list[str]
    sentences: list[str]
    clips: list[str]

    def of(self, apart: Collection[str]) -> "Leak":
        """The part of the leak in these columns: any of ``speaker``, ``sentence`` and ``digest``."""
        return Leak(
            self.speakers if "speaker" in apart else [],
            self.sentences if "sentence" in apart else [],
            self.clips if "digest" in apart else [],
        )

    def __bool__(self) -> bool:
        return bool(self.speakers or self.clips or self.sentences)

    def describe(self) -> str:
        """Number and first names of each kind, or ``nothing``."""
        kinds = {"speakers": self.speakers, "identical clips": self.clips, "sentences": self.sentences}
        return "; ".join(f"{len(names)} {kind} ({_first_names(names)})" for kind, names in kinds.items() if names) or "nothing"


def shared(clips: pd.DataFrame) -> Leak:
    """Everything that two sides of a split share; sentences only if the test side and another share them. Names of speakers that differ
    in case or surrounding spaces are one, and stretches of one file that overlap are identical clips.

    ``clips`` needs side, corpus, speaker, sentence, digest and file; clips without a side are ignored.
    """
    clips = clips[clips["side"].notna()].assign(person=person_of(clips).str.casefold())

    def on_several_sides(column: str) -> pd.DataFrame:
        known = clips[clips[column].notna()]
        if column == "sentence":  # training and calibration may share sentences
            known = known.assign(side=known["side"] == "test")
        by = {"digest": ["digest"], "speaker": ["person"]}.get(column, ["corpus", column])
        return known[known.groupby(by)["side"].transform("nunique") > 1]

    def named(column: str) -> list[str]:
        leaking = on_several_sides(column)
        return sorted(set(leaking["corpus"] + "/" + leaking[column]))

    return Leak(named("speaker"), named("sentence"), sorted({*on_several_sides("digest")["file"], *_overlapping(clips)}))


def _overlapping(clips: pd.DataFrame) -> set[str]:
    """Clips that hold a stretch of a recording which a clip of another side holds as well."""
    stretches: dict[str, list[tuple[str, str, Stretch]]] = {}
    for clip, side in zip(clips["file"], clips["side"], strict=True):
        stretch = stretch_of(clip)
        stretches.setdefault(stretch.file, []).append((clip, side, stretch))
    return {
        clip
        for own in stretches.values()
        if len({side for _, side, _ in own}) > 1 and any(clip != stretch.file for clip, _, stretch in own)  # whole files have a digest
        for clip, side, stretch in own
        if any(side != other_side and stretch.overlaps(other) for _, other_side, other in own)
    }


def person_of(clips: pd.DataFrame) -> pd.Series:
    """An identifier of each clip's speaker, from ``corpus`` and ``speaker``.

    A speaker named after a known corpus (``ravdess_01``) is the same person in a folder of any name; other names are unique within
    their corpus only.
    """
    speaker = clips["speaker"].str.strip()
    return speaker.where(speaker.map(named_corpus).notna(), clips["corpus"].str.lower() + "/" + speaker)


def named_corpus(speaker: str) -> str | None:
    """The known corpus that a speaker is named after (``ravdess`` of ``ravdess_01``), or None."""
    return next((corpus for corpus in CREDITS if speaker.lower().startswith(f"{corpus}_")), None)


def refuse_leaks(clips: pd.DataFrame, allow: bool | None = False, apart: Collection[str] = LEAKING) -> Leak:
    """Everything that the sides share; raises ``ValueError`` with the names where it is in a column of ``apart``, unless ``allow``.
    With None, the error names no option to go on."""
    leak = shared(clips)
    if leak.of(apart) and not allow:
        raise ValueError(
            f"The split leaks. Its sides share {leak.of(apart).describe()}: give a speaker the same name in all folders, and remove copies"
            + ("." if allow is None else " (--allow-leak goes on, and says so in the report's title).")
        )
    return leak


def _first_names(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
