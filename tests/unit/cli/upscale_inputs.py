"""Videos and models for the tests of `fedvsr upscale`."""

import subprocess
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np

from fedvsr.models.registry import build_model
from fedvsr.models.state import state_of
from fedvsr.trained import save_converted

_FOLDER = "tests.unit.cli.odd_models"


def ffmpeg(*arguments):
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True, timeout=60
    )


def write_picture(path, *options, size="60x44", rate=25, frames=8):
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}", "-frames:v", frames, *options, path)
    return path


def write_model(folder, name):
    """Writes a model of scale 2 as a user has it: FastVSR with random weights, or one of `odd_models`."""
    is_fastvsr = name == "fastvsr"
    options = {"channels": 8, "blocks": 1} if is_fastvsr else {}
    full_name = name if is_fastvsr else f"{_FOLDER}:{name}"
    network = build_model(full_name, 2, options)
    random = np.random.default_rng(0)
    for parameter in network.parameters():
        values = random.normal(0, 0.1, tuple(parameter.shape)).astype(np.float32)
        parameter.data.copy_(parameter.new_tensor(values))
    save_converted(folder, state_of(network), full_name, 2, options, "a test")
    return folder


def frame_times(path):
    """Returns the times of a file's frames in seconds, in playing order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * Fraction(stream.time_base) for frame in container.decode(stream)]
