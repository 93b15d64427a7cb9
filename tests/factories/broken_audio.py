"""Broken recordings made in code, each from a base file and a seed: cuts, flips, lies, bombs, and what is no file at all.

`Case` is a recipe: ``case_bytes(bases, case)`` gives the same bytes on every machine that encodes the bases alike.
"""

import io
import json
import os
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import soundfile

from tests.factories import audio as making_audio

HEADER_BYTES = 96
"""So many first bytes of every base are cut off at each length, and altered more often than the rest."""
EXTREME = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
SUFFIXES = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".amr", ".wma", ".webm", ".ulaw", ".alaw", ".gsm", ".vox", ".sln", ".sph")


_SELDOM = {  # containers that PyAV reads though calls are rarely recorded in them: name -> container, codec, rate
    "sound.ac3": ("ac3", "ac3", 48_000),
    "sound.eac3": ("eac3", "eac3", 48_000),
    "sound.avi": ("avi", "pcm_s16le", 8_000),
    "sound.flv": ("flv", "aac", 44_100),
    "sound.ts": ("mpegts", "aac", 16_000),
    "sound.mpg": ("mpeg", "mp2", 48_000),
    "sound.tta": ("tta", "tta", 8_000),
    "sound.voc": ("voc", "pcm_u8", 8_000),
    "sound.wv": ("wv", "wavpack", 8_000),
    "sound.loas": ("latm", "aac", 16_000),
}


@dataclass(frozen=True)
class Case:
    """One broken file. ``kind`` is ``cut`` (``number``: bytes that are left) or ``altered`` (``number``: what seeds the alteration)."""

    base: str
    kind: str
    number: int
    seed: int

    def __str__(self) -> str:
        return f"Case({self.base!r}, {self.kind!r}, {self.number}, {self.seed})"


def good_files(folder: Path) -> dict[str, bytes]:
    """0.6 s of audio in every format that soundfile and PyAV write; name -> bytes. Matroska and RF64 in two ways."""
    folder.mkdir(parents=True, exist_ok=True)
    hum = making_audio.signal(0.6)
    names = [*making_audio.SOUNDFILE_FORMATS, *making_audio.PYAV_FORMATS, *making_audio.RAW_FORMATS]
    for name in names:
        making_audio.write(folder / name, hum)
    making_audio.write_with_pyav(folder / "index_first.m4a", hum, 8_000, ("ipod", "aac", 16_000), movflags="+faststart")
    making_audio.write_with_pyav(folder / "pieces.m4a", hum, 8_000, ("mp4", "aac", 16_000), movflags="frag_keyframe+empty_moov")
    making_audio.write_with_pyav(folder / "video.mp4", hum, 8_000, ("mp4", "aac", 16_000), video=True)
    for name, (container, codec, rate_hz) in _SELDOM.items():
        making_audio.write_with_pyav(folder / name, hum, 8_000, (container, codec, rate_hz))
    soundfile.write(folder / "alac.caf", hum.T, 8_000, format="CAF", subtype="ALAC_16")
    soundfile.write(folder / "g721.au", hum[0], 8_000, format="AU", subtype="G721_32")
    soundfile.write(folder / "g723.au", hum[0], 8_000, format="AU", subtype="G723_24")
    soundfile.write(folder / "gsm.aiff", hum[0], 8_000, format="AIFF", subtype="GSM610")
    soundfile.write(folder / "ima.w64", hum.T, 8_000, format="W64", subtype="IMA_ADPCM")
    soundfile.write(folder / "g721.wav", hum[0], 8_000, format="WAV", subtype="G721_32")
    (folder / "chunks.wav").write_bytes(_many_chunks_wav(making_audio.wav_bytes(hum)))
    (folder / "chunks.aiff").write_bytes(_many_chunks_aiff((folder / "pcm16.aiff").read_bytes()))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _chunk(name: bytes, content: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "4sI", name, len(content)) + content + b"\0" * (len(content) % 2)


