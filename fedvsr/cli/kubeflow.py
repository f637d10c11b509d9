"""Which KFP a command talks to."""

import click

endpoint_option = click.option(
    "--endpoint",
    default="",
    metavar="URL",
    help="KFP's web server or API; http://localhost:8080, where `make ui` has it, if not given. "
    "[env: FEDVSR_KFP_ENDPOINT]",
)
