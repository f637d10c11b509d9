"""The search for pixels and names in the federation's bucket: it finds what is there."""

import numpy as np
import pytest

from fedvsr.access.proof import search_federation
from fedvsr.codecs.registry import build_codec, codec_names
from fedvsr.federation import layout
from fedvsr.store.local import LocalStore
from fedvsr.weights import serialize

UPDATE = layout.update("demo", 1, "ann")
REPORT = layout.report("demo", 1, "ann")
MASKED_VECTOR = {"masked": np.arange(96, dtype=np.uint8)}


def problems(store: LocalStore) -> list[str]:
    findings = search_federation(store, ["beach.mp4"])
    return [problem for finding in findings for problem in finding.problems]


def test_weights_and_records_are_no_problem(local_store):
    local_store.write(UPDATE, serialize({"weight": np.ones((3, 3), np.float32), "steps": np.int64(3)[None]}))
    local_store.write(REPORT, b'{"loss": 0.1}')
    local_store.write("evaluation-videos/public.mp4", b"....ftypisom")
    assert problems(local_store) == []
    counts = {finding.kind: finding.count for finding in search_federation(local_store, [])}
    assert counts == {"delivered by clients": 2, "held-out, of the federation": 1}


def test_encoded_and_masked_updates_are_no_problem(local_store):
    tensors = sorted({"weight": np.ones((3, 3), np.float32)}.items())
    for client, name in enumerate(codec_names()):
        key = layout.update("demo", 1, f"client-{client}")
        local_store.write(key, build_codec(name).encode(tensors, 0))
    local_store.write(UPDATE, serialize(MASKED_VECTOR))
    assert problems(local_store) == []


@pytest.mark.parametrize(
    ("key", "data", "problem"),
    [
        (UPDATE, serialize({"clip": np.zeros((2, 4, 4, 3), np.uint8)}), "unsigned integers"),
        (UPDATE, serialize({"masked": np.zeros((2, 4, 4, 3), np.uint8)}), "unsigned integers"),
        (UPDATE, serialize({"int4": np.zeros(96, np.uint8)}), "unsigned integers"),
        (UPDATE, serialize({**MASKED_VECTOR, "clip": np.zeros(96, np.uint8)}), "unsigned integers"),
        (UPDATE, b"....ftypisom", "MP4"),
        (REPORT, b"\x89PNG\r\n\x1a\n", "PNG"),
        (REPORT, b"\xff\xd8\xff\xe0", "JPEG"),
        (REPORT, b"\x1a\x45\xdf\xa3", "Matroska"),
        (REPORT, b'{"video": "beach.mp4"}', "names the video"),
        (REPORT, b"raw bytes", "neither weights nor JSON"),
        ("runs/demo/frame.png", b"x", "name of a video or an image"),
        (UPDATE, b"no weights", "not a whole safetensors file"),
    ],
)
def test_what_may_not_leave_a_site_is_found(local_store, key, data, problem):
    local_store.write(key, data)
    (text,) = problems(local_store)
    assert problem in text
