"""Transcripts that others made: read, held against the speech that was found, and counted. Words are welcome but never needed."""

from ser_tasks.transcripts.reader import FORMATS, read_transcript
from ser_tasks.transcripts.transcript import Transcript, TranscriptError, Turn, Word

__all__ = ["FORMATS", "Transcript", "TranscriptError", "Turn", "Word", "read_transcript"]
