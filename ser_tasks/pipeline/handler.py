"""One chunk of a run on this machine: extract, score, publish."""

import dataclasses
import math
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_tasks.inference.bundle import shared_bundle
from ser_tasks.inference.scorer import AT_ONCE_BYTES, ScoredFile, choose_device, put_together, score_files, shares
from ser_tasks.lake.key_chain import LakeKeys
from ser_tasks.pipeline.extract import Batch
from ser_tasks.pipeline.ingest import Chunk
from ser_tasks.pipeline.lines import ProfileBook, load_profile
from ser_tasks.pipeline.opt_out import without_opted_out
from ser_tasks.pipeline.publish import ChunkReport, failed_batch, publish_chunk
from ser_tasks.pipeline.spec import RunSpec
from ser_tasks.pipeline.words import publish_words
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.storage import open_store


@dataclass(frozen=True)
class ExtractedChunk:
    """A chunk between its two stages: results in memory, frames in scratch."""

    chunk: Chunk
    batches: list[Batch]
    folder: Path


class ChunkHandler:
    """Brings chunks of one run from the store to published parts. Several threads may use it at once.

    Raises ValueError where this machine's bundle is not the one of the run.
    """

    def __init__(self, spec: RunSpec, keys: LakeKeys, workers: WorkerPool, scratch: Path):
        self.spec, self.workers, self.scratch = spec, workers, scratch
        self.settings = keys.of(spec.settings)
        self.bundle = shared_bundle(spec.model, spec.settings.priors)
        if self.bundle.model_id != spec.model_id:
            raise ValueError(
                f"{spec.model} is {self.bundle.model_id} on {socket.gethostname()} and {spec.model_id} in the run: give it as s3://..., "
                "or install the same on every machine."
            )
        self.device = choose_device(spec.device).type
        self.lake = open_store(spec.lake_uri)
        of_model = [load_profile(spec.lake_uri, key) for key in spec.profiles]
        self.profiles = ProfileBook(of_model, spec.of_profile)
        self.precision: str | None = None
        """That of the scores; None before something is scored."""

    def extract(self, chunk: Chunk, progress: Callable[[Batch], None] = lambda batch: None) -> ExtractedChunk:
        """The first stage, in the worker processes."""
        folder = self.scratch / chunk.chunk_id
        folder.mkdir(exist_ok=True)
        return ExtractedChunk(chunk, self.workers.extract(chunk.recordings, self.spec, folder, progress), folder)

    def publish(self, extracted: ExtractedChunk) -> ChunkReport:
        """The second stage: scores the chunk, writes its parts, and removes its frames."""
        batches = [without_opted_out(batch, self.spec.opt_out, self.settings) for batch in extracted.batches]
        scored, score_s = self._score(batches)
        self.precision = next((scores.precision for _, scores in scored if scores.precision), self.precision)
        publish = publish_words if self.spec.recogniser else publish_chunk
        report = publish(self.lake, extracted.chunk, scored, self.bundle, self.profiles, self.spec, self.settings)
        shutil.rmtree(extracted.folder, ignore_errors=True)
        return dataclasses.replace(report, seconds=report.seconds | {"score": score_s})

    def publish_failed(self, chunk: Chunk, error: BaseException) -> ChunkReport:
        """Publishes a chunk that a broken machine stopped: every recording failed, to be tried again."""
        return self.publish(ExtractedChunk(chunk, [failed_batch(chunk, error)], self.scratch / chunk.chunk_id))

    def _score(self, batches: list[Batch]) -> tuple[list[tuple[Batch, ScoredFile]], float]:
        """The recordings in batches with their scores, and the seconds. A GPU scores in this process, CPUs in the workers."""
        shared = self.device == "cpu" and self.spec.scorer(self.device).precision != "float32"
        if self.device == "cpu":
            batches = joined(batches, 1 if shared else self.workers.count)
        split = [shares(batch.lengths, self.workers.count if shared else 1) or [np.zeros(0, np.int64)] for batch in batches]
        standards = [self.profiles.standards(batch) for batch in batches]
        pieces = [(batch, (own, share)) for batch, own, of_batch in zip(batches, standards, split, strict=True) for share in of_batch]
        more = [task for _, task in pieces]
        answers = iter(self.workers.over_frames(score_files, [batch for batch, _ in pieces], self.spec, self.device, more))
        nothing = ScoredFile(np.zeros((0, len(self.bundle.labels)), np.float32), np.zeros(0, np.float32), 0.0)
        scored = [put_together([(share, next(answers) or nothing) for share in of_batch]) for of_batch in split]
        return list(zip(batches, scored, strict=True)), sum(answer.seconds for answer in scored)


def joined(batches: list[Batch], at_least: int) -> list[Batch]:
    """The same recordings in fewer and larger batches of about one size, each read by a scorer at once; at least so many where there are.

    Segments of one length are computed together, and a batch of the model that they do not fill costs as much as a full one.
    """
    with_frames = [batch for batch in batches if batch.frames_files]
    bytes_of = {id(batch): sum(file.stat().st_size for file in batch.frames_files) for batch in with_frames}
    count = at_least * max(1, math.ceil(sum(bytes_of.values()) / AT_ONCE_BYTES / at_least))
    packs: list[list[Batch]] = [[] for _ in range(min(count, len(with_frames)))]
    for batch in sorted(with_frames, key=lambda each: -bytes_of[id(each)]):
        min(packs, key=lambda pack: sum(bytes_of[id(each)] for each in pack)).append(batch)
    together = [
        Batch([result for batch in pack for result in batch.extracted], tuple(file for batch in pack for file in batch.frames_files))
        for pack in packs
    ]
    return together + [batch for batch in batches if not batch.frames_files]
