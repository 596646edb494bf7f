"""`python -m fathom.cli` is `fathom`."""

from fathom.cli.app import command

command()
