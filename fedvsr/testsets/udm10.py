"""UDM10: ten clips, on luma.

Ten clips of 32 frames of 1272×720, published with PFNL. PSNR and SSIM are taken on Y, without a border,
over all frames, as BasicVSR does: "Y channel for others" than REDS4 in MMagic's results,
``crop_border = 0`` in the tests of VRT and IART. Papers report it with the blur of
`fedvsr.video.degradations.matlab_bd`. PFNL's low-resolution frames, ``blur4``, were made by the older ``bd``.
On them, the published weights of BasicVSR score 27 dB instead of 40 dB
(https://github.com/open-mmlab/mmagic/issues/803).

The names of the clips differ from copy to copy, so every folder of frames is a clip.

Sources:
    Yi et al., "Progressive Fusion Video Super-Resolution Network via Exploiting Non-Local Spatio-Temporal
    Correlations" (PFNL), ICCV 2019, https://doi.org/10.1109/ICCV.2019.00320.
    Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond", CVPR
    2021, https://arxiv.org/abs/2012.02181.
"""

from fedvsr.testsets.base import VideoTestSet


class Udm10(VideoTestSet):
    """UDM10, in ``GT`` with ``BDx4``, or as ``archpeople/truth`` with ``archpeople/blur4``."""

    name = "udm10"
    title = "UDM10"
    channel = "y"
    degradations = ("matlab-bd",)
    published = (10, 320)
    truth_folders = ("GT",)
    low_folders = (("bi", "BIx{scale}"), ("matlab-bd", "BDx{scale}"), ("bd", "BDx{scale}"))
