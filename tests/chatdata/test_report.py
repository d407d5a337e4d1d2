"""The data report counts rows and tokens, and warns of what a person should know."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from modelyard.chatdata.dataset import ChatDataset, load_dataset
from modelyard.chatdata.report import DataReport, build_data_report
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import tokenize_conversations
from modelyard.core.layout import Project
from modelyard.settings.fields import settings_mapping


@pytest.fixture
def report(
    project: Project, tiny_base_folder: Path, write_jsonl: Callable[..., Path]
) -> Callable[..., DataReport]:
    tokenizer = ChatTokenizer.load(tiny_base_folder)

    def build(train: list[Any], evaluation: list[Any], max_length: int = 256) -> DataReport:
        write_jsonl(project.dataset("small") / "train.jsonl", train)
        write_jsonl(project.dataset("small") / "eval.jsonl", evaluation)
        dataset: ChatDataset = load_dataset(project, "small")
        sides = [
            tokenize_conversations(side, tokenizer, max_length=max_length)
            for side in (dataset.train, dataset.evaluation)
        ]
        return build_data_report(dataset, *sides, max_length=max_length)

    return build


def ask(question: str, answer: str = "Yes.") -> dict[str, Any]:
    return {"prompt": question, "completion": answer}


def test_it_counts_rows_turns_formats_and_tokens(report: Callable[..., DataReport]) -> None:
    turns = ["user", "assistant", "user", "assistant"]
    talk = {"messages": [{"role": role, "content": "the sky"} for role in turns]}
    found = report([ask("What is it?"), ask("How many are there?"), talk], [ask("Who are you?")])
    assert (found.train_rows, found.evaluation_rows) == (3, 1)
    assert found.formats == {"prompt-completion": 3, "messages": 1}
    assert found.turns == {1: 3, 2: 1}
    tokens = found.train_tokens
    assert tokens.rows == 3
    assert 0 < tokens.trained < tokens.total
    assert tokens.p50 <= tokens.p90 <= tokens.p99 == tokens.longest
    assert sum(bar.rows for bar in tokens.histogram) == 3
    assert found.warnings == found.problems == ()


def test_it_is_plain_json(report: Callable[..., DataReport]) -> None:
    found = report([ask("a b c"), ask("a b c"), ask("write to a@b.org")], [ask("a b c", "No.")])
    value = json.loads(json.dumps(settings_mapping(found)))
    assert value["repeated"][0]["other"] == "datasets/small/train.jsonl:1"
    assert value["near"][0]["similarity"] == 1.0
    assert value["sensitive"] == [
        {
            "kind": "e-mail address",
            "source": "datasets/small/train.jsonl:3",
            "message": 1,
            "key": None,
        }
    ]


def test_a_row_in_train_and_eval_forbids_training(report: Callable[..., DataReport]) -> None:
    found = report([ask("a"), ask("b")], [ask("c"), ask("b")])
    (problem,) = found.problems
    assert str(problem) == (
        "datasets/small/eval.jsonl:2: is also in train (datasets/small/train.jsonl:2), "
        "so it cannot be used for evaluation"
    )


def test_it_warns_of_what_a_person_should_know(report: Callable[..., DataReport]) -> None:
    train = [ask("one two three"), ask("one two three"), ask("long", "the sky is blue " * 20)]
    train += [ask("password=Tr0ub4dor&3"), *(ask(f"{n}@example.org") for n in range(5))]
    found = report(train, [ask("one two three?", "No.")], max_length=64)
    longest = found.limits[-1].max_length
    assert found.train_tokens.longest == 64 < longest < 128
    assert found.warnings == (
        "1 row with the end of the answer cut off by max_length 64 (datasets/small/train.jsonl:3)"
        f"; the longest of 10 rows has {longest} tokens: "
        f"max_length 64 keeps 9, {longest} keeps 10 whole",
        "1 row of train equal to an earlier row (datasets/small/train.jsonl:2)",
        "1 row of eval with nearly the question of a train row (datasets/small/eval.jsonl:1)",
        "1 row with what looks like a secret (datasets/small/train.jsonl:4)",
        "5 rows with an e-mail address (datasets/small/train.jsonl:5, "
        "datasets/small/train.jsonl:6, datasets/small/train.jsonl:7, ...)",
    )


def test_it_says_how_many_rows_each_limit_keeps_whole(report: Callable[..., DataReport]) -> None:
    rows = [ask(f"{n}?", "word " * n) for n in (1, 5, 20, 80)]
    found = report(rows, [ask("a")], max_length=16)
    lengths = [limit.max_length for limit in found.limits]
    assert lengths[:3] == [16, 32, 64] and lengths == sorted(lengths)
    assert lengths[-1] <= 2 * lengths[-2]
    whole = [limit.whole_rows for limit in found.limits]
    assert whole == sorted(whole) and whole[-1] == 5
    full = report(rows, [ask("a")], max_length=lengths[-1])
    assert full.cut == () and full.train_tokens.longest == lengths[-1]
    assert [limit.whole_rows for limit in full.limits] == [5]


def test_keys_that_nothing_reads_are_named(report: Callable[..., DataReport]) -> None:
    rows = [{**ask(f"{n}?"), "source_id": n, "fact": "sky"} for n in range(4)]
    assert report(rows, [ask("a")]).warnings == (
        "kept and not learned: key `source_id`, in 4 rows",
    )


def test_it_names_what_the_chat_template_changes(report: Callable[..., DataReport]) -> None:
    found = dataclasses.replace(
        report([ask("a")], [ask("b")]),
        respaced=("train.jsonl:3",),
        without_reasoning=("train.jsonl:4",) * 2,
        without_descriptions=("train.jsonl:5",),
        without_parameters=("train.jsonl:6",),
    )
    assert found.template_changes == (
        "1 row in which the chat template changes whitespace (train.jsonl:3)",
        "2 rows whose reasoning the chat template leaves out (train.jsonl:4)",
        "1 row whose tools the chat template does not describe (train.jsonl:5)",
        "1 row of whose tools the chat template names no parameters (train.jsonl:6)",
    )
    assert found.warnings[-4:] == found.template_changes


def test_a_histogram_has_at_most_twenty_bars(report: Callable[..., DataReport]) -> None:
    found = report([ask("word " * n + str(n)) for n in range(1, 40)], [ask("a")])
    bars = found.train_tokens.histogram
    assert 1 < len(bars) <= 20
    assert all(left.high + 1 == right.low for left, right in pairwise(bars))
    assert bars[-1].high >= found.train_tokens.longest
