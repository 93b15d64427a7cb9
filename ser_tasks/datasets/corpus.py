"""A labelled corpus, in the same form from every reader."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from ser_tasks.datasets.clip import digest_of, file_of
from ser_tasks.datasets.credits import CREDITS
from ser_tasks.datasets.labels import EMOTION_OF_LABEL, LEFT_OUT, OF_CORPUS
from ser_tasks.licences import UNKNOWN
from ser_tasks.schemas import EMOTIONS

TAXONOMY_ONLY: Mapping[str, str] = MappingProxyType({})
RATINGS = ("arousal", "valence", "dominance")
"""What listeners rated, in the corpus's own scale; null where they did not."""
COLUMNS = ("file", "speaker", "gender", "label", "emotion", "language", "sentence", "text", "licence", "corpus", "digest", *RATINGS)
AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aif", ".aiff", ".au", ".sph", ".webm", ".avi"}
"""Of files that hold clips; of videos, the sound is read."""


@dataclass(frozen=True)
class Corpus:
    """Labelled clips of one folder."""

    name: str
    clips: pd.DataFrame
    """One row a clip: file (absolute path, with the stretch: ``clip.py``), speaker, gender (female, male or null),
    label (the corpus's own), emotion (taxonomy), language (ISO 639-1, null where unknown), sentence (an identifier of
    the spoken words, null where unknown), text (the words themselves, null where unknown), licence, corpus, digest (of the
    samples: clips of the same digest are identical), and ``RATINGS``."""
    dropped: dict[str, int]
    """Number of files or rows left out, by reason."""

    def summary(self) -> str:
        """Clips and speakers read, and clips dropped by reason, on one line."""
        read = f"{self.name}: {len(self.clips)} clips of {self.clips.speaker.nunique()} speakers"
        reasons = [f"{count} dropped ({reason})" for reason, count in self.dropped.items()]
        return ", ".join([read, *reasons])


@dataclass(frozen=True)
class Layout:
    """File names of a published corpus, from which speaker, label and language are read."""

    name: str
    language: str | None
    """Of all clips, ISO 639-1; None where ``facts`` returns it."""
    file_name: str
    """Regular expression of a clip's path inside the folder, without its suffix; other folders may precede it."""
    facts: Callable[[re.Match[str], Any], dict[str, str | None] | str]
    """From the match of a clip's path and the notes: columns of the clip, speaker and label among them, or why it is left out."""
    notes: Callable[[Path], Any] = field(default=lambda folder: None)
    """Reads the folder's lists of speakers, transcripts and the like, once, for ``facts``."""
    listed: bool = False
    """Names say nothing: only files that are in the notes, by their group ``file``, are of this corpus."""
    any_case: bool = False
    """Names may be in capital letters; ``facts`` gets them in small ones."""

    def count(self, folder: Path, files: list[Path]) -> int:
        """How many of these files below the folder have a name of this corpus."""
        matches = [match for path in files if (match := self._match(folder, path))]
        if self.listed and matches:
            notes = self.notes(folder)
            return sum(match["file"] in notes for match in matches)
        return len(matches)

    def read(self, folder: Path, beyond: Mapping[str, str] = TAXONOMY_ONLY) -> Corpus:
        """The corpus below the folder. Files that could not be read are counted in ``dropped``. ``beyond``: see ``corpus_of``."""
        folder = folder.resolve()
        notes, rows, dropped = self.notes(folder), [], Counter[str]()
        for path in audio_files(folder):
            match = self._match(folder, path)
            facts = self.facts(match, notes) if match else f"not named as {self.name} names its clips"
            if isinstance(facts, str):
                dropped[facts] += 1
            else:
                speaker = f"{self.name}_{facts['speaker']}"
                rows.append({"language": self.language} | facts | {"file": str(path), "speaker": speaker})
        return corpus_of(self.name, pd.DataFrame(rows, dtype=object), dropped, beyond)

    def _match(self, folder: Path, path: Path) -> re.Match[str] | None:
        name = path.relative_to(folder).with_suffix("").as_posix()
        return re.fullmatch(rf"(?:.*/)?(?:{self.file_name})", name.lower() if self.any_case else name)


