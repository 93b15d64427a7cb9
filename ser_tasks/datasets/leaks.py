"""What the sides of a split share: a score means nothing where the model has heard the test's speakers or clips."""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from ser_tasks.datasets.credits import CREDITS

SHOWN = 5
LEAKING = ("speaker", "digest")
"""What no two sides may share. Sentences are named, but a corpus of two of them can't do without."""


@dataclass(frozen=True)
class Leak:
    """What is on more than one side: names of speakers and sentences (``corpus/name``), files of identical clips."""

    speakers: list[str]
    sentences: list[str]
    clips: list[str]

    def of(self, apart: Collection[str]) -> "Leak":
        """What of it the sides were to keep apart: any of ``speaker``, ``sentence`` and ``digest``."""
        return Leak(
            self.speakers if "speaker" in apart else [],
            self.sentences if "sentence" in apart else [],
            self.clips if "digest" in apart else [],
        )

    def __bool__(self) -> bool:
        return bool(self.speakers or self.clips or self.sentences)

    def describe(self) -> str:
        """What is shared, in words."""
        kinds = {"speakers": self.speakers, "identical clips": self.clips, "sentences": self.sentences}
        return "; ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names) or "nothing"


def shared(clips: pd.DataFrame) -> Leak:
    """What sides of a split have in common: any two, but of sentences the test and the others.

    ``clips`` needs side, corpus, speaker, sentence, digest and file; those without a side take no part.
    """
    clips = clips[clips["side"].notna()].assign(person=person_of(clips))

    def on_several_sides(column: str) -> pd.DataFrame:
        known = clips[clips[column].notna()]
        if column == "sentence":  # training and calibration may say the same
            known = known.assign(side=known["side"] == "test")
        by = {"digest": ["digest"], "speaker": ["person"]}.get(column, ["corpus", column])
        return known[known.groupby(by)["side"].transform("nunique") > 1]

    def named(column: str) -> list[str]:
        found = on_several_sides(column)
        return sorted(set(found["corpus"] + "/" + found[column]))

    return Leak(named("speaker"), named("sentence"), sorted(on_several_sides("digest")["file"]))


def person_of(clips: pd.DataFrame) -> pd.Series:
    """Who speaks each clip, by ``corpus`` and ``speaker``.

    A name that begins with that of a known corpus (``ravdess_01``) is one person in folders of any name, another name only in its own.
    """
    named = clips["speaker"].str.lower().str.startswith(tuple(f"{corpus}_" for corpus in CREDITS))
    return clips["speaker"].where(named, clips["corpus"].str.lower() + "/" + clips["speaker"])


def refuse_leaks(clips: pd.DataFrame, allow: bool = False, apart: Collection[str] = LEAKING) -> Leak:
    """All that the sides share; raises ``ValueError`` with the names where they were to keep it apart, unless that is allowed."""
    leak = shared(clips)
    if leak.of(apart) and not allow:
        raise ValueError(
            f"The split leaks. Its sides share {leak.of(apart).describe()}: name speakers alike in all folders, and take copies out "
            "(--allow-leak goes on, and says so in the report's title)."
        )
    return leak


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
