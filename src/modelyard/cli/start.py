"""The `models` command, from its first instruction: ^C before the commands are loaded just ends it.

Python would print a traceback of what it was importing. `app.py` handles ^C from there on.
"""

from __future__ import annotations

import signal


def main() -> None:
    """Load the commands, and run the one that was asked for."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from modelyard.cli.app import main as run

    signal.signal(signal.SIGINT, before)
    run()
