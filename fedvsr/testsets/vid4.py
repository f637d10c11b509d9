"""Vid4: calendar, city, foliage and walk, on luma.

Liu and Sun, "On Bayesian adaptive video super resolution", TPAMI 2014; 171 frames of 704×576, 720×576 and
720×480. PSNR and SSIM are taken on Y, without a border, over all frames, the first and the last
included, as BasicVSR (Chan et al., CVPR 2021) and what came after it do: "Y channel for others" than
REDS4 in MMagic's results, ``convert_to='Y'``, ``crop_border=0``. Older papers leave out two frames at
either end and 8 pixels at the border. By this convention bicubic interpolation has
20.39/0.5720, 25.16/0.6028, 23.47/0.5666 and 26.10/0.7974 with ``bi``, as EDVR's table prints (Wang et al.,
CVPR Workshops 2019).
"""

from fedvsr.testsets.base import VideoTestSet


class Vid4(VideoTestSet):
    """Vid4, below ``GT`` with ``BIx4`` and ``BDx4``, or as ``calendar/truth``."""

    name = "vid4"
    title = "Vid4"
    channel = "y"
    degradations = ("bi", "matlab-bd")
    clips = ("calendar", "city", "foliage", "walk")
    published = (4, 171)
    truth_folders = ("GT",)
    low_folders = (("bi", "BIx{scale}"), ("matlab-bd", "BDx{scale}"), ("bd", "BDx{scale}"))
