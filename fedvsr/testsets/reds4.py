"""REDS4: four clips of REDS, on RGB.

The clips 000, 011, 015 and 020 of REDS' training set (Nah et al., CVPR Workshops 2019), held out since
EDVR (Wang et al., CVPR Workshops 2019); 100 frames of 1280×720 each. PSNR and SSIM are taken on RGB,
without a border, over all frames: "evaluated on RGB channels for REDS4 and Y channel for others" (the
results of BasicVSR, Chan et al., CVPR 2021, in MMagic; ``crop_border: 0``, ``test_y_channel: false`` in
BasicSR's ``test_BasicVSR_REDS.yml``). Papers report it with bicubic interpolation, ``bi``.
"""

from fedvsr.testsets.base import VideoTestSet


class Reds4(VideoTestSet):
    """REDS4, below ``train_sharp`` and ``train_sharp_bicubic/X4`` or ``GT`` and ``sharp_bicubic``."""

    name = "reds4"
    title = "REDS4"
    channel = "rgb"
    degradations = ("bi",)
    clips = ("000", "011", "015", "020")
    published = (4, 400)
    truth_folders = ("GT", "train_sharp", "train/train_sharp", "sharp")
    low_folders = (
        ("bi", "train_sharp_bicubic/X{scale}"),
        ("bi", "sharp_bicubic/X{scale}"),
        ("bi", "sharp_bicubic"),
        ("bi", "BIx{scale}"),
        ("matlab-bd", "BDx{scale}"),
        ("bd", "BDx{scale}"),
    )