def speaker_ids(clips: pd.DataFrame) -> pd.Series:
    """``corpus/speaker`` of each clip: a speaker's name is unique within its corpus only."""
    return clips["corpus"] + "/" + clips["speaker"]


def emotions_of(clips: pd.DataFrame) -> tuple[str, ...]:
    """The emotions that clips have, in the taxonomy's order; those that were read beyond it come last."""
    present = set(clips["emotion"])
    return (*(emotion for emotion in EMOTIONS if emotion in present), *sorted(present.difference(EMOTIONS)))


def audio_files(folder: Path) -> Iterator[Path]:
    """Audio files below a folder, in order; hidden ones are none."""
    for path in sorted(Path(folder).rglob("*")):
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
        if path.suffix.lower() in AUDIO_SUFFIXES and not hidden:
            yield path


def corpus_of(name: str, rows: pd.DataFrame, dropped: Counter[str], beyond: Mapping[str, str] = TAXONOMY_ONLY) -> Corpus:
    """A corpus from rows of file, speaker, label and any other of ``COLUMNS``, without unusable rows.

    ``beyond`` names emotions outside the taxonomy by label, whose clips are to be kept. Left out are clips without a file or a speaker,
    with a label outside the taxonomy, unreadable or silent ones, and duplicates: of
    a speaker's clips with the same samples the first is kept, or none where their emotions differ. Clips that two speakers share are
    kept: splits refuse them. Names of speakers that differ in case or spaces alone are one (``one_spelling``).
    """
    rows = rows.reindex(columns=list(dict.fromkeys([*COLUMNS, *map(str, rows.columns)])))
    licence = CREDITS[name.lower()].licence if name.lower() in CREDITS else UNKNOWN
    rows = rows.assign(corpus=name, licence=rows["licence"].astype(object).fillna(licence))
    for column in ("gender", "label"):
        rows[column] = rows[column].astype("string").str.strip().str.lower().astype(object)
    for column in RATINGS:
        rows[column] = pd.to_numeric(rows[column], errors="coerce")
    rows["gender"] = rows["gender"].replace({"f": "female", "m": "male", "w": "female"})

    def keep(wanted: pd.Series, reason: str | pd.Series) -> None:
        nonlocal rows
        reasons = reason[~wanted] if isinstance(reason, pd.Series) else [reason] * int((~wanted).sum())
        dropped.update(reasons)
        rows = rows[wanted]

    named = rows["speaker"].notna() & rows["speaker"].astype(str).str.strip().astype(bool)
    keep(rows["file"].notna() & named, "file or speaker empty")
    rows = rows.assign(speaker=one_spelling(rows["speaker"]))
    rows = rows.assign(emotion=rows["label"].map(EMOTION_OF_LABEL | OF_CORPUS.get(name.lower(), {}) | dict(beyond)))
    keep(rows["emotion"].notna(), rows["label"].map(_why_left_out))
    keep(rows["file"].map(lambda file: file_of(file).is_file()).astype(bool), "file missing")
    digests = [digest_of(file) for file in rows["file"]]
    rows = rows.assign(digest=pd.Series([digest for digest, _ in digests], index=rows.index, dtype=object))
    keep(rows["digest"].notna(), pd.Series([reason for _, reason in digests], index=rows.index, dtype=object))
    keep(rows.groupby("digest")["emotion"].transform("nunique") == 1, "the same samples as a clip of another emotion")
    keep(~rows.duplicated(["digest", "speaker"]), "the same samples as an earlier clip")
    clips = rows[list(COLUMNS)].reset_index(drop=True).astype(object)
    return Corpus(name, clips.where(clips.notna(), None), dict(dropped))


def one_spelling(names: pd.Series) -> pd.Series:
    """Names of people, without spaces around them; those that differ in case, spaces or Unicode's form alone are the first of them."""
    stripped = names.astype(str).str.strip()
    keys = stripped.map(lambda name: unicodedata.normalize("NFKC", " ".join(name.split())).casefold())
    return stripped.groupby(keys, sort=False).transform("first").astype(object)


def _why_left_out(label: str | None) -> str:
    if not isinstance(label, str):
        return "no label"
    return f"{label}: {LEFT_OUT[label]}" if label in LEFT_OUT else f"{label}: unknown, see labels.py"
