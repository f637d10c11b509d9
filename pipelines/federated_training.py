"""A run as a Kubeflow pipeline.

    prepare → shard → for each round, in order: train_clients → aggregate
                                                evaluate (the previous round, during the training)
            → evaluate (the last round) → register

Steps exchange data through the object stores, so KFP does not cache them. If a run's name is submitted again,
the run continues.
"""

from pathlib import Path

from kfp import compiler, dsl

from components.aggregate.component import aggregate
from components.evaluate.component import evaluate
from components.prepare.component import prepare
from components.register.component import register
from components.shard.component import shard
from components.train_clients.component import train_clients
from fedvsr.config.parameters import FIELDS, OTHERS
from pipelines.cluster import step

COMPILED = Path(__file__).with_suffix(".yaml")


@dsl.pipeline(
    name="federated-training",
    description="Trains a video super-resolution model on the videos of clients, which stay where they are.",
)
def federated_training(
    run_name: str,
    model: str = "fastvsr",
    strategy: str = "fedvsr",
    rounds: int = 10,
    clients: list = [],  # noqa: B006  KFP copies it
    virtual_clients: int = 0,
    clients_per_round: int = 0,
    quorum: int = 1,
    wait_for: str = "all",
    deadline_seconds: int = 3600,
    gpus_per_client: int = 0,
    local_steps: int = 0,
    scale: int = 4,
    degradation: str = "bi",
    upload: str = "float32",
    download: str = "float32",
    secure_aggregation: bool = False,
    differential_privacy: bool = False,
    clipping_norm: float = 1.0,
    noise_multiplier: float = 1.0,
    epsilon: float = 0.0,
    server_optimiser: str = "none",
    averaging: str = "none",
    learning_rate: float = 4e-4,
    schedule: str = "constant",
    seed: int = 0,
    evaluate_every: int = 1,
    evaluation_gpus: str = "0",
    evaluation_memory: str = "8Gi",
    lambda_hf: float = 1.0,
    warm_start: str = "",
    registered_model: str = "fedvsr",
    settings: dict = {},  # noqa: B006  KFP copies it
):
    """Federated training of a video super-resolution model.

    Args:
        run_name: Lower case, digits and dashes. Submitting a name again continues that run.
        model: Network: basicvsr, basicvsr++, fastvsr, iart, rrn, rvrt, vrt, or package.module:name.
        strategy: bulyan, fedadagrad, fedadam, fedavg, fedavgm, feddyn, fedmedian, fednova, fedprox, fedsr,
            fedtrimmedavg, fedvsr, fedvsr-ala, fedvsr-annealed, fedvsr-hf, fedyogi, geometric-median, krum,
            moon, multikrum, qfedavg, scaffold, or a reference.
        rounds: Rounds of training and aggregation; may be raised to continue a run, without a schedule.
        clients: Names of the clients, as a JSON list; empty takes all of the federation.
        virtual_clients: Number of virtual clients, among whom the federation's training videos are divided as
            settings such as {"clients.split.scheme": "quantity-skew"} say; 0 trains with the real clients.
        clients_per_round: Clients drawn for each round; 0 takes all.
        quorum: Clients that must deliver for a round to count.
        wait_for: all waits for every client until the deadline; quorum cuts off who is slower.
        deadline_seconds: How long a round waits for its clients.
        gpus_per_client: GPUs that each client's training asks for; 0 trains on the CPU.
        local_steps: Optimiser steps of a client in a round; 0 trains one pass over its clips.
        scale: Enlargement of height and width: 2, 3 or 4.
        degradation: How low resolution is made: bi (bicubic), bd, matlab-bd (the papers' BD), or a reference.
        upload: Codec of the clients' updates: float32, bfloat16, int8, int4, int2, or a reference.
        download: Codec of the global weights on their way to the clients: float32, bfloat16 or int8.
        secure_aggregation: Whether the server learns only the updates' sum; needs upload int8, int4 or int2.
        differential_privacy: Whether updates are clipped and noise is added to their sum.
        clipping_norm: Largest L2 norm of an update, with differential privacy.
        noise_multiplier: The noise's standard deviation divided by the clipping norm.
        epsilon: The budget at which a run with differential privacy stops; 0 for none.
        server_optimiser: How the server steps towards the mean: none, adagrad, adam, momentum, yogi, or a
            reference.
        averaging: How weights of several rounds are averaged beside the training: none, exponential, uniform.
        learning_rate: Adam's learning rate.
        schedule: How the learning rate falls over the run: constant, linear, cosine or cosine-restarts.
        seed: Seed of the weights, the sampling and the batches.
        evaluate_every: Evaluate every so many rounds, and the last.
        evaluation_gpus: GPUs (nvidia.com/gpu) that an evaluation asks for; 0 evaluates on the CPU.
        evaluation_memory: Memory that an evaluation may take; larger held-out videos need more.
        lambda_hf: Weight of the high-frequency loss, for strategies that use it.
        warm_start: Initial weights: empty for random ones, champion, or models:/NAME@ALIAS.
        registered_model: The registered model that the best round becomes a version of.
        settings: Other fields of the configuration, such as {"training.batch_size": 4}.
    """
    parameters = locals()
    run_parameters = {name: parameters[name] for name in (*FIELDS, OTHERS)}
    prepared = step(
        prepare(**run_parameters, registered_model=registered_model), "Prepare the run", memory="4Gi"
    )
    sharded = step(shard(run_name=run_name), "Shard the videos", memory="4Gi").after(prepared)

    def evaluation(round, name):
        task = evaluate(run_name=run_name, round=round)
        return step(task, name, memory=evaluation_memory, gpus=evaluation_gpus)

    loop = dsl.ParallelFor(prepared.output, parallelism=1, name="rounds")
    with loop as item:
        # The UI names an iteration after this name and its index: in a new run, round 7 is rounds-from-0.6.
        loop.name = "rounds-from-0"
        trained = step(
            train_clients(run_name=run_name, round=item.round), "Train the clients", memory="2Gi"
        ).after(sharded)
        evaluation(item.previous, "Evaluate previous").after(sharded)
        aggregated = step(
            aggregate(run_name=run_name, round=item.round), "Aggregate the updates", memory="4Gi"
        ).after(trained)
    evaluated = evaluation(rounds, "Evaluate last").after(aggregated)
    step(
        register(run_name=run_name, registered_model=registered_model),
        "Register the best round",
        memory="4Gi",
    ).after(evaluated)


def compile_pipeline(path: Path = COMPILED) -> None:
    """Writes the compiled pipeline (KFP's IR), the file that is uploaded to Kubeflow Pipelines."""
    compiler.Compiler().compile(federated_training, str(path))


if __name__ == "__main__":
    compile_pipeline()
