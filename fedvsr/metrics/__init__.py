"""How good an upscaled video is: PSNR, SSIM and LPIPS, frame by frame.

LPIPS is in `fedvsr.metrics.lpips`, which needs optional packages only once it is used.
"""

from fedvsr.metrics.color import rgb_to_y
from fedvsr.metrics.frames import Channel
from fedvsr.metrics.lpips import LPIPS
from fedvsr.metrics.psnr import mean_psnr, psnr
from fedvsr.metrics.ssim import ssim

__all__ = ["LPIPS", "Channel", "mean_psnr", "psnr", "rgb_to_y", "ssim"]
