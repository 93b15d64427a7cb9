"""Any folder of clips with a ``labels.csv``: columns file, speaker, emotion, and gender where it is known."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

EMOTION_OF_LABEL = {
    "anger": "anger",
    "angry": "anger",
    "calm": "calm",
    "disgust": "disgust",
    "disgusted": "disgust",
    "fear": "fear",
    "fearful": "fear",
    "anxiety": "fear",
    "happiness": "happiness",
    "happy": "happiness",
    "joy": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
    "sad": "sadness",
    "surprise": "surprise",
    "surprised": "surprise",
}
"""Spellings of labels, in lower case, and the taxonomy's emotion (``schemas.EMOTIONS``) that each means."""

COLUMNS = ("file", "speaker", "gender", "emotion", "corpus")


@dataclass(frozen=True)
class Corpus:
    """Labelled clips of one folder."""

    name: str
    clips: pd.DataFrame
    """One row a clip: file (absolute path), speaker, gender (null where unknown), emotion (taxonomy), corpus."""
    dropped: dict[str, int]
    """Rows of the file that are not among the clips, counted by reason."""

    def summary(self) -> str:
        """What was found and what was dropped, on one line."""
        found = f"{self.name}: {len(self.clips)} clips of {self.clips.speaker.nunique()} speakers"
        reasons = [f"{count} dropped ({reason})" for reason, count in self.dropped.items()]
        return ", ".join([found, *reasons])


def read_labels_csv(folder: Path) -> Corpus:
    """The corpus in ``folder``, named after it. A clip that is missing, unlabelled or a copy of an earlier one is dropped.

    Copies are files of the same bytes: the first is kept, and none of them where their emotions differ. A missing
    ``labels.csv`` or column raises ``FileNotFoundError`` or ``ValueError``.
    """
    folder = Path(folder).resolve()
    path = folder / "labels.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: a corpus is a folder of clips with a labels.csv.")
    clips = pd.read_csv(path, dtype=str)
    if missing := sorted({"file", "speaker", "emotion"} - set(clips.columns)):
        raise ValueError(f"{path} has no column {', '.join(missing)}: it needs file, speaker and emotion.")

    dropped: dict[str, int] = {}

    def keep(kept: pd.Series, reason: str) -> None:
        nonlocal clips
        if not kept.all():
            dropped[reason] = int((~kept).sum())
        clips = clips[kept]

    spellings = clips["emotion"].str.strip().str.lower()
    unknown = sorted(set(spellings.dropna()) - EMOTION_OF_LABEL.keys())
    clips = clips.assign(emotion=spellings.map(EMOTION_OF_LABEL), corpus=folder.name)
    clips = clips.assign(gender=clips["gender"].str.strip().str.lower() if "gender" in clips else None)
    keep(clips["emotion"].notna(), f"emotion unknown: {', '.join(unknown) or 'empty'}")
    keep(clips["file"].notna() & clips["speaker"].notna(), "file or speaker empty")
    clips = clips.assign(file=[str(folder / name) for name in clips["file"]])
    keep(clips["file"].map(lambda file: Path(file).is_file()).astype(bool), "file missing")
    digest = clips["file"].map(lambda file: hashlib.sha256(Path(file).read_bytes()).hexdigest())
    emotions = clips.groupby(digest)["emotion"].transform("nunique")
    keep(emotions == 1, "same bytes as a clip of another emotion")
    keep(~digest[clips.index].duplicated(), "same bytes as an earlier clip")
    return Corpus(folder.name, clips[list(COLUMNS)].reset_index(drop=True), dropped)
