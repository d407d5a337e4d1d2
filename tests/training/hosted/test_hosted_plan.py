"""What is known of a hosted job before any call: who is meant, what leaves, what it costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosted_runs import base_of, plan_of, review_rows

from deploy_samples import edit
from modelyard.answering.request import OverLimit
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.reading import read_conversations
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.deployments.revisions import NotDeployed
from modelyard.training.hosted.budget import require_budget
from modelyard.training.hosted.tunable import find_tunable
from modelyard.training.hosted.upload import build_upload

Write = Callable[[Path, list[Any]], Path]


@pytest.mark.parametrize("word", ["gpt4", "gpt-4", "gpt-4o", "gpt-4o-2024-08-06", "model:gpt-4"])
def test_a_hosted_model_is_found_by_each_of_its_names(reviews: Project, word: str) -> None:
    found = base_of(reviews, word)
    assert (found.name, found.model, found.price_usd) == ("gpt4", "gpt-4o-2024-08-06", 25)


REFUSED = {
    "claude": "claude cannot be fine-tuned: Anthropic's API has no fine-tuning",
    "basic_nlp": "it is no model",
    "gpt-5": r"no language model is called 'gpt-5' in development \(did you mean 'gpt-4'\?\)",
    "model:nobody": "no language model is called 'nobody'",
}


@pytest.mark.parametrize("word", REFUSED)
def test_a_model_that_nobody_can_tune_is_refused_with_the_reason(
    reviews: Project, word: str
) -> None:
    with pytest.raises(InvalidInput, match=REFUSED[word]):
        find_tunable(reviews, word, "development")


def test_a_base_and_what_nobody_knows_are_left_to_training_here(reviews: Project) -> None:
    local = "description: Here\nprovider: local\nmodel: tiny\ncontext_tokens: 512\n"
    local += "max_output_tokens: 64\n"
    place = reviews.configs / "language_models/here.yaml"
    place.write_text(local)
    assert find_tunable(reviews, "here", "development") == "tiny"
    assert find_tunable(reviews, "smollm2-135m-instruct", "development") == "smollm2-135m-instruct"
    assert find_tunable(reviews, "base:gpt4", "development") == "base:gpt4"
    card = reviews.base_card("gpt4")
    card.parent.mkdir(parents=True)
    card.write_text("---\nname: gpt4\n---\n")
    with pytest.raises(InvalidInput, match="'gpt4' fits several models: base:gpt4, model:gpt4"):
        find_tunable(reviews, "gpt4", "development")
    assert base_of(reviews, "model:gpt4").name == "gpt4"
    twin = local.replace("model: tiny", "model: gpt4\naliases: [twin]")
    (reviews.configs / "language_models/twin.yaml").write_text(twin)
    assert find_tunable(reviews, "twin", "development") == "gpt4"
    place.write_text(local + "adapter: helper\n")
    with pytest.raises(InvalidInput, match="here is the adapter helper on tiny"):
        find_tunable(reviews, "here", "development")


def test_a_provider_model_of_two_configs_is_ambiguous(reviews: Project) -> None:
    text = (reviews.configs / "language_models/gpt4_config.yaml").read_text()
    (reviews.configs / "language_models/second.yaml").write_text(
        text.replace("aliases: [gpt-4]\n", "")
    )
    with pytest.raises(InvalidInput, match="'gpt-4o' fits several language models: gpt4, second"):
        find_tunable(reviews, "gpt-4o", "development")


def test_where_nothing_is_deployed_a_hosted_model_says_so(reviews: Project) -> None:
    with pytest.raises(NotDeployed):
        find_tunable(reviews, "gpt-4", "production")
    assert find_tunable(reviews, "tiny", "production") == "tiny"


def test_the_plan_counts_what_leaves(reviews: Project) -> None:
    plan = plan_of(reviews, epochs=2)
    assert plan.upload.rows == 12 and len(plan.dataset.evaluation) == 4
    assert plan.most_tokens == 2 * len(plan.upload.data)
    assert plan.most_cost_usd == pytest.approx(plan.most_tokens * 25 / 1e6)
    assert 0 < plan.likely_tokens < plan.most_tokens
    assert plan.sensitive == ()


def test_no_tokenizer_makes_more_tokens_than_the_bound(
    reviews: Project,
) -> None:
    """The worst tokenizer of this kind knows bytes alone; turns in ChatML are shorter than JSON."""
    plan = plan_of(reviews)
    for line in plan.upload.data.splitlines():
        turns = json.loads(line)["messages"]
        rendered = "".join(
            f"\0{turn['role']}\0{turn['content']}\0\n" for turn in turns
        )  # \0: one control token
        assert len(rendered.encode()) <= len(line)


def test_rows_that_may_not_leave_are_refused(reviews: Project) -> None:
    card = reviews.root / "datasets/reviews/DATASET.md"
    card.write_text("---\nlocal_only: true\n---\n")
    with pytest.raises(InvalidInput, match="may not leave this machine"):
        plan_of(reviews)
    with pytest.raises(InvalidInput, match="may not leave this machine"):
        plan_of(reviews, dataset="datasets/reviews/train.jsonl")


def test_rows_that_may_not_leave_may_go_to_an_endpoint_on_this_machine(reviews: Project) -> None:
    (reviews.root / "datasets/reviews/DATASET.md").write_text("---\nlocal_only: true\n---\n")
    gpt4 = "language_models/gpt4_config"
    edit(reviews, gpt4, "provider: openai", "provider: openai_compatible\nstays_local: true")
    assert plan_of(reviews).dataset.local_only
    url = base_of(reviews).settings.endpoint or ""
    edit(reviews, gpt4, url, "https://gpu.example.org/v1")
    with pytest.raises(InvalidInput, match="may not leave this machine"):
        plan_of(reviews)


def test_another_organisations_rows_are_refused(reviews: Project) -> None:
    card = reviews.root / "datasets/reviews/DATASET.md"
    card.write_text("---\norg: acme\n---\n")
    assert plan_of(reviews).org == "acme"
    with pytest.raises(InvalidInput, match="belongs to organisation 'acme', and not to 'other'"):
        plan_of(reviews, org="other")


def test_secrets_and_addresses_are_flagged_without_their_text(
    reviews: Project, write_jsonl: Write
) -> None:
    rows = review_rows(12)
    rows[4]["messages"][0]["content"] = "Is AKIAIOSFODNN7EXAMPLB of ann@example.org a key?"
    write_jsonl(reviews.root / "datasets/reviews/train.jsonl", rows)
    plan = plan_of(reviews)
    assert [found.kind for found in plan.sensitive] == ["AWS access key", "e-mail address"]
    assert plan.sensitive[0].place == "datasets/reviews/train.jsonl:5 (message 1)"
    assert "AKIA" not in "".join(map(str, plan.sensitive))


def conversation(tmp_path: Path, write_jsonl: Write, *turns: dict[str, Any], **keys: Any) -> Any:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"messages": list(turns), **keys}])
    rows, problems = read_conversations(path)
    assert not problems
    return rows


USER = {"role": "user", "content": "How warm is it?"}
ANSWER = {"role": "assistant", "content": "Mild."}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Ulm"}}}],
}


def test_calls_are_written_as_the_api_takes_them(tmp_path: Path, write_jsonl: Write) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    turns = (
        USER,
        CALL,
        {"role": "tool", "content": "18"},
        {**ANSWER, "train": False},
        USER,
        ANSWER,
    )
    rows = conversation(tmp_path, write_jsonl, *turns, tools=[tool], group="weather")
    (sent,) = map(json.loads, build_upload(rows, provider="openai_compatible").data.splitlines())
    call = sent["messages"][1]["tool_calls"][0]
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Ulm"}'}
    assert sent["messages"][2]["tool_call_id"] == call["id"]
    assert sent["messages"][3]["weight"] == 0 and "weight" not in sent["messages"][5]
    assert set(sent) == {"messages", "tools"} and sent["tools"] == [tool]


UNFIT: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "reasoning": (
        [USER, {**ANSWER, "reasoning_content": "Hm."}],
        {},
        "has 'reasoning_content' in a turn",
    ),
    "a variable": (
        [USER, ANSWER],
        {"chat_template_kwargs": {"enable_thinking": True}},
        "has 'enable_thinking' in chat_template_kwargs",
    ),
    "an answer to no call": (
        [USER, CALL, {"role": "tool", "content": "18", "tool_call_id": "other"}, ANSWER],
        {},
        "message 3 answers a call that is not made before it",
    ),
    "a result of a call in text": (
        [USER, ANSWER, {"role": "tool", "content": "18"}, ANSWER],
        {},
        "message 3 answers a call that is not made before it",
    ),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_row_that_would_teach_something_else_is_refused(
    tmp_path: Path, write_jsonl: Write, what: str
) -> None:
    turns, keys, message = UNFIT[what]
    rows = conversation(tmp_path, write_jsonl, *turns, **keys)
    with pytest.raises(ProblemsFound) as stopped:
        build_upload(rows, provider="openai_compatible")
    assert any(message in problem.message for problem in stopped.value.problems)


def test_plain_texts_and_too_few_rows_are_refused(reviews: Project, write_jsonl: Write) -> None:
    write_jsonl(reviews.root / "datasets/reviews/train.jsonl", review_rows(9))
    with pytest.raises(ProblemsFound, match="cannot be sent") as stopped:
        plan_of(reviews)
    assert "9 training rows: OpenAI takes no file with fewer than 10" in str(
        stopped.value.problems[0]
    )
    text = Conversation(messages=(), source="a.txt:1", fields={}, format="text")
    with pytest.raises(ProblemsFound) as stopped:
        build_upload([text], provider="openai_compatible")
    assert "is a plain text" in stopped.value.problems[0].message


def test_the_budget_bounds_what_a_job_can_cost(reviews: Project) -> None:
    require_budget(reviews, plan_of(reviews), None)
    edit(reviews, "integration", "per_day: $10", "per_day: $0.01")
    with pytest.raises(OverLimit, match=r"could cost \$0\.115.*, and of the budget for"):
        require_budget(reviews, plan_of(reviews), None)
    edit(reviews, "integration", "per_day: $0.01", "per_organisation_per_day: $0.01")
    require_budget(reviews, plan_of(reviews), None)
    with pytest.raises(OverLimit, match="of the budget of acme for"):
        require_budget(reviews, plan_of(reviews, org="acme"), None)


def test_an_unknown_price_is_refused_under_a_budget_only(reviews: Project) -> None:
    gpt4 = "language_models/gpt4_config"
    edit(reviews, gpt4, "  price_per_million_training_tokens: $25\n", "")
    plan = plan_of(reviews)
    assert plan.most_cost_usd is None
    with pytest.raises(OverLimit, match="the price of tuning gpt-4o-2024-08-06 is unknown"):
        require_budget(reviews, plan, None)
    edit(reviews, "integration", "  budgets:\n    per_day: $10\n", "")
    require_budget(reviews, plan_of(reviews), None)
