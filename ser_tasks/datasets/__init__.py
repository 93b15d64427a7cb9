"""Labelled corpora: readers of a folder, listed in ``DATASETS``, and the split of their speakers."""

from collections.abc import Callable
from pathlib import Path

from ser_tasks.datasets.labels_csv import Corpus, read_labels_csv
from ser_tasks.datasets.split import SIDES, split_by_speaker

DATASETS: dict[str, Callable[[Path], Corpus]] = {"labels_csv": read_labels_csv}

__all__ = ["DATASETS", "SIDES", "Corpus", "read_labels_csv", "split_by_speaker"]
