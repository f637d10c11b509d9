"""Strategies, models, server optimisers and degradations from a folder outside fedvsr."""

import os
import subprocess
import sys

import pytest

from fedvsr.errors import ConfigError
from fedvsr.federation.records import RoundRecord, read_record
from fedvsr.federation.run.clients import add_client
from fedvsr.federation.runs import load_run
from fedvsr.steps.prepare import prepare as prepare_step
from fedvsr.store.workspace import Workspace
from tests.unit.test_steps import SETTINGS
from tests.unit.tiny_run import RUN

FILES = {
    "their_model.py": """
from pydantic import Field
from torch import nn

from fedvsr.config.base import Section


class RepeatOptions(Section):
    size: int = Field(3, ge=1, le=7, description="rows and columns of the convolution")
    bias: bool = Field(True, description="whether it has a bias")


class Repeat(nn.Module):
    description = "repeated pixels and a convolution"
    source = "nobody, nowhere"
    Options = RepeatOptions

    def __init__(self, scale, options=None):
        super().__init__()
        options = options or RepeatOptions()
        self.scale = scale
        self.conv = nn.Conv2d(3, 3, options.size, padding=options.size // 2, bias=options.bias)

    def forward(self, x):
        frames = x + self.conv(x.flatten(0, 1)).view_as(x)
        return frames.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)
""",
    "their_strategy.py": """
from typing import Literal

from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.base import Strategy


class OnlyOneOptions(Section):
    last: bool = Field(False, description="whether the last client counts, not the first")
    order: Literal["name", "loss"] = Field("name", description="how clients are sorted")


class OnlyOne(Strategy):
    name = "only-one"
    description = "the weights of one client"
    Options = OnlyOneOptions
    options: OnlyOneOptions

    def weigh(self, contributions, context):
        order = {"name": lambda each: each.client, "loss": lambda each: each.loss}[self.options.order]
        clients = [contribution.client for contribution in sorted(contributions, key=order)]
        return dict.fromkeys(clients, 0.0) | {clients[-1 if self.options.last else 0]: 1.0}, {}
""",
    "their_optimiser.py": """
from fedvsr.server_optimisers.base import ServerOptimiser


class HalfWay(ServerOptimiser):
    name = "half-way"
    description = "half of the change"

    def step(self, change, moments):
        return change / 2
""",
    "their_degradation.py": """
from fedvsr.video.degradations.base import Degradation


class Nearest(Degradation):
    name = "nearest"
    description = "every s-th pixel"
    scales = (2, 4)

    def _degrade(self, frames, scale):
        return frames[:, ::scale, ::scale].copy()
""",
}
ENTRY_POINTS = """
[fedvsr.models]
repeat = their_model:Repeat

[fedvsr.strategies]
only-one = their_strategy:OnlyOne

[fedvsr.server_optimisers]
half-way = their_optimiser:HalfWay

[fedvsr.degradations]
nearest = their_degradation:Nearest
"""
# Model, strategy and degradation, in the two ways to name them.
NAMES = [
    pytest.param(("repeat", "only-one", "nearest"), id="entry-points"),
    pytest.param(
        ("their_model:Repeat", "their_strategy:OnlyOne", "their_degradation:Nearest"), id="references"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files, and the metadata of an installed package that names them."""
    root = tmp_path_factory.mktemp("theirs")
    for name, text in FILES.items():
        (root / name).write_text(text)
    metadata = root / "theirs-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    return root


@pytest.fixture(autouse=True)
def _installed(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize(
    ("command", "cells"),
    [
        ("models", ("repeat", "repeated pixels and a convolution")),
        ("strategies", ("only-one", "the weights of one client")),
        ("server-optimisers", ("half-way", "half of the change")),
        ("degradations", ("nearest", "2, 4", "every s-th pixel")),
    ],
)
def test_the_catalogues_list_them(fedvsr, command, cells):
    output = fedvsr(command)
    assert (output.code, output.err) == (0, "")
    (row,) = [line for line in output.out.splitlines() if f"│ {cells[0]} " in line]
    assert all(cell in row for cell in cells)


@pytest.mark.parametrize("names", NAMES)
def test_a_catalogue_shows_their_options(fedvsr, names):
    model, strategy, degradation = names
    shown = fedvsr("models", model)
    assert shown.out.startswith(f"{model}: repeated pixels and a convolution\nSource: nobody, nowhere\n")
    cells = [[cell.strip() for cell in row.split("│")[1:5]] for row in shown.out.splitlines()]
    assert ["size", "integer", "≥ 1, ≤ 7", "3"] in cells
    assert ["bias", "true or false", "", "true"] in cells
    shown = fedvsr("strategies", strategy)
    # Without a `source`, the origin is the package or module that provides it.
    assert f"\nSource: {'their_strategy' if ':' in strategy else 'theirs'}\n" in shown.out
    cells = [[cell.strip() for cell in row.split("│")[1:5]] for row in shown.out.splitlines()]
    assert ["order", "choice", "name or loss", '"name"'] in cells
    assert fedvsr("degradations", degradation).out.startswith(f"{degradation}: every s-th pixel\n")


def test_the_help_of_run_lists_them(folder):
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    code = "from fedvsr.cli.main import cli; cli(['run', '--help'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200"},
    )
    text = " ".join(done.stdout.split())
    assert all(f" {name}," in text for name in ("repeat", "only-one", "nearest"))


@pytest.mark.parametrize("names", NAMES)
def test_a_run_with_them(fedvsr, config, store, names):
    model, strategy, degradation = names
    settings = config.read_text().replace("channels: 8", "size: 1").replace("blocks: 1", "bias: false")
    config.write_text(settings)
    output = fedvsr(
        *("run", config, "--store", store, "--rounds", 1, "--degradation", degradation),
        *("--model", model, "--strategy", strategy, "--strategy.options", "last=true"),
    )
    assert output.code == 0, output.err
    federation = Workspace.under(str(store)).federation()
    recorded = load_run(federation, RUN)
    assert recorded.parameters == 9
    assert (recorded.config.data.degradation, recorded.config.strategy.name) == (degradation, strategy)
    # One client counts: the new weights are its update.
    update = federation.read(f"runs/{RUN}/rounds/0001/updates/bob/update.safetensors")
    assert federation.read(f"runs/{RUN}/rounds/0001/global.safetensors") == update


@pytest.mark.parametrize("optimiser", ["half-way", "their_optimiser:HalfWay"])
def test_a_run_with_their_server_optimiser(fedvsr, config, store, optimiser):
    output = fedvsr("run", config, "--store", store, "--rounds", 1, "--server.optimiser", optimiser)
    assert output.code == 0, output.err
    federation = Workspace.under(str(store)).federation()
    record = read_record(federation, f"runs/{RUN}/rounds/0001/round.json", RoundRecord)
    # It has no moments, so there is no state.
    assert record.server_digest is None
    assert load_run(federation, RUN).config.server.optimiser == optimiser


@pytest.fixture
def deployed(tmp_path, empty_database, monkeypatch):
    """The environment of a pipeline's step."""
    workspace = Workspace.under(str(tmp_path / "buckets"))
    add_client(workspace.federation(), "ann")
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", workspace.federation_uri)
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", workspace.client_uri)
    database = tmp_path / "mlflow.db"
    database.write_bytes(empty_database.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.chdir(tmp_path)
    return workspace


def settings_of(names, **fields):
    model, strategy, degradation = names
    return {
        **SETTINGS,
        "model.name": model,
        "model.options": {"size": 5.0},
        "strategy.name": strategy,
        "strategy.options": {"last": True},
        "data.degradation": degradation,
        **{name.replace("__", "."): value for name, value in fields.items()},
    }


@pytest.mark.parametrize("names", NAMES)
def test_the_pipelines_first_step_takes_them(deployed, names):
    assert [item["round"] for item in prepare_step(settings_of(names))] == [1, 2]
    assert load_run(deployed.federation(), RUN).parameters == 3 * 3 * 25 + 3


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model__options": {"size": 8.0}}, "model.options.size"),
        ({"model__options": {"size": True}}, "model.options.size"),
        ({"strategy__options": {"last": "perhaps"}}, "strategy.options.last"),
        ({"strategy__options": {"order": "size"}}, "strategy.options.order"),
        ({"strategy__options": {"first": True}}, "strategy.options.first"),
        ({"data__scale": 3.0, "training__patch_size": 33.0}, "data.scale"),
        ({"data__degradation": "their_degradation:Farthest"}, "data.degradation"),
        ({"strategy__name": "their_model:Repeat"}, "strategy.name"),
        ({"model__name": "their_model:Field.default"}, "model.name"),
    ],
)
def test_the_pipelines_first_step_names_a_wrong_field(deployed, names, fields, field):
    with pytest.raises(ConfigError) as caught:
        prepare_step(settings_of(names, **fields))
    assert caught.value.field == field
