"""`fedvsr client`: a client's own work, in its Job or under plain `docker run`."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from fedvsr.cluster.job import CANNOT_BE_MENDED
from fedvsr.errors import DataError, FedVSRError, InputError, NotFoundError, TrainingError

if TYPE_CHECKING:
    from fedvsr.access.client_check import SiteReport
    from fedvsr.federation.shard_records import ShardSummary

# Where Kubernetes looks for a container's last word. Outside a pod there is no such file.
TERMINATION_LOG = Path("/dev/termination-log")
_MAX_BYTES = 4000

Result = TypeVar("Result")

_FINAL = (InputError, DataError, TrainingError, NotFoundError)

_run_option = click.option("--run", required=True, help="The run's name.")
_client_option = click.option("--client", "name", required=True, help="This client's name.")


@click.group()
def client() -> None:
    """Do a client's own work: what its Job runs, and `docker run` at a site without Kubernetes.

    The environment says where the stores are (FEDVSR_FEDERATION_STORE, FEDVSR_CLIENT_STORE,
    FEDVSR_S3_ENDPOINT) and has the client's credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).
    Exit code 65: another try would fail for the same reason; 1: it may succeed.
    """


@client.command()
@_run_option
@click.option(
    "--round", "round_number", type=click.IntRange(min=1), required=True, help="The round, which has a plan."
)
@_client_option
def train(run: str, round_number: int, name: str) -> None:
    """Train for a round of a run, and deliver the update and its report.

    If it has delivered already, nothing is trained. A model, strategy or degradation named
    package.module:name is imported only from the packages that FEDVSR_ALLOW_MODELS lists.
    """

    def work() -> None:
        from fedvsr.federation.client.allowed_code import check_code_allowed
        from fedvsr.federation.client.train import train_client
        from fedvsr.federation.runs import load_run
        from fedvsr.progress import LogProgress
        from fedvsr.store.workspace import Workspace

        workspace = Workspace.from_environment()
        check_code_allowed(load_run(workspace.federation(), run).config)
        report = train_client(workspace, run, round_number, name, LogProgress())
        took = f"{report.steps} steps in {report.seconds:.1f} s on {report.device}"
        print(f"delivered: loss {report.loss:.4f}, {took}")

    _work(work)


@client.command()
@_run_option
@_client_option
def shard(run: str, name: str) -> None:
    """Turn this client's videos into a run's training clips; what is current is left alone.

    What leaves the site is one line: how many clips, frames and bytes there are, and their digest. A
    degradation named package.module:name is imported only from the packages that FEDVSR_ALLOW_MODELS lists.
    """

    def work() -> "ShardSummary":
        from fedvsr.federation.client.allowed_code import check_code_allowed
        from fedvsr.federation.owner.sharding import shard_client
        from fedvsr.federation.runs import load_run
        from fedvsr.federation.shard_records import ShardSummary
        from fedvsr.progress import LogProgress
        from fedvsr.store.workspace import Workspace

        workspace = Workspace.from_environment()
        config = load_run(workspace.federation(), run).config
        check_code_allowed(config)
        return ShardSummary.of(shard_client(workspace, name, config.data, LogProgress()))

    summary = _work(work)
    line = summary.model_dump_json()
    print(line)
    _last_word(line)


@client.command()
@_client_option
@click.option("--must-not-reach", metavar="HOST:PORT", multiple=True, help="What this site may not talk to.")
def check(name: str, must_not_reach: tuple[str, ...]) -> None:
    """Try this site's credentials, data and network, and say what is wrong."""

    def work() -> "SiteReport":
        from fedvsr.access.client_check import check_site
        from fedvsr.store.workspace import Workspace

        return check_site(Workspace.from_environment(), name, must_not_reach)

    report = _work(work)
    for each in report.findings:
        print(f"{each.what}: {f'{each.problem}; {each.advice}' if each.problem else 'ok'}")
    _last_word(report.model_dump_json())


def _work(work: Callable[[], Result]) -> Result:
    """Does the work; tells why it failed where Kubernetes looks, and ends with the right code."""
    with _ends_when_told():
        try:
            return work()
        except _FINAL as error:
            _fail(error, CANNOT_BE_MENDED)
        except FedVSRError as error:
            _fail(error, 1)
        except Exception as error:
            # Not foreseen: whoever looks at the log needs to see where it came from.
            _last_word(f"{type(error).__name__}: {error}")
            raise


@contextmanager
def _ends_when_told() -> Iterator[None]:
    """The first process of a container ignores SIGTERM unless it asks for it."""

    def end(number: int, frame: object) -> NoReturn:
        _last_word("told to stop")
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(error: FedVSRError, code: int) -> NoReturn:
    _last_word(str(error))
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)


def _last_word(text: str) -> None:
    with suppress(OSError):
        if TERMINATION_LOG.exists():
            line = " ".join(text.split())
            TERMINATION_LOG.write_bytes(line.encode()[:_MAX_BYTES])
