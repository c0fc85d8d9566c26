"""The command line: parse, call one workflow function, print. Heavy imports are inside the commands' bodies."""

from cde_app.cli.app import main

__all__ = ["main"]
