"""UDM10: ten clips, on luma.

Yi et al., "Progressive Fusion Video Super-Resolution Network via Exploiting Non-Local Spatio-Temporal
Correlations" (PFNL), ICCV 2019; 32 frames of 1272×720 each. PSNR and SSIM are taken on Y, without a border,
over all frames, as BasicVSR (Chan et al., CVPR 2021) does: "Y channel for others" than REDS4 in MMagic's
results, ``crop_border = 0`` in the tests of VRT and IART. Papers report it with the blur of
`fedvsr.video.degradations.matlab_bd`. PFNL's own low resolution, ``blur4``, is the older ``bd``, on which
the published weights of BasicVSR score 27 dB and not 40 (open-mmlab/mmagic issue 803).

The names of the clips differ from copy to copy, so every folder of frames is a clip.
"""

from fedvsr.testsets.base import VideoTestSet


class Udm10(VideoTestSet):
    """UDM10, below ``GT`` with ``BDx4``, or as ``archpeople/truth`` with ``archpeople/blur4``."""

    name = "udm10"
    title = "UDM10"
    channel = "y"
    degradations = ("matlab-bd",)
    published = (10, 320)
    truth_folders = ("GT",)
    low_folders = (("bi", "BIx{scale}"), ("matlab-bd", "BDx{scale}"), ("bd", "BDx{scale}"))
