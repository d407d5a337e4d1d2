"""Backups against their bars, beside restic and `tar --zstd`: `make bench-backup`.

All three back up the same project on the same disk, in turns: a first snapshot, a second one of an
unchanged project, a third after 15 of the 3,000 files of an index were cut again, and a restore of
that. Prints medians of the rounds, and exits 1 when a bar is missed. restic and zstd are those of
the distribution (`apt-get install restic zstd`); restic encrypts always, this project where a key
is given.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.backup.data import RECUT_FILES, files_below, make_data, recut, size_below
from benchmarks.backup.tools import Models, Ran, Restic, Tar, Tool
from benchmarks.retrieval.table import Row, describe_machine, render_markdown, report
from modelyard.core.layout import Project
from modelyard.retrieval.indexes import SearchIndex

MOST_BYTES = 300_000_000
Figures = dict[tuple[str, str], list[float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--share", type=float, default=1.0, help="the share of the data, to try it")
    parser.add_argument("--folder", type=Path, help="the disk where all of it is")
    parser.add_argument("--data", type=Path, help="a folder where the project is kept and reused")
    parser.add_argument("--markdown", action="store_true", help="the table for docs/performance.md")
    asked = parser.parse_args()
    for program in ("restic", "zstd", "tar"):
        if shutil.which(program) is None:
            print(f"{program} is not here: apt-get install restic zstd tar", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory(prefix="bench-backup-", dir=asked.folder) as place:
        work = Path(place)
        kept = asked.data or work / "data"
        if not kept.exists():
            make_data(kept, share=asked.share)
        shutil.copytree(kept, work / "project", symlinks=True)
        project = Project(work / "project")
        figures = measure(project, work, rounds=asked.rounds, share=asked.share)
        size = size_below(project.root)
    print(
        f"{describe_machine()}; {size / 1e6:,.0f} MB; {_version('restic')}; {asked.rounds} rounds"
    )
    rows = [*table(figures)]
    if asked.markdown:
        print(render_markdown(rows))
    return report(rows)


def measure(project: Project, work: Path, *, rounds: int, share: float) -> Figures:
    """Every figure of every round, by what it is and by the name of the tool."""
    from modelyard.retrieval.indexes import load_indexes

    index = load_indexes(project)["bench/notes"]
    tools: list[Tool] = [
        tool(project.root, work / str(number)) for number, tool in enumerate((Models, Restic, Tar))
    ]
    figures: Figures = defaultdict(list)
    for number in range(rounds):
        ordered = tools[number % 3 :] + tools[: number % 3]
        for tool in ordered:
            tool.begin()
        for tool in ordered:
            _take(figures, tool, "first", tool.snapshot())
            figures["stored", tool.name].append(tool.stored_bytes())
        for tool in ordered:
            _take(figures, tool, "second", tool.snapshot())
        _recut(index, number, share)
        for tool in ordered:
            before = tool.stored_bytes()
            _take(figures, tool, "third", tool.snapshot())
            figures["new", tool.name].append(tool.stored_bytes() - before)
        for tool in ordered:
            target = work / "restored"
            _take(figures, tool, "restore", tool.restore(target))
            _require_equal(project.root, target)
            shutil.rmtree(target)
    return figures


def table(figures: Figures) -> list[Row]:
    """A row for each bar, and rows for what has none."""
    medians = {key: statistics.median(values) for key, values in figures.items()}

    def row(what: str, key: str, unit: float, bar: float | None, *, seconds: bool = True) -> Row:
        ours, restic = medians[key, "models"], medians[key, "restic"]
        tar = medians[key, "tar --zstd"]
        text = "{:.2f} s" if seconds else "{:,.1f} MB"
        return Row(
            what=what,
            ours=text.format(ours / unit),
            peer=f"restic {text.format(restic / unit)}, tar {text.format(tar / unit)}",
            ratio=f"{ours / restic:.2f}",
            bar="" if bar is None else f"at most {bar:g} of restic's",
            hit=None if bar is None else ours / restic <= bar,
        )

    peak = max(max(figures[f"{step} peak", "models"]) for step in ("first", "second", "third"))
    restored = max(figures["restore peak", "models"])
    return [
        row("first snapshot", "first", 1, 1.0),
        row("the same, processor time", "first cpu", 1, None),
        row("second snapshot, unchanged", "second", 1, 0.5),
        row("third snapshot, 15 of 3,000 files cut again", "third", 1, None),
        row("what that added", "new", 1e6, 0.1, seconds=False),
        row("stored after the first", "stored", 1e6, 1.05, seconds=False),
        row("restore", "restore", 1, 1.0),
        row("the same, processor time", "restore cpu", 1, None),
        _memory("most memory of a snapshot", peak, max(figures["first peak", "restic"])),
        _memory("most memory of a restore", restored, max(figures["restore peak", "restic"])),
    ]


def _memory(what: str, ours: float, restic: float) -> Row:
    return Row(
        what=what,
        ours=f"{ours / 1e6:,.0f} MB",
        peer=f"restic {restic / 1e6:,.0f} MB",
        ratio=f"{ours / restic:.2f}",
        bar=f"at most {MOST_BYTES / 1e6:,.0f} MB",
        hit=ours <= MOST_BYTES,
    )


def _take(figures: Figures, tool: Tool, step: str, ran: Ran) -> None:
    figures[step, tool.name].append(ran.seconds)
    figures[f"{step} cpu", tool.name].append(ran.cpu_s)
    figures[f"{step} peak", tool.name].append(ran.peak_bytes)


def _recut(index: SearchIndex, number: int, share: float) -> None:
    recut(index, number, files=max(1, round(RECUT_FILES * share)))
    os.sync()


def _require_equal(project: Path, restored: Path) -> None:
    """Everything of the project that is no database is there, byte for byte."""
    for path in files_below(project / "models"):
        other = restored / path.relative_to(project)
        assert other.is_file(), other
        if path.suffix != ".index":
            assert filecmp.cmp(path, other, shallow=False), other


def _version(program: str) -> str:
    done = subprocess.run([program, "version"], capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split()[:2])


if __name__ == "__main__":
    sys.exit(main())
