"""Chunks that share task runs: Prefect takes some 0.03 CPU-seconds for the two of a chunk, as much as a call of three seconds does."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from flows.retries import is_storage_trouble
from ser_tasks import logs
from ser_tasks.pipeline.handler import ExtractedChunk

SINGLE_UP_TO = 100
"""Waiting chunks up to which each has task runs of its own."""
GROUP_RECORDINGS, GROUP_AUDIO_S = 500, 7200.0
"""The most that shares a task run: what a chunk holds at most by default."""


class Group:
    """Waiting chunks, given as day and id: one task run extracts them, another one scores them. Each chunk ends for itself."""

    def __init__(self, chunks: Sequence[tuple[date, str]]):
        self.chunks = tuple(chunks)
        self.extracted: dict[str, ExtractedChunk] = {}
        """By id, until it is published."""
        self.failed: dict[str, Exception] = {}
        """By id, of the chunks that are neither extracted nor published: why."""

    def __str__(self) -> str:
        first = self.chunks[0][1]
        return first if len(self.chunks) == 1 else f"{first} and {len(self.chunks) - 1} more"

    def each(self, chunks: Sequence[tuple[date, str]], work: Callable[[date, str], None]) -> None:
        """Does ``work`` for each of some of its chunks. Where one fails the others go on, and in the end an error is raised: one that is
        worth another try, if there is one."""
        for day, chunk_id in chunks:
            self.failed.pop(chunk_id, None)
            try:
                with logs.fields(chunk=chunk_id):
                    work(day, chunk_id)
            except Exception as error:
                self.failed[chunk_id] = error
        errors = [self.failed[chunk_id] for _, chunk_id in chunks if chunk_id in self.failed]
        if errors:
            raise next(filter(is_storage_trouble, errors), errors[0])

    def fail_unextracted(self, error: Exception) -> None:
        """The task run that extracts has ended with an error: of the chunks that have none of their own, too."""
        for _, chunk_id in self.chunks:
            if chunk_id not in self.extracted:
                self.failed.setdefault(chunk_id, error)

    def fail_unpublished(self, error: Exception) -> None:
        """The same for the task run that scores."""
        for chunk_id in self.extracted:
            self.failed.setdefault(chunk_id, error)


def grouped(chunks: Sequence[tuple[date, str]], sizes: Mapping[str, tuple[int, float]]) -> list[Group]:
    """The waiting chunks, in their order, in groups. ``sizes``: by chunk, its waiting recordings and their estimated seconds."""
    if len(chunks) <= SINGLE_UP_TO:
        return [Group([chunk]) for chunk in chunks]
    groups: list[list[tuple[date, str]]] = []
    recordings, audio_s = 0, 0.0
    for chunk in chunks:
        more, more_s = sizes.get(chunk[1], (GROUP_RECORDINGS, GROUP_AUDIO_S))
        if not groups or recordings + more > GROUP_RECORDINGS or audio_s + more_s > GROUP_AUDIO_S:
            groups.append([])
            recordings, audio_s = 0, 0.0
        groups[-1].append(chunk)
        recordings, audio_s = recordings + more, audio_s + more_s
    return [Group(group) for group in groups]


def report_failed(group: Group, give_up: Callable[[date, str, Exception], None], log: Any) -> None:
    """Gives up the chunks of a group that failed."""
    for day, chunk_id in group.chunks:
        if error := group.failed.get(chunk_id):
            with logs.fields(chunk=chunk_id):
                log.error(f"chunk {chunk_id} failed", exc_info=error)
                give_up(day, chunk_id, error)
