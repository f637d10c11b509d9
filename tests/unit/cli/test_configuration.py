"""Every field of the configuration has a command-line option."""

import subprocess
import sys
from types import UnionType
from typing import Literal, Union, get_args, get_origin

import click
import pytest
from pydantic import BaseModel

from fedvsr.cli.main import _COMMANDS, cli
from fedvsr.cli.run import run
from fedvsr.config.experiment import Experiment


def fields(section=Experiment, prefix=""):
    """Yields the dotted name, type and default of each field that holds a value."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if get_origin(kind) in (Union, UnionType):
            kind = next(part for part in get_args(kind) if part is not type(None))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, kind, field.get_default(call_default_factory=True)


# Values for fields that refuse the usual value of their type, or have it as their default.
VALUES = {
    "clients.split.path": ("elsewhere", "elsewhere"),
    "clients.videos": ("ann=2024", {"path": "2024", "pattern": ""}),
    "data.degradation": ("bd", "bd"),
    "data.minimum_frames": ("9", 9),
    "data.maximum_frames": ("50", 50),
    "data.scale": ("3", 3),
    "federation.clients": ("ann, bob", ["ann", "bob"]),
    "model.options": ("channels=16", 16),
    "strategy.options": ("mu=1e-2", "1e-2"),
    "server.options": ("tau=0.5", 0.5),
    "training.schedule.name": ("cosine-restarts", "cosine-restarts"),
    "training.schedule.restarts": ("3", 3),
    "training.parameters": (r"^flow\.={frozen_steps: 5}", {"frozen_steps": 5, "learning_rate_multiplier": 1}),
    "training.pretrained": ("spynet=2024", {"path": "2024", "sha256": ""}),
    "training.device": ("cpu", "cpu"),
    "training.frames": ("2", 2),
    "training.patch_size": ("64", 64),
    "privacy.threshold": ("0.75", 0.75),
    "robustness.max_share": ("2.5", 2.5),
    "robustness.max_norm": ("2.5", 2.5),
}


def value_for(name, kind, default):
    if name in VALUES:
        return VALUES[name]
    if get_origin(kind) is Literal:
        choice = get_args(kind)[-1]
        return str(choice), choice
    return {
        int: ("7", 7),
        float: ("0.25", 0.25),
        bool: ("no", False) if default else ("yes", True),
        str: ("other", "other"),
    }[kind]


def resolved(*arguments, config):
    """Returns the experiment that `fedvsr run` would run."""
    from fedvsr.cli.configuration import read_overrides
    from fedvsr.config.experiment import load_experiment

    context = run.make_context("run", [str(config), *arguments])
    values = {
        key: value
        for key, value in context.params.items()
        if key not in ("config", "dry_run", "measure", "place", "namespace")
    }
    return load_experiment(config, read_overrides(values)).model_dump(mode="json")


@pytest.fixture
def bare(tmp_path):
    path = tmp_path / "bare.yaml"
    path.write_text("name: bare\ntraining: {patch_size: 96}\n")
    return path


@pytest.mark.parametrize(
    ("name", "kind", "default"), [pytest.param(*field, id=field[0]) for field in fields()]
)
def test_an_option_sets_its_field(name, kind, default, bare):
    text, value = value_for(name, kind, default)
    arguments = [f"--{name.replace('_', '-')}", text]
    if name == "data.strict":
        arguments.pop()  # a flag
    if name.startswith("clients.split.") and not name.endswith(("path", "count")):
        bare.write_text("name: bare\ntraining: {patch_size: 96}\nclients: {split: {path: a, count: 2}}")
    elif name.endswith("split.path"):
        arguments += ["--clients.split.count", "2"]
    elif name.endswith("split.count"):
        arguments += ["--clients.split.path", "a"]
    elif name == "privacy.epsilon":
        arguments += ["--privacy.differential-privacy", "true"]
    elif name == "training.schedule.hold_share":
        arguments += ["--training.schedule", "linear"]
    elif name.startswith("training.schedule."):
        arguments += ["--training.schedule", "cosine-restarts"]
    elif name == "server.averaging_decay":
        arguments += ["--server.averaging", "exponential"]
    elif name == "server.averaging_start":
        arguments += ["--server.averaging", "uniform"]
    elif name == "server.options":
        arguments += ["--server.optimiser", "adam"]
    elif name == "evaluation_videos.pattern":
        arguments += ["--evaluation-videos.path", "a"]
    resolved_value = resolved(*arguments, config=bare)
    for part in name.split("."):
        resolved_value = resolved_value[part]
    if "=" in text:
        resolved_value = resolved_value[text.partition("=")[0]]
    assert resolved_value == value
    assert resolved_value != default


@pytest.mark.parametrize(
    ("short", "path"),
    [
        ("--rounds=3", "federation.rounds"),
        ("--model=basicvsr", "model.name"),
        ("--strategy=fedavg", "strategy.name"),
        ("--local-steps=5", "training.local_steps"),
        ("--learning-rate=1e-3", "training.learning_rate"),
        ("--scale=2", "data.scale"),
        ("--quorum=3", "federation.quorum"),
        ("--clients=ann,bob", "federation.clients"),
        ("--registered-model=other", "tracking.registered_model"),
    ],
)
def test_short_forms(short, path, bare):
    flag, _, text = short.partition("=")
    assert resolved(flag, text, config=bare) == resolved(f"--{path.replace('_', '-')}", text, config=bare)


def test_ambiguous_short_forms_do_not_exist():
    known = {flag for parameter in run.params for flag in parameter.opts}
    assert not known & {"--path", "--pattern", "--options"}


def test_one_option_of_several_is_overridden(bare):
    bare.write_text("name: bare\nmodel: {options: {channels: 8, blocks: 1}}")
    assert resolved("--model.options", "blocks=2", config=bare)["model"]["options"] == {
        "channels": 8,
        "blocks": 2,
    }


def test_the_command_line_wins_over_a_section_that_is_just_a_path(bare):
    bare.write_text("name: bare\nevaluation_videos: here\n")
    resolved_value = resolved("--evaluation-videos.path", "there", config=bare)
    assert resolved_value["evaluation_videos"] == {"path": "there", "pattern": ""}


def test_help_lists_every_command_by_section_and_loads_nothing_heavy():
    script = (
        "import sys\n"
        "from fedvsr.cli.main import main\n"
        "sys.argv = ['fedvsr', '--help']\n"
        "try:\n    main()\n"
        "finally:\n"
        "    print([name for name in ('torch', 'mlflow', 'kfp', 'cv2', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    sections = {}
    for line in lines:
        if line and not line.startswith(" "):
            section = sections.setdefault(line.rstrip(":"), [])
        elif line.startswith("  ") and line.strip():
            section.append(line.split()[0])
    assert {key: sections[key] for key in ("Train", "On a cluster", "Judge", "Release", "Use", "Look")} == {
        "Train": ["run", "resume", "shard", "upload"],
        "On a cluster": ["submit", "runs", "logs"],
        "Judge": ["evaluate", "benchmark", "study", "report"],
        "Release": ["register", "promote"],
        "Use": ["upscale"],
        "Look": ["models", "strategies", "server-optimisers", "degradations", "codecs"],
    }
    # The first steps are a list, not a paragraph.
    assert "    fedvsr promote                  challenger → champion" in lines


def test_the_list_of_commands_has_the_first_line_of_each_commands_help():
    context = click.Context(cli)
    first_lines = {
        name: " ".join(cli.get_command(context, name).help.partition("\n\n")[0].split())
        for name in cli.list_commands(context)
    }
    assert {name: summary for _, name, _, summary in _COMMANDS} == first_lines


def test_help_of_run_describes_every_field_at_once():
    script = (
        "import sys\n"
        "from fedvsr.cli.main import cli\n"
        "try:\n    cli(['run', '--help'])\n"
        "finally:\n    print([name for name in ('torch', 'mlflow', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name, _, _ in fields():
        assert f"--{name.replace('_', '-')}" in done.stdout
    assert done.stdout.endswith("[]\n")
    undescribed = [p.name for p in run.params if getattr(p, "help", "x") == ""]
    assert undescribed == []
