"""The systemd unit of a site's agent."""

import configparser
import getpass
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from fedvsr.errors import SiteError
from fedvsr.site.folder import SiteFolder
from fedvsr.site.service import unit_name, unit_text
from fedvsr.site.settings import SiteSettings


@pytest.fixture
def folder(tmp_path: Path) -> SiteFolder:
    folder = SiteFolder(tmp_path / "a site 100%")
    folder.make()
    return folder


@pytest.fixture
def owner(folder: SiteFolder) -> str:
    """An ordinary user that owns the folder."""
    if os.getuid():
        return getpass.getuser()
    # systemd warns of the user nobody.
    other = pwd.getpwnam("daemon")
    os.chown(folder.root, other.pw_uid, other.pw_gid)
    return other.pw_name


def settings(**resources: object) -> SiteSettings:
    return SiteSettings.parse({"videos": "/data/videos", "resources": resources})


def test_the_unit_runs_the_agent_as_the_owner_with_its_folder_alone_writable(folder, owner):
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit_text(folder, settings(memory="8GiB"), "north", owner))
    service = parser["Service"]
    assert service["User"] == owner
    assert "fedvsr site start --folder" in service["ExecStart"]
    assert service["ReadWritePaths"] == f'"{str(folder.root).replace("%", "%%")}"'
    assert service["ReadOnlyPaths"] == "/data/videos"
    assert service["MemoryMax"] == str(8 << 30)
    assert service["Restart"] == "always"
    assert service["NoNewPrivileges"] == "yes"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(folder, owner, tmp_path):
    path = tmp_path / unit_name("north")
    path.write_text(unit_text(folder, settings(), "north", owner))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("user", "reason"), [("root", "must not run as root"), ("no-such-user", "no user")])
def test_a_user_that_does_not_fit_is_refused(folder, user, reason):
    with pytest.raises(SiteError, match=reason):
        unit_text(folder, settings(), "north", user)
