"""Labelled corpora: published ones, one file each, listed in ``DATASETS``, and any folder with a ``labels.csv``; and splits of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from ser_tasks.datasets.banglaser import BANGLASER
from ser_tasks.datasets.casia import CASIA
from ser_tasks.datasets.corpus import COLUMNS, RATINGS, TAXONOMY_ONLY, Corpus, Layout, audio_files, emotions_of, speaker_ids
from ser_tasks.datasets.crema_d import CREMA_D
from ser_tasks.datasets.eesdb import EESDB
from ser_tasks.datasets.emns import EMNS
from ser_tasks.datasets.emodb import EMODB
from ser_tasks.datasets.emogator import EMOGATOR
from ser_tasks.datasets.emospeech_india import EMOSPEECH_INDIA
from ser_tasks.datasets.emovo import EMOVO
from ser_tasks.datasets.emozionalmente import EMOZIONALMENTE
from ser_tasks.datasets.esd import ESD
from ser_tasks.datasets.iemocap import IEMOCAP
from ser_tasks.datasets.labels_csv import read_labels_csv
from ser_tasks.datasets.leaks import Leak, refuse_leaks, shared
from ser_tasks.datasets.mesd import MESD
from ser_tasks.datasets.nemo import NEMO
from ser_tasks.datasets.ravdess import RAVDESS
from ser_tasks.datasets.rml import RML
from ser_tasks.datasets.savee import SAVEE
from ser_tasks.datasets.split import SIDES, SPLITS, folds_of, split_by_speaker
from ser_tasks.datasets.subesco import SUBESCO
from ser_tasks.datasets.susas import SUSAS
from ser_tasks.datasets.tess import TESS
from ser_tasks.datasets.turev import TUREV


class Reader(Protocol):
    """Reads the corpus in a folder."""

    def __call__(self, folder: Path, beyond: Mapping[str, str] = TAXONOMY_ONLY) -> Corpus:
        """See ``read_labels_csv`` and ``Layout.read``."""


LAYOUTS = (
    CREMA_D,
    EMODB,
    ESD,
    IEMOCAP,
    NEMO,
    RAVDESS,  # before BANGLASER, whose names look the same
    SAVEE,
    SUBESCO,
    TESS,
    BANGLASER,
    CASIA,
    EESDB,
    EMNS,
    EMOGATOR,
    EMOSPEECH_INDIA,
    EMOVO,
    EMOZIONALMENTE,
    MESD,
    RML,
    SUSAS,
    TUREV,
)
DATASETS: dict[str, Layout] = {layout.name: layout for layout in LAYOUTS}
"""Published corpora, by name."""


def read_corpora(data: Iterable[Path], beyond: Mapping[str, str] = TAXONOMY_ONLY) -> list[Corpus]:
    """The corpora in these folders: each is a corpus (a ``labels.csv``, or a layout of ``DATASETS``), or contains several.

    ``beyond`` names emotions outside the taxonomy, by label, for experiments that keep them. Raises ``ValueError`` for a
    folder that is neither, and for two corpora of the same name.
    """
    corpora = [corpus for folder in map(Path, data) for corpus in _read(folder, beyond)]
    names = [corpus.name for corpus in corpora]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Two corpora are named {', '.join(twice)}: give each folder once, and under different names.")
    return corpora


def _read(folder: Path, beyond: Mapping[str, str]) -> list[Corpus]:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}: give folders of labelled clips.")
    if (folder / "labels.csv").is_file():
        return [read_labels_csv(folder, beyond)]
    inside = {path: _reader(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    kinds = set(filter(None, inside.values()))
    whole = _layout(folder)
    if whole and not (read_labels_csv in kinds or len(kinds) > 1):  # its subfolders are parts of one corpus
        return [whole(folder, beyond)]
    if not kinds:
        raise ValueError(
            f"{folder} is no corpus and holds none: it needs a labels.csv (file, speaker, emotion), "
            f"or the file names of {', '.join(DATASETS)}."
        )
    return [read(path, beyond) for path, read in inside.items() if read]


def _reader(folder: Path) -> Reader | None:
    return read_labels_csv if (folder / "labels.csv").is_file() else _layout(folder)


def _layout(folder: Path) -> Reader | None:
    """The reader of the corpus whose file names most of the folder's audio files have, and more than half of them.

    Where names could be of two corpora alike, it is the one whose name is in the folder's path, or else the first of ``DATASETS``.
    """
    files, path = list(audio_files(folder)), folder.resolve().as_posix().lower()
    counts = {layout.name: layout.count(folder, files) for layout in DATASETS.values()}
    best = max(counts, key=lambda name: (counts[name], name in path))
    return DATASETS[best].read if counts[best] > len(files) / 2 else None


__all__ = [
    "COLUMNS",
    "DATASETS",
    "RATINGS",
    "SIDES",
    "SPLITS",
    "Corpus",
    "Layout",
    "Leak",
    "emotions_of",
    "folds_of",
    "read_corpora",
    "read_labels_csv",
    "refuse_leaks",
    "shared",
    "speaker_ids",
    "split_by_speaker",
]
