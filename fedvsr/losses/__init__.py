"""The losses of local training."""

from fedvsr.losses.charbonnier import charbonnier
from fedvsr.losses.high_frequency import haar_bands, high_frequency_loss

__all__ = ["charbonnier", "haar_bands", "high_frequency_loss"]
