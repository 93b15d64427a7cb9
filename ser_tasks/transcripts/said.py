"""What somebody says in a stretch of a call, for models that read words."""

from ser_tasks.transcripts.transcript import Transcript, Turn


def said(transcript: Transcript, channel: int, role: str, start_s: float, end_s: float) -> str:
    """The words that begin from ``start_s`` until ``end_s``, on a channel where the transcript states channels, else of that role.

    Words without times are taken to be spread evenly over their turn. Of turns with neither channel nor role, none are taken: they may be
    another person's.
    """
    turns = [turn for turn in transcript.turns if turn.start_s < end_s and turn.end_s >= start_s and _is_of(turn, channel, role)]
    return " ".join(text for turn in turns for text, at_s in _timed(turn) if start_s <= at_s < end_s)


def _is_of(turn: Turn, channel: int, role: str) -> bool:
    return turn.channel == channel if turn.channel is not None else turn.role == role


def _timed(turn: Turn) -> list[tuple[str, float]]:
    """The turn's words, each with the second at which it begins."""
    texts = [word.text for word in turn.words] or turn.text.split()
    step_s = (turn.end_s - turn.start_s) / max(1, len(texts))
    starts = [word.start_s for word in turn.words] or [None] * len(texts)
    return [
        (text, turn.start_s + number * step_s if start_s is None else start_s)
        for number, (text, start_s) in enumerate(zip(texts, starts, strict=True))
    ]
