"""From a recording on local disk to blocks of samples: one decode, bounded memory, and a reason code for every unusable file.

soundfile decodes the formats that libsndfile reads (WAV of any kind, RF64, W64, AIFF, AU, CAF, NIST, FLAC, Ogg Vorbis and Opus).
PyAV decodes all others (MP3, m4a/AAC, AMR, WebM, WMA, 3gp, ADTS, ...), and WAV or FLAC whose header gives no or a stale length. Headerless
telephony audio is recognised by its suffix (`RAW_SUFFIXES`); the suffix of any other file is ignored.

| code              | the recording                                                                             |
|-------------------|-------------------------------------------------------------------------------------------|
| empty             | has 0 bytes                                                                               |
| not_audio         | is something else (text, a picture, an archive, noise), or a video without an audio track |
| no_channels       | has a header that says 0 channels                                                         |
| too_many_channels | has more than `MAX_CHANNELS` channels                                                     |
| bad_sampling_rate | is sampled outside `MIN_SAMPLING_RATE_HZ` to `MAX_SAMPLING_RATE_HZ`                       |
| no_samples        | has a header and no samples                                                               |
| header_lies       | has a header that contradicts itself, or promises more than the file can hold             |
| too_long          | lasts longer than allowed, by its header or by what was decoded                           |
| not_finite        | holds samples that are NaN or infinite                                                    |
| not_scaled        | holds float samples beyond `MAX_AMPLITUDE`, such as 16-bit integers written as floats     |
| decode_error      | is audio, but could not be opened, or breaks off within its first second                  |

All of a file is read: recordings that lie one after the other in it (``sections``), every data chunk, and every audio track, as channels
(``tracks``); silence stands for the time before a late start. `AudioReader.note` says so, and names what could not be read.

A file that is cut off or damaged later on is read as far as possible, and `AudioReader.note` says so. A cut cannot be detected in
formats that carry no length (raw, AMR, ADTS, MP3 without a Xing header).

Three faults of decoders are avoided: libsndfile loops for ever on chunks of negative size (`Header.may_loop`), FFmpeg allocates
memory for any number of packets that a header promises (`pyav_source._limit_allocations`), and PyAV crashes on planar samples of
more than 8 channels (packed samples are requested).
"""

from ser_tasks.audio.errors import MAX_AMPLITUDE, MAX_CHANNELS, MAX_SAMPLING_RATE_HZ, MIN_SAMPLING_RATE_HZ, AudioError
from ser_tasks.audio.reader import AudioReader, open_audio
from ser_tasks.audio.soundfile_source import RAW_SUFFIXES
from ser_tasks.audio.source import AudioInfo

__all__ = [
    "MAX_AMPLITUDE",
    "MAX_CHANNELS",
    "MAX_SAMPLING_RATE_HZ",
    "MIN_SAMPLING_RATE_HZ",
    "RAW_SUFFIXES",
    "AudioError",
    "AudioInfo",
    "AudioReader",
    "open_audio",
]
