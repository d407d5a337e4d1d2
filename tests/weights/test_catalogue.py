from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.weights.catalogue import (
    HubSource,
    PathSource,
    WheelSource,
    find_base,
    load_catalogue,
)

REPOSITORY = Path(__file__).parents[2]


def test_the_cards_that_are_shipped_are_valid() -> None:
    cards = load_catalogue(Project(REPOSITORY))
    assert set(cards) >= {"smollm2-135m-instruct", "qwen-3b-instruct", "mistral-7b-instruct"}
    assert isinstance(cards["smollm2-135m-instruct"].sources[0], WheelSource)
    for name in ("qwen-3b-instruct", "mistral-7b-instruct"):
        source = cards[name].sources[0]
        assert isinstance(source, HubSource) and source.is_pinned


@pytest.mark.parametrize(
    "name", ["smollm2-135m-instruct", "qwen-3b-instruct", "mistral-7b-instruct"]
)
def test_the_architecture_on_a_card_adds_up_to_its_parameters(name: str) -> None:
    card = find_base(Project(REPOSITORY), name)
    shape = card.architecture
    assert shape is not None
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = shape.hidden_size * (2 * queries + 2 * keys)
    feed_forward = 3 * shape.hidden_size * shape.intermediate_size
    bias = queries + 2 * keys if name.startswith("qwen") else 0
    layer = attention + feed_forward + bias + 2 * shape.hidden_size
    embeddings = shape.vocab_size * shape.hidden_size * (2 if name.startswith("mistral") else 1)
    assert card.parameters == shape.layers * layer + shape.hidden_size + embeddings


def test_a_path_may_start_at_the_home_folder_or_at_the_project(
    project: Project, own_home: Path
) -> None:
    assert PathSource(path="~/weights").folder(project) == own_home / "weights"
    assert PathSource(path="weights").folder(project) == project.root / "weights"
    assert PathSource(path="/srv/weights").folder(project) == Path("/srv/weights")


def test_every_problem_of_every_card_is_reported_with_its_place(project: Project) -> None:
    for name, text in {
        "first": "name: first\nsummary: A base.\nparameters: 0\nlicense: MIT\ncontext_length: 512\n"
        "sources:\n  - kind: whel\n  - kind: hub\n    repo: one-word\n    revision: main\n",
        "second": "name: other\nsummary: A base.\nparameters: 10\nlicence: MIT\n"
        "context_length: 512\nsources: []\n",
        "third": "name: third\nsummary: A base.\nparameters: 10\nlicence: MIT\n"
        "context_length: 512\nsources:\n  - kind: wheel\n    package: p\n    version: 1.0\n"
        "    wheel_sha256: abc\n    file: weights.bin\n",
    }.items():
        card = project.base_card(name)
        card.parent.mkdir()
        card.write_text(f"---\n{text}---\n\n# A base\n")
    with pytest.raises(ProblemsFound) as caught:
        load_catalogue(project)
    said = [str(problem) for problem in caught.value.problems]
    for expected in (
        "models/base/first/MODEL_INFO.md:4:1: 'parameters' must be at least 1, not 0",
        "models/base/first/MODEL_INFO.md:5:1: unknown key 'license' (did you mean 'licence'?)",
        "'licence' is required",
        "models/base/first/MODEL_INFO.md:8:5: 'kind' must be one of wheel, hub, path, not 'whel'"
        " (did you mean 'wheel'?)",
        "models/base/first/MODEL_INFO.md:10:5: 'repo' must be OWNER/NAME, not 'one-word'",
        "models/base/second/MODEL_INFO.md:2:1: 'name' is 'other', but the card is in the folder",
        "models/base/second/MODEL_INFO.md:7:1: 'sources' must be a list with at least one source",
        "models/base/third/MODEL_INFO.md:10:5: 'version' must be text, not 1.0",
        "'file_sha256' is required",
    ):
        assert any(expected in line for line in said), (expected, said)


def test_a_broken_card_does_not_stand_in_the_way_of_another_base(project: Project) -> None:
    broken = project.base_card("broken")
    broken.parent.mkdir()
    broken.write_text("no front matter")
    assert find_base(project, "tiny").name == "tiny"
    with pytest.raises(InvalidInput, match="no front matter"):
        find_base(project, "broken")


@pytest.mark.parametrize(
    "name",
    ["gpt-4", "gpt-4o-mini", "o3-mini", "claude-sonnet-4", "gemini-2.0-flash", "openai/gpt-5"],
)
def test_a_hosted_model_is_not_trained_here(project: Project, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        find_base(project, name)
    assert "hosted model" in caught.value.message
    assert caught.value.hint == "base models here: tiny"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["tinny", "../tiny", "gpt2", "gpt-oss-20b", "olmo-1b", ""])
def test_an_unknown_base_names_those_that_are_known(project: Project, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        find_base(project, name)
    assert "no base model is called" in caught.value.message
    assert ("(did you mean 'tiny'?)" in caught.value.message) == (name in ("tinny", "../tiny"))
    assert "base models here: tiny" in (caught.value.hint or "")


def test_a_card_may_stand_for_a_hosted_looking_name_of_ones_own(
    project: Project, write_base_card: Callable[..., Path]
) -> None:
    write_base_card("gpt-4-at-home", {"kind": "path", "path": "weights"})
    assert find_base(project, "gpt-4-at-home").sources == (PathSource(path="weights"),)


def test_a_base_is_named_with_its_kind_too_and_never_another_kind(project: Project) -> None:
    assert find_base(project, "base:tiny").name == "tiny"
    with pytest.raises(InvalidInput, match=r"called 'tinny' \(did you mean 'tiny'\?\)"):
        find_base(project, "base:tinny")
    with pytest.raises(InvalidInput, match="names an adapter, where a base model belongs"):
        find_base(project, "adapter:demo")


def test_a_base_is_also_known_by_the_repository_of_its_weights() -> None:
    shipped = Project(REPOSITORY)
    for reference, name in {
        "Qwen/Qwen2.5-3B-Instruct": "qwen-3b-instruct",
        "base:mistralai/Mistral-7B-Instruct-v0.2": "mistral-7b-instruct",
        "huggingfacetb/smollm2-135m-instruct": "smollm2-135m-instruct",
    }.items():
        assert find_base(shipped, reference).name == name


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("smollm2", "smollm2-135m-instruct"),
        ("SmolLM2", "smollm2-135m-instruct"),
        ("qwen-3b-instrct", "qwen-3b-instruct"),
        ("Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-3B-Instruct"),
    ],
)
def test_the_beginning_of_a_name_is_enough_to_be_told_the_rest(name: str, near: str) -> None:
    with pytest.raises(InvalidInput, match=f"did you mean '{near}'"):
        find_base(Project(REPOSITORY), name)


def test_a_repository_of_several_bases_is_not_guessed(
    project: Project, write_base_card: Callable[..., Path]
) -> None:
    for name in ("first", "second"):
        write_base_card(name, {"kind": "hub", "repo": "Example/Both", "revision": "main"})
    with pytest.raises(InvalidInput, match="belong to several base models: first, second"):
        find_base(project, "example/both")
