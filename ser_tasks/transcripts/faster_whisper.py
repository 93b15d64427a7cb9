"""The recogniser of the extra ``words``: faster-whisper with a CTranslate2 model from a folder. Nothing is ever downloaded.

What it makes up where nobody speaks (music that passed for speech, noise) is dropped by its own measures of each stretch of text: how
probable the text is, how probable it is that nobody speaks, and how much it repeats itself.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ser_tasks.transcripts.recognition import RATE_HZ, Audio
from ser_tasks.transcripts.transcript import Word

FILES = ("model.bin", "config.json", "tokenizer.json")
"""Of a CTranslate2 folder; beside them lies vocabulary.json or vocabulary.txt."""
PRECISION = {"cpu": "int8", "cuda": "float16"}
BEAM = 5
LEAST_LOG_PROBABILITY = -1.0
"""Mean log probability of the tokens of text that is kept (Whisper's own limit),"""
MOST_SILENCE = 0.6
"""probability of nobody speaking,"""
MOST_REPETITION = 2.4
"""and how well it may compress (Whisper's own limit): text in a loop compresses better."""
SURE_OF_LANGUAGE = 0.5


def check(folder: str) -> None:
    """Raises ValueError where the extra is not installed, or the folder holds no CTranslate2 model."""
    if find_spec("faster_whisper") is None:
        raise ValueError('Transcripts are made with faster-whisper, which is not installed: pip install "ser-nightly[words]".')
    missing = [name for name in FILES if not (Path(folder) / name).is_file()]
    if not any(Path(folder).glob("vocabulary.*")):
        missing.append("vocabulary.json or vocabulary.txt")
    if missing:
        raise ValueError(
            f"SER_ASR_MODEL is {folder}, and has no {', '.join(missing)}: give the folder of a Whisper model in CTranslate2's format, with "
            "its tokenizer. Nothing is downloaded."
        )


def load(folder: str, device: str) -> "FasterWhisper":
    """The recogniser of a folder, on ``cpu`` (8-bit integers, one thread) or ``cuda`` (16-bit floats). Raises what ``check`` raises."""
    check(folder)
    return FasterWhisper(folder, device)


class FasterWhisper:
    """A Whisper model. One call at a time; the same audio gives the same words on the same kind of device."""

    def __init__(self, folder: str, device: str):
        from faster_whisper import WhisperModel

        # A folder that exists and has a tokenizer is never looked up elsewhere (`check`).
        self._model = WhisperModel(folder, device=device, compute_type=PRECISION[device], cpu_threads=1, local_files_only=True)

    def knows(self, language: str) -> bool:
        return language in self._model.supported_languages

    def language_of(self, audio: Audio) -> str | None:
        if not self._model.model.is_multilingual:
            return "en"
        language, probability, _ = self._model.detect_language(audio)
        return language if probability >= SURE_OF_LANGUAGE else None

    def words(self, audio: Audio, language: str | None) -> list[Word]:
        segments, _ = self._model.transcribe(
            audio,
            language=language,
            beam_size=BEAM,
            temperature=0.0,  # a fallback to sampling would give other words each time
            condition_on_previous_text=False,
            word_timestamps=True,
            log_prob_threshold=None,
            no_speech_threshold=None,
            compression_ratio_threshold=None,
        )
        end_s = len(audio) / RATE_HZ
        return [
            Word(word.word.strip(), min(word.start, end_s), min(word.end, end_s))
            for segment in segments
            if _is_kept(segment)
            for word in segment.words or ()
            if word.word.strip()
        ]


def _is_kept(segment: Any) -> bool:
    sure = segment.avg_logprob >= LEAST_LOG_PROBABILITY and segment.no_speech_prob <= MOST_SILENCE
    return bool(sure and segment.compression_ratio <= MOST_REPETITION)
