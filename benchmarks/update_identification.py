"""Finds out which patch a client has trained on from its update, and shows what the protection changes.

The client trains the demo's model for one local step on one patch. The attacker knows the model, the global
weights, the loss and the degradation, and has candidates: it makes the step of every candidate itself, and
takes the one that is most like what it sees, by cosine similarity. It sees, in turn: the plain update; the
update as int8, int4 and int2; the sum of n clients, as with secure aggregation; and the sum with the noise of
differential privacy, with the noise multiplier 1.

    python benchmarks/update_identification.py
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.codecs.registry import build_codec
from fedvsr.models.registry import build_model
from fedvsr.privacy.noise import GaussianNoise
from fedvsr.training.objective import Objective
from fedvsr.video.decode import read_frames
from fedvsr.weights import join_chunks, specs_of

SAMPLES = Path(__file__).parents[1] / "samples"
SCALE, PATCH, FRAMES = 4, 64, 3
LEARNING_RATE, PUBLIC_STEPS = 2e-3, 80
CLIENTS = (5, 16)

Vector = NDArray[np.float64]


def patch(video: Path, row: int, column: int) -> Tensor:
    """Returns a patch of a sample video, (1, T, 3, PATCH, PATCH) in [0, 1]."""
    frames = read_frames(video, 0, FRAMES)
    cut = frames[:, row : row + PATCH, column : column + PATCH]
    return torch.from_numpy(cut.transpose(0, 3, 1, 2).astype(np.float32) / 255)[None]


def degrade(truth: Tensor) -> Tensor:
    """Returns the low resolution of a patch."""
    return functional.interpolate(truth[0], scale_factor=1 / SCALE, mode="bicubic", antialias=True)[None]


def loss(model: nn.Module, truth: Tensor) -> Tensor:
    """Returns the training loss of a patch."""
    value: Tensor = Objective()(model(degrade(truth)), truth)
    return value


def global_model() -> nn.Module:
    """Returns the demo's model after some steps on the held-out clips, as after the first rounds."""
    torch.manual_seed(0)
    model = build_model("fastvsr", SCALE)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    public = [patch(path, 40, 60) for path in sorted(SAMPLES.glob("eval_*.mp4"))]
    for step in range(PUBLIC_STEPS):
        optimizer.zero_grad()
        loss(model, public[step % len(public)]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def local_step(model: nn.Module, truth: Tensor) -> Vector:
    """Returns what Adam's first step changes in the weights: the gradient's signs times the learning rate."""
    gradients = torch.autograd.grad(loss(model, truth), list(model.parameters()))
    flat = torch.cat([value.flatten() for value in gradients]).double()
    return (-LEARNING_RATE * flat / (flat.abs() + 1e-8)).numpy()


def through_codec(update: Vector, name: str) -> Vector:
    """Returns what the server decodes."""
    codec = build_codec(name)
    tensors = {"update": update.astype(np.float32)}
    specs = specs_of(tensors)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "update"
        path.write_bytes(codec.encode(tensors.items(), 1))
        decoded = dict(join_chunks(codec.open(path, specs, 1, "update").chunks(), specs))
    return decoded["update"].astype(np.float64)


def similarity(first: Vector, second: Vector) -> float:
    """Returns the cosine similarity."""
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def main() -> None:
    """Prints, for each view of the update, the similarity of the patch and of the best other candidate."""
    model = global_model()
    videos = sorted(SAMPLES.glob("train_*.mp4"))
    steps = [local_step(model, patch(path, 40, 60)) for path in videos]
    own, others = steps[0], steps[1:]
    outside = [local_step(model, patch(path, 8, 8)) for path in videos]
    norm = float(np.linalg.norm(own))
    noise = GaussianNoise()
    views = {"plain update": own}
    views |= {name: through_codec(own, name) for name in ("int8", "int4", "int2")}
    for count in CLIENTS:
        total = own + sum(others[: count - 1])
        views[f"sum of {count} clients"] = total
        views[f"sum of {count} clients with noise, z = 1"] = total + noise.draw(norm, total.shape)
    print(f"{'the attacker sees':38} similarity of the patch   best of {len(outside)} other candidates")
    for name, view in views.items():
        best = max(similarity(view, step) for step in outside)
        print(f"{name:38} {similarity(view, own):23.4f} {best:34.4f}")


if __name__ == "__main__":
    main()
