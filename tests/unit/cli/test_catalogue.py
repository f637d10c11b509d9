"""`fedvsr models`, `strategies`, `server-optimisers`, `degradations` and `codecs`: lists, and one item."""

import sys

import pytest

from fedvsr.models.registry import model_names, model_options
from fedvsr.server_optimisers.registry import SERVER_OPTIMISERS, server_optimiser_names
from fedvsr.strategies.registry import strategy_class, strategy_names
from fedvsr.video.degradations.registry import degradation_names, get_degradation


def table(text):
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


def options_in(text):
    return [row[0] for row in table(text) if row[0]]


def test_the_degradations_are_listed_with_their_scales(fedvsr):
    output = fedvsr("degradations")
    assert (output.code, output.err) == (0, "")
    scales = {row[0]: row[1] for row in table(output.out) if row[0]}
    assert scales == {name: ", ".join(map(str, get_degradation(name).scales)) for name in degradation_names()}


def test_the_codecs_are_listed_with_their_directions(fedvsr):
    output = fedvsr("codecs")
    assert (output.code, output.err) == (0, "")
    downloads = {row[0]: row[1] for row in table(output.out) if row[0]}
    assert downloads == {"bfloat16": "yes", "float32": "yes", "int2": "no", "int4": "no", "int8": "yes"}
    assert fedvsr("codecs", "int4").out.startswith("int4: rotated and rounded at random to 4 bits")


@pytest.mark.parametrize("name", server_optimiser_names())
def test_a_server_optimiser_is_listed_and_shown_with_its_source_and_options(fedvsr, name):
    optimiser = SERVER_OPTIMISERS.load(name)
    rows = table(fedvsr("server-optimisers").out)
    assert [name, optimiser.description] in rows
    shown = fedvsr("server-optimisers", name)
    assert shown.out.startswith(f"{name}: {optimiser.description}\nSource: ")
    assert options_in(shown.out) == list(optimiser.Options.model_fields)


@pytest.mark.parametrize("name", model_names())
def test_a_model_is_shown_with_its_source_and_options(fedvsr, name):
    output = fedvsr("models", name)
    assert (output.code, output.err) == (0, "")
    assert output.out.startswith(f"{name}: ")
    assert "\nSource: " in output.out
    assert options_in(output.out) == list(model_options(name).model_fields)


@pytest.mark.parametrize("name", strategy_names())
def test_a_strategy_is_shown_with_its_source_and_options(fedvsr, name):
    output = fedvsr("strategies", name)
    assert (output.code, output.err) == (0, "")
    assert output.out.startswith(f"{name}: {strategy_class(name).description}\nSource: ")
    assert options_in(output.out) == list(strategy_class(name).Options.model_fields)


def test_an_option_has_a_type_a_range_and_a_default(fedvsr):
    rows = table(fedvsr("strategies", "fedvsr").out)
    assert ["threshold", "number", "≥ 0, < 1", "0.05"] in [row[:4] for row in rows]
    rows = table(fedvsr("models", "basicvsr++").out)
    assert ["blocks", "integer", "≥ 1, ≤ 100", "7"] in [row[:4] for row in rows]


def test_an_entry_without_options_says_so(fedvsr):
    assert fedvsr("models", "bicubic").out.endswith("\nOptions: none\n")
    assert fedvsr("strategies", "fedmedian").out.endswith("\nOptions: none\n")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("models", "unknown model 'nope'; known: basicvsr, "),
        ("strategies", "unknown strategy 'nope'; known: bulyan, "),
        ("server-optimisers", "unknown server optimiser 'nope'; known: adagrad, adam, momentum, yogi"),
        ("degradations", "unknown degradation 'nope'; known: bd, bi, matlab-bd"),
        ("codecs", "unknown codec 'nope'; known: bfloat16, float32, int2, int4, int8"),
    ],
)
def test_an_unknown_name_is_an_error(fedvsr, command, message):
    output = fedvsr(command, "nope")
    assert (output.code, output.out) == (2, "")
    assert message in output.err


def test_convert_is_still_a_command_and_not_a_name(fedvsr, tmp_path):
    assert "CHECKPOINT OUTPUT" in fedvsr("models", "convert", "--help").out
    output = fedvsr("models", "convert", tmp_path / "none.pth", tmp_path / "out", "--model", "fastvsr")
    assert output.code == 2
    assert "no such file" in output.err
    assert "convert" in fedvsr("models", "--help").out
    assert "show" not in fedvsr("models", "--help").out.partition("Commands:")[2]


def test_one_broken_package_does_not_hide_the_others(fedvsr, tmp_path, monkeypatch):
    metadata = tmp_path / "broken-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    groups = ("models", "strategies", "server-optimisers", "degradations", "codecs")
    (metadata / "entry_points.txt").write_text(
        "".join(f"[fedvsr.{group.replace('-', '_')}]\nbroken = no_such_module:Thing\n" for group in groups)
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "no_such_module" not in sys.modules
    for command in groups:
        output = fedvsr(command)
        assert (output.code, output.err) == (0, "")
        rows = {row[0]: " ".join(row[1:]) for row in table(output.out)}
        assert "no_such_module:Thing" in rows["broken"]
        assert len(rows) > 3
    assert fedvsr("run", "--help").code == 0


def test_the_presets_are_listed_and_shown_with_the_options_of_their_model(fedvsr):
    rows = [row for row in table(fedvsr("models").out) if row[0] == "vrt-reds16"]
    assert rows[0][1] == "vrt"
    output = fedvsr("models", "vrt-reds16")
    assert output.out.startswith(
        "vrt-reds16: vrt with window_frames: 8, neighbours: 3, deformable_groups: 24\n"
    )
    assert options_in(output.out) == list(model_options("vrt").model_fields)
