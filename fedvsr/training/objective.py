"""FedVSR's local loss."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from fedvsr.config.run import TrainingConfig
from fedvsr.losses.charbonnier import charbonnier
from fedvsr.losses.high_frequency import high_frequency_loss


@dataclass(frozen=True)
class Objective:
    """The loss L = λ_VSR·L_VSR + λ_HiFr·L_HiFr of FedVSR (https://arxiv.org/abs/2503.13745).

    With λ_HiFr = 0 only the Charbonnier loss remains.

    Attributes:
        lambda_vsr: Weight of the Charbonnier loss.
        lambda_hf: Weight of the high-frequency loss.
        epsilon: ε of the Charbonnier function in both losses.
    """

    lambda_vsr: float = 1.0
    lambda_hf: float = 1.0
    epsilon: float = 1e-9

    @classmethod
    def of(cls, training: TrainingConfig, *, high_frequency: bool) -> Self:
        """Returns the objective of a run's settings.

        Args:
            training: The settings.
            high_frequency: Whether the strategy uses the high-frequency loss.
        """
        return cls(training.lambda_vsr, training.lambda_hf if high_frequency else 0.0, training.epsilon)

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of a batch as a float32 scalar. Both tensors are (N, T, 3, H, W) in [0, 1]."""
        loss = self.lambda_vsr * charbonnier(prediction, target, self.epsilon)
        if self.lambda_hf:
            loss = loss + self.lambda_hf * high_frequency_loss(prediction, target, self.epsilon)
        return loss
