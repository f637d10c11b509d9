"""What `make ui` prints for the command line."""

import subprocess

from scripts.deploy.ui import _exports, _print_addresses
from tests.unit.deploy.conftest import settings

CA = "-----BEGIN CERTIFICATE-----\nMIIB+/x=\n-----END CERTIFICATE-----\n"
DEPLOYED = {
    "FEDVSR_FEDERATION_STORE": "s3://fedvsr",
    "FEDVSR_CLIENT_STORE": "s3://fedvsr-client-{client}",
    "FEDVSR_S3_ENDPOINT": "https://s3.fedvsr.svc.cluster.local:9000",
    "AWS_REGION": "eu-1",
}


def printed(deployed, cluster, capsys):
    """Returns the variables that a shell has after it ran the printed lines."""
    _print_addresses({}, _exports(settings(), cluster, deployed, {}))
    lines = capsys.readouterr().out.partition("export ")[2].rpartition("Ctrl-C")[0]
    shell = ["bash", "-c", f"export {lines}\nenv --null"]
    done = subprocess.run(shell, capture_output=True, text=True, check=True)
    return dict(entry.partition("=")[::2] for entry in done.stdout.split("\0"))


def test_a_shell_gets_the_authority_of_the_front_door(programs, cluster, capsys):
    door = {"FEDVSR_S3_CA": CA, "FEDVSR_SITE_ADDRESS": "https://fed.example.org", "FEDVSR_SITE_CA": CA}
    shell = printed({**DEPLOYED, **door}, cluster, capsys)
    assert {**DEPLOYED, **door}.items() <= shell.items()


def test_a_deployment_without_a_front_door_prints_nothing_of_it(programs, cluster, capsys):
    shell = printed(DEPLOYED, cluster, capsys)
    assert DEPLOYED.items() <= shell.items()
    assert not {"FEDVSR_S3_CA", "FEDVSR_SITE_ADDRESS", "FEDVSR_SITE_CA"} & shell.keys()
