"""The storages by name. Another one is one file in this folder, and one line here."""

from collections.abc import Mapping

from fedvsr.video.storage.base import Storage
from fedvsr.video.storage.lossless import LosslessStorage
from fedvsr.video.storage.raw import RawStorage
from fedvsr.video.storage.source import SourceStorage

STORAGES: Mapping[str, Storage] = {
    "raw": RawStorage(),
    "lossless": LosslessStorage(),
    "source": SourceStorage(),
}
