"""`fedvsr site`: a client's agent, at its owner's."""

import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from fedvsr.cli.progress import print_line
from fedvsr.errors import SiteError
from fedvsr.text import printable
from fedvsr.waiting import end_with_stdin

if TYPE_CHECKING:
    from fedvsr.access.invitation import Invitation
    from fedvsr.site.audit import AuditedStore
    from fedvsr.site.checks import Check
    from fedvsr.site.folder import SiteFolder
    from fedvsr.site.settings import SiteSettings

DEFAULT_FOLDER = "~/fedvsr-site"
WORK_PATIENCE_SECONDS = 600.0
"""How long a worker tries a request again without progress, so that an outage costs no training."""


_Command = Callable[..., object]


def _folder_options(command: _Command) -> _Command:
    for option in (
        click.option(
            "--folder",
            default=DEFAULT_FOLDER,
            show_default=True,
            envvar="FEDVSR_SITE",
            help="The site's own folder. [env: FEDVSR_SITE]",
        ),
        click.option(
            "--settings",
            type=click.Path(path_type=Path),
            envvar="FEDVSR_SITE_SETTINGS",
            help="The site's settings. [default: site.yaml in the folder; env: FEDVSR_SITE_SETTINGS]",
        ),
        click.option(
            "--invitation",
            type=click.Path(path_type=Path),
            envvar="FEDVSR_SITE_INVITATION",
            help="The invitation with the site's keys. [default: invitation.json in the folder; "
            "env: FEDVSR_SITE_INVITATION]",
        ),
    ):
        command = option(command)
    return command


def _open_folder(folder: str, settings: Path | None, invitation: Path | None) -> "SiteFolder":
    from fedvsr.site.folder import SiteFolder

    opened = SiteFolder(Path(folder).expanduser(), settings, invitation)
    opened.check_joined()
    return opened


@click.group()
def site() -> None:
    """Take part in a federation as a site: a client that its owner runs.

    The site's agent opens outbound connections to the federation's S3 address only. Videos, shards and client
    state stay in the site's own folder. docs/site.md describes everything.

    \b
    First steps:
      fedvsr site join NAME.fedvsr-invitation --videos /data/videos
      fedvsr site start
    """  # noqa: D301 -- click needs the backspace character to keep the lines as they are


@site.command()
@click.argument("invitation", type=click.Path(path_type=Path))
@click.option(
    "--videos",
    type=click.Path(path_type=Path),
    help="The folder of the site's videos. It is needed once: later, site.yaml names it.",
)
@click.option("--pattern", default="", help="Which videos, as a glob: **/*.mp4. [default: all]")
@click.option(
    "--folder",
    default=DEFAULT_FOLDER,
    show_default=True,
    envvar="FEDVSR_SITE",
    help="The site's own folder. [env: FEDVSR_SITE]",
)
@click.pass_context
def join(context: click.Context, /, invitation: Path, videos: Path | None, pattern: str, folder: str) -> None:
    """Join a federation by the operator's INVITATION file, and check everything.

    The command makes the site's folder with site.yaml, and copies the invitation, which has the site's keys,
    into it. Run it again with a new invitation, for example after `fedvsr sites rotate`: site.yaml stays as
    it is.
    """
    from fedvsr.access.invitation import read_invitation
    from fedvsr.site.folder import SiteFolder
    from fedvsr.site.settings import load_settings, settings_text

    invited = read_invitation(invitation)
    site_folder = SiteFolder(Path(folder).expanduser())
    console = Console()
    if site_folder.settings.exists():
        site_folder.check_site(invited.site)
        stays = load_settings(site_folder.settings).videos
        print_line(console, f"{site_folder.settings} stays as it is; its videos are {stays}")
    elif videos is None:
        raise click.UsageError("name the folder of the site's videos with --videos.", context)
    else:
        site_folder.make()
        site_folder.check_site(invited.site)
        site_folder.settings.write_text(settings_text(videos.expanduser().absolute(), pattern))
        print_line(console, f"{site_folder.settings}: the settings; look at the policy in it")
    invited.write(site_folder.invitation)
    if not _run_checks(site_folder):
        raise SiteError("the site is joined, but not all checks passed; `fedvsr site check` repeats them")
    start = "fedvsr site start" + ("" if folder == DEFAULT_FOLDER else f" --folder {site_folder.root}")
    print_line(Console(), f"Site {invited.site} is ready: `{start}` starts its agent.")


@site.command()
@_folder_options
def check(folder: str, settings: Path | None, invitation: Path | None) -> None:
    """Check address, certificate, clock, keys, disk, GPUs and videos."""
    if not _run_checks(_open_folder(folder, settings, invitation)):
        raise SiteError("not all checks passed")


