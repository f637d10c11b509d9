"""The systemd unit of a site's agent."""

import pwd
import shlex
import sys
from pathlib import Path
from typing import Final

from fedvsr.errors import SiteError
from fedvsr.site.folder import SiteFolder
from fedvsr.site.launcher import folder_options
from fedvsr.site.settings import SiteSettings

UNITS: Final = Path("/etc/systemd/system")

# The agent and its worker need no rights but these. MemoryDenyWriteExecute is left out, because PyTorch
# compiles code; PrivateDevices, because it would hide the GPUs.
_TEMPLATE = """\
# Written by `fedvsr site install`.
[Unit]
Description=fedvsr site {site}
Documentation=https://github.com/fedvsr/fedvsr/blob/main/docs/site.md
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
User={user}
ExecStart={command}
Restart=always
RestartSec=30
# The agent stops its worker.
KillMode=mixed
TimeoutStopSec=30
UMask=0077
Nice=10
{memory}
# Only its own folder can be written, and its videos are read.
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={folder}
ReadOnlyPaths={videos}
PrivateTmp=yes
DevicePolicy=closed
DeviceAllow=char-nvidia-frontend rw
DeviceAllow=char-nvidia rw
DeviceAllow=char-nvidia-uvm rw
DeviceAllow=char-nvidia-caps rw

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""


def unit_name(site: str) -> str:
    """Returns the file name of a site's unit."""
    return f"fedvsr-site-{site}.service"


def unit_text(folder: SiteFolder, settings: SiteSettings, site: str, user: str) -> str:
    """Returns the unit that runs a site's agent.

    Args:
        folder: The site's folder.
        settings: The site's settings: the videos' folder, and the limit of memory.
        site: The site's name.
        user: The user that the agent runs as.

    Raises:
        fedvsr.errors.SiteError: The user does not exist, is root, or does not own the folder.
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise SiteError(f"this machine has no user {user!r}; make one, or name another with --user") from None
    if account.pw_uid == 0:
        raise SiteError("the agent must not run as root; name the user that owns the folder with --user")
    if folder.root.stat().st_uid != account.pw_uid:
        raise SiteError(
            f"{folder.root} does not belong to {user}; run `chown -R {user} {shlex.quote(str(folder.root))}`"
        )
    command = [sys.executable, "-m", "fedvsr", "site", "start", *folder_options(folder)]
    limit = settings.resources.memory
    return _TEMPLATE.format(
        site=site,
        user=user,
        command=" ".join(_escaped(word) for word in command),
        folder=_escaped(str(folder.root)),
        videos=_escaped(str(settings.videos)),
        memory=f"MemoryMax={limit}" if limit else "# MemoryMax= limits the memory; see resources.memory too.",
    )


def _escaped(word: str) -> str:
    """Returns a word as systemd reads it: % begins a specifier, $ a variable."""
    quoted = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{quoted}"' if any(character in word for character in " \t'\";") else quoted
