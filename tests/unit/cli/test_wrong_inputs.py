"""A wrong input is reported in one sentence with exit code 2, and changes nothing."""

import itertools
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import yaml

from tests.unit.tiny_run import RUN, write_video

FEDVSR = Path(sys.executable).with_name("fedvsr")


def one_sentence(output, *parts):
    """Checks that the error output is one line that contains the parts."""
    assert output.code == 2, output.err
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1, output.err
    for part in parts:
        assert part in output.err
    assert "Traceback" not in output.err


def edit(config, **values):
    """Replaces fields of a file, by dotted name with __ for the dot."""
    content = yaml.safe_load(config.read_text())
    for name, value in values.items():
        *sections, leaf = name.split("__")
        inner = content
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[leaf] = value
    config.write_text(yaml.safe_dump(content))
    return config


def half_written(root):
    return [path for path in root.rglob("*") if ".part" in path.name]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--model", "superb"], ["unknown model 'superb'", "basicvsr, "]),
        (["--model", "no_such.module:Net"], ["model.name", "no_such.module:Net", "cannot be imported"]),
        (["--model", "bicubic", "--model.options", "blocks=1"], ["model.options.blocks", "known here: none"]),
        (["--model.options", "wings=2"], ["model.options.wings", "2", "blocks, channels"]),
        (["--model.options", "blocks=0"], ["model.options.blocks", "0", "greater than or equal to 1"]),
        (["--model.options", "blocks"], ["blocks", "KEY=VALUE"]),
        (["--strategy", "luck"], ["unknown strategy 'luck'", "fedavg, "]),
        (["--strategy.options", "wings=2"], ["strategy.options", "wings"]),
        (["--degradation", "rain"], ["unknown degradation 'rain'", "bd, bi"]),
        (["--rounds", "many"], ["federation.rounds", "'many'", "integer"]),
        (["--rounds", "0"], ["federation.rounds", "0", "1"]),
        (["--rounds", "["], ["federation.rounds", "'['", "YAML"]),
        (["--rounds", "2.5"], ["federation.rounds", "2.5", "integer"]),
        (["--scale", "5"], ["data.scale", "5", "2, 3 or 4"]),
        (["--clients-per-round", "3"], ["federation.clients_per_round", "3", "number of clients (2)"]),
        (["--quorum", "3"], ["federation.quorum", "3", "(2)"]),
        (["--quorum", "2", "--clients-per-round", "1"], ["federation.quorum", "2", "(1)"]),
        (["--federation.clients", "ann,eve"], ["federation.clients", "'eve'", "ann, bob"]),
        (["--clients", "cluster"], ["--on says where", "fedvsr run --help"]),
        (["--on", "moon"], ["--on", "'moon'", "'local', 'cluster'"]),
        (["--frames", "4"], ["training.frames", "4", "data.minimum_frames (3)"]),
        (["--patch-size", "33"], ["training.patch_size", "33", "multiple of data.scale (2)"]),
        (["--device", "abacus"], ["training.device", "'abacus'", "auto, cpu, cuda"]),
        (["--name", "Not A Name"], ["name", "'Not A Name'", "lower-case"]),
        (["--warm-start", "no/such.safetensors"], ["warm_start", "no/such.safetensors", "champion"]),
        (["--clients.videos", "ann=/no/such"], ["/no/such", "no such file or folder"]),
        (["--clients.split.path", "a"], ["clients.split.count", "required"]),
        (["--evaluation-videos.pattern", "*.mp4"], ["no video that matches '*.mp4'"]),
        (["--no-such-option", "1"], ["--no-such-option", "fedvsr run --help"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_a_wrong_option_of_run(fedvsr, config, tmp_path, arguments, parts):
    one_sentence(fedvsr("run", config, "--store", tmp_path / "new", *arguments), *parts)
    made = [path.name for path in (tmp_path / "new").rglob("*")]
    # A warm start may be a registered model, so MLflow is opened before the warm start is refused.
    assert made == (["mlflow.db"] if "--warm-start" in arguments else [])


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"surprise": 1}, ["surprise", "no such field", "training"]),
        ({"training__steps": 1}, ["training.steps", "no such field", "local_steps"]),
        ({"training__local_steps": "two"}, ["training.local_steps", "'two'"]),
        ({"training__local_steps": True}, ["training.local_steps", "True", "number"]),
        ({"clients": {}}, ["clients", "at least one client"]),
        ({"evaluation_videos": None}, ["evaluation_videos", "held-out"]),
        ({"training": [1]}, ["training", "mapping"]),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_file(fedvsr, config, tmp_path, values, parts):
    one_sentence(fedvsr("run", edit(config, **values), "--store", tmp_path / "new"), *parts)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("split", [{"count": 0}, {"count": 3}, {"count": 2, "scheme": "dirichlet"}])
def test_an_impossible_split(fedvsr, config, videos, tmp_path, split):
    edit(config, clients={"split": {"path": str(videos / "ann"), **split}})
    field = "clients.split.labels" if "scheme" in split else "clients.split.count"
    one_sentence(fedvsr("run", config, "--store", tmp_path / "new"), field)
    assert not (tmp_path / "new").exists()


def test_a_missing_file_and_an_invalid_yaml_file(fedvsr, tmp_path):
    one_sentence(fedvsr("run", tmp_path / "none.yaml"), "none.yaml", "readable file")
    one_sentence(fedvsr("run", tmp_path), str(tmp_path), "Is a directory")
    (tmp_path / "list.yaml").write_text("- 1")
    one_sentence(fedvsr("run", tmp_path / "list.yaml"), "list.yaml", "mapping")
    (tmp_path / "broken.yaml").write_text("a: [1")
    one_sentence(fedvsr("run", tmp_path / "broken.yaml"), "broken.yaml", "YAML")


