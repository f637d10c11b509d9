"""The option for the KFP that a command uses."""

import click

endpoint_option = click.option(
    "--endpoint",
    default="",
    metavar="URL",
    help="Address of KFP's web server or API; default: http://localhost:8080, where `make ui` forwards it. "
    "[env: FEDVSR_KFP_ENDPOINT]",
)
