"""Level, pitch and syllable rate of the moments of a lake with the highest anger score, agents' left out, beside the rest of their channel.

python -m tests.benchmarks.moments LAKE RECORDINGS 10

Syllables are peaks of intensity at 300 to 3,000 Hz, 2 dB above their surroundings and 80 ms apart (after de Jong and Wempe, 2009). Pitch
and rate of the rest are medians over at most 8 segments of the channel. A recording is found by the last part of its call id.
"""

import sys
from pathlib import Path

import librosa
import numpy as np
import soundfile
from scipy.signal import butter, find_peaks, sosfiltfilt

from ser_tasks.lake import catalog

SEGMENTS = "SELECT * FROM segments WHERE emotion IS NOT NULL AND role <> 'agent' ORDER BY anger_score DESC"
COMPARED = 8


def level_dbfs(signal: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(signal**2)) + 1e-9))


def pitch_and_rate(signal: np.ndarray, sampling_rate_hz: int) -> tuple[float, float]:
    """Median pitch in Hz, NaN without voiced frames, and syllables a second."""
    at_8_khz = librosa.resample(signal.astype(np.float32), orig_sr=sampling_rate_hz, target_sr=8000, res_type="soxr_hq")
    pitch_hz, voiced, _ = librosa.pyin(at_8_khz, fmin=65, fmax=500, sr=8000, frame_length=512, hop_length=128)
    band = butter(2, [300, 3000], "band", fs=sampling_rate_hz, output="sos")
    frame, hop = int(0.064 * sampling_rate_hz), int(0.01 * sampling_rate_hz)
    energy = librosa.feature.rms(y=sosfiltfilt(band, signal), frame_length=frame, hop_length=hop)[0]
    energy_db = 20 * np.log10(energy + 1e-6)
    syllables, _ = find_peaks(energy_db, height=np.quantile(energy_db, 0.95) - 25, prominence=2, distance=8)
    return float(np.median(pitch_hz[voiced])) if voiced.any() else float("nan"), len(syllables) / (len(signal) / sampling_rate_hz)


def main(lake: str, recordings: str, number: str) -> None:
    with catalog.connect(lake) as connection:
        segments = connection.sql(SEGMENTS).to_arrow_table().to_pandas()
    files = [path for path in Path(recordings).rglob("*") if path.suffix in (".wav", ".flac")]
    for moment in segments.head(int(number)).itertuples():
        file = next(path for path in files if moment.call_id.split("/")[-1] in path.stem)
        signal, sampling_rate_hz = soundfile.read(file, always_2d=True)
        rows = segments[(segments["call_id"] == moment.call_id) & (segments["channel"] == moment.channel)]
        cut = [signal[int(row.start_s * sampling_rate_hz) : int(row.end_s * sampling_rate_hz), moment.channel] for row in rows.itertuples()]
        own = signal[int(moment.start_s * sampling_rate_hz) : int(moment.end_s * sampling_rate_hz), moment.channel]
        seconds = f"{moment.start_s:.1f} to {moment.end_s:.1f} s"
        chosen = np.random.default_rng(0).permutation(len(cut))[:COMPARED]
        pitch_hz, rate = np.nanmedian([pitch_and_rate(cut[each], sampling_rate_hz) for each in chosen], axis=0)
        own_pitch_hz, own_rate = pitch_and_rate(own, sampling_rate_hz)
        print(
            f"{moment.call_id} {moment.role} {moment.channel}, {seconds}, score {moment.anger_score:.3f}: "
            f"{level_dbfs(own):.1f} ({np.median([level_dbfs(each) for each in cut]):.1f}) dBFS, {own_pitch_hz:.0f} ({pitch_hz:.0f}) Hz, "
            f"{own_rate:.1f} ({rate:.1f}) syllables/s"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
