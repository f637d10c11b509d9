"""`python -m fedvsr`: the same as the command `fedvsr`."""

from fedvsr.cli.main import main

main()
