"""Compares simulations of many clients in fedvsr, Flower (Ray) and NVFlare: wall time, CPU time, peak memory.

    python benchmarks/simulation.py [--clients 240] [--rounds 5] [--steps 4] [--workers 2] [--sides fedvsr …]

All sides do the same work: federated averaging of the same model from the same initial weights; the clients'
training on a batch, seed and clips is the same function (`train`), called in as many processes at once. Their
final weights are compared. Each client has the clips of one of the sample videos in a store of its own.
Sharding is done before. Nobody evaluates and nobody uses MLflow.

- fedvsr: `train_round` with `WorkerProcesses`, and `aggregate_round`; every object goes to the disk.
- Flower: `run_simulation` with its strategy FedAvg, and a CPU for a client. Telemetry is off.
- NVFlare: its recipe FedAvgRecipe in SimEnv, with a thread per worker. If there are more clients than
  threads, its simulator starts a process for each client in each round.

A side's numbers are those of its whole process tree, from the start of its Python to its end: the wall time,
the processes' user and system time, and the largest sum of their proportional set sizes (PSS, every 0.5 s).

The others are no dependencies. FLOWER_PYTHON and NVFLARE_PYTHON name Pythons in which they are installed,
beside what fedvsr needs. A file with the path of this environment's packages saves installing those again:

    python -m venv flower && flower/bin/pip install 'flwr[simulation]==1.42.*'
    python -m venv nvflare && nvflare/bin/pip install 'nvflare==2.9.*'
    packages() { $1 -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
    for side in flower nvflare; do packages python > $(packages $side/bin/python)/main.pth; done
"""

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples/demo.yaml"
PYTHONS = {"flower": "FLOWER_PYTHON", "nvflare": "NVFLARE_PYTHON"}
SIDES = ("fedvsr", *PYTHONS)
# Marks the processes of a side in their environment, whoever their parent is.
MARK = "FEDVSR_BENCHMARK_SIDE"
SAMPLE_SECONDS = 0.5
TICKS = os.sysconf("SC_CLK_TCK")

# What NVFlare runs for a client.
NVFLARE_CLIENT = """
import sys
sys.path.insert(0, {benchmarks!r})
from pathlib import Path
import nvflare.client as flare
import torch
from simulation import Size, train

size = Size.read(Path({folder!r}))
flare.init()
while flare.is_running():
    model = flare.receive()
    weights = {{
        name: tensor.numpy() if torch.is_tensor(tensor) else tensor for name, tensor in model.params.items()
    }}
    trained, clips = train(size, flare.get_site_name(), model.current_round + 1, weights)
    tensors = {{name: torch.from_numpy(array) for name, array in trained.items()}}
    meta = {{"NUM_STEPS_CURRENT_ROUND": clips}}
    flare.send(flare.FLModel(params=tensors, params_type="FULL", meta=meta))
"""

# NVFlare builds the model from a class and plain arguments.
NVFLARE_MODEL = """
from fedvsr.models.fastvsr import FastVSR, FastVSROptions

class Model(FastVSR):
    def __init__(self, scale, channels, blocks):
        super().__init__(scale, FastVSROptions(channels=channels, blocks=blocks))
"""


@dataclass(frozen=True)
class Size:
    """What all sides do, and the folder in which its stores lie."""

    folder: str
    clients: int
    per_round: int
    rounds: int
    steps: int
    batch: int
    patch: int
    channels: int
    blocks: int
    workers: int

    @property
    def names(self) -> list[str]:
        return [f"site-{number}" for number in range(1, self.clients + 1)]

    def config(self) -> Any:
        """Returns the run, without PyTorch."""
        from fedvsr.config.experiment import load_experiment

        options = {"channels": self.channels, "blocks": self.blocks}
        experiment = load_experiment(
            SAMPLES,
            {
                "name": "simulation",
                "model.options": options,
                "strategy.name": "fedavg",
                "federation.rounds": self.rounds,
                "federation.clients_per_round": self.per_round,
                "federation.quorum": 1,
                "training.local_steps": self.steps,
                "training.batch_size": self.batch,
                "training.patch_size": self.patch,
                "training.threads": 1,
                "training.device": "cpu",
            },
        )
        return experiment.run_config(tuple(self.names))

    def workspace(self, name: str = "shared") -> Any:
        from fedvsr.store.workspace import Workspace

        return Workspace(f"{self.folder}/{name}", f"{self.folder}/clients/{{client}}")

    def initial(self) -> dict[str, np.ndarray]:
        """Returns the run's initial weights."""
        from fedvsr.weights import load

        return load(Path(self.folder, "initial.safetensors").read_bytes(), "initial weights")

    def write_result(self, side: str, weights: dict[str, np.ndarray]) -> None:
        np.savez(Path(self.folder, f"{side}.npz"), **weights)  # type: ignore[arg-type]

    @classmethod
    def read(cls, folder: Path) -> "Size":
        return cls(**json.loads((folder / "size.json").read_text()))


