"""`fedvsr client`: one client's work, in its Job or with plain `docker run`."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from fedvsr.cluster.job_spec import PERMANENT_FAILURE
from fedvsr.errors import PERMANENT_ERRORS, FedVSRError

if TYPE_CHECKING:
    from fedvsr.access.client_check import ClientCheckReport
    from fedvsr.federation.shard_records import ShardSummary

# Kubernetes reads a container's termination message from this file. Outside a pod it does not exist.
TERMINATION_LOG = Path("/dev/termination-log")
_MAX_BYTES = 4000

Result = TypeVar("Result")

_run_option = click.option("--run", required=True, help="The run's name.")
_client_option = click.option("--client", "name", required=True, help="This client's name.")


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
@_client_option
def train(run: str, round_number: int, name: str) -> None:
    """Train for a round of a run, and deliver the update and its report.

    If the client has delivered already, nothing is trained. A model, strategy or degradation named
    package.module:name is imported only from the packages that FEDVSR_ALLOW_MODELS lists.
    """

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
        report = train_client(federation, workspace.client(name), record, round_number, name, LogProgress())
        print(f"delivered: {report.describe()}")

    _run_work(work)


@client.command()
@_run_option
@_client_option
def shard(run: str, name: str) -> None:
    """Turn this client's videos into a run's training clips; shards that are up to date are kept.

    A video that cannot be used is left out; the log and the client's manifest name it and the reason. One
    line leaves the client: the number of clips, frames, bytes and videos left out, and a digest. A
    degradation named package.module:name is imported only from the packages that FEDVSR_ALLOW_MODELS lists.
    """

    def work() -> "ShardSummary":
        from fedvsr.federation.client.allowed_code import check_code_allowed
        from fedvsr.federation.owner.clips import tell_small_videos
        from fedvsr.federation.owner.sharding import shard_client
        from fedvsr.federation.runs import load_run
        from fedvsr.federation.shard_records import ShardSummary
        from fedvsr.progress import LogProgress
        from fedvsr.store.workspace import Workspace

        workspace = Workspace.from_environment()
        config = load_run(workspace.federation(), run).config
        check_code_allowed(config)
        progress, patch_size = LogProgress(), config.training.patch_size
        manifests = shard_client(workspace, name, config.data, progress)
        tell_small_videos(manifests, patch_size, "training.patch_size", name, progress)
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
