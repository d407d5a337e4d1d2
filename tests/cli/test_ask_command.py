"""`models ask`: who answers by the configs, what is shown of it, and the exit codes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.core.layout import Project
from provider_server import ProviderServer, chat, chat_event, chunk, head, whole

Models = Callable[..., int]
Out = pytest.CaptureFixture[str]

INTEGRATION = """
model_integration:
  primary_models:
    language: helper
  fallback_strategy:
    order: [basic_nlp]
  budgets:
    per_day: $1
"""
HELPER = """
description: Behind a server on this machine
provider: openai_compatible
model: helper-1
aliases: [helpful]
endpoint: {url}
stays_local: true
context_tokens: 8000
max_output_tokens: 1000
generation:
  max_output_tokens: 100
prices:
  input_per_million: $1
  output_per_million: $10
timeout: 20 seconds
retries:
  attempts: 0
"""
BASIC = """
name: basic_nlp
description: Quotes what is found
provider: builtin
model: basic_nlp
context_tokens: 8000
max_output_tokens: 500
"""
DESK = """
description: Questions of customers
model: helper
instructions: You answer questions of customers.
"""
GROUNDED = DESK + "retrieval:\n  domains: [text/handbook]\n  required: true\n"
TEXT = """
description: Texts
encoder: {source: wheel, model: all-minilm-l6-v2, dimensions: 384, max_tokens: 256}
domains:
  handbook:
    description: The handbook
    sources: [handbook]
