"""`fedvsr client`: one client's work, in its Job or with plain `docker run`."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from fedvsr.cluster.job_spec import PERMANENT_FAILURE
from fedvsr.errors import PERMANENT_ERRORS, ConfigError, FedVSRError

if TYPE_CHECKING:
    from fedvsr.access.client_check import ClientCheckReport
    from fedvsr.federation.shard_records import ShardSummary

# Kubernetes reads a container's termination message from this file. Outside a pod it does not exist.
TERMINATION_LOG = Path("/dev/termination-log")
_MAX_BYTES = 4000
# Kubernetes sets it in the pods of an Indexed Job.
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"

Result = TypeVar("Result")

_run_option = click.option("--run", required=True, help="The run's name.")
_client_option = click.option("--client", "name", required=True, help="This client's name.")
_one_client_option = click.option("--client", "name", help="This client's name.")
_clients_option = click.option(
    "--clients",
    "names",
    metavar="A,B,…",
    help="The virtual clients of an Indexed Job; this pod works for the one at JOB_COMPLETION_INDEX, from 0.",
)


@click.group()
def client() -> None:
    """Do one client's work.

    The client's Job runs these commands; without Kubernetes, `docker run` can.

    Environment variables name the stores (FEDVSR_FEDERATION_STORE, FEDVSR_CLIENT_STORE, FEDVSR_S3_ENDPOINT)
    and contain the client's credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). Exit code 65: another
    attempt would fail for the same reason. Exit code 1: another attempt may succeed.
    """


@client.command()
@_run_option
@click.option(
    "--round", "round_number", type=click.IntRange(min=1), required=True, help="The round, which has a plan."
)
@_one_client_option
@_clients_option
def train(run: str, round_number: int, name: str | None, names: str | None) -> None:
    """Train for a round of a run, and deliver the update and its report.

    If the client has delivered already, nothing is trained. A model, strategy or degradation named
    package.module:name is imported only from the packages that FEDVSR_ALLOW_MODELS lists.
    """
    client_name = _choose_client(name, names)

    def work() -> None:
        from fedvsr.federation.client.allowed_code import check_code_allowed
        from fedvsr.federation.client.train import train_client
        from fedvsr.federation.runs import load_run
        from fedvsr.progress import LogProgress
        from fedvsr.store.workspace import Workspace

        workspace = Workspace.from_environment()
        federation = workspace.federation()
        record = load_run(federation, run)
        check_code_allowed(record.config)
        own = workspace.client(client_name)
        report = train_client(federation, own, record, round_number, client_name, LogProgress())
        print(f"delivered: {report.describe()}")

    _run_work(work)


@client.command()
@_run_option
@_one_client_option
@_clients_option
def shard(run: str, name: str | None, names: str | None) -> None:
    """Turn this client's videos into a run's training clips; shards that are up to date are kept.

    A video that cannot be used is left out; the log and the client's manifest name it and the reason. One
    line leaves the client: the number of clips, frames, bytes and videos left out, and a digest. A
    degradation named package.module:name is imported only from the packages that FEDVSR_ALLOW_MODELS lists.
    The videos of a virtual client are its part of those in the federation's store.
    """
    client_name = _choose_client(name, names)

    def work() -> "ShardSummary":
        from fedvsr.federation.client.allowed_code import check_code_allowed
        from fedvsr.federation.owner.clips import tell_small_videos
        from fedvsr.federation.owner.sharding import shard_client
        from fedvsr.federation.owner.virtual import read_own_division, shard_virtual_client
        from fedvsr.federation.runs import load_run
        from fedvsr.federation.shard_records import ShardSummary
        from fedvsr.progress import LogProgress
        from fedvsr.store.workspace import Workspace

        workspace = Workspace.from_environment()
        config = load_run(workspace.federation(), run).config
        check_code_allowed(config)
        progress, patch_size = LogProgress(), config.training.patch_size
        if names:
            division = read_own_division(workspace.federation(), run, client_name)
            manifests = shard_virtual_client(workspace, division, client_name, config.data, progress)
        else:
            manifests = shard_client(workspace, client_name, config.data, progress)
        tell_small_videos(manifests, patch_size, "training.patch_size", client_name, progress)
        return ShardSummary.of(manifests, patch_size)

    summary = _run_work(work)
    line = summary.model_dump_json()
    print(line)
    _write_termination_message(line)


@client.command()
@_client_option
@click.option(
    "--must-not-reach", metavar="HOST:PORT", multiple=True, help="An address this client must not reach."
)
def check(name: str, must_not_reach: tuple[str, ...]) -> None:
    """Check this client's credentials, data and network, and report what is wrong.

    The client's Job runs this; `fedvsr clients check` is for the operator, who starts it for every client.
    """

    def work() -> "ClientCheckReport":
        from fedvsr.access.client_check import run_client_check
        from fedvsr.store.workspace import Workspace

        return run_client_check(Workspace.from_environment(), name, must_not_reach)

    report = _run_work(work)
    for finding in report.findings:
        print(f"{finding.what}: {f'{finding.problem}; {finding.advice}' if finding.problem else 'ok'}")
    _write_termination_message(report.model_dump_json())


def _choose_client(name: str | None, names: str | None) -> str:
    """Returns the client that this process works for: the one that is named, or the one of its index."""
    if bool(name) == bool(names):
        raise click.UsageError("give either --client NAME or --clients A,B,…", click.get_current_context())
    if name:
        return name
    clients, text = (names or "").split(","), os.environ.get(_INDEX_VARIABLE, "")
    if not (text.isdecimal() and int(text) < len(clients)):
        allowed = f"a number from 0 to {len(clients) - 1}, which Kubernetes sets in an Indexed Job"
        raise ConfigError(_INDEX_VARIABLE, text, allowed)
    return clients[int(text)]


def _run_work(work: Callable[[], Result]) -> Result:
    """Returns the result of ``work``. If it fails, writes the termination message and exits."""
    with _exit_on_sigterm():
        try:
            return work()
        except PERMANENT_ERRORS as error:
            _fail(error, PERMANENT_FAILURE)
        except FedVSRError as error:
            _fail(error, 1)
        except Exception as error:
            # The error is unexpected, so the traceback must reach the log.
            _write_termination_message(f"{type(error).__name__}: {error}")
            raise


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Exits on SIGTERM, which the first process of a container ignores without a handler."""

    def end(number: int, frame: object) -> NoReturn:
        _write_termination_message("told to stop")
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(error: FedVSRError, code: int) -> NoReturn:
    _write_termination_message(str(error))
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)


def _write_termination_message(text: str) -> None:
    with suppress(OSError):
        if TERMINATION_LOG.exists():
            line = " ".join(text.split())
            TERMINATION_LOG.write_bytes(line.encode()[:_MAX_BYTES])
