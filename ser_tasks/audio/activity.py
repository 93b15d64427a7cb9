"""Acoustic activity of a call: speech time, silence, overlap, interruptions and loudness. It holds no emotion, for any role.

All of it is measured on the detector's windows of 32 ms: which of them hold speech, and the mean square of each.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.vad import WINDOW, WINDOW_S, Span

Mask = NDArray[np.bool_]
"""True for windows of speech."""
Power = NDArray[np.floating]
"""Mean square of windows."""

INTERRUPTION_S = 0.5
"""In an interruption one side starts to speak during the other's speech, and both then speak for at least this long."""
MAX_SNR_DB = 60.0
_SMALLEST_POWER = 1e-12


def speech_mask(spans: list[Span], windows: int) -> Mask:
    """True for each window (windows,) whose middle lies in a span of speech."""
    mask = np.zeros(windows, bool)
    for span in spans:
        mask[round(span.start / WINDOW) : round(span.end / WINDOW)] = True
    return mask


def dbfs(power: float) -> float:
    """RMS level of a mean square, in dB relative to full scale (a sample of 1.0)."""
    return float(10 * np.log10(max(power, _SMALLEST_POWER)))


def noise_floor(power: Power, speech: Mask) -> float | None:
    """Mean square of a channel's background: the median over the windows without speech, or None if there are none."""
    background = power[~speech]
    return float(np.median(background)) if len(background) else None


def snr_db(power: float, floor: float | None) -> float | None:
    """Signal-to-noise ratio in dB: the power of speech, less the background's, against the background's. None without a floor.

    At most MAX_SNR_DB: behind a noise gate and in synthetic audio the floor is digital silence, and the ratio means little.
    """
    if floor is None:
        return None
    ratio = max(power - floor, _SMALLEST_POWER) / max(floor, _SMALLEST_POWER)
    return float(min(10 * np.log10(ratio), MAX_SNR_DB))


def mean_power(span: Span, power: Power) -> float:
    """Mean square over a span's windows."""
    first = min(span.start // WINDOW, len(power) - 1)
    return float(power[first : max(first + 1, -(-span.end // WINDOW))].mean())


def activity(roles: list[str], speech: Mask, power: Power, duration_s: float) -> dict[str, Any]:
    """The activity columns of a call: ``speech`` and ``power`` are (channels, windows), with one role for each channel.

    A moment at which several channels of the same role are active counts once in that role's speech seconds.
    """

    def speech_and_level(*names: str) -> tuple[Mask | None, float | None]:
        channels = [index for index, role in enumerate(roles) if role in names]
        if not channels:
            return None, None
        active = speech[channels]
        level = dbfs(float(power[channels][active].mean())) if active.any() else None
        return np.any(active, axis=0), level

    customer, customer_level = speech_and_level("customer")
    agent, agent_level = speech_and_level("agent")
    other, other_level = speech_and_level("mixed", "unknown")
    silence: Mask = ~np.any(speech, axis=0)
    overlap_s = by_agent = by_customer = None
    if customer is not None and agent is not None:
        overlap_s = _seconds(customer & agent, duration_s)
        by_agent, by_customer = interruptions(agent, customer), interruptions(customer, agent)
    return {
        "customer_speech_s": _seconds(customer, duration_s),
        "agent_speech_s": _seconds(agent, duration_s),
        "unattributed_speech_s": _seconds(other, duration_s),
        "silence_s": _seconds(silence, duration_s),
        "longest_silence_s": min(float(_runs(silence).max(initial=0) * WINDOW_S), duration_s),
        "overlap_s": overlap_s,
        "interruptions_by_agent": by_agent,
        "interruptions_by_customer": by_customer,
        "customer_loudness_dbfs": customer_level,
        "agent_loudness_dbfs": agent_level,
        "unattributed_loudness_dbfs": other_level,
    }


def interruptions(by: Mask, of: Mask) -> int:
    """How often ``by`` interrupts ``of`` (INTERRUPTION_S says what counts); both are masks of speech (windows,)."""
    starts = np.flatnonzero(by[1:] & ~by[:-1] & of[1:] & of[:-1]) + 1
    shortest = int(np.ceil(INTERRUPTION_S / WINDOW_S))
    both = by & of
    return sum(1 for start in starts if start + shortest <= len(both) and both[start : start + shortest].all())


def _seconds(mask: Mask | None, duration_s: float) -> float | None:
    return None if mask is None else min(float(mask.sum() * WINDOW_S), duration_s)


def _runs(mask: Mask) -> NDArray[np.intp]:
    """Lengths of the runs of True, in windows."""
    edges: NDArray[np.intp] = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return edges[1::2] - edges[::2]