def train(
    size: Size, client: str, round_number: int, weights: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], int]:
    """Trains a client as fedvsr's `train_client` does; returns its weights and its number of clips."""
    import torch

    from fedvsr.device import repeatable
    from fedvsr.federation.owner.clips import open_training_clips
    from fedvsr.federation.sampling import derived_seed
    from fedvsr.models.registry import build_model
    from fedvsr.models.state import load_state, state_of
    from fedvsr.strategies.registry import build_strategy
    from fedvsr.training.batches import batches
    from fedvsr.training.local import train_locally
    from fedvsr.training.objective import Objective
    from fedvsr.video.patches import PatchSampler

    config = size.config()
    training = config.training
    clips = open_training_clips(size.workspace().client(client), config)
    seed = derived_seed(config.name, config.seed, round_number, client)
    sampler = PatchSampler(
        clips, frames=training.frames, patch_size=size.patch, batch_size=size.batch, seed=seed
    )
    strategy = build_strategy("fedavg", {})
    with repeatable(seed, 1):
        model = build_model(config.model.name, config.data.scale, config.model.options)
        load_state(model, weights, "global weights")
        term = strategy.make_local_term(model, {}, {})
        objective = Objective.of(training, high_frequency=strategy.high_frequency_loss)
        train_locally(model, batches(sampler, training), objective, term, training, torch.device("cpu"))
        return state_of(model), len(clips)


def run_fedvsr(size: Size) -> None:
    from fedvsr.federation import layout
    from fedvsr.federation.run.prepare import prepare_run
    from fedvsr.federation.run.training_round import train_round
    from fedvsr.federation.run.worker_processes import WorkerProcesses, open_pool
    from fedvsr.federation.server.aggregate import aggregate_round
    from fedvsr.weights import load

    workspace, config = size.workspace("fedvsr"), size.config()
    store = workspace.federation()
    record = prepare_run(store, config)
    with open_pool(size.workers, config) as pool:
        for round_number in range(1, size.rounds + 1):
            train_round(workspace, record, round_number, WorkerProcesses(pool))
            aggregate_round(store, record, round_number)
    size.write_result(
        "fedvsr", load(store.read(layout.global_weights(config.name, size.rounds)), "the result")
    )


def run_flower(size: Size) -> None:
    from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    def record(weights: dict[str, np.ndarray]) -> Any:
        return ArrayRecord({name: Array(array) for name, array in weights.items()})

    client_app, server_app = ClientApp(), ServerApp()

    @client_app.train()
    def train_message(message: Message, context: Context) -> Message:
        client = size.names[int(context.node_config["partition-id"])]
        weights = {name: array.numpy() for name, array in message.content["arrays"].items()}
        trained, clips = train(size, client, int(message.content["config"]["server-round"]), weights)
        content = {"arrays": record(trained), "metrics": MetricRecord({"num-examples": clips})}
        return Message(content=RecordDict(content), reply_to=message)

    @server_app.main()
    def serve(grid: Grid, context: Context) -> None:
        strategy = FedAvg(
            fraction_train=size.per_round / size.clients,
            fraction_evaluate=0.0,
            min_train_nodes=size.per_round,
            min_available_nodes=size.clients,
        )
        result = strategy.start(
            grid, record(size.initial()), num_rounds=size.rounds, train_config=ConfigRecord()
        )
        size.write_result("flower", {name: array.numpy() for name, array in result.arrays.items()})

    resources = {"num_cpus": 1, "num_gpus": 0.0}
    backend = {
        "client_resources": resources,
        "init_args": {"num_cpus": size.workers, "include_dashboard": False},
    }
    run_simulation(server_app, client_app, size.clients, backend_config=backend)


def run_nvflare(size: Size) -> None:
    import torch
    from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
    from nvflare.recipe.sim_env import SimEnv

    folder = Path(size.folder)
    (folder / "nvflare_model.py").write_text(NVFLARE_MODEL)
    script = folder / "nvflare_client.py"
    script.write_text(NVFLARE_CLIENT.format(benchmarks=str(ROOT / "benchmarks"), folder=size.folder))
    checkpoint = folder / "initial.pt"
    torch.save({name: torch.from_numpy(array) for name, array in size.initial().items()}, checkpoint)
    sys.path.insert(0, size.folder)
    os.environ["PYTHONPATH"] = f"{size.folder}:{os.environ['PYTHONPATH']}"
    arguments = {"scale": size.config().data.scale, "channels": size.channels, "blocks": size.blocks}
    recipe = FedAvgRecipe(
        name="simulation",
        model={"class_path": "nvflare_model.Model", "args": arguments},
        initial_ckpt=str(checkpoint),
        min_clients=size.per_round,
        num_rounds=size.rounds,
        train_script=str(script),
    )
    environment = SimEnv(clients=size.names, num_threads=size.workers, workspace_root=str(folder / "nvflare"))
    recipe.execute(environment)
    (path,) = (folder / "nvflare").rglob("FL_global_model.pt")
    saved = torch.load(path, weights_only=True)
    size.write_result("nvflare", {name: tensor.numpy() for name, tensor in saved["model"].items()})


