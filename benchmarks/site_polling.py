"""What idle sites cost: requests to the S3 server, its CPU time, and an agent's memory and CPU time.

    python benchmarks/site_polling.py [SITES] [SECONDS]

A real S3 server with TLS, and an agent per site as a process of its own, on this machine.
"""

import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import yaml

from fedvsr.access.sites import FrontDoor, invite_site
from fedvsr.experiment.trial import operator_of
from fedvsr.experiment.trial_server import TrialServer, trial_server
from fedvsr.federation import layout
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_admin import S3Admin

BUCKET = "fedvsr"
_TICKS = os.sysconf("SC_CLK_TCK")
_REQUESTS = re.compile(r'^minio_s3_requests_total\{api="(\w+)".*\} (\d+)', re.MULTILINE)


def main(sites: int, seconds: float) -> None:
    """Prints the requests of each kind per site and minute, and the memory and CPU time."""
    os.environ["MINIO_PROMETHEUS_AUTH_TYPE"] = "public"
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(trial_server(root / "server"))
        stack.enter_context(operator_of(server, BUCKET))
        admin, store = S3Admin(), S3Store(BUCKET)
        admin.wait(60, lambda line: None)
        admin.make_bucket(BUCKET)
        door = FrontDoor("polling", server.endpoint, BUCKET, server.ca_certificate)
        agents = []
        for number in range(sites):
            name = f"site-{number:03d}"
            folder = root / name
            folder.mkdir(mode=0o700)
            invite_site(store, admin, door, name).write(folder / "invitation.json")
            (folder / "site.yaml").write_text(yaml.safe_dump({"videos": "/data"}))
            agents.append(_agent(folder))
            stack.callback(agents[-1].terminate)
        while sum(1 for key in store.keys(layout.SITES) if key.endswith("heartbeat.json")) < sites:
            time.sleep(1)
        server_process = _find_server(server)
        # The first heartbeats, and the loop above, are not idle.
        time.sleep(15)
        before = _requests(server), _cpu_seconds(server_process), sum(_cpu_seconds(a.pid) for a in agents)
        time.sleep(seconds)
        after = _requests(server), _cpu_seconds(server_process), sum(_cpu_seconds(a.pid) for a in agents)
        minutes = seconds / 60
        print(f"{sites} idle sites, {seconds:.0f} s\n\nrequests per site and minute")
        total = 0.0
        for api in sorted(after[0]):
            rate = (after[0][api] - before[0].get(api, 0)) / sites / minutes
            total += rate
            if rate:
                print(f"  {api:<24}{rate:>7.1f}")
        print(f"  {'all':<24}{total:>7.1f}")
        print(f"S3 server: {100 * (after[1] - before[1]) / seconds:.1f} % of one core")
        print(f"an agent: {100 * (after[2] - before[2]) / seconds / sites:.2f} % of one core, ", end="")
        print(f"{max(_memory(agent.pid) for agent in agents) / 2**20:.0f} MiB")


def _agent(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 -- our own program
        [sys.executable, "-m", "fedvsr", "site", "start", "--folder", str(folder)],
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    )


def _requests(server: TrialServer) -> dict[str, int]:
    context = ssl.create_default_context(cadata=server.ca_certificate)
    address = f"{server.endpoint}/minio/v2/metrics/node"
    with urllib.request.urlopen(address, context=context) as answer:  # noqa: S310 -- our own server
        text = answer.read().decode()
    found = _REQUESTS.findall(text)
    if not found:
        address = f"{server.endpoint}/minio/v2/metrics/cluster"
        with urllib.request.urlopen(address, context=context) as answer:  # noqa: S310
            found = _REQUESTS.findall(answer.read().decode())
    return {api: int(count) for api, count in found}


def _find_server(server: TrialServer) -> int:
    port = server.endpoint.rpartition(":")[2]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().split(b"\0")
        if b"server" in words and any(word.endswith(f":{port}".encode()) for word in words):
            return int(path.parent.name)
    raise SystemExit("the server's process was not found")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50, float(sys.argv[2]) if len(sys.argv) > 2 else 120)
