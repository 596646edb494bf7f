"""The command line: verbs only. Each verb calls a room and prints what it gives (as JSON with --json)."""

from fathom.cli import audits, checks, frozen, look, machine, review, work
from fathom.cli.app import app, main

__all__ = ["app", "audits", "checks", "frozen", "look", "machine", "main", "review", "work"]