RUN: dict[str, Callable[[Size], None]] = {
    "fedvsr": run_fedvsr,
    "flower": run_flower,
    "nvflare": run_nvflare,
}


# The measurement


@dataclass
class Cost:
    """What a side took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    processes: int


def measure(side: str, python: str, size: Size, log: Path, limit: float) -> Cost:
    """Runs a side in a process of its own, and measures all processes that belong to it.

    Raises:
        RuntimeError: It failed, or took longer than ``limit`` seconds.
    """
    environment = {
        **os.environ,
        MARK: side,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    cpu: dict[tuple[int, str], float] = {}
    peak = 0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    command = [python, __file__, "--side", side, "--folder", size.folder]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 -- our own program
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            if time.monotonic() - start > limit:
                break
            peak = max(peak, sample(side, cpu))
            time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - start
    end_all(side)
    code = process.wait()
    if code:
        reason = f"after {seconds:.0f} s of {limit:.0f}" if seconds > limit else f"with code {code}"
        raise RuntimeError(f"it ended {reason}; see {log}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Each misses something: the kernel's sum what daemons leave behind, the samples what is short-lived.
    waited = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, max(waited, sum(cpu.values())), peak, len(cpu))


def sample(side: str, cpu: dict[tuple[int, str], float]) -> int:
    """Notes the CPU time of a side's processes; returns the sum of their memory, in bytes."""
    memory = 0
    for process in processes_of(side):
        try:
            values = (process / "stat").read_text().rpartition(")")[2].split()
            cpu[int(process.name), values[19]] = (int(values[11]) + int(values[12])) / TICKS
            lines = (process / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has ended
        memory += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return memory


def processes_of(side: str) -> list[Path]:
    """Returns the /proc folders of a side's processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"{MARK}={side}".encode() in environment:
            found.append(folder)
    return found


def end_all(side: str) -> None:
    """Ends what a side has left running; Ray's and NVFlare's processes may outlive their parent."""
    for process in processes_of(side):
        try:
            os.kill(int(process.name), 9)
        except ProcessLookupError:
            continue


def prepare(size: Size) -> None:
    """Writes the clients' shards, the initial weights and the size into the folder."""
    from fedvsr.config.experiment import load_experiment
    from fedvsr.experiment.videos import collect_videos
    from fedvsr.federation.run.prepare import validate_run
    from fedvsr.federation.run.rounds import shard_all
    from fedvsr.store.workspace import Workspace
    from fedvsr.weights import serialize

    folder = Path(size.folder)
    experiment = load_experiment(SAMPLES, {"clients.split.count": 20})
    videos = collect_videos(experiment)
    shard_all(Workspace.under(str(folder / "source")), videos, experiment.data)
    sources = sorted((folder / "source/clients").iterdir())
    for number, name in enumerate(size.names):
        shutil.copytree(sources[number % len(sources)], folder / "clients" / name)
    initial = validate_run(size.config(), None).weights
    (folder / "initial.safetensors").write_bytes(serialize(initial))
    (folder / "size.json").write_text(json.dumps(asdict(size)))


def difference(folder: Path, side: str) -> float:
    """Returns the largest difference of a side's final weights from fedvsr's, relative to the largest."""
    ours, theirs = (dict(np.load(folder / f"{name}.npz")) for name in ("fedvsr", side))
    if ours.keys() != theirs.keys():
        return math.inf
    largest = max(float(np.abs(array).max()) for array in ours.values())
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours) / largest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=240)
    parser.add_argument("--per-round", type=int, default=0, help="clients of a round; 0: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--limit", type=float, default=7200, help="seconds after which a side is ended")
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir(), "fedvsr-simulation"))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        RUN[options.side](Size.read(options.folder))
        return
    options.per_round = options.per_round or options.clients
    options.logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fedvsr-simulation-") as folder:
        names = {field.name for field in fields(Size)} - {"folder"}
        size = Size(folder=folder, **{name: getattr(options, name) for name in names})
        prepare(size)
        print(
            f"{size.clients} clients, {size.per_round} a round, {size.rounds} rounds of {size.steps} steps, "
            f"{size.workers} workers\n"
        )
        print("| | wall, s | CPU, s | peak memory, MB | processes | CPU, s a training | difference |")
        print("|---|---|---|---|---|---|---|")
        for side in options.sides:
            python = os.environ.get(PYTHONS[side]) if side in PYTHONS else sys.executable
            if not python:
                print(f"| {side} | skipped: set {PYTHONS[side]} | | | | | |")
                continue
            try:
                cost = measure(side, python, size, options.logs / f"{side}.log", options.limit)
            except RuntimeError as error:
                print(f"| {side} | failed: {error} | | | | | |")
                continue
            trainings = size.per_round * size.rounds
            same = "" if "fedvsr" not in options.sides else f"{difference(Path(folder), side):.1e}"
            print(
                f"| {side} | {cost.seconds:.1f} | {cost.cpu_seconds:.1f} | {cost.peak_bytes / 1e6:.0f} | "
                f"{cost.processes} | {cost.cpu_seconds / trainings:.3f} | {same} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
