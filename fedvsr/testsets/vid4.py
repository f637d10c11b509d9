"""Vid4: calendar, city, foliage and walk, on luma.

171 frames of 704×576, 720×576 and 720×480. PSNR and SSIM are taken on Y, without a border, over all
frames, the first and the last included, as BasicVSR and its successors do: "Y channel for others" than
REDS4 in MMagic's results, ``convert_to='Y'``, ``crop_border=0``. Older papers leave out two frames at either
end and 8 pixels at the border. By this convention bicubic interpolation has 20.39/0.5720, 25.16/0.6028,
23.47/0.5666 and 26.10/0.7974 with ``bi``, the numbers of EDVR's table.

Sources:
    Liu and Sun, "On Bayesian Adaptive Video Super Resolution", IEEE TPAMI 2014,
    https://doi.org/10.1109/TPAMI.2013.127.
    Wang et al., "EDVR: Video Restoration with Enhanced Deformable Convolutional Networks", CVPR Workshops
    2019, https://arxiv.org/abs/1905.02716.
    Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond", CVPR
    2021, https://arxiv.org/abs/2012.02181.
"""

from fedvsr.testsets.base import VideoTestSet


class Vid4(VideoTestSet):
    """Vid4, in ``GT`` with ``BIx4`` and ``BDx4``, or as ``calendar/truth``."""

    name = "vid4"
    title = "Vid4"
    channel = "y"
    degradations = ("bi", "matlab-bd")
    clips = ("calendar", "city", "foliage", "walk")
    published = (4, 171)
    truth_folders = ("GT",)
    low_folders = (("bi", "BIx{scale}"), ("matlab-bd", "BDx{scale}"), ("bd", "BDx{scale}"))
