"""Speed of `models validate-config` against check-jsonschema: `make bench-validate`.

Both check the same generated files against the same published schema, as a person would run them:
check-jsonschema has one process, this project one for each core. This project also merges three
environments, follows references and looks for secrets. check-jsonschema is no dependency: install
it in an environment of its own and name it with `--peer DIR/bin/check-jsonschema` (default: the one
on the PATH).

All this is without kept verdicts (`--no-cache`). Then, with them: the whole project after one of
its files was changed, and that file alone, without aliases and where every model has one; `--warm`
measures this only, without check-jsonschema. Both programs run with their bytecode, as pip installs
them; a first round that is not counted writes it.

Prints medians of interleaved rounds and exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from modelyard.setup.init import init_project

MODELS = Path(sys.executable).with_name("models")
ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "src/modelyard/configs/schemas/language_models.json"
TEMPLATE = (ROOT / "configs/language_models/gpt4_config.yaml").read_text()
BYTECODE = "modelyard-bench-validate"
IMPORTS = [sys.executable, "-c", "import typer, yaml, jsonschema"]

BARS = {"1,000 valid files": 10.0, "1,000 files with a mistake": 10.0, "one file": 2.0}
IMPORT_BAR = 1.5
WARM_BAR = 1.5
"""How many times the check of one file that of a project may take, of which one file is new."""

MISTAKES: Sequence[tuple[str, str]] = (
    ("provider: openai", "provider: opanai"),
    ("  temperature: 0.2", "  temprature: 0.2"),
    ("  temperature: 0.2", "  temperature: 7"),
    ("  temperature: 0.2", "  temperature: warm"),
    ("max_output_tokens: 32k", "max_output_tokens: plenty"),
    ("timeout: 60 seconds", "timeout: 60 parsecs"),
    ("  input_per_million: $2.00\n", ""),
    ("  attempts: 2", "  attempts: 99"),
    ("  concurrent_requests: 16", "  concurrent_requests: [16]"),
    ("api_key: env:OPENAI_API_KEY", "api_key: OPENAI_API_KEY"),
)
"""What is replaced by what; each makes one mistake that the schema alone can see."""


def write_files(
    folder: Path, count: int, spoil: Callable[[int, str], str], *, aliases: bool = False
) -> list[Path]:
    """A project in `folder` whose configs/language_models holds `count` more files."""
    init_project(folder)
    written = []
    for number in range(count):
        text = TEMPLATE.replace("requests_per_minute: 500", f"requests_per_minute: {number + 1001}")
        own = f"aliases: [other-{number:04d}]\n" if aliases else ""
        text = re.sub(r"^aliases:.*\n", own, text, flags=re.MULTILINE)  # no two may share one
        path = folder / f"configs/language_models/model_{number:04d}.yaml"
        path.write_text(spoil(number, text))
        written.append(path)
    return written


def spoil(number: int, text: str) -> str:
    """The text with one mistake, another one for each number."""
    right, wrong = MISTAKES[number % len(MISTAKES)]
    spoiled = re.sub(rf"^{re.escape(right)}", wrong, text, count=1, flags=re.MULTILINE)
    assert spoiled != text, right
    return spoiled


def seconds(command: Sequence[object], folder: Path, exit_code: int) -> float:
    """How long one process takes; it must end with that exit code."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{tempfile.gettempdir()}/{BYTECODE}"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    words = [str(word) for word in command]
    started = time.perf_counter()
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - started
    assert done.returncode == exit_code, (command[:3], done.returncode, done.stderr[-2000:])
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--peer", default=shutil.which("check-jsonschema"))
    parser.add_argument("--warm", action="store_true", help="kept verdicts only")
    options = parser.parse_args()
    if options.warm:
        return max(measure_warm(options.files, options.repeats))
    if options.peer is None:
        print("check-jsonschema is not here: `pip install check-jsonschema` in a venv, --peer PATH")
        return 1
    with tempfile.TemporaryDirectory() as place:
        valid, broken = Path(place, "valid"), Path(place, "broken")
        as_it_is = write_files(valid, options.files, lambda _, text: text)
        spoiled = write_files(broken, options.files, spoil)
        files = {
            "1,000 valid files": (valid, 0, as_it_is),
            "1,000 files with a mistake": (broken, 2, spoiled),
        }
        alone = Path(place, "alone")
        files["one file"] = (alone, 0, write_files(alone, 1, lambda _, text: text))
        times: dict[tuple[str, str], list[float]] = {}
        for _ in range(1 + options.repeats):
            for name, (folder, code, paths) in files.items():
                all_three = [MODELS, "validate-config", "--no-cache", *paths]
                ours = [*all_three, "--env", "production"]
                peer = [options.peer, "--schemafile", SCHEMA, *paths]
                times.setdefault((name, "models"), []).append(seconds(all_three, folder, code))
                times.setdefault((name, "models --env"), []).append(seconds(ours, folder, code))
                times.setdefault((name, "peer"), []).append(seconds(peer, folder, code and 1))
            times.setdefault(("imports", ""), []).append(seconds(IMPORTS, valid, 0))
    missed = report({what: statistics.median(all_[1:]) for what, all_ in times.items()})
    return max(missed, *measure_warm(options.files, options.repeats))


def measure_warm(files: int, repeats: int) -> tuple[int, int]:
    """One changed file of many, checked with all others and alone; 1 for each bar that is missed:
    without aliases, and where every model has one."""
    return (
        measure_changed(files, repeats, aliases=False),
        measure_changed(files, repeats, aliases=True),
    )


def measure_changed(files: int, repeats: int, *, aliases: bool) -> int:
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "project")
        written = write_files(folder, files, lambda _, text: text, aliases=aliases)
        changed = written[len(written) // 2]
        ways: dict[str, list[object]] = {
            "one file": [changed],
            "the project": [],
            "the files by name": written,
            "the project, cold": ["--no-cache"],
        }
        seconds([MODELS, "validate-config"], folder, 0)
        for round_ in range(repeats):
            for name, words in ways.items():
                changed.write_text(f"{changed.read_text()}# {round_}\n")
                taken = seconds([MODELS, "validate-config", *words], folder, 0)
                times.setdefault(name, []).append(taken)
    medians = {name: statistics.median(all_) for name, all_ in times.items()}
    named = "each model has an alias" if aliases else "without aliases"
    print(f"one of {files} files was changed, {named}; {repeats} rounds")
    for name, median in medians.items():
        print(f"{name:<28}{median:>8.3f} s{median / medians['one file']:>8.2f}")
    return int(
        max(medians["the project"], medians["the files by name"]) > WARM_BAR * medians["one file"]
    )


def report(medians: dict[tuple[str, str], float]) -> int:
    """Print the table; 1 when a bar is missed."""
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"{'':<28}{'models':>10}{'one env':>10}{'peer':>10}{'times':>8}{'bar':>6}")
    missed = False
    for name, bar in BARS.items():
        ours, one_env = medians[name, "models"], medians[name, "models --env"]
        peer = medians[name, "peer"]
        missed |= peer / ours < bar
        figures = f"{ours:>8.3f} s{one_env:>8.3f} s{peer:>8.3f} s{peer / ours:>8.1f}{bar:>6g}"
        print(f"{name:<28}{figures}")
    share = medians["one file", "models"] / medians["imports", ""]
    missed |= share > IMPORT_BAR
    print(f"one file takes {share:.2f} times `import typer, yaml, jsonschema` (bar {IMPORT_BAR})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
