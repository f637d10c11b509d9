"""fedvsr submit, runs and logs, as a user calls them, with a fake KFP on the loopback interface."""

import json

import pytest

from tests.unit.kubeflow.fake_kfp import FakeKfp, serve


@pytest.fixture
def kfp(monkeypatch):
    for name in ("FEDVSR_KFP_TOKEN", "FEDVSR_KFP_UI", "FEDVSR_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    with serve(FakeKfp()) as server:
        monkeypatch.setenv("FEDVSR_KFP_ENDPOINT", server.url)
        for number, name in enumerate(("federated-training", "federated-training-other")):
            server.pipelines.append({"name": name, "pipeline_id": f"pipeline-{number}"})
            server.versions.append(
                {
                    "display_name": f"0.1.0-{number}",
                    "pipeline_id": f"pipeline-{number}",
                    "pipeline_version_id": f"version-{number}",
                }
            )
        yield server


def submitted(kfp):
    (run,) = kfp.runs
    return run["runtime_config"]["parameters"]


def test_only_the_options_of_the_command_line_are_sent(kfp, fedvsr):
    output = fedvsr("submit", "demo", "--rounds", 3, "--batch-size", 4, "--model.options", "blocks=2")
    assert (output.code, output.err) == (0, "")
    assert submitted(kfp) == {
        "run_name": "demo",
        "rounds": 3,
        "settings": {"training.batch_size": 4, "model.options": {"blocks": 2}},
        "registered_model": "fedvsr",
    }
    assert "Run demo is run-0 in KFP, pipeline version 0.1.0-0" in output.out
    assert "http://localhost:8080/#/runs/details/run-0" in output.out


def test_set_options_and_the_pipelines_own_parameters(kfp, fedvsr):
    fedvsr(
        "submit", "demo", "--set", "federation.clients=[ann, bob]", "--set", "data.scale=2", "--jobs.gpus", 1,
        "--evaluation-gpus", 2, "--evaluation-memory", "16Gi", "--registered-model", "mine",
    )  # fmt: skip
    assert submitted(kfp) == {
        "run_name": "demo",
        "clients": ["ann", "bob"],
        "scale": 2,
        "gpus_per_client": 1,
        # KFP's driver accepts only a string.
        "evaluation_gpus": "2",
        "evaluation_memory": "16Gi",
        "registered_model": "mine",
    }


def test_a_file_of_fedvsr_run_can_be_submitted(kfp, fedvsr, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: filed\nclients: {videos: {ann: here}}\nevaluation_videos: there\n"
        "training: {frames: 5, patch_size: 64}\n"
    )
    output = fedvsr("submit", "--config", path, "--frames", 6)
    assert submitted(kfp)["run_name"] == "filed"
    assert submitted(kfp)["settings"] == {"training.frames": 6, "training.patch_size": 64}
    assert "Not sent, since the deployment has its own: clients, evaluation_videos" in output.out
    fedvsr("submit", "named", "--config", path)
    assert kfp.runs[1]["display_name"] == "named"


def test_the_division_of_videos_is_sent_only_if_the_clients_are_virtual(kfp, fedvsr, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: divided\nclients: {split: {path: here, pattern: 'a*', count: 240, scheme: dirichlet, "
        "labels: there/labels.csv}}\n"
    )
    output = fedvsr("submit", "--config", path, "--virtual-clients")
    assert (output.code, output.err) == (0, "")
    assert submitted(kfp)["virtual_clients"] == 240
    # The videos and their labels lie in the federation's store.
    assert submitted(kfp)["settings"] == {
        "clients.split.pattern": "a*",
        "clients.split.scheme": "dirichlet",
        "clients.split.labels": "labels.csv",
    }
    assert "Not sent" not in output.out
    fedvsr("submit", "hosted", "--config", path)
    assert "virtual_clients" not in kfp.runs[1]["runtime_config"]["parameters"]
    refused = fedvsr("submit", "without", "--virtual-clients")
    assert refused.code == 2
    assert "clients.split" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("demo", "--frames", 9),
            "training.frames: 9 is not allowed; it must be at most data.minimum_frames",
        ),
        (("demo", "--rounds", 0), "federation.rounds: 0 is not allowed"),
        (("demo", "--strategy", "nope"), "unknown strategy 'nope'"),
        (("demo", "--model", "nope"), "unknown model 'nope'"),
        (("demo", "--set", "training.nope=1"), "training.nope: 1 is not allowed; no such field"),
        (("demo", "--set", "nonsense"), "'nonsense' is not FIELD=VALUE"),
        (("Demo",), "name: 'Demo' is not allowed"),
        ((), "name: None is not allowed; it is required"),
        (("demo", "--namespace", "nowhere"), "has no pipeline 'federated-training-nowhere'"),
    ],
)
def test_an_invalid_value_starts_nothing(kfp, fedvsr, arguments, message):
    output = fedvsr("submit", *arguments)
    assert output.code == 2
    assert message in " ".join(output.err.split())
    assert kfp.runs == []


