"""A step that only talks to an MLflow server loads no database library."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("step", ["aggregate", "train_clients"])
def test_a_step_of_the_control_image_loads_neither_sqlalchemy_nor_pytorch(step):
    program = f"""
import sys
import fedvsr.steps.{step}
from fedvsr.config.experiment import TrackingConfig
from fedvsr.tracking.connection import MlflowConnection
MlflowConnection("http://mlflow.invalid:5000", TrackingConfig().experiment)
print(*sorted({{"sqlalchemy", "torch", "matplotlib"}} & set(sys.modules)))
"""
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert output.strip() == ""