def test_an_empty_folder(fedvsr, config, tmp_path):
    (tmp_path / "empty").mkdir()
    output = fedvsr(
        "run", config, "--clients.videos", f"ann={tmp_path / 'empty'}", "--store", tmp_path / "new"
    )
    one_sentence(output, str(tmp_path / "empty"), "no video was found", ".mp4")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("kind", "whose"),
    [
        *itertools.product(("no video", "cut short", "too short", "torn frame"), ("ann", "held-out")),
        # A held-out clip may be of any size.
        ("too small", "ann"),
    ],
)
def test_a_video_that_cannot_be_used(fedvsr, config, store, tmp_path, videos, kind, whose):
    folder = tmp_path / "bad"
    good = write_video(folder / "clip.avi", frames=2 if kind == "too short" else 60)
    if kind == "no video":
        (folder / "clip.avi").write_bytes(b"not a video" * 100)
    elif kind == "cut short":
        data = (folder / "clip.avi").read_bytes()
        (folder / "clip.avi").write_bytes(data[: len(data) // 2])
    elif kind == "too small":
        write_video(folder / "clip.avi", size=(16, 16))
    elif kind == "torn frame":
        (folder / "clip.avi").unlink()
        for number, frame in enumerate(good[:5]):
            cv2.imwrite(str(folder / f"{number}.png"), frame)
        (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    if whose == "ann":
        edit(config, clients__videos__ann=str(folder))
    else:
        edit(config, evaluation_videos={"path": str(folder)})
    output = fedvsr("run", config, "--store", store)
    reason = {
        "no video": "0 of 1 videos can be used: clip: cannot be opened as a video",
        "cut short": "0 of 1 videos can be used: clip: frame 29 cannot be decoded",
        "too short": "data.minimum_frames = 3",
        "torn frame": "3.png",
        "too small": "training.patch_size",
    }
    one_sentence(output, reason[kind])
    assert half_written(store) == []
    assert not (store / f"federation/runs/{RUN}/config.json").exists()
    # Corrected under the same name, it continues.
    if whose == "ann":
        edit(config, clients__videos__ann=str(videos / "ann"))
    else:
        edit(config, evaluation_videos={"path": str(videos / "held-out")})
    assert fedvsr("shard", config, "--store", store).code == 0


def test_one_video_of_two_clients(fedvsr, config, store, videos):
    edit(config, clients__videos__bob=str(videos / "ann"))
    one_sentence(fedvsr("run", config, "--store", store), "ann-0.avi", "may not have the same video")


def test_a_name_of_a_run_with_other_settings(copied, fedvsr):
    before = copied.weights(2)
    output = fedvsr("run", copied.config, "--store", copied.store, "--seed", 2)
    one_sentence(output, "seed: 2", "was started with 1", "choose another name")
    output = fedvsr("run", copied.config, "--store", copied.store, "--rounds", 1)
    one_sentence(output, "federation.rounds: 1", "started with 2", "raised")
    assert copied.weights(2) == before
    # `resume` still uses the settings it was started with.
    assert fedvsr("resume", RUN, "--store", copied.store).code == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["resume", "nobody"], ["nobody", "tiny"]),
        (["report", "nobody"], ["nobody", "tiny"]),
        (["evaluate", "nobody"], ["nobody", "tiny"]),
        (["register", "nobody"], ["nobody", "tiny"]),
        (["evaluate", "tiny", "--round", "3"], ["--round", "3", "from 0", "to 2"]),
        (["evaluate", "tiny", "--round", "-1"], ["--round", "-1"]),
        (["promote", "--name", "nothing"], ["nothing", "no challenger", "fedvsr register"]),
    ],
    ids=lambda value: (
        " ".join(value) if value[0] in ("resume", "report", "evaluate", "register", "promote") else ""
    ),
)
def test_a_run_or_model_that_does_not_exist(finished, fedvsr, arguments, parts):
    before = sorted(finished.store.rglob("*"))
    one_sentence(fedvsr(*arguments, "--store", finished.store), *parts)
    assert sorted(finished.store.rglob("*")) == before


@pytest.mark.parametrize("command", [["promote"], ["register", "nobody"], ["resume", "nobody"]])
def test_a_missing_store_is_not_created(fedvsr, tmp_path, command):
    one_sentence(fedvsr(*command, "--store", tmp_path / "typo"), "typo")
    assert not (tmp_path / "typo").exists()


def test_a_report_that_cannot_be_written(finished, fedvsr, tmp_path):
    output = fedvsr("report", RUN, "--store", finished.store, "--output", tmp_path / "no" / "page.html")
    assert output.code == 1
    assert output.err == f"error: {tmp_path / 'no' / 'page.html'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["--version"], 0, ""),
        ([], 0, ""),
        (["sing"], 2, "error: No such command 'sing'. See `fedvsr --help`.\n"),
        (["run"], 2, "error: Missing argument 'CONFIG'. See `fedvsr run --help`.\n"),
        (
            ["run", "/no/such.yaml"],
            2,
            "error: CONFIG: '/no/such.yaml' is not allowed; it must be a readable file "
            "(No such file or directory)\n",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_exit_code_and_standard_error_of_the_program(arguments, code, error):
    done = subprocess.run([FEDVSR, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, error)


def test_a_closed_pipe_is_not_an_error():
    with subprocess.Popen([FEDVSR, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        program.stdout.close()
        assert program.stderr.read() == b""