def test_a_model_outside_fedvsr_is_not_checked(kfp, fedvsr):
    assert fedvsr("submit", "demo", "--model", "their.package:network").code == 0


def test_a_second_run_of_a_name_is_refused_or_replaces_the_first(kfp, fedvsr):
    kfp.add_run("demo", "RUNNING")
    refused = fedvsr("submit", "demo")
    assert refused.code == 2
    assert "run 'demo' is still active" in refused.err
    assert fedvsr("submit", "demo", "--replace").code == 0
    assert [run["state"] for run in kfp.runs] == ["CANCELED", "PENDING"]


def test_following_a_run_that_fails(kfp, fedvsr, monkeypatch):
    monkeypatch.setattr("fedvsr.kubeflow.logs._POLL_SECONDS", 0)
    monkeypatch.setattr("fedvsr.kubeflow.logs.get_run", lambda *_: fail(kfp))
    kfp.add_step("prepare", None, "Failed", log="error: no client\n")
    output = fedvsr("submit", "demo", "--follow")
    assert output.code == 1
    assert "error: no client" in output.out
    assert "launcher" not in output.out
    assert "run 'demo' ended as FAILED; `fedvsr logs demo` and http://localhost:8080/#/runs/" in output.err
    assert "run-0 show why" in output.err


def fail(kfp):
    from fedvsr.kubeflow.runs import _parse_run

    kfp.runs[-1]["state"] = "FAILED"
    return _parse_run(kfp.runs[-1])


def test_runs_of_a_deployment_with_their_rounds(kfp, fedvsr):
    kfp.add_run("first", rounds=4)
    kfp.add_run("second", "RUNNING", rounds=3)
    kfp.add_run("elsewhere", pipeline="pipeline-1")
    kfp.add_step("aggregate", 2)
    lines = [line.split() for line in fedvsr("runs").out.splitlines()]
    assert [line[:3] for line in lines[1:]] == [["second", "running", "2/3"], ["first", "succeeded", "4/4"]]
    assert [line[-1] for line in lines[1:]] == ["run-1", "run-0"]
    assert len(fedvsr("runs", "--limit", 1).out.splitlines()) == 2
    (other,) = json.loads(fedvsr("runs", "--namespace", "other", "--json").out)
    assert (other["name"], other["rounds_done"], other["seconds"]) == ("elsewhere", 10, 3480.0)
    assert other["url"] == "http://localhost:8080/#/runs/details/run-2"


@pytest.fixture
def logged(kfp):
    kfp.add_run("demo", "RUNNING", rounds=2)
    kfp.add_step("prepare", None, log="made demo\n")
    for round_number in (1, 2):
        kfp.add_step(
            "train-clients",
            round_number,
            log=f"ann | loss {round_number}\nbob | loss {round_number}\nclients: 2/2 bob\n",
        )
        kfp.add_step("aggregate", round_number, log=f"weights {round_number}\n")
    return kfp


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ((), 9),
        (("--step", "train_clients"), 6),
        (("--round", 2), 4),
        (("--round", 2, "--step", "aggregate"), 1),
        (("--client", "bob"), 2),
        (("--client", "ann", "--round", 1), 1),
    ],
)
def test_logs_of_selected_steps(logged, fedvsr, arguments, lines):
    output = fedvsr("logs", "demo", *arguments)
    assert (output.code, output.err) == (0, "")
    lines_shown = [line for line in output.out.splitlines() if "─" not in line]
    assert len(lines_shown) == lines
    assert len(fedvsr("logs", "run-0", *arguments, "--raw").out) >= len(output.out)


def test_logs_that_do_not_exist(logged, fedvsr):
    assert "unknown run 'other'; known: demo" in fedvsr("logs", "other").err
    output = fedvsr("logs", "demo", "--round", 9)
    assert output.code == 2
    assert "run 'demo' (running) has no log line that matches --round 9; `fedvsr runs` shows" in output.err
    output = fedvsr("logs", "demo", "--step", "train_clients", "--client", "anne")
    assert output.code == 2
    assert "has no log line that matches --step train_clients --client anne" in output.err
