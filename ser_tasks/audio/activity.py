"""Acoustic activity of a call: speech time, silence, overlap, interruptions, loudness. No emotion, for any role.

Everything is measured on the detector's windows of 32 ms: which windows hold speech, and each window's mean square.
"""

from typing import Any

import numpy as np

from ser_tasks.audio.vad import WINDOW, WINDOW_S, Span

INTERRUPTION_S = 0.5
"""An interruption: one side starts while the other speaks, and both go on for at least so long."""
MAX_SNR_DB = 60.0
CROSSTALK_DB = 25.0
"""Speech that is so much quieter than another channel's speech at the same time is that channel's, leaking over."""
_SMALLEST_POWER = 1e-12


def speech_mask(stretches: list[Span], windows: int) -> np.ndarray:
    """True for each window (windows,) whose middle lies in a stretch of speech."""
    mask = np.zeros(windows, bool)
    for stretch in stretches:
        mask[round(stretch.start / WINDOW) : round(stretch.end / WINDOW)] = True
    return mask


def without_crosstalk(stretches: list[list[Span]], power: np.ndarray) -> list[list[Span]]:
    """Each channel's stretches without those that are another channel's speech, leaked over by an echo or a stereo codec.

    A stretch is left out where, over most of it, another channel speaks 25 dB louder; power is (channels, windows).
    """
    speech = np.array([speech_mask(found, power.shape[1]) for found in stretches])
    louder = power * 10 ** (-CROSSTALK_DB / 10)

    def leaked(channel: int, stretch: Span) -> bool:
        windows = slice(round(stretch.start / WINDOW), max(round(stretch.start / WINDOW) + 1, round(stretch.end / WINDOW)))
        others = (other for other in range(len(stretches)) if other != channel)
        own = power[channel, windows].mean()
        return any((speech[other, windows] & (louder[other, windows] > own)).mean() > 0.5 for other in others)

    return [[stretch for stretch in found if not leaked(channel, stretch)] for channel, found in enumerate(stretches)]


def dbfs(power: float) -> float:
    """RMS level in dB relative to full scale (a sample of 1.0) of a mean square."""
    return float(10 * np.log10(max(power, _SMALLEST_POWER)))


def noise_floor(power: np.ndarray, speech: np.ndarray) -> float | None:
    """Mean square of a channel's background: the median over windows without speech; None where there are none."""
    background = power[~speech]
    return float(np.median(background)) if len(background) else None


def snr_db(power: float, floor: float | None) -> float | None:
    """Level of speech above the background in dB, the background's own power taken off; None without a floor.

    At most 60 dB: behind a noise gate or in made-up audio the floor is digital silence, which says no more than that.
    """
    if floor is None:
        return None
    ratio = max(power - floor, _SMALLEST_POWER) / max(floor, _SMALLEST_POWER)
    return float(min(10 * np.log10(ratio), MAX_SNR_DB))


def level_of(span: Span, power: np.ndarray) -> float:
    """Mean square over a span's windows."""
    first = min(span.start // WINDOW, len(power) - 1)
    return float(power[first : max(first + 1, -(-span.end // WINDOW))].mean())


def activity(roles: list[str], speech: np.ndarray, power: np.ndarray, duration_s: float) -> dict[str, Any]:
    """The activity columns of a call: speech and power are (channels, windows), one role a channel.

    Speech seconds count a moment once, however many channels of the same role are active in it.
    """

    def of(*names: str) -> tuple[np.ndarray | None, float | None]:
        channels = [index for index, role in enumerate(roles) if role in names]
        if not channels:
            return None, None
        active = speech[channels]
        level = dbfs(float(power[channels][active].mean())) if active.any() else None
        return active.any(axis=0), level

    customer, customer_level = of("customer")
    agent, agent_level = of("agent")
    other, other_level = of("mixed", "unknown")
    quiet = ~speech.any(axis=0)
    both = customer & agent if customer is not None and agent is not None else None
    return {
        "customer_speech_s": _seconds(customer, duration_s),
        "agent_speech_s": _seconds(agent, duration_s),
        "unattributed_speech_s": _seconds(other, duration_s),
        "silence_s": _seconds(quiet, duration_s),
        "longest_silence_s": min(float(_runs(quiet).max(initial=0) * WINDOW_S), duration_s),
        "overlap_s": _seconds(both, duration_s),
        "interruptions_by_agent": None if both is None else interruptions(agent, customer),
        "interruptions_by_customer": None if both is None else interruptions(customer, agent),
        "customer_loudness_dbfs": customer_level,
        "agent_loudness_dbfs": agent_level,
        "unattributed_loudness_dbfs": other_level,
    }


def interruptions(by: np.ndarray, of: np.ndarray) -> int:
    """How often ``by`` starts to speak while ``of`` is speaking, both then speaking for at least 0.5 s; masks (windows,)."""
    starts = np.flatnonzero(by[1:] & ~by[:-1] & of[1:] & of[:-1]) + 1
    long = int(np.ceil(INTERRUPTION_S / WINDOW_S))
    both = by & of
    return sum(1 for start in starts if start + long <= len(both) and both[start : start + long].all())


def _seconds(mask: np.ndarray | None, duration_s: float) -> float | None:
    return None if mask is None else min(float(mask.sum() * WINDOW_S), duration_s)


def _runs(mask: np.ndarray) -> np.ndarray:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return edges[1::2] - edges[::2]
