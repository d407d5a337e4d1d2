"""How long the work of promoting, rolling back and listing takes, start-up aside.

`python benchmarks/adapters.py --adapter NAME` in a project that has a version of NAME (`make demo`
makes one). Works in a copy of the project's models/, with the same files registered a second time,
so every promotion verifies and every rollback hashes a real version. Prints medians and the
slowest; exits 1 when the median of a promotion or a rollback is over the bar.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from modelyard.adapters.manifest import MANIFEST_NAME, Manifest
from modelyard.adapters.overview import measure_weights, summarize_adapters
from modelyard.adapters.promote import promote_if_allowed, promote_version
from modelyard.adapters.rollback import roll_back
from modelyard.adapters.versions import (
    AdapterVersion,
    load_version,
    register_version,
    version_numbers,
)
from modelyard.core.layout import Project, find_project
from modelyard.core.progress import Silent
from modelyard.settings.fields import settings_mapping
from modelyard.weights.local import locate_base

BAR_S = 0.1
_MADE_BY_REGISTERING = ("adapter", "version", "created_at", "files")


def copy_project(
    project: Project, adapter: str, place: Path
) -> tuple[Project, AdapterVersion, AdapterVersion]:
    """A project with the newest version of the adapter, and the same files as another version."""
    copied = Project(place)
    (place / "configs").mkdir()
    shutil.copytree(project.bases, copied.bases)
    number = version_numbers(project, adapter)[-1]
    shutil.copytree(
        project.adapter_version(adapter, number), copied.adapter_version(adapter, number)
    )
    first = load_version(copied, adapter, number)

    def fill(staged: Path, _: Manifest) -> None:
        shutil.copytree(
            first.path,
            staged,
            ignore=shutil.ignore_patterns(MANIFEST_NAME),
            copy_function=shutil.copyfile,
            dirs_exist_ok=True,
        )

    facts = settings_mapping(first.manifest)
    facts = {key: value for key, value in facts.items() if key not in _MADE_BY_REGISTERING}
    second = register_version(
        copied, adapter, fill=fill, manifest_facts=facts | {"run_key": "a second time"}
    )
    return copied, first, second


def measure(repeats: int, work: Callable[[], object], before: Callable[[], object]) -> list[float]:
    """The seconds of each `work`; `before` puts the start back. The first round is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        before()
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", default="techcorp-demo")
    parser.add_argument("--repeats", type=int, default=30, help="rounds to measure (default: 30)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=find_project().models, prefix=".staging-") as place:
        project, first, second = copy_project(find_project(), asked.adapter, Path(place))
        name = first.manifest.base.name
        promote_version(project, first)

        def promote() -> None:
            base = locate_base(project, name)
            assert promote_if_allowed(project, second, base=base).moved

        def overview() -> None:
            summarize_adapters(project)
            measure_weights(project, [name], progress=Silent())

        timed = {
            "promote": measure(asked.repeats, promote, lambda: promote_version(project, first)),
            "rollback": measure(
                asked.repeats,
                lambda: roll_back(project, asked.adapter),
                lambda: promote_version(project, second),
            ),
            "list": measure(asked.repeats, overview, lambda: None),
        }
        size = sum(entry.size_bytes for entry in first.manifest.files.values())
    print(f"versions of {size / 1e6:.0f} MB, {asked.repeats} rounds")
    print(f"{'work of':<12}{'median':>10}{'slowest':>10}")
    for what, seconds in timed.items():
        print(f"{what:<12}{statistics.median(seconds) * 1e3:>7.1f} ms{max(seconds) * 1e3:>7.1f} ms")
    return int(max(statistics.median(timed[what]) for what in ("promote", "rollback")) > BAR_S)


if __name__ == "__main__":
    sys.exit(main())
