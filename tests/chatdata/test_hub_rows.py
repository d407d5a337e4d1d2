"""Rows come from a data set on the hub by its name; what is fetched once needs no network again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from hub_server import HubServer, serving
from modelyard.chatdata.dataset import load_dataset
from modelyard.chatdata.hub_rows import HubDataset, choose_files, parse_address
from modelyard.chatdata.prepare import PrepareRequest, prepare_data
from modelyard.chatdata.prepared_result import PreparedData
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.core.progress import Silent

ADDRESS = "hf://datasets/acme/rows"


def rows(word: str) -> bytes:
    lines = [{"prompt": f"{word} {number}?", "completion": "Yes."} for number in range(40)]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    files = {
        "README.md": b"# Rows",
        "data/train-00000-of-00002.jsonl": rows("Red"),
        "data/train-00001-of-00002.jsonl": rows("Blue"),
        "data/test-00000-of-00001.jsonl": rows("Green"),
    }
    server = HubServer(files, repo="datasets/acme/rows")
    with serving(server, monkeypatch):
        yield server


def prepare(project: Project, *addresses: str) -> PreparedData:
    request = PrepareRequest(sources=addresses, out="rows")
    return prepare_data(project, request, progress=Silent())


def test_the_training_split_of_a_data_set_is_read(
    project: Project, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = prepare(project, ADDRESS)
    assert done.rows_read == 80
    questions = {row.first_question.split()[0] for row in load_dataset(project, "rows").train}
    assert questions == {"Red", "Blue"}
    card = (project.dataset("rows") / "DATASET.md").read_text()
    assert f"path: {ADDRESS}/data/train-00001-of-00002.jsonl" in card
    assert not any("test-0" in path for _, path, _ in hub.asked)
    assert prepare(project, ADDRESS).unchanged
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert prepare(project, ADDRESS).unchanged
    assert hub.asked == []


def test_one_file_of_a_data_set_is_read(project: Project, hub: HubServer) -> None:
    assert prepare(project, f"{ADDRESS}@main/data/test-00000-of-00001.jsonl").rows_read == 40


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://datasets/acme/gone", "datasets/acme/gone does not exist, or needs a login"),
        (f"{ADDRESS}/data/tain.jsonl", "has no file of rows 'data/tain.jsonl'"),
        ("hf://acme/rows", "is no address of a data set"),
        ("hf://datasets/acme/rows/../../x", "is no address of a data set"),
    ],
)
def test_what_cannot_be_had_is_named(
    project: Project, hub: HubServer, address: str, said: str
) -> None:
    with pytest.raises(ProblemsFound) as caught:
        prepare(project, address)
    assert said in str(caught.value.problems[0])


def test_files_that_two_addresses_name_are_read_once(project: Project, hub: HubServer) -> None:
    given = (ADDRESS, f"{ADDRESS}/data/train-00000-of-00002.jsonl", ADDRESS)
    assert prepare(project, *given).rows_read == 80
    assert (
        parse_address("hf://datasets/a/b@main").address
        == parse_address("hf://datasets/a/b").address
    )
    assert parse_address("hf://datasets/a/b@v2").address == "hf://datasets/a/b@v2"


def test_a_data_set_on_the_hub_is_prepared_before_it_is_trained_on(project: Project) -> None:
    with pytest.raises(InvalidInput, match="is on the hub") as caught:
        load_dataset(project, ADDRESS)
    assert caught.value.hint == f"models prepare-data {ADDRESS} --out NAME"


def test_without_a_network_only_the_cache_is_asked(
    project: Project, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ProblemsFound) as caught:
        prepare(project, ADDRESS)
    assert "is not in the hub's cache" in str(caught.value.problems[0])
    assert hub.asked == []


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["a.jsonl", "README.md", "dataset_infos.json"], ["a.jsonl"]),
        (["train.csv", "test.csv", "validation.csv"], ["train.csv"]),
        (["data/train/1.parquet", "data/train/2.parquet", "data/test/1.parquet"], 2),
        (["part-0001.jsonl.gz", "part-0002.jsonl.gz"], 2),
        (["test.jsonl"], ["test.jsonl"]),
    ],
)
def test_the_files_to_train_on_are_told_by_their_names(
    names: list[str], chosen: list[str] | int
) -> None:
    found = choose_files(names, HubDataset("acme/rows", "main", None))
    assert found == (names[:chosen] if isinstance(chosen, int) else chosen)


@pytest.mark.parametrize(
    "names", [["en/train.csv", "fr/train.csv"], ["a.csv", "b.jsonl"], ["x.md"]]
)
def test_several_data_sets_side_by_side_are_not_mixed(names: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"may not belong together|holds no file of rows"):
        choose_files(names, HubDataset("acme/rows", "main", None))
    if names[0].startswith("en"):
        assert choose_files(names, parse_address("hf://datasets/acme/rows/en")) == ["en/train.csv"]