def _run_checks(site_folder: "SiteFolder") -> bool:
    """Prints every check's result. Returns whether all passed."""
    from fedvsr.site.checks import check_site
    from fedvsr.site.federation import open_federation
    from fedvsr.site.settings import load_settings

    settings = load_settings(site_folder.settings)
    invitation, store = open_federation(site_folder, settings)
    console = Console()
    results: list[Check] = []
    for result in check_site(settings, invitation, store, site_folder.free_disk_bytes):
        results.append(result)
        mark = "failed" if result.problem else "ok"
        print_line(console, f"{mark:<7} {result.what}: {result.problem or result.result}")
    return not any(result.problem for result in results)


@site.command()
@_folder_options
def start(folder: str, settings: Path | None, invitation: Path | None) -> None:
    """Run the site's agent in the foreground, until Ctrl-C or SIGTERM."""
    from fedvsr.site.agent import Agent
    from fedvsr.site.launcher import make_launcher

    site_folder = _open_folder(folder, settings, invitation)
    site_settings, invited, store = _open_site(site_folder)
    launcher = make_launcher(site_folder, site_settings.resources.devices, invited.site, _log)
    agent = Agent(site_folder, site_settings, invited.site, store, launcher, gpus=launcher.gpus, log=_log)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    agent.run(stop)


@site.command(hidden=True)
@_folder_options
@click.option("--watch-stdin", is_flag=True, help="End when the standard input ends.")
def work(folder: str, settings: Path | None, invitation: Path | None, watch_stdin: bool) -> None:
    """Do the work of the assignment in the folder. The agent runs this."""
    if watch_stdin:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    site_folder = _open_folder(folder, settings, invitation)
    site_settings, _, store = _open_site(site_folder, WORK_PATIENCE_SECONDS)
    _limit_memory(site_settings.resources.memory)
    from fedvsr.site.work import run_work

    sys.exit(run_work(site_folder, site_settings, store))


@site.command()
@_folder_options
def status(folder: str, settings: Path | None, invitation: Path | None) -> None:
    """Show what the agent does, and what it may do."""
    from fedvsr.access.invitation import read_invitation
    from fedvsr.site.settings import load_settings

    site_folder = _open_folder(folder, settings, invitation)
    invited, agent = read_invitation(site_folder.invitation), site_folder.agent
    policy = load_settings(site_folder.settings).policy
    running = f"runs (process {agent.process})" if site_folder.is_running else "does not run"
    table = Table(show_header=False, title=f"site {invited.site}", title_justify="left")
    rows = {
        "federation": f"{invited.federation} at {invited.endpoint}",
        "agent": running + (", paused" if site_folder.is_paused else ""),
        "activity": agent.activity,
        "last answer of the federation": _moment(agent.last_contact),
        "trouble": agent.trouble or "none",
        "keys expire": f"{invited.expires:%Y-%m-%d %H:%M} UTC" if invited.expires else "never",
        "approved runs": ", ".join(site_folder.approvals) or ("none" if policy.approve else "not needed"),
        "rounds today": ", ".join(site_folder.rounds_of(datetime.now(UTC).astimezone().date())) or "none",
        "free disk": f"{site_folder.free_disk_bytes / 1e9:.1f} GB",
        "folder": str(site_folder.root),
    }
    for name, value in rows.items():
        table.add_row(name, printable(value))
    Console().print(table)


@site.command()
@_folder_options
def pause(folder: str, settings: Path | None, invitation: Path | None) -> None:
    """Stop the work, and accept no more until `fedvsr site resume`. The agent stays connected."""
    _open_folder(folder, settings, invitation).is_paused = True
    print_line(Console(), "paused: work that runs is stopped within some seconds; a restart stays paused")


@site.command()
@_folder_options
def resume(folder: str, settings: Path | None, invitation: Path | None) -> None:
    """Accept work again after `fedvsr site pause`."""
    _open_folder(folder, settings, invitation).is_paused = False
    print_line(Console(), "resumed: the agent accepts work again within some seconds")


@site.command()
@click.argument("run")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_folder_options
def approve(run: str, yes: bool, folder: str, settings: Path | None, invitation: Path | None) -> None:
    """Let the site take part in RUN, with exactly the settings that it has now.

    It is needed if policy.approve is true in site.yaml. A run of the same name with other settings needs a
    new approval.
    """
    from fedvsr.cli.site_tables import approval_table
    from fedvsr.federation.runs import find_run

    site_folder = _open_folder(folder, settings, invitation)
    _, _, store = _open_site(site_folder)
    record = find_run(store, run)
    if record is None:
        raise SiteError(f"the federation has no run {run!r}")
    Console().print(approval_table(record))
    if not yes:
        click.confirm("Take part in this run?", abort=True)
    site_folder.approve(run, record.identity)


