"""Tells whether a container states more bytes than its file has."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_EBML_HEADER, _SEGMENT = 0x1A45DFA3, 0x18538067
_OGG_END_OF_STREAM = 4
_MAX_OGG_PAGE = 65_307
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEADER_BYTES = 64 << 10


def is_cut_short(path: Path, demuxer: str) -> bool:
    """Returns whether a file ends before the end that its container states.

    MP4 and MOV (ISO/IEC 14496-12) state the size of every box, AVI (RIFF, OpenDML) of every chunk, Matroska
    and WebM (RFC 8794, RFC 9559) of the segment, and ASF of the file; Ogg (RFC 3533) marks the last page.
    MPEG transport and program streams, FLV, Y4M, IVF, raw streams and live WebM state no end: if they are
    cut between two frames, nothing in the file tells.

    Args:
        path: The file.
        demuxer: FFmpeg's name of its format, for example ``mov,mp4,m4a,3gp,3g2,mj2``.
    """
    check = next((check for name, check in _CHECKS.items() if name in demuxer.split(",")), None)
    if check is None:
        return False
    with path.open("rb") as file:
        return check(file, os.fstat(file.fileno()).st_size)


def _boxes_cut_short(file: BinaryIO, size: int) -> bool:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        box = int.from_bytes(header[:4], "big")
        if box == 0:  # the box ends with the file
            return False
        if box == 1 and len(header) == 16:
            box = int.from_bytes(header[8:], "big")
        if box < 8:  # junk behind the last box
            return False
        position += box
    return position > size


def _riff_cut_short(file: BinaryIO, size: int) -> bool:
    position = 0
    while position + 12 <= size:
        file.seek(position)
        header = file.read(12)
        if header[:4] != b"RIFF":  # junk behind the last chunk
            return False
        length = int.from_bytes(header[4:8], "little")
        if length in (0, 0xFFFFFFFF):  # written as a stream, without going back
            return False
        position += 8 + length + length % 2
    return position - 1 > size  # some writers leave the last byte of padding out


def _segment_cut_short(file: BinaryIO, size: int) -> bool:
    position = 0
    while position < size:
        file.seek(position)
        identifier = _read_ebml_number(file, keep_marker=True)
        length = _read_ebml_number(file, keep_marker=False)
        if identifier not in (_EBML_HEADER, _SEGMENT) or length is None:
            return False
        position = file.tell() + length
    return position > size


def _read_ebml_number(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """Returns a variable-length number, or None if it is unknown or invalid."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    number = int.from_bytes(first + file.read(extra), "big")
    if keep_marker:
        return number
    value_bits = 7 * (extra + 1)
    number &= (1 << value_bits) - 1
    return None if number == (1 << value_bits) - 1 else number


def _pages_cut_short(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - 2 * _MAX_OGG_PAGE))
    tail = file.read()
    last_page = tail.rfind(b"OggS")
    if last_page < 0 or last_page + 27 > len(tail):
        return True
    segments = tail[last_page + 26]
    table = tail[last_page + 27 : last_page + 27 + segments]
    complete = last_page + 27 + segments + sum(table) <= len(tail)
    return not (complete and tail[last_page + 5] & _OGG_END_OF_STREAM)


def _asf_cut_short(file: BinaryIO, size: int) -> bool:
    header = file.read(_ASF_HEADER_BYTES)
    position = header.find(_ASF_FILE_PROPERTIES)
    stated = int.from_bytes(header[position + 40 : position + 48], "little") if position >= 0 else 0
    return stated > size


_CHECKS: dict[str, Callable[[BinaryIO, int], bool]] = {
    "mov": _boxes_cut_short,
    "avi": _riff_cut_short,
    "matroska": _segment_cut_short,
    "ogg": _pages_cut_short,
    "asf": _asf_cut_short,
}
