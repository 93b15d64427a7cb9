"""What a recording must be, and the reason for one that is not, in words that a person can act on."""

import math

import numpy as np

MAX_CHANNELS = 16
"""As many as the recorders of contact centres and meetings write; one more means that the header is wrong."""
MIN_SAMPLING_RATE_HZ = 4_000
"""Half the telephone's rate: below it nothing of a voice is left but its pitch."""
MAX_SAMPLING_RATE_HZ = 192_000
"""The fastest that sound cards record."""
MAX_AMPLITUDE = 100.0
"""40 dB over full scale: no recording chain produces it, and its square stays far from float32's limit."""


class AudioError(ValueError):
    """A recording that cannot be used. ``code`` is a word of `ser_tasks.audio`'s table; the message says what to do."""

    def __init__(self, code: str, reason: str):
        super().__init__(code, reason)
        self.code = code

    def __str__(self) -> str:
        return self.args[1]


def check_format(channels: int, sampling_rate_hz: int) -> None:
    """Raises `AudioError` where the number of channels or the sampling rate is out of its limits."""
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
    """Raises `AudioError` where the fields of a WAV's fmt chunk are out of limits or contradict one another."""
    check_format(channels, rate_hz)
    if tag in (1, 3, 6, 7):  # PCM, float, A-law, mu-law: a frame is one sample of each channel
        sample_bytes = block_bytes / channels
        if not (0 < bits <= 64 and sample_bytes.is_integer() and math.ceil(bits / 8) <= sample_bytes <= 8):
            raise AudioError(
                "header_lies",
                f"The WAV header contradicts itself: {channels} channels of {bits} bits cannot take {block_bytes} bytes a frame. "
                "Export the recording again.",
            )


def check_samples(block: np.ndarray, start_s: float) -> None:
    """Raises `AudioError` where a ``(channels, samples)`` block from ``start_s`` on holds NaN, infinity or unscaled samples."""
    peak = max(float(block.max()), -float(block.min()))  # NaN wins in numpy's max and min
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
