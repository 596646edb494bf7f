"""The command line: verbs only. Each verb calls a room and prints what it gives (as JSON with --json)."""

from fathom.cli import analyze, audit, checks, discover, doctor, freeze, gc, run, serve
from fathom.cli.app import app, command, main

__all__ = ["analyze", "app", "audit", "checks", "command", "discover", "doctor", "freeze", "gc", "main", "run", "serve"]
