"""Answers of a local model that are held to a form while they are made: JSON and calls."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from answer_samples import make_effective, make_request
from modelyard.answering.answer import Answerer
from modelyard.answering.request import AnswerFailed, Request
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.configs.kinds.specialized_models import OutputRules
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.inference.engine_limits import EngineLimits
from modelyard.providers.call import NamedTool
from modelyard.weights.pull import require_base

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["bug", "wish"]}, "urgent": {"type": "boolean"}},
    "required": ["kind", "urgent"],
    "additionalProperties": False,
}
TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}{% endfor %}\n"
    "Calls: <tool_call></tool_call><|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.arguments.id }}</tool_call>"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


FIND = tool("find", id={"enum": [7, 8]})
SEND = tool("send", now={"$ref": "#/$defs/yes"})
SEND["function"]["parameters"]["$defs"] = {"yes": {"type": "boolean"}}


@pytest.fixture(scope="module")
def tooled_folder(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tooled") / "base"
    shutil.copytree(tiny_base_folder, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture
def answerer(project: Project, tiny_base_folder: Path, tooled_folder: Path) -> Iterator[Answerer]:
    """With two random bases: `tiny`, and `tooled`, whose template knows tools."""
    card = project.base_card("tiny")
    own = project.base_card("tooled")
    own.parent.mkdir()
    text = card.read_text().replace("name: tiny", "name: tooled")
    own.write_text(text.replace(str(tiny_base_folder), str(tooled_folder)))
    for name in ("tiny", "tooled"):
        require_base(project, name, progress=Silent())
    with Answerer(project, engine=EngineLimits(max_batch=4)) as opened:
        yield opened


def local(base: str = "tiny", **changes: Any) -> Effective:
    settings = LanguageModel(
        description="Here",
        provider="local",
        model=base,
        context_tokens=512,
        max_output_tokens=300,
        generation=Generation(temperature=2.0, seed=1, max_output_tokens=300),
    )
    model = EffectiveModel(name="here", settings=settings)
    return make_effective(**{"model": model, "fallback": (), "instructions": "", **changes})


def test_random_weights_answer_in_the_form_that_is_asked_for(answerer: Answerer) -> None:
    shown: list[str] = []
    request = make_request("Hi", json_schema=SCHEMA)
    answer = answerer.answer(local(), request, on_text=shown.append)
    assert json.loads(answer.text).keys() == SCHEMA["properties"].keys()  # type: ignore[attr-defined]
    assert (answer.finish, [each.outcome for each in answer.attempts]) == ("stop", ["answered"])
    assert "".join(shown) == answer.text
    assert len(shown) > 1
    likeliest = Generation(temperature=0.0)
    drawn = answerer.answer(local(), make_request("Hi", json_schema=SCHEMA, generation=likeliest))
    assert json.loads(drawn.text).keys() == json.loads(answer.text).keys()
    short = Generation(max_output_tokens=20)
    free = answerer.answer(local(), make_request("Hi", generation=short))
    with pytest.raises(json.JSONDecodeError):
        json.loads(free.text)


def test_one_that_is_cut_is_the_beginning_of_its_form(answerer: Answerer) -> None:
    short = Generation(max_output_tokens=3)
    answer = answerer.answer(local(), make_request("Hi", json_schema=SCHEMA, generation=short))
    assert answer.finish == "length"
    assert answer.text.lstrip().startswith("{")
    anything = answerer.answer(local(), make_request("Hi", json_mode=True, generation=short))
    assert anything.text.lstrip().startswith("{")


def test_a_schema_that_no_answer_can_be_held_to(answerer: Answerer) -> None:
    schema = {**SCHEMA, "not": {"required": ["id"]}}
    with pytest.raises(InvalidInput, match="cannot be kept to") as refused:
        answerer.answer(local(), make_request("Hi", json_schema=schema))
    assert "not" in refused.value.message
    domains = local(output=OutputRules(format="json", json_schema=schema))
    short = Generation(max_output_tokens=20)
    with pytest.raises(AnswerFailed, match="no model gave JSON"):  # checked, and not held to it
        answerer.answer(domains, make_request("Hi", generation=short))


HUGE = {"type": "string", "pattern": "((((.{1,300}){1,300}){1,300}){1,300}){20,300}"}


@pytest.mark.parametrize("is_shown", [False, True])
def test_a_request_that_cannot_be_met_shuts_no_shared_model_out(
    answerer: Answerer, is_shown: bool
) -> None:
    shown: list[str] = []
    on_text = shown.append if is_shown else None
    likely = Generation(temperature=1.0, seed=3)
    for _ in range(4):
        with pytest.raises(AnswerFailed, match="cannot be kept to: ") as refused:
            answerer.answer(
                local(),
                make_request("Hi", json_schema=HUGE, generation=likely, organisation="acme"),
                on_text=on_text,
            )
        assert "<state>" not in refused.value.message  # it would hold the answer so far
    short = Generation(max_output_tokens=3)
    answer = answerer.answer(local(), make_request("Hi", generation=short, organisation="zeta"))
    assert [each.outcome for each in answer.attempts] == ["answered"]


def test_a_tool_that_must_be_called_is_called(answerer: Answerer) -> None:
    shown: list[str] = []
    request = make_request("Who is 7?", tools=(FIND, SEND), tool_choice="required")
    answer = answerer.answer(local("tooled"), request, on_text=shown.append)
    assert (answer.finish, answer.text, shown) == ("tool_calls", "", [])
    (call,) = answer.tool_calls
    assert call.name in ("find", "send")
    named = make_request("Send it", tools=(FIND, SEND), tool_choice=NamedTool("send"))
    (sent,) = answerer.answer(local("tooled"), named).tool_calls
    assert sent.name == "send"
    assert json.loads(sent.arguments)["now"] in (True, False)
    found = {"name": "find", "arguments": '{"id": 7}'}
    turns = (
        Message("user", "Who is 7?"),
        Message("assistant", "", {"tool_calls": [{"id": sent.id, "function": found}]}),
        Message("tool", "Ada", {"tool_call_id": sent.id}),
    )
    short = Generation(max_output_tokens=5)
    after = answerer.answer(
        local("tooled"), Request(messages=turns, tools=(FIND,), generation=short)
    )
    assert (after.finish, after.tool_calls) == ("length", ())


def deep(levels: int) -> list[Any]:
    """A list in a list, and so on."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tools": ({"name": "find"},)}, "is no tool of the form"),
        (
            {"tools": ({"function": {"name": "f", "parameters": {"x": deep(600)}}},)},
            "is nested more than 100 levels deep",
        ),
        ({"tools": (FIND, FIND)}, "two tools have one name"),
        ({"tools": (FIND,), "tool_choice": NamedTool("send")}, "'send' must be called and is not"),
        ({"tool_choice": "required"}, "there is none"),
        ({"tools": (FIND,), "json_mode": True}, "cannot be a call of a tool"),
        ({"tools": (FIND,)}, "the chat template of the model knows no tools"),
    ],
)
def test_tools_that_cannot_be_offered(answerer: Answerer, more: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        answerer.answer(local(), make_request("Hi", **more))
