"""Vimeo-90K-T: the middle frames of 7 824 septuplets, on luma.

The septuplets that ``sep_testlist.txt`` lists, seven frames of 448×256 each. All seven are upscaled and the
fourth, im4, is scored: PSNR and SSIM on Y, without a border (``center_frame_only: true``,
``test_y_channel: true``, ``crop_border: 0`` in BasicSR's ``test_BasicVSR_Vimeo90K_BIx4.yml``). For BasicVSR
and RVRT the published tests append the mirrored septuplet (``flip_seq: true``): see
`fedvsr.inference.mirror`.

Source: Xue et al., "Video Enhancement with Task-Oriented Flow" (TOFlow), IJCV 2019,
https://arxiv.org/abs/1711.09078.
"""

from collections.abc import Sequence
from pathlib import Path

from fedvsr.errors import VideoError
from fedvsr.testsets.base import VideoTestSet

_LIST = "sep_testlist.txt"


class Vimeo90kT(VideoTestSet):
    """Vimeo-90K-T: ``sequences`` and ``sep_testlist.txt`` in one folder, or both in ``vimeo_septuplet``."""

    name = "vimeo90k-t"
    title = "Vimeo-90K-T"
    channel = "y"
    centre_only = True
    degradations = ("bi", "matlab-bd")
    published = (7824, 7824)
    truth_folders = ("sequences", "vimeo_septuplet/sequences", "GT")
    low_folders = (
        ("bi", "sequences_LR"),
        ("bi", "vimeo_septuplet_matlabLRx{scale}/sequences"),
        ("bi", "BIx{scale}"),
        ("matlab-bd", "vimeo_septuplet_BDLRx{scale}/sequences"),
        ("matlab-bd", "BDx{scale}"),
        ("bd", "vimeo_septuplet_BDLRx{scale}/sequences"),
        ("bd", "BDx{scale}"),
    )

    def clip_names(self, root: Path) -> Sequence[str]:
        """Returns the names, such as ``00001/0266``, from the list in the root or next to it.

        Raises:
            fedvsr.errors.VideoError: The list does not exist or is empty.
        """
        for folder in (root, root / "vimeo_septuplet", root.parent):
            path = folder / _LIST
            if path.is_file():
                names = path.read_text().split()
                if not names:
                    raise VideoError(f"{path}: lists no septuplet; copy it again")
                return names
        raise VideoError(
            f"{root}: expected {_LIST}, the list of the test set's clips, in this folder, in vimeo_septuplet "
            "or beside it; found none: it is part of vimeo_septuplet.zip"
        )
