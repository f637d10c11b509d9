"""Looks at every object of the federation's bucket: whether one holds something that may not leave a site."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedvsr.codecs.registry import codec_names
from fedvsr.errors import DataError
from fedvsr.federation import layout
from fedvsr.privacy.secure_aggregation.masked_vector import MASKED
from fedvsr.store.base import Store
from fedvsr.video.listing import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from fedvsr.weights import Array, load

# The beginnings of the files of videos and images.
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"RIFF": "an AVI or WebP file",
    b"\x1a\x45\xdf\xa3": "a Matroska file",
    b"GIF8": "a GIF image",
}
_MP4_SIGNATURE = slice(4, 8)
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# The federation's own: the held-out videos and clips, and pictures of what a model makes of them.
_FEDERATION_PIXELS = (layout.HELD_OUT_VIDEOS, "evaluation-clips/")
_PICTURE = "/crops.png"
_HELD_OUT = "held-out, of the federation"


@dataclass(frozen=True)
class Finding:
    """A kind of objects.

    Attributes:
        kind: What the objects are.
        count: How many there are.
        bytes: Their size together.
        problems: Which objects hold what they must not.
    """

    kind: str
    count: int
    bytes: int
    problems: tuple[str, ...] = ()


def search_federation(store: Store, names: Sequence[str]) -> Iterator[Finding]:
    """Lists and reads every object, and yields what each kind is.

    Weights must parse as floating-point tensors, or as one encoded or masked vector. A shard holds pixels in
    the shape of clips, so it does not pass. No
    object may be a video or an image, or name a video; the federation's own held-out videos and clips, and
    its pictures of them, are counted apart.

    Args:
        store: The federation's store, as its operator may read it.
        names: The file names of the sites' videos.
    """
    kinds: dict[str, list[tuple[int, str]]] = {}
    for key in store.keys(""):
        data = store.read(key)
        kind = _kind(key)
        problem = "" if kind == _HELD_OUT else _find_problem(key, data, names)
        kinds.setdefault(kind, []).append((len(data), problem))
    for kind, objects in sorted(kinds.items()):
        problems = tuple(text for _, text in objects if text)
        yield Finding(kind, len(objects), sum(size for size, _ in objects), problems)


def _kind(key: str) -> str:
    if key.startswith(_FEDERATION_PIXELS) or key.endswith(_PICTURE):
        return _HELD_OUT
    if "/updates/" in key:
        return "delivered by clients"
    return "of a site's agent" if key.startswith(layout.SITES) else "of the run"


def _find_problem(key: str, data: bytes, names: Sequence[str]) -> str:
    """Returns what an object holds that it must not, or nothing."""
    for signature, what in _SIGNATURES.items():
        if data.startswith(signature):
            return f"{key} is {what}"
    if data[_MP4_SIGNATURE] == b"ftyp":
        return f"{key} is an MP4 file"
    if key.endswith((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)):
        return f"{key} has the name of a video or an image"
    for name in names:
        if name.encode() in data or name in key:
            return f"{key} names the video {name}"
    if key.endswith(".safetensors"):
        return _find_pixels(key, data)
    try:
        json.loads(data)
    except ValueError:
        return f"{key} is neither weights nor JSON"
    return ""


def _is_encoded(name: str, array: Array) -> bool:
    """Returns whether a tensor is an encoded or a masked update, which has no shape as clips have."""
    if array.ndim != 1:
        return False
    return name == MASKED or (name in codec_names() and array[:4].tobytes() == _ZSTD_MAGIC)


def _find_pixels(key: str, data: bytes) -> str:
    try:
        tensors = load(data, key)
    except DataError as error:
        return str(error)
    for name, array in tensors.items():
        if array.dtype.kind == "u" and not (len(tensors) == 1 and _is_encoded(name, array)):
            return f"{key}: tensor {name} has unsigned integers, as pixels have"
    return ""
