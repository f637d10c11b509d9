"""Every recipe is a run that its models accept, with the steps that its paper's code takes."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fedvsr.models.spynet import SPyNet

RECIPES = Path(__file__).parents[3] / "recipes"
STEPS = {
    "basicvsr-plus-plus-reds": 5000,
    "basicvsr-reds": 5000,
    "fedvsr-iart": 200,
    "fedvsr-rvrt": 600,
    "fedvsr-vrt": 600,
}


@pytest.fixture(scope="module")
def reds(tmp_path_factory):
    """A folder with as many videos and frames as REDS has, all of which are one image."""
    root = tmp_path_factory.mktemp("reds")
    assert cv2.imwrite(str(root / "frame.png"), np.zeros((8, 8, 3), np.uint8))
    for folder, numbers in (("train/train_sharp", range(240)), ("val/val_sharp", range(240, 270))):
        for number in numbers:
            video = root / folder / f"{number:03d}"
            video.mkdir(parents=True)
            for frame in range(100):
                os.link(root / "frame.png", video / f"{frame:08d}.png")
    torch.save(SPyNet().state_dict(), root / "spynet.pth")
    return root


@pytest.fixture
def dry_run(reds, fedvsr, tmp_path):
    """Prints a recipe's plan. Returns each client's clips, frames and steps, and the warnings."""

    def run(name, *options):
        output = fedvsr(
            "run",
            RECIPES / f"{name}.yaml",
            "--dry-run",
            "--store",
            tmp_path / "store",
            "--clients.split.path",
            reds / "train/train_sharp",
            "--evaluation-videos.path",
            reds / "val/val_sharp",
            "--training.pretrained",
            f"spynet={reds / 'spynet.pth'}",
            *options,
        )
        assert output.code == 0, output.err
        assert not (tmp_path / "store").exists()
        lines = output.out.splitlines()
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
        work = {
            row[0]: tuple(int(cell.replace(",", "")) for cell in row[1:])
            for row in rows
            if len(row) == 4 and row[0].startswith("client-")
        }
        return work, [line for line in lines if line.startswith("warning: ")]

    return run


def test_every_recipe_is_tested_and_listed():
    assert {path.stem for path in RECIPES.glob("*.yaml")} == STEPS.keys()
    text = (RECIPES / "README.md").read_text()
    assert all(f"| `{name}.yaml` |" in text for name in STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_a_recipe_is_accepted_and_takes_its_papers_steps(dry_run, name):
    work, warnings = dry_run(name)
    assert warnings == []
    clients = 40 if name.startswith("fedvsr-") else 1
    assert work == {
        f"client-{number:0{len(str(clients))}d}": (240 // clients, 24_000 // clients, STEPS[name])
        for number in range(1, clients + 1)
    }


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (("--clients.split.count", 120), 200),
        (("--clients.split.count", 240), 100),
        (("--local-epochs", 5), 3000),
        (("--strategy", "fedavg", "--strategy.options", "weigh_by=samples"), 600),
    ],
)
def test_the_papers_other_experiments_are_options(dry_run, options, steps):
    work, warnings = dry_run("fedvsr-vrt", *options)
    assert warnings == []
    assert {steps_of_client for _, _, steps_of_client in work.values()} == {steps}


def test_more_heterogeneous_clients_get_shares_that_grow(dry_run):
    work, warnings = dry_run("fedvsr-vrt", "--clients.split.scheme", "quantity-skew")
    frames = [part[1] for part in work.values()]
    assert warnings == []
    assert sum(frames) == 24_000
    assert frames[0] == 47
    assert frames[-1] == pytest.approx(24_000 * 0.097, rel=0.01)
    _, warnings = dry_run(
        "fedvsr-vrt", "--clients.split.scheme", "quantity-skew", "--clients.split.count", 240
    )
    assert "183 of 240 clients would get fewer than 8 frames" in warnings[0]
