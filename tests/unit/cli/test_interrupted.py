"""Whatever stops a run, `fedvsr resume` finishes it with the weights of a run that was never stopped."""

import errno
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.unit.tiny_run import RUN, run_command

FEDVSR = Path(sys.executable).with_name("fedvsr")
FOLDER = f"federation/runs/{RUN}"

# The process is killed when it renames a temporary file to one of these names; in the order of a run.
MOMENTS = (
    f"{FOLDER}/experiment.json",
    "evaluation-clips/default/bi-x2/manifest.json",
    f"{FOLDER}/config.json",
    f"{FOLDER}/rounds/0001/updates/ann/report.json",
    f"{FOLDER}/rounds/0002/round.json",
    f"{FOLDER}/registration.json",
    f"results/{RUN}/clip-x2.mp4",
)


def run_and_die(arguments, moment):
    """Runs a command in this process and kills the process when it writes a file."""
    replace = os.replace

    def die(source, target, **kwargs):
        if str(target).endswith(moment):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **kwargs)

    os.replace = die
    run_command(*arguments)


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have already imported everything, so that they start quickly."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "tests.unit.tiny_run",
            "fedvsr.cli.run",
            "fedvsr.experiment.local",
            # What MLflow imports when it opens a database.
            "alembic.command",
            "mlflow.store.model_registry.sqlalchemy_store",
            "mlflow.store.tracking.sqlalchemy_store",
        ]
    )
    return context


def assert_finished(store, finished):
    for round_number in (0, 1, 2):
        path = store / FOLDER / f"rounds/{round_number:04d}/global.safetensors"
        assert path.read_bytes() == finished.weights(round_number)
    # A killed process may leave the temporary file that it was writing, which is not an object.
    for path in (store / FOLDER).rglob("*"):
        assert path.is_dir() or ".part" in path.name or path.stat().st_size


def test_killed_at_every_stage(finished, store, config, processes):
    for number, moment in enumerate(MOMENTS):
        # Before the experiment is stored, a run cannot be resumed.
        arguments = ("run", config) if number < 2 else ("resume", RUN)
        process = processes.Process(target=run_and_die, args=((*arguments, "--store", store), moment))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, moment
        assert not (store / moment).exists()
    output = run_command("resume", RUN, "--store", store)
    assert (output.code, output.err) == (0, "")
    assert_finished(store, finished)
    # It was killed after it created the model version and before it recorded the version.
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    assert [version.version for version in client.search_model_versions("name = 'fedvsr'")] == [1]
    (run,) = client.search_runs([client.get_experiment_by_name("fedvsr").experiment_id])
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "psnr_y")] == [1, 2]
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "participants")] == [1, 2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_with_a_signal(finished, store, config, number, code):
    program = subprocess.Popen(
        [FEDVSR, "run", config, "--store", store], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with program:
        for line in program.stdout:
            if line.startswith("round 1/2"):
                break
        program.send_signal(number)
        error = program.stderr.read()
    assert program.returncode == code
    assert error == (
        f"\nstopped; nothing is lost: `fedvsr resume {RUN}`, or the same command again, continues the run\n"
    )
    assert run_command("resume", RUN, "--store", store).code == 0
    assert_finished(store, finished)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_worker_behind(store, config, number, code):
    arguments = ["run", config, "--store", store, "--workers", 2, "--rounds", 1000]
    program = subprocess.Popen(
        [FEDVSR, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with program:
        for line in program.stdout:
            if line.startswith("round 2/"):
                break
        descendants = [os.pidfd_open(pid) for pid in descendants_of(program.pid)]
        # As a terminal does, to all processes.
        os.killpg(program.pid, number)
        error = program.stderr.read()
    assert program.returncode == code
    assert error.startswith("\nstopped; nothing is lost")
    assert "Traceback" not in error
    assert len(descendants) >= 3  # the server of forks, and two workers
    for process in descendants:
        assert select.select([process], [], [], 30)[0], "a process has not ended"
        os.close(process)


def descendants_of(pid):
    """Returns the processes that a process has started, and those that they have started."""
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return [found for child in children for found in (child, *descendants_of(child))]


def test_a_full_disk_is_reported_and_the_run_can_continue(finished, store, config, monkeypatch):
    sync = os.fsync
    calls = []

    def full(file):
        calls.append(file)
        if len(calls) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr(os, "fsync", full)
    output = run_command("run", config, "--store", store)
    assert output.code == 1
    assert output.err.startswith("error: ")
    assert "No space left on device" in output.err
    assert not [path for path in store.rglob("*") if ".part" in path.name]
    monkeypatch.undo()
    assert run_command("resume", RUN, "--store", store).code == 0
    assert_finished(store, finished)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk")
def test_a_disk_that_is_really_full(config, tmp_path, store):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=150k", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this root may not mount a disk")
    try:
        # MLflow's database stays open, so it is on another disk.
        arguments = ("run", config, "--store", disk, "--tracking.uri", f"sqlite:///{store / 'mlflow.db'}")
        output = run_command(*arguments)
        assert output.code == 1
        assert output.err.startswith("error: ")
        assert "No space left on device" in output.err
        assert not [path for path in disk.rglob("*") if ".part" in path.name]
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        assert run_command(*arguments).code == 0
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("damage", ["cut short", "changed", "gone"])
def test_a_corrupt_shard_is_reported(store, config, damage):
    assert run_command("shard", config, "--store", store).code == 0
    shards = sorted((store / "clients/ann/shards/default/bi-x2").rglob("*.safetensors"))
    for shard in shards:
        data = shard.read_bytes()
        if damage == "gone":
            shard.unlink()
        else:
            shard.write_bytes(data[:-100] if damage == "cut short" else data[:-1] + bytes([data[-1] ^ 1]))
    output = run_command("run", config, "--store", store)
    assert (output.code, output.err) == (0, "")
    # It ends the work of its client only. Shards that are gone are made again.
    failures = [line for line in output.out.splitlines() if line.startswith("client ann: ")]
    assert bool(failures) == (damage != "gone")
    for failure in failures:
        assert any(failure.startswith(f"client ann: {shard}: expected SHA-256") for shard in shards)


@pytest.mark.parametrize("damage", ["cut short", "gone"])
def test_truncated_global_weights_are_reported(copied, damage):
    folder = copied.store / FOLDER / "rounds"
    weights = folder / "0001" / "global.safetensors"
    (folder / "0002" / "round.json").unlink()
    for report in folder.glob("0002/updates/*/report.json"):
        report.unlink()
    data = weights.read_bytes()
    weights.unlink() if damage == "gone" else weights.write_bytes(data[:-10])
    output = run_command("resume", RUN, "--store", copied.store)
    assert output.code == 1
    assert output.err.startswith("error: ")
    assert "rounds/0001/global.safetensors" in output.err
    weights.write_bytes(data)
    assert run_command("resume", RUN, "--store", copied.store).code == 0


def test_nothing_stays_in_the_temporary_folder(copied, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (copied.store / FOLDER / "registration.json").unlink()
    assert run_command("run", copied.config, "--store", copied.store).code == 0
    assert list((tmp_path / "temporary").iterdir()) == []
