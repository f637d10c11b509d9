"""Measures the quality of an upscaled video frame by frame: PSNR, SSIM, LPIPS and VMAF.

Import LPIPS from `fedvsr.metrics.lpips`, because it needs PyTorch, and VMAF from `fedvsr.metrics.vmaf`,
because it needs ffmpeg.
"""

from fedvsr.metrics.color import rgb_to_y
from fedvsr.metrics.frames import Channel
from fedvsr.metrics.psnr import mean_psnr, psnr
from fedvsr.metrics.ssim import ssim

__all__ = ["Channel", "mean_psnr", "psnr", "rgb_to_y", "ssim"]