@site.command()
@_folder_options
def keys(folder: str, settings: Path | None, invitation: Path | None) -> None:
    """List the clients' keys of secure aggregation that this site knows, and its own, as fingerprints."""
    from fedvsr.cli.keys import print_keys
    from fedvsr.federation.public_keys import known_keys, published_keys

    site_folder = _open_folder(folder, settings, invitation)
    _, invited, store = _open_site(site_folder)
    known = known_keys(site_folder.store)
    print_keys(published_keys(store, sorted({invited.site, *known})), known)


@site.command("approve-key")
@click.argument("client")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_folder_options
def approve_new_key(
    client: str, yes: bool, folder: str, settings: Path | None, invitation: Path | None
) -> None:
    """Accept the new key of CLIENT in secure aggregation, after its owner has confirmed the fingerprint."""
    from fedvsr.cli.keys import approve as approve_key
    from fedvsr.federation.public_keys import published_keys

    site_folder = _open_folder(folder, settings, invitation)
    _, invited, store = _open_site(site_folder)
    approve_key(client, published_keys(store, [client]), {invited.site: site_folder.store}, yes=yes)


@site.command()
@click.option("--keep-data", is_flag=True, help="Keep shards and client state.")
@_folder_options
def leave(keep_data: bool, folder: str, settings: Path | None, invitation: Path | None) -> None:
    """Leave the federation: delete the keys, the shards and the client state. The audit log stays.

    The operator's `fedvsr sites revoke` ends the keys' validity.
    """
    site_folder = _open_folder(folder, settings, invitation)
    with site_folder.locked():
        site_folder.delete(keep_data)
    print_line(
        Console(),
        f"left; {site_folder.audit} has the audit log. Ask the operator to revoke the site's keys.",
    )


@site.command()
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@click.option("--sent", is_flag=True, help="Only what was sent.")
@_folder_options
def audit(as_csv: bool, sent: bool, folder: str, settings: Path | None, invitation: Path | None) -> None:
    """Show every object that was sent to the federation or read from it, and check the log's chain."""
    from fedvsr.cli.site_tables import audit_table
    from fedvsr.site.audit import AuditLog, audit_csv
    from fedvsr.site.folder import SiteFolder

    # The log outlives the membership, so the site need not be joined.
    log = AuditLog(SiteFolder(Path(folder).expanduser(), settings, invitation).audit)
    entries = list(log.entries())
    chosen = [entry for entry in entries if entry.direction == "sent" or not sent]
    if as_csv:
        for line in audit_csv(chosen):
            click.echo(line)
        return
    Console().print(audit_table(chosen))
    last = f", the last line's SHA-256 is {log.last_digest()}" if entries else ""
    print_line(Console(), f"{len(entries)} entries, no line is changed or missing before the last{last}")


@site.command()
@click.option("--user", "user_name", default="", help="The user it runs as. [default: the folder's owner]")
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    help="The unit to write; - prints it. [default: in /etc/systemd/system]",
)
@_folder_options
def install(
    user_name: str, output: Path | None, folder: str, settings: Path | None, invitation: Path | None
) -> None:
    """Write a systemd unit that runs the agent, restarts it and gives it no more rights than it needs."""
    from fedvsr.access.invitation import read_invitation
    from fedvsr.site.service import UNITS, unit_name, unit_text
    from fedvsr.site.settings import load_settings

    site_folder = _open_folder(folder, settings, invitation)
    name = read_invitation(site_folder.invitation).site
    user = user_name or site_folder.root.owner()
    text = unit_text(site_folder, load_settings(site_folder.settings), name, user)
    if str(output) == "-":
        click.echo(text, nl=False)
        return
    path = output or UNITS / unit_name(name)
    path.write_text(text)
    print_line(Console(), f"{path} is written. Start it with:")
    print_line(Console(), f"  systemctl daemon-reload && systemctl enable --now {path.name}")


def _open_site(
    site_folder: "SiteFolder", patience_seconds: float = 0.0
) -> "tuple[SiteSettings, Invitation, AuditedStore]":
    from fedvsr.site.federation import open_federation
    from fedvsr.site.settings import load_settings

    settings = load_settings(site_folder.settings)
    return settings, *open_federation(site_folder, settings, patience_seconds)


def _log(text: str) -> None:
    print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {text}", flush=True)


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}" if seconds else "never"


def _limit_memory(limit: int) -> None:
    if not limit:
        return
    import resource

    try:
        # Not the address space: CUDA reserves far more of it than it uses.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (OSError, ValueError) as error:
        raise SiteError(f"resources.memory: the limit of {limit} bytes cannot be set ({error})") from error
