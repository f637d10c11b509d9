"""What of an evaluation is shown as numbers."""

from fedvsr.federation.records import EvaluationRecord


def evaluation_numbers(evaluation: EvaluationRecord) -> dict[str, float]:
    """Returns the numbers of a round's evaluation, by their names in MLflow."""
    return {
        "round": float(evaluation.round),
        "psnr_y": evaluation.mean("psnr_y"),
        "psnr_y_over_bicubic": evaluation.gain,
        "ssim_y": evaluation.mean("ssim_y"),
    }
