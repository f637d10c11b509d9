"""How good an upscaled video is: PSNR, SSIM and LPIPS, frame by frame.

LPIPS is imported from `fedvsr.metrics.lpips`: it needs PyTorch, the others do not.
"""

from fedvsr.metrics.color import rgb_to_y
from fedvsr.metrics.frames import Channel
from fedvsr.metrics.psnr import mean_psnr, psnr
from fedvsr.metrics.ssim import ssim

__all__ = ["Channel", "mean_psnr", "psnr", "rgb_to_y", "ssim"]
