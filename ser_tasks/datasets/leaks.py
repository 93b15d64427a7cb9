"""What the sides of a split share: a score means nothing where the model has heard the test's speakers or clips."""

from dataclasses import dataclass

import pandas as pd

SHOWN = 5


@dataclass(frozen=True)
class Leak:
    """What is on more than one side: names of speakers and sentences (``corpus/name``), files of identical clips."""

    speakers: list[str]
    sentences: list[str]
    clips: list[str]

    def __bool__(self) -> bool:
        """Whether the split leaks. Shared sentences alone do not make it so: a corpus of two sentences can't do without."""
        return bool(self.speakers or self.clips)

    def told(self) -> str:
        """What is shared, in words."""
        kinds = {"speakers": self.speakers, "identical clips": self.clips, "sentences": self.sentences}
        return "; ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names) or "nothing"


def shared(clips: pd.DataFrame) -> Leak:
    """What the sides of a split have in common. ``clips`` needs side, corpus, speaker, sentence, digest and file."""

    def on_several_sides(column: str) -> pd.DataFrame:
        known = clips[clips[column].notna()]
        by = ["digest"] if column == "digest" else ["corpus", column]
        return known[known.groupby(by)["side"].transform("nunique") > 1]

    def named(column: str) -> list[str]:
        found = on_several_sides(column)
        return sorted(set(found["corpus"] + "/" + found[column]))

    return Leak(named("speaker"), named("sentence"), sorted(on_several_sides("digest")["file"]))


def refuse_leaks(clips: pd.DataFrame, allow: bool = False) -> Leak:
    """What the sides share; raises ``ValueError`` with its names where that is a leak, unless it is allowed."""
    leak = shared(clips)
    if leak and not allow:
        raise ValueError(f"The split leaks. Its sides share {leak.told()}: name speakers alike in all folders, and take copies out.")
    return leak


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