"""
PROFILE = "description: One answer\nsamples: 1\n"
SAVING = "description: Almost nothing may be spent\nmax_cost_per_request: $0.0000001\n"
SCHEMA = {"type": "object", "required": ["verdict"]}


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as opened:
        opened.answer(chat("Ann", " leads sales."))
        yield opened


@pytest.fixture
def asked(project: Project, server: ProviderServer) -> Project:
    """A project whose only model is the server, with nothing but a builtin answer after it."""
    files = {
        "integration.yaml": INTEGRATION,
        "language_models/helper.yaml": HELPER.format(url=server.url),
        "language_models/basic_nlp.yaml": BASIC,
        "specialized_models/desk.yaml": DESK,
        "performance_profiles/balanced.yaml": PROFILE,
        "performance_profiles/saving.yaml": SAVING,
    }
    for name, text in files.items():
        path = project.configs / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return project


def body(server: ProviderServer, number: int = -1) -> list[dict[str, str]]:
    """The messages of a request."""
    messages: list[dict[str, str]] = server.asked[number].body["messages"]
    return messages


@pytest.mark.usefixtures("asked")
def test_the_answer_is_streamed_to_stdout_and_nothing_else_is(models: Models, capsys: Out) -> None:
    assert models("ask", "Who leads sales?") == 0
    assert capsys.readouterr() == ("Ann leads sales.\n", "")


@pytest.mark.usefixtures("asked")
def test_a_domain_its_files_and_instructions_reach_the_model(
    models: Models, server: ProviderServer, tmp_path: Path
) -> None:
    (tmp_path / "notes.md").write_text("Ann joined in May.")
    options = ["--domain", "desk", "--system", "Be brief.", "--file", str(tmp_path / "notes.md")]
    assert models("ask", *options, "When did Ann join?") == 0
    system, user = body(server)
    assert system["content"] == "You answer questions of customers.\n\nBe brief."
    assert "Ann joined in May." in user["content"]
    assert user["content"].endswith("When did Ann join?")


@pytest.mark.usefixtures("asked")
def test_a_file_may_be_a_pipe_as_shells_make_them(models: Models, server: ProviderServer) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"+ x = 1\n")
    os.close(writing)
    assert models("ask", "--file", f"/dev/fd/{reading}", "What changed?") == 0
    os.close(reading)
    assert "+ x = 1" in body(server)[-1]["content"]


@pytest.mark.usefixtures("asked")
def test_the_question_may_come_from_stdin(
    models: Models, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Who leads\nsales?\n"))
    assert models("ask", "-") == 0
    assert body(server)[-1]["content"] == "Who leads\nsales?"


@pytest.mark.usefixtures("asked")
def test_an_explanation_names_who_answered_at_what_cost_and_the_answers_id(
    models: Models, capsys: Out
) -> None:
    assert models("ask", "--explain", "--json", "Who leads sales?") == 0
    out, said = capsys.readouterr()
    answer = json.loads(out)
    assert answer["text"] == "Ann leads sales."
    assert answer["cost_usd"] == pytest.approx(62e-6)
    assert "helper (model:helper) answered" in said
    assert "12 tokens in, 5 out" in said
    assert "$0.000062" in said
    assert models("feedback", "add", "--answer-id", answer["id"], "--rating", "good") == 0


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("name", ["helper", "helpful", "model:helper"])
def test_a_model_is_asked_by_its_name_or_an_alias(models: Models, capsys: Out, name: str) -> None:
    assert models("ask", "--model", name, "Who leads sales?") == 0
    assert capsys.readouterr().out == "Ann leads sales.\n"


# What happens when no model answers.


@pytest.mark.usefixtures("asked")
def test_when_all_models_fail_an_answer_without_one_is_marked(
    models: Models, server: ProviderServer, capsys: Out
) -> None:
    server.answer(whole("503 Service Unavailable", {}))
    assert models("ask", "Who leads sales?") == 0
    out, said = capsys.readouterr()
    assert "No language model" in out
    assert "no language model answered: helper" in said
    assert models("ask", "--json", "Who leads sales?") == 0
    assert json.loads(capsys.readouterr().out)["degraded"] is True


def test_another_model_in_its_place_is_never_silent(
    asked: Project, models: Models, server: ProviderServer, capsys: Out
) -> None:
    keyless = HELPER.format(url=server.url).replace("[helpful]", "[]")
    keyless += "api_key: env:NO_SUCH_KEY\nfallback: helper\n"
    (asked.configs / "language_models/first.yaml").write_text(keyless)
    integration = asked.configs / "integration.yaml"
    integration.write_text(INTEGRATION.replace("language: helper", "language: first"))
    assert models("ask", "Who leads sales?") == 0
    out, said = capsys.readouterr()
    assert out == "Ann leads sales.\n"
    assert "helper answered in place of first: env:NO_SUCH_KEY" in said


@pytest.mark.usefixtures("asked")
def test_without_a_fallback_a_failure_is_one(
    models: Models, server: ProviderServer, capsys: Out
) -> None:
    server.answer(whole("503 Service Unavailable", {}))
    assert models("ask", "--no-fallback", "--explain", "Who leads sales?") == 1
    out, said = capsys.readouterr()
    assert out == ""
    assert "call of helper: busy" in said
    assert "error: no model answered" in said


@pytest.mark.usefixtures("asked")
def test_a_stream_that_breaks_off_is_said_and_ends_with_1(
    models: Models, server: ProviderServer, capsys: Out
) -> None:
    server.answer([head(), chunk(chat_event({"content": "Ann lea"})), "reset"])
    assert models("ask", "Who leads sales?") == 1
    out, said = capsys.readouterr()
    assert out == "Ann lea\n"
    assert "broke off" in said


@pytest.mark.usefixtures("asked")
def test_a_request_over_its_budget_is_not_sent_and_ends_with_4(
    models: Models, server: ProviderServer, capsys: Out
) -> None:
    assert models("ask", "--domain", "desk", "--profile", "saving", "Who leads sales?") == 4
    assert server.asked == []
    assert "max_cost_per_request" in capsys.readouterr().err


def test_a_domain_that_must_be_grounded_ends_with_5_where_nothing_is_found(
    asked: Project, models: Models, server: ProviderServer, capsys: Out
) -> None:
    (asked.configs / "embedding_models").mkdir()
    (asked.configs / "embedding_models/text.yaml").write_text(TEXT)
    (asked.configs / "specialized_models/desk.yaml").write_text(GROUNDED)
    assert models("ask", "--domain", "desk", "Who leads sales?") == 5
    assert server.asked == []
    assert "update-embeddings" in capsys.readouterr().err


# Answers that must be JSON.


@pytest.mark.usefixtures("asked")
def test_an_answer_that_must_meet_a_schema_does(
    models: Models, server: ProviderServer, capsys: Out
) -> None:
    reading, writing = os.pipe()  # as shells write <(...)
    os.write(writing, json.dumps(SCHEMA).encode())
    os.close(writing)
    server.answer(chat("Well:"), chat('{"verdict": "good"}'))
    assert models("ask", "--schema", f"/dev/fd/{reading}", "Is it good?") == 0
    os.close(reading)
    assert json.loads(capsys.readouterr().out) == {"verdict": "good"}
    assert "This cannot be used" in body(server)[-1]["content"]


@pytest.mark.usefixtures("asked")
def test_one_that_never_meets_it_ends_with_1_and_is_quoted_from_nowhere(
    models: Models, tmp_path: Path, capsys: Out
) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    assert models("ask", "--schema", str(tmp_path / "schema.json"), "Is it good?") == 1
    out, said = capsys.readouterr()
    assert out == ""
    assert "no model gave JSON that meets the schema" in said


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ask",), "there is no question"),
        (("ask", "  "), "the question is empty"),
        (("ask", "--chat", "-"), "both read stdin"),
        (("ask", "--file", "-", "-"), "--file - and the question `-` both read stdin"),
        (("ask", "--file", "-", "--file", "-", "Who?"), "--file - and another --file - both"),
        (("ask", "--file", "-", "--chat"), "--file - and --chat both read stdin"),
        (("ask", "--domain", "dsk", "Who?"), "did you mean 'desk'"),
        (("ask", "--model", "helpr", "Who?"), "did you mean"),
        (("ask", "--domain", "desk", "--profile", "savin", "Who?"), "saving"),
        (("ask", "--org", "../acme", "Who?"), "organisation name"),
        (("ask", "--file", "missing.md", "Who?"), "missing.md: cannot be read: No such file"),
        (("ask", "--file", ".", "Who?"), "is a folder"),
        (("ask", "--schema", "bad.json", "Who?"), "is no JSON Schema"),
        (("ask", "--schema", "none.json", "Who?"), "is not JSON"),
        (("ask", "--schema", "list.json", "Who?"), "does not hold a JSON object"),
    ],
)
def test_wrong_input_is_named_before_anything_is_asked(
    models: Models, server: ProviderServer, capsys: Out, words: tuple[str, ...], message: str
) -> None:
    Path("bad.json").write_text('{"type": "strin"}')
    Path("none.json").write_text("verdict")
    Path("list.json").write_text("[]")
    assert models(*words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert server.asked == []


@pytest.mark.usefixtures("asked")
def test_the_text_that_a_question_is_about_may_come_from_stdin(
    models: Models, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("+ x = 1\n"))
    assert models("ask", "--file", "-", "What changed?") == 0
    assert "File stdin" in body(server)[-1]["content"]
    assert "+ x = 1" in body(server)[-1]["content"]


# Conversations.


@pytest.mark.usefixtures("asked")
def test_a_conversation_from_a_pipe_remembers_what_was_said(
    models: Models, server: ProviderServer, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    server.answer(chat("Ann."), chat("In May."))
    monkeypatch.setattr("sys.stdin", io.StringIO("Who leads sales?\nSince when?\n"))
    assert models("ask", "--chat") == 0
    assert capsys.readouterr().out == "Ann.\nIn May.\n"
    assert [turn["content"] for turn in body(server)] == [
        "Who leads sales?",
        "Ann.",
        "Since when?",
    ]


@pytest.mark.usefixtures("asked")
def test_a_reset_forgets_it_and_json_gives_a_line_for_each_answer(
    models: Models, server: ProviderServer, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Who leads sales?\n/reset\nSince when?\n"))
    assert models("ask", "--chat", "--json") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["text"] for answer in answers] == ["Ann leads sales."] * 2
    assert [turn["content"] for turn in body(server)] == ["Since when?"]
