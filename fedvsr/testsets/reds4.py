"""REDS4: four clips of REDS, on RGB.

The clips 000, 011, 015 and 020 of REDS' training set, 100 frames of 1280×720 each. EDVR was the first to
hold them out. PSNR and SSIM are taken on RGB, without a border, over all frames: "evaluated on RGB
channels for REDS4 and Y channel for others" (BasicVSR's results in MMagic; ``crop_border: 0`` and
``test_y_channel: false`` in BasicSR's ``test_BasicVSR_REDS.yml``). Papers report it with bicubic
interpolation, ``bi``.

Sources:
    Nah et al., "NTIRE 2019 Challenge on Video Deblurring and Super-Resolution: Dataset and Study", CVPR
    Workshops 2019, https://doi.org/10.1109/CVPRW.2019.00251.
    Wang et al., "EDVR: Video Restoration with Enhanced Deformable Convolutional Networks", CVPR Workshops
    2019, https://arxiv.org/abs/1905.02716.
    Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond", CVPR
    2021, https://arxiv.org/abs/2012.02181.
"""

from fedvsr.testsets.base import VideoTestSet


class Reds4(VideoTestSet):
    """REDS4, in ``train_sharp`` and ``train_sharp_bicubic/X4`` or in ``GT`` and ``sharp_bicubic``."""

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