def _many_chunks_wav(wav: bytes) -> bytes:
    """A WAV with the chunks that recorders and editors write before and after the samples."""
    tags = b"INFO" + _chunk(b"INAM", b"call\0") + _chunk(b"ISFT", b"recorder\0") + _chunk(b"ICMT", b"none")
    marks = (
        b"adtl" + _chunk(b"labl", struct.pack("<I", 1) + b"start\0") + _chunk(b"ltxt", struct.pack("<II4sHHHH", 1, 9, b"rgn ", 0, 0, 0, 0))
    )
    before = [
        _chunk(b"JUNK", bytes(28)),
        _chunk(b"bext", b"recorder".ljust(602, b"\0") + b"coding history\r\n"),
        _chunk(b"fact", struct.pack("<I", 4_800)),
        _chunk(b"cue ", struct.pack("<III4sIII", 1, 1, 0, b"data", 0, 0, 100)),
        _chunk(b"smpl", struct.pack("<15I", 0, 0, 125_000, 60, 0, 0, 0, 1, 0, 1, 0, 10, 100, 0, 0)),
        _chunk(b"inst", struct.pack("<bbbbbbb", 60, 0, 0, 0, 127, 0, 127)),
        _chunk(b"acid", struct.pack("<IHHfIHHf", 1, 60, 0x8000, 0, 4, 4, 4, 120)),
        _chunk(b"PEAK", struct.pack("<IIfIfI", 1, 0, 0.5, 10, 0.5, 10)),
        _chunk(b"cart", b"0101" + bytes(2_044)),
        _chunk(b"exif", _chunk(b"ever", b"0220")),
        _chunk(b"LIST", tags),
    ]
    return wav[:36] + b"".join(before) + wav[36:] + _chunk(b"LIST", marks) + _chunk(b"LIST", tags) + _chunk(b"id3 ", b"ID3\x04" + bytes(20))


def _many_chunks_aiff(aiff: bytes) -> bytes:
    marks = struct.pack(">HHIB5sHIB3s", 2, 1, 0, 5, b"start", 2, 100, 3, b"end")
    found = [
        *(_chunk(name, b"text", ">") for name in (b"NAME", b"AUTH", b"ANNO", b"(c) ")),
        _chunk(b"MARK", marks, ">"),
        _chunk(b"INST", struct.pack(">bbbbbbhHHHHHH", 60, 0, 0, 127, 0, 127, 0, 1, 1, 2, 0, 0, 0), ">"),
        _chunk(b"COMT", struct.pack(">HIHH4s", 1, 0, 0, 4, b"none"), ">"),
        _chunk(b"APPL", b"m3ga" + bytes(20), ">"),
        _chunk(b"basc", bytes(84), ">"),
    ]
    return aiff[:12] + b"".join(found) + aiff[12:] + b"".join(found)


