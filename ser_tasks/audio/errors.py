"""The limits of a usable recording, and errors that say what is wrong with an unusable one and what to do."""

import math

import numpy as np

from ser_tasks.audio.source import Block

MAX_CHANNELS = 16
"""As many as recorders of contact centres and meetings write; more mean that the header is wrong."""
MIN_SAMPLING_RATE_HZ = 4_000
"""Half the telephone's rate: below it only the pitch of a voice is left."""
MAX_SAMPLING_RATE_HZ = 192_000
"""The highest rate of common sound cards."""
MAX_AMPLITUDE = 100.0
"""40 dB above full scale: no recording chain produces it, and its square is far from float32's limit."""


class AudioError(ValueError):
    """A recording that cannot be used. ``code`` is in the table of `ser_tasks.audio`; the message says what to do."""

    def __init__(self, code: str, reason: str):
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def check_format(channels: int, sampling_rate_hz: int) -> None:
    """Raises `AudioError` if the number of channels or the sampling rate is outside its limits."""
    _check_channels(channels)
    _check_rate(sampling_rate_hz)


def _check_channels(channels: int) -> None:
    if channels < 1:
        raise AudioError("no_channels", "The header says 0 channels; at least 1 is needed. Export the recording again.")
    if channels > MAX_CHANNELS:
        raise AudioError(
            "too_many_channels", f"The header says {channels:,} channels; at most {MAX_CHANNELS} are read. Split it, or upload it again."
        )


def _check_rate(rate_hz: int) -> None:
    if not MIN_SAMPLING_RATE_HZ <= rate_hz <= MAX_SAMPLING_RATE_HZ:
        raise AudioError(
            "bad_sampling_rate",
            f"The header says {rate_hz:,} Hz; {MIN_SAMPLING_RATE_HZ:,} to {MAX_SAMPLING_RATE_HZ:,} Hz are read. "
            "Export the recording again at its real rate.",
        )


def check_wav_format(tag: int, channels: int, rate_hz: int, block_bytes: int, bits: int) -> None:
    """Raises `AudioError` if the fields of a WAV's fmt chunk are outside their limits or contradict each other."""
    check_format(channels, rate_hz)
    if tag in (1, 3, 6, 7):  # PCM, float, A-law, mu-law: a frame is one sample of each channel
        sample_bytes = block_bytes / channels
        if not (0 < bits <= 64 and sample_bytes.is_integer() and math.ceil(bits / 8) <= sample_bytes <= 8):
            raise AudioError(
                "header_lies",
                f"The WAV header contradicts itself: {channels} channels of {bits} bits cannot take {block_bytes} bytes a frame. "
                "Export the recording again.",
            )


def check_samples(block: Block, start_s: float) -> None:
    """Raises `AudioError` if a ``(channels, samples)`` block that starts at ``start_s`` holds NaN, infinite or unscaled samples."""
    if block.dtype == np.int16:
        return  # they can hold no such sample
    peak = max(float(block.max()), -float(block.min()))  # numpy's max and min return NaN if there is one
    if math.isnan(peak) or math.isinf(peak):
        raise AudioError(
            "not_finite", f"Not all samples are finite numbers (NaN or infinite, in the block from {start_s:,.0f} s). Export it again."
        )
    if peak > MAX_AMPLITUDE:
        raise AudioError(
            "not_scaled",
            f"The samples reach {peak:,.4g} times full scale; at most {MAX_AMPLITUDE:.0f} is read. "
            "Scale the float samples to -1..1 (16-bit values: divide by 32,768) and upload it again.",
        )


def too_long_error(what: str, max_duration_s: float) -> AudioError:
    return AudioError("too_long", f"{what}; at most {max_duration_s:,.0f} s are read. Split the recording, or raise the longest duration.")


def no_samples_error(container: str) -> AudioError:
    return AudioError("no_samples", f"The {container} file has a header and no samples. Upload the recording again, or remove it.")
