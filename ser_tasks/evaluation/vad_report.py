"""Measures the speech detector on folders of audio: false alarms in audio without speech, missed files in audio with speech."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ser_tasks.audio import open_audio
from ser_tasks.audio.samples import Samples, at_8_khz
from ser_tasks.audio.vad import detect_speech, segments, speech_spans
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.settings import Settings


@dataclass
class FolderReport:
    """Sums over the files of one folder, or over one file. Seconds are summed over channels."""

    folder: str
    files: int = 0
    audio_s: float = 0.0
    speech_s: float = 0.0
    segments_s: float = 0.0
    """Seconds in segments that a model would score."""
    without_speech: int = 0
    """Files without detected speech."""
    without_segment: int = 0
    """Files without a segment to score: no speech, or no span of speech as long as min_segment_s."""


def speech_in_folders(folders: list[Path], settings: Settings, each_file: bool = False) -> Iterator[tuple[FolderReport, int, int]]:
    """Yields, after each file, the report of its folder (or of the file, with ``each_file``), the files done and all files of the folder.

    Raises FileNotFoundError where a folder does not exist.
    """
    for root in folders:
        if not root.is_dir():
            raise FileNotFoundError(f"There is no folder {root}: give folders of audio.")
        for folder in sorted({path.parent for path in root.rglob("*") if path.suffix.lower() in settings.recording_suffixes}):
            paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in settings.recording_suffixes)
            report = FolderReport(folder.relative_to(root.parent).as_posix())
            for done, path in enumerate(paths, 1):
                if each_file:
                    report = FolderReport(path.relative_to(root.parent).as_posix())
                _add(report, path, settings)
                yield report, done, len(paths)


def _add(report: FolderReport, path: Path, settings: Settings) -> None:
    with (
        open_audio(path, max_duration_s=settings.max_duration_s) as reader,
        Samples(reader.info.channels, Path(tempfile.gettempdir())) as call,
    ):
        for block in at_8_khz(reader.blocks(), reader.info.sampling_rate_hz):
            call.push(block)
        (result,) = detect_speech([call])
    speech_s = segments_s = 0.0
    for channel in result.probabilities:
        for span in speech_spans(channel, call.samples):
            speech_s += span.seconds
            to_score = segments(span, channel, settings.min_segment_s, settings.max_segment_s)
            segments_s += sum(segment.seconds for segment in to_score)
    report.files += 1
    report.audio_s += call.channels * call.samples / SAMPLING_RATE_HZ
    report.speech_s += speech_s
    report.segments_s += segments_s
    report.without_speech += speech_s == 0
    report.without_segment += segments_s == 0
