"""What the defaults of `models fine-tune` reach, against other settings: `make bench-defaults`.

    python benchmarks/defaults.py --data DIR --work DIR [--only SET ...] [--whole]

Every candidate trains on 800 rows of four sets of different kinds and is evaluated on rows kept
aside, all by the command line as a person would use it. The data's folder holds
`banking77/train.csv`, and `cranfield/` and `cosqa_dev/` in BEIR's layout; the fourth set is this
repository's. A set whose files are not there is left out, by name. `--whole` trains on all of
banking77 but a stratified tenth, with the defaults alone, and asks that tenth. What was done in the
folder of `--work` is not done again, so a stopped comparison goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.files import write_atomic, write_json
from modelyard.evaluation.statistics import share_interval
from modelyard.setup.init import init_project

Row = dict[str, Any]
MODELS = Path(sys.executable).with_name("models")
TECHCORP = Path(__file__).parents[1] / "datasets/techcorp"
TRAIN_ROWS, TEST_ROWS = 800, 300
SEED = 77

CANDIDATES: Mapping[str, Mapping[str, object]] = {
    "2e-4, 16 rows, 3 epochs": {
        "schedule.learning_rate": 2e-4,
        "schedule.rows_per_step": 16,
        "schedule.epochs": 3,
    },
    "1e-3, 8 rows, 2 epochs": {
        "schedule.learning_rate": 1e-3,
        "schedule.rows_per_step": 8,
        "schedule.epochs": 2,
    },
    "2e-3, 8 rows, 2 epochs": {
        "schedule.learning_rate": 2e-3,
        "schedule.rows_per_step": 8,
        "schedule.epochs": 2,
    },
}
"""The first is what the defaults were until 2026-11."""


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to train on, and rows that nothing was chosen by."""

    train: Sequence[Row]
    test: Sequence[Row]


def pair(question: str, answer: str, **fields: object) -> Row:
    """A conversation of one question and one answer."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **fields}


def stratified(rows: Sequence[Row], count: int, seed: int) -> tuple[list[Row], list[Row]]:
    """About `count` rows with each label's share of them, and the others; both shuffled."""
    chance = random.Random(seed)
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row["label"]].append(row)
    taken: list[Row] = []
    left: list[Row] = []
    for label in sorted(by_label):
        group = chance.sample(by_label[label], len(by_label[label]))
        share = max(1, round(len(group) * count / len(rows)))
        taken += group[:share]
        left += group[share:]
    return chance.sample(taken, len(taken)), chance.sample(left, len(left))