def cases(bases: dict[str, bytes], count: int, seed: int) -> Iterator[Case]:
    """``count`` cases: half of them cuts at each byte of the headers and at drawn ones behind, the others altered; bases take turns."""
    names = sorted(bases)
    draw = random.Random(f"cuts {seed}")
    cuts = [Case(name, "cut", left, seed) for name in names for left in range(min(HEADER_BYTES, len(bases[name])))]
    draw.shuffle(cuts)
    cuts = cuts[: count // 2]
    yield from cuts
    for number in range(count - len(cuts)):
        yield Case(names[number % len(names)], "altered", number, seed)


def case_bytes(bases: dict[str, bytes], case: Case) -> tuple[str, bytes]:
    """A case's file name and content."""
    data = bases[case.base]
    if case.kind == "cut":
        return case.base, data[: case.number]
    draw = random.Random(f"{case.seed} {case.number}")
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        if changed:
            draw.choice(ALTERATIONS)(changed, draw, bases)
    name = case.base
    if draw.random() < 0.1:
        name = Path(name).stem + draw.choice(SUFFIXES)
    return name, bytes(changed)


def _place(data: bytearray, draw: random.Random) -> int:
    """An offset: in the header, at a chunk, at the end (where indexes and last pages are), or anywhere."""
    region = draw.random()
    if region < 0.5:
        return draw.randrange(min(len(data), HEADER_BYTES * 2))
    if region < 0.7:
        return max(0, len(data) - 1 - draw.randrange(min(len(data), 1200)))
    return draw.randrange(len(data))


def _flip_bits(data: bytearray, draw: random.Random, _) -> None:
    for _ in range(draw.choice((1, 4, 30))):
        data[_place(data, draw)] ^= 1 << draw.randrange(8)


def _random_bytes(data: bytearray, draw: random.Random, _) -> None:
    at = _place(data, draw)
    size = min(draw.choice((1, 4, 64, 2000)), len(data) - at)
    data[at : at + size] = draw.randbytes(size)


def _extreme_number(data: bytearray, draw: random.Random, _) -> None:
    """A number of 1 to 8 bytes, of either byte order, at a place as fields have it."""
    size, order = draw.choice((1, 2, 4, 4, 4, 8)), draw.choice(("little", "big"))
    at = _place(data, draw) & ~1
    number = draw.choice((*EXTREME, len(data), draw.getrandbits(32))) & (1 << 8 * size) - 1
    data[at : at + size] = number.to_bytes(size, order)


def _chunk_size(data: bytearray, draw: random.Random, _) -> None:
    """The size of a chunk, page or box: the number after a name of four letters, or before it."""
    names = [found.start() for found in re.finditer(rb"[A-Za-z][A-Za-z0-9 ]{2}[A-Za-z0-9 ]", bytes(data[:4_000]))]
    if names:
        at = draw.choice(names) + draw.choice((4, 4, -4))
        number = draw.choice((*EXTREME, *(2**32 - step for step in (8, 9, 12, 16, 40)), len(data), draw.randrange(len(data))))
        packed = struct.pack(draw.choice("<>") + "I", number & 0xFFFFFFFF)
        if 0 <= at <= len(data) - 4:
            data[at : at + 4] = packed


def _chunk_that_leads_back(data: bytearray, draw: random.Random, _) -> None:
    """Inserts a chunk of negative size several times between the chunks."""
    name = draw.choice((b"LIST", b"junk", b"ANNO", b"COMT", b"free", b"cue ", b"id3 "))
    chunk = struct.pack(draw.choice("<>") + "4sI", name, 2**32 - draw.choice((8, 9, 8, 9, 12, 16, 40)))
    at = draw.choice((12, len(data), _place(data, draw) & ~1))
    data[at:at] = chunk * draw.choice((1, 2, 3))


def _cut(data: bytearray, draw: random.Random, _) -> None:
    del data[draw.randrange(len(data)) :]


def _take_out(data: bytearray, draw: random.Random, _) -> None:
    at = _place(data, draw)
    del data[at : at + draw.choice((1, 2, 4, 100))]


def _repeat(data: bytearray, draw: random.Random, _) -> None:
    """A piece comes several times: nested or looping chunks, pages and boxes."""
    at = _place(data, draw)
    piece = data[at : at + draw.choice((4, 8, 40, 500))]
    data[at:at] = piece * draw.choice((1, 2, 50))


def _swap(data: bytearray, draw: random.Random, _) -> None:
    """Two pieces change places, such as two chunks."""
    at, size = _place(data, draw) & ~3, draw.choice((4, 8, 28, 200))
    one, other = data[at : at + size], data[at + size : at + 2 * size]
    data[at : at + 2 * size] = other + one


def _other_body(data: bytearray, draw: random.Random, bases: dict[str, bytes]) -> None:
    """The header of one format before the body of another."""
    other = bases[draw.choice(sorted(bases))]
    at = draw.choice((4, 12, 40, HEADER_BYTES, draw.randrange(len(data))))
    data[at:] = other[at:]


ALTERATIONS: tuple[Callable[[bytearray, random.Random, dict[str, bytes]], None], ...] = (
    *(_flip_bits, _flip_bits, _random_bytes, _extreme_number, _extreme_number, _chunk_size, _chunk_size),
    _chunk_that_leads_back,
    *(_cut, _take_out, _repeat, _swap, _other_body),
)


# -- Absurd headers: no recorder writes them, and a trusting decoder would run out of memory or time


def absurd_files(bases: dict[str, bytes]) -> dict[str, tuple[bytes, str]]:
    """Files of a few kB; name -> content and what must come of it: a reason's code, or ``decoded``."""
    hum = making_audio.signal(0.6)
    wav = making_audio.wav_bytes
    m4a, ogg, flac, aiff, caf, w64 = (bases[name] for name in ("aac.m4a", "opus.opus", "pcm16.flac", "pcm16.aiff", "pcm16.caf", "w64.w64"))
    return {
        "channels_0.wav": (wav(hum, channels=0, block_bytes=2), "no_channels"),
        "channels_100.wav": (wav(hum, channels=100), "too_many_channels"),
        "channels_65535.wav": (wav(hum, channels=65_535, block_bytes=2), "too_many_channels"),
        "rate_0.wav": (wav(hum, rate_hz=0), "bad_sampling_rate"),
        "rate_1.wav": (wav(hum, rate_hz=1), "bad_sampling_rate"),
        "rate_3999.wav": (wav(hum, rate_hz=3_999), "bad_sampling_rate"),
        "rate_4000.wav": (wav(hum, rate_hz=4_000), "decoded"),
        "rate_4001.wav": (wav(hum, rate_hz=4_001), "decoded"),
        "rate_191999.wav": (wav(hum, rate_hz=191_999), "decoded"),
        "rate_192000.wav": (wav(hum, rate_hz=192_000), "decoded"),
        "rate_192001.wav": (wav(hum, rate_hz=192_001), "bad_sampling_rate"),
        "rate_10_mhz.wav": (wav(hum, rate_hz=10_000_000), "bad_sampling_rate"),
        "rate_negative.wav": (wav(hum, rate_hz=2**32 - 8_000), "bad_sampling_rate"),
        "bits_0.wav": (wav(hum, bits=0, block_bytes=4), "header_lies"),
        "bits_65535.wav": (wav(hum, bits=65_535, block_bytes=4), "header_lies"),
        "block_0.wav": (wav(hum, block_bytes=0), "header_lies"),
        "block_65535.wav": (wav(hum, block_bytes=65_535), "header_lies"),
        "adpcm_block_0.wav": (_put(bases["ima_adpcm.wav"], 32, "<H", 0), "decoded"),
        "gsm_10_mhz.wav": (_put(bases["gsm610.wav"], 24, "<I", 10_000_000), "bad_sampling_rate"),
        "four_gigabytes.wav": (wav(hum, data_size=0xF0000000), "decoded"),
        "negative_data.wav": (wav(hum, data_size=0xFFFFFFFE), "decoded"),
        "riff_in_riff.wav": (wav(hum)[:12] + b"LIST" + struct.pack("<I", 0) + wav(hum), "no_samples"),
        "looping_chunks.wav": (wav(hum)[:12] + struct.pack("<4sI", b"LIST", 0xFFFFFFF8) * 2_000, "no_samples"),
        "lists_lead_back.wav": (wav(hum)[:12] + _LEADS_BACK * 2 + wav(hum)[12:], "no_samples"),
        "lists_lead_back_behind.wav": (wav(hum) + _LEADS_BACK * 2, "decoded"),
        "notes_lead_back.iff": (_notes_of_8svx(), "not_audio"),
        "ten_thousand_chunks.wav": (wav(hum)[:12] + struct.pack("<4sI", b"junk", 0) * 10_000 + wav(hum)[12:], "decoded"),
        "two_formats.wav": (wav(hum)[:36] + wav(hum, channels=100)[12:36] + wav(hum)[36:], "too_many_channels"),
        "rate_infinite.aiff": (_put(aiff, aiff.index(b"COMM") + 16, ">Hq", 0x7FFF, 0), "bad_sampling_rate"),
        "rate_huge.aiff": (_put(aiff, aiff.index(b"COMM") + 16, ">Hq", 0x401E, -1), "bad_sampling_rate"),
        "channels_100.aiff": (_put(aiff, aiff.index(b"COMM") + 8, ">H", 100), "too_many_channels"),
        "rate_nan.caf": (_put(caf, caf.index(b"desc") + 12, ">d", float("nan")), "decode_error"),
        "packets_huge.caf": (_put(caf, caf.index(b"desc") + 28, ">II", 2**31, 2**31), "decode_error"),
        "chunk_negative.caf": (_put(caf, caf.index(b"desc") + 4, ">q", -32), "decode_error"),
        "chunk_negative.w64": (_put(w64, 56, "<q", -24), "decode_error"),
        "rate_1.au": (_put(bases["mulaw.au"], 16, ">I", 1), "bad_sampling_rate"),
        "channels_100.au": (_put(bases["mulaw.au"], 20, ">I", 100), "too_many_channels"),
        "data_far_away.au": (_put(bases["mulaw.au"], 4, ">I", 0x7FFFFFFF), "no_samples"),
        "channels_negative.sph": (bases["nist.sph"].replace(b"channel_count -i 2", b"channel_count -i -"), "decode_error"),
        "promises_6_days.flac": (_put(flac, 22, ">I", 0xFFFFFFFF), "too_long"),
        "block_size_0.flac": (_put(flac, 8, ">HH", 0, 0), "decoded"),
        "wrong_checksums.opus": (_wrong_ogg_checksums(ogg), "decode_error"),
        "channels_255.opus": (ogg.replace(b"OpusHead\x01\x02", b"OpusHead\x01\xff"), "decode_error"),
        "tag_of_256_mb.mp3": (b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bases["layer3.mp3"], "decode_error"),
        "a_million_syncs.mp3": (b"\xff\xfb\x90\x00" * 50_000, "decode_error"),
        "frames_of_0_bytes.amr": (b"#!AMR\n" + b"\x7c" * 20_000, "decode_error"),
        "box_of_size_0.m4a": (_put(m4a, m4a.index(b"moov") - 4, ">I", 0), "decoded"),
        "box_of_size_1.m4a": (_put(m4a, m4a.index(b"moov") - 4, ">I", 1), "not_audio"),
        "box_of_size_7.m4a": (_put(m4a, m4a.index(b"moov") - 4, ">I", 7), "decode_error"),
        "box_of_4_gb.m4a": (_put(m4a, m4a.index(b"mdat") - 4, ">I", 0xFFFFFFFF), "decode_error"),
        "boxes_in_boxes.m4a": (m4a[:32] + _nested_boxes(2_000), "decode_error"),
        "eighty_million_packets.m4a": (_promising_packets(m4a, 80_000_000), "no_samples"),
        "seventeen_tracks.m4a": (_with_tracks(_promising_packets(m4a, 1_300_000), 17), "header_lies"),
        "billion_packets_in_pieces.m4a": (_promising_pieces(bases["pieces.m4a"], 2**30), "decode_error"),
        "unpacks_to_100_mb.m4a": (_unpacking_header(100 << 20), "header_lies"),
        "minutes_between_packets.mka": (_with_gap(bases["opus.mka"], 400), "decoded"),
        "days_between_packets.mka": (_with_gap(bases["opus.mka"], 400_000), "too_long"),
    }


_LEADS_BACK = struct.pack("<4sI", b"LIST", 2**32 - 8)
"""libsndfile 1.2.2 takes its size for -8, and two of them keep it for ever."""


def _notes_of_8svx() -> bytes:
    header = struct.pack(">IIIHBBI", 480, 0, 0, 8_000, 1, 0, 65_536)
    return (
        b"FORM\0\0\3\0"
        + b"8SVX"
        + _chunk(b"VHDR", header, ">")
        + struct.pack(">4sI", b"ANNO", 2**32 - 8)
        + _chunk(b"BODY", bytes(480), ">")
    )


def _put(data: bytes, at: int, layout: str, *numbers: float) -> bytes:
    packed = struct.pack(layout, *numbers)
    return data[:at] + packed + data[at + len(packed) :]


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _nested_boxes(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = _box(b"moov", inner)
    return inner


def _promising_packets(m4a: bytes, count: int) -> bytes:
    """An MP4 whose tables (ISO 14496-12, 8.6 and 8.7) say that it holds so many packets of one byte in one chunk."""
    m4a = _put(m4a, m4a.index(b"stsz") + 8, ">II", 1, count)
    m4a = _put(m4a, m4a.index(b"stsc") + 12, ">II", 1, count)
    return _put(m4a, m4a.index(b"stts") + 12, ">I", count)


def _with_tracks(m4a: bytes, tracks: int) -> bytes:
    moov, trak = m4a.index(b"moov") - 4, m4a.index(b"trak") - 4
    moov_size, trak_size = (struct.unpack_from(">I", m4a, at)[0] for at in (moov, trak))
    more = m4a[trak : trak + trak_size] * (tracks - 1)
    return _put(m4a[:trak] + more + m4a[trak:], moov, ">I", moov_size + len(more))


def _promising_pieces(m4a: bytes, count: int) -> bytes:
    """A track run (8.8.8) of so many packets whose sizes and durations are all the default."""
    at = m4a.index(b"trun") + 4
    return _put(m4a, at, ">II", 0, count)


def _unpacking_header(size_bytes: int) -> bytes:
    """An MP4 whose header is compressed (QuickTime's cmov), and is as long as zeros can be."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size_bytes >> 20)) + packer.flush()
    content = _box(b"dcom", b"zlib") + _box(b"cmvd", struct.pack(">I", size_bytes) + packed)
    return _box(b"ftyp", b"qt  \0\0\0\0qt  ") + _box(b"moov", _box(b"cmov", content)) + _box(b"mdat", bytes(100))


def _wrong_ogg_checksums(ogg: bytes) -> bytes:
    data = bytearray(ogg)
    at = data.find(b"OggS")
    while at >= 0:
        data[at + 22] ^= 0xFF
        at = data.find(b"OggS", at + 4)
    return bytes(data)


def _with_gap(mka: bytes, gap_s: float) -> bytes:
    """The same packets, the second half of them so much later."""
    out = io.BytesIO()
    with av.open(io.BytesIO(mka)) as whole, av.open(out, "w", format="matroska") as late:
        track = late.add_stream_from_template(whole.streams.audio[0])
        for packet in whole.demux(audio=0):
            if packet.dts is not None:
                moved = round(gap_s / packet.time_base) if packet.pts * packet.time_base > 0.3 else 0
                packet.pts, packet.dts, packet.stream = packet.pts + moved, packet.dts + moved, track
                late.mux(packet)
    return out.getvalue()


# -- A folder of hostile files


HOSTILE_TEXTS = {
    "sql": "'; DROP TABLE outcomes; --",
    "html": "<script>alert(1)</script>",
    "formula": "=cmd|'/C calc'!A1",
    "shell": "$(touch owned) `touch owned` && touch owned",
    "path": "../../../etc/passwd",
    "template": "{{7*7}} ${7*7} %s %n %00",
    "nul": "a\0b",
    "control": "a\x1b[31mb\x07\x7f",
    "lines": "a\nb\r\nc\td",
    "bidi": "abc\u202edef\u2066\u200b",
    "quotes": "\"a\" 'b' \\c, d; e",
    "accents": "Größe 通話 📞",
}
"""Texts that are facts like any other: they arrive in the tables as they are."""


def bad_sidecars() -> dict[str, bytes]:
    """Invalid sidecars; name -> content."""
    return {
        "empty": b"",
        "no_json": b"agent: ann",
        "list": b"[1, 2]",
        "html": b"<html>403</html>",
        "utf16": '{"queue": "sales"}'.encode("utf-16"),
        "latin1": '{"queue": "Größe"}'.encode("latin-1"),
        "zeros": bytes(1_000),
        "deep": b'{"queue": ' + b"[" * 100_000,
        "deep_and_closed": b'{"x": ' + b'{"x": ' * 50_000 + b"1" + b"}" * 50_001,
        "huge": b'{"queue": "' + b"x" * (1 << 20) + b'"}',
        "stated_twice": b'{"notice_given": false, "notice_given": true}',
        "channel_twice": b'{"channels": {"0": "agent", "0": "customer"}}',
        "channel_written_twice": b'{"channels": {"0": "agent", "00": "customer"}}',
        "channel_of_person": b'{"channels": {"CUST_4711": "customer"}}',
        "nan": b'{"queue": NaN}',
        "infinite": b'{"customer_id": -Infinity}',
        "wrong_types": b'{"call_id": {"a": 1}, "agent_id": [], "notice_given": "yes", "channels": "both"}',
        "number_for_truth": b'{"notice_given": 1}',
    }


def sidecars_with_an_unreadable_fact() -> dict[str, bytes]:
    """Sidecars in which one fact cannot be read that does not decide who is scored."""
    return {
        "long_text": b'{"queue": "' + b"x" * 501 + b'"}',
        "long_number": b'{"customer_id": ' + b"9" * 5_000 + b"}",
        "unix_time": b'{"started_at": 1700000000}',
        "unix_time_as_text": b'{"started_at": "1700000000"}',
        "date_as_number": b'{"started_at": "20261120"}',
        "no_time": b'{"started_at": "2026-11-20"}',
        "year_1": b'{"started_at": "0001-01-01T00:00:00+14:00"}',
        "year_9999": b'{"started_at": "9999-12-31T23:59:59-14:00"}',
        "february_30": b'{"started_at": "2026-02-30T00:00:00Z"}',
        "zone_of_99_hours": b'{"started_at": "2026-11-20T00:00:00+99:00"}',
        "half_a_character": b'{"queue": "\\ud800"}',
    }


def nasty_folder(folder: Path, bases: dict[str, bytes]) -> dict[str, tuple[str, str | None]]:
    """Fills a folder with recordings and sidecars of every bad kind; (masked) key -> outcome and reason's code.

    A readable recording without a sidecar is withheld, as a mono or unnamed channel is.
    """
    day = folder / "2026-11-20"
    day.mkdir(parents=True)
    good = making_audio.wav_bytes(making_audio.signal(0.6)[:1])
    expected: dict[str, tuple[str, str | None]] = {}

    def put(name: str, data: bytes, outcome: str, code: str | None) -> None:
        (day / name).write_bytes(data)
        expected[f"2026-11-20/{name}"] = (outcome, code)

    absurd = absurd_files(bases)
    for name in (
        *("channels_65535.wav", "rate_0.wav", "rate_10_mhz.wav", "block_0.wav", "lists_lead_back.wav", "wrong_checksums.opus"),
        *("promises_6_days.flac", "a_million_syncs.mp3", "box_of_4_gb.m4a", "eighty_million_packets.m4a", "seventeen_tracks.m4a"),
    ):
        data, code = absurd[name]
        put(name, data, "quarantined", code)
    put("lists_behind.wav", absurd["lists_lead_back_behind.wav"][0], "withheld", "role_unknown")
    put("empty.wav", b"", "quarantined", "empty")
    put("one_byte.wav", b"R", "quarantined", "not_audio")
    put("text.wav", b"Dear team, this call is missing.\n" * 40, "quarantined", "not_audio")
    put("page.mp3", b"<!DOCTYPE html><html><body>403 Forbidden</body></html>" * 9, "quarantined", "not_audio")
    put("picture.wav", b"\xff\xd8\xff\xe0\x00\x10JFIF" + random.Random(1).randbytes(3_000), "quarantined", "not_audio")
    put("archive.wav", b"PK\x03\x04" + random.Random(2).randbytes(3_000), "quarantined", "not_audio")
    put("locked.wav", random.Random(3).randbytes(9_000), "quarantined", "not_audio")

    for name in (
        *("new\nline.wav", "a" * 251 + ".wav", "tab\tbell\x07esc\x1b[31m.wav", "x..  ...wav", "'; DROP TABLE outcomes; --.wav"),
        *("=cmd|'C calc'!A1.wav", "<script>alert(1)<!script>.wav", "$(touch owned).wav", "-rf.wav", "%00%2e%2e.wav", "abc\u202edef.wav"),
    ):
        put(name, good, "withheld", "role_mixed")
    (day / os.fsdecode(b"bytes\xff\xfe.wav")).write_bytes(good)
    expected["2026-11-20/bytes\\udcff\\udcfe.wav"] = ("withheld", "role_mixed")
    put("wrong_suffix.mp3", good, "withheld", "role_mixed")

    for name, content in bad_sidecars().items():
        put(f"sidecar_{name}.wav", good, "quarantined", "bad_facts")
        (day / f"sidecar_{name}.json").write_bytes(content)
    for name, content in sidecars_with_an_unreadable_fact().items():
        put(f"fact_{name}.wav", good, "withheld", "role_mixed")
        (day / f"fact_{name}.json").write_bytes(content)
    for name, text in HOSTILE_TEXTS.items():
        put(f"says_{name}.wav", good, "withheld", "role_mixed")
        facts = {"call_id": text, "queue": text, "agent_id": text, "language": text, text: text}
        (day / f"says_{name}.json").write_text(json.dumps(facts), encoding="utf-8-sig" if name == "accents" else "utf-8")

    expected |= _special_files(day, good)
    put("other_times.wav", good, "withheld", "role_mixed")
    os.utime(day / "other_times.wav", (2**33, -(2**31)))
    return expected


def _special_files(day: Path, good: bytes) -> dict[str, tuple[str, str | None]]:
    """Writes links, pipes and folders beside recordings; key -> outcome and reason's code. ``good`` is a readable recording."""
    outside = day.parent.parent / "outside.wav"
    outside.write_bytes(good)
    (day / "link_out.wav").symlink_to(outside)
    (day / "link_circle.wav").symlink_to("link_circle.wav")
    (day / "link_nowhere.wav").symlink_to("nothing-here.wav")
    (day / "zeros.wav").symlink_to("/dev/zero")
    os.mkfifo(day / "pipe.wav")
    (day / "pipe_beside.wav").write_bytes(good)
    os.mkfifo(day / "pipe_beside.json")
    (day / "link_inside.wav").symlink_to("wrong_suffix.mp3")
    (day / "folder.wav").mkdir()
    (day / "folder.wav" / "again").symlink_to("..")
    (day / "folder.wav" / "inside.wav").write_bytes(good)
    no_file = ("link_out.wav", "link_circle.wav", "link_nowhere.wav", "zeros.wav", "pipe.wav", "pipe_beside.wav")
    return {
        **{f"2026-11-20/{name}": ("quarantined", "no_file") for name in no_file},
        **{f"2026-11-20/{name}": ("withheld", "role_mixed") for name in ("link_inside.wav", "folder.wav/inside.wav")},
    }
