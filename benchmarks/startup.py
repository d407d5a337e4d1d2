"""How long `models --help` takes, against the bare import of Typer: `make bench-startup`.

Each command runs as its own process, in turn with the others, so that a busy moment of the machine
falls on all of them. Prints medians and ratios; exits 1 when a ratio is over the bar.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

BAR = 2.5
MODELS = Path(sys.executable).with_name("models")
YARDSTICK = 'python -c "import typer"'
COMMANDS = {
    YARDSTICK: [sys.executable, "-c", "import typer"],
    "models --help": [MODELS, "--help"],
    "models fine-tune --help": [MODELS, "fine-tune", "--help"],
}


def measure(repeats: int) -> dict[str, float]:
    """The median seconds of each command, after one unmeasured round that fills the disk cache."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(repeats + 1):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30, help="rounds to measure (default: 30)")
    medians = measure(parser.parse_args().repeats)
    print(f"{'command':<28}{'median':>10}{'ratio':>8}")
    for name, median in medians.items():
        print(f"{name:<28}{median * 1000:>7.0f} ms{median / medians[YARDSTICK]:>8.2f}")
    return int(max(medians.values()) > BAR * medians[YARDSTICK])


if __name__ == "__main__":
    sys.exit(main())