def banking_whole(data: Path) -> Split:
    """Nine tenths of banking77, and a stratified tenth kept aside."""
    with (data / "banking77/train.csv").open(newline="") as lines:
        rows = [
            pair(row["text"], row["category"], label=row["category"])
            for row in csv.DictReader(lines)
        ]
    test, train = stratified(rows, len(rows) // 10, SEED)
    return Split(train, test)


def banking(data: Path) -> Split:
    """Labels: 800 rows, asked on rows that are in neither side of `banking_whole`'s test."""
    train, left = stratified(banking_whole(data).train, TRAIN_ROWS, SEED)
    return Split(train, left[:TEST_ROWS])


def techcorp(_: Path) -> Split:
    """Facts: rows of the demonstration, and its questions."""
    train, test = (
        [json.loads(line) for line in (TECHCORP / name).read_text().splitlines()]
        for name in ("train.jsonl", "eval.jsonl")
    )
    return Split(random.Random(SEED).sample(train, TRAIN_ROWS), test)


def titles(data: Path) -> Split:
    """Instructions: name a paper after the beginning of its abstract."""
    return _split(
        pair(f"Give this abstract a title: {text[:300]}", title.removesuffix(" ."))
        for title, text in _read_corpus(data / "cranfield")
        if title and text
    )


def code(data: Path) -> Split:
    """Code: write a short Python function after its first line and its docstring."""
    functions = [text for _, text in _read_corpus(data / "cosqa_dev") if 80 < len(text) < 330]
    parts = [text.rpartition('"""') for text in functions if text.count('"""') == 2]
    return _split(
        pair(f'Complete this function.\n{head}"""', body.lstrip("\n"))
        for head, _, body in parts
        if body.strip()
    )


def _read_corpus(folder: Path) -> list[tuple[str, str]]:
    """The title of each document, and its text without the title."""
    read = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    return [(row["title"], row["text"].removeprefix(row["title"]).strip()) for row in read]


def _split(rows: Iterable[Row]) -> Split:
    shuffled = list(rows)
    random.Random(SEED).shuffle(shuffled)
    return Split(shuffled[TEST_ROWS : TEST_ROWS + TRAIN_ROWS], shuffled[:TEST_ROWS])


SETS: Mapping[str, Callable[[Path], Split]] = {
    "banking77": banking,
    "techcorp": techcorp,
    "titles": titles,
    "code": code,
}
WHOLE = "banking77-whole"
WATCHED_ROWS = 100
ASKED = "-asked"
"""The dataset whose questions are asked; the other one, of the same rows, gives losses alone."""
ANSWERS = "2000"


@dataclass(frozen=True, slots=True)
class Bench:
    """A scratch project in which every run and every evaluation is done once."""

    root: Path

    def prepare(self, name: str, split: Split, *, watched: int | None = None) -> None:
        """Write the two datasets of a set, unless they are there.

        watched: how many test rows the loss is measured on while training; None for all.
        """
        plain = [{"messages": row["messages"]} for row in split.test[:watched]]
        for dataset, test in ((name, plain), (name + ASKED, split.test)):
            folder = self.root / "datasets" / dataset
            folder.mkdir(parents=True, exist_ok=True)
            for file, rows in (("train.jsonl", split.train), ("eval.jsonl", test)):
                if not (folder / file).exists():
                    write_atomic(folder / file, "".join(json.dumps(row) + "\n" for row in rows))

    def train(self, name: str, settings: Mapping[str, object], experiment: str) -> None:
        """`models fine-tune`; the command itself knows a run that is done, or goes on with it."""
        options = [option for key in settings for option in ("--set", f"{key}={settings[key]}")]
        self._models("fine-tune", "--dataset", name, "--adapter", experiment, *options)

    def ask(self, name: str, experiment: str) -> None:
        """`models evaluate` on the rows whose answer can be marked, kept in the run's folder."""
        if not self._asked(experiment).exists():
            of = ("--adapter", f"{experiment}@1", "--dataset", name + ASKED)
            found = self._models("evaluate", *of, "--answers", ANSWERS, "--json")
            write_json(self._asked(experiment), json.loads(found))

    def figures(self, experiment: str) -> list[str]:
        """Row-passes, seconds of training, eval loss and right answers of a run."""
        folder = self.root / "experiments" / experiment
        record = json.loads((folder / "run.json").read_text())
        found = json.loads((folder / "validation.json").read_text())
        difference = found["difference"]
        loss = f"{found['tuned']['loss']:.3f}"
        if difference["low"] is not None:
            half = (difference["high"] - difference["low"]) / 2
            loss += f" (base {found['base']['loss']:.3f}, difference ± {half:.3f})"
        return [
            f"{_row_passes(folder):,}",
            f"{record['trained_s']:,.0f}",
            loss,
            self._right(experiment),
        ]

    def _right(self, experiment: str) -> str:
        kept = self._asked(experiment)
        if not kept.exists():
            return ""
        answers = json.loads(kept.read_text())["answers"]
        right, asked = (sum(one[key] for one in answers) for key in ("tuned_right", "rows"))
        low, high = share_interval(right, asked)
        return f"{right / asked:.1%} [{low:.1%}, {high:.1%}] of {asked:,}"

    def _asked(self, experiment: str) -> Path:
        return self.root / "experiments" / experiment / "asked.json"

    def _models(self, *arguments: str) -> str:
        print("+ models", *arguments, file=sys.stderr, flush=True)
        environment = {**os.environ, "MODELS_PROJECT": str(self.root)}
        return subprocess.run(
            [MODELS, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout


def _row_passes(folder: Path) -> int:
    """How often a row was trained on, all rows together."""
    rows = int(json.loads((folder / "data_report.json").read_text())["train_rows"])
    metrics = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return round(rows * max(row["epoch"] for row in metrics if "epoch" in row))


def main() -> None:
    """Prepare, train, ask and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--whole", action="store_true")
    args = parser.parse_args()
    init_project(args.work)
    bench = Bench(args.work.resolve())
    lines = []
    if args.whole:
        bench.prepare(WHOLE, banking_whole(args.data), watched=WATCHED_ROWS)
        bench.train(WHOLE, {}, WHOLE)
        bench.ask(WHOLE, WHOLE)
        lines.append([WHOLE, "the defaults", *bench.figures(WHOLE)])
    for name in [] if args.whole else args.only:
        try:
            split = SETS[name](args.data)
        except FileNotFoundError as error:
            print(f"{name} is left out: {error.filename} is missing", file=sys.stderr)
            continue
        bench.prepare(name, split)
        for number, (title, settings) in enumerate(CANDIDATES.items()):
            experiment = f"{name}-{number}"
            bench.train(name, {**settings, "keep.evaluate_every_steps": "never"}, experiment)
            if any("label" in row or "expect" in row for row in split.test):
                bench.ask(name, experiment)
            lines.append([name, title, *bench.figures(experiment)])
    titles = ["set", "settings", "row-passes", "trained s", "eval loss", "right answers"]
    for line in (titles, ["---"] * len(titles), *lines):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
