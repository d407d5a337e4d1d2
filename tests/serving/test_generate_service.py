"""`models generate` uses a running service that has the base in memory, and says the same."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from io import StringIO

import pytest

from modelyard.access.audit_reading import export_audit
from modelyard.cli.generate_service import find_speaker
from modelyard.cli.service_client import RunningService
from modelyard.core.layout import Project
from modelyard.inference.sampling import Sampling
from modelyard.modelrefs.resolving import resolve_model
from modelyard.monitoring.samples import read_samples
from modelyard.serving.opening import load_base
from served import Running, serving

Models = Callable[..., int]
Said = tuple[int, str, str]
_ROUTES = ("POST /v1/generate/model", "POST /v1/generate")


class Asking:
    """Runs `models generate`; what it printed comes with its exit code."""

    def __init__(
        self, models: Models, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._models, self._patch, self._capsys = models, patch, capsys

    def __call__(self, *words: str, stdin: str = "") -> Said:
        self._patch.setattr("sys.stdin", StringIO(stdin))
        code = self._models("generate", *words)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err


@pytest.fixture
def asking(
    models_here: Models, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Asking:
    return Asking(models_here, monkeypatch, capsys)


@pytest.fixture
def ready(running: Running) -> Iterator[Running]:
    """The service with `talking` in memory."""
    load_base(running.service, "talking")
    yield running


def routes(project: Project) -> list[str]:
    """The requests that were audited."""
    return [row["route"] for row in export_audit(project) if "head" not in row]


@pytest.mark.parametrize(
    "words",
    [
        ("--base-model", "talking", "--system", "Be kind.", "Hi"),
        ("--base-model", "talking", "--json", "--max-tokens", "3", "Hi"),
        ("--base-model", "talking", "--max-tokens", "3", "Hi"),
        ("--base-model", "talking", "--stop", "de", "Hi"),
        ("--adapter", "acme-talk@1", "--compare-base", "--json", "--max-tokens", "12", "Hi"),
        ("--model", "domain:staff", "--temperature", "4", "--top-k", "9", "--seed", "7", "Hi"),
        ("--base-model", "talking", "--max-tokens", "500", " ".join(["a"] * 490)),
        ("--base-model", "talking", "word " * 2000),
    ],
)
def test_the_answer_is_that_of_the_command_alone(
    ready: Running, asking: Asking, words: tuple[str, ...]
) -> None:
    before = len(routes(ready.project))
    served = asking(*words)
    asked = routes(ready.project)[before:]
    assert asked == [_ROUTES[0], *_ROUTES[1:] * (1 + ("--compare-base" in words))]
    alone = asking("--no-service", *words)
    assert len(routes(ready.project)) == before + len(asked)
    assert served[:2] == alone[:2]
    if served[0] == 0:
        assert served[2] == alone[2]
        assert ("the context is full" in served[2]) == ("500" in words)
    else:
        assert "the 512 of the context" in served[2]


def test_a_conversation_goes_on_and_is_recorded_with_its_domain(
    ready: Running, asking: Asking
) -> None:
    words = ("--chat", "--json", "--model", "domain:staff", "--max-tokens", "4", "Hello")
    before = {each.answer_id for each in read_samples(ready.project)}
    lines = "And then?\n/reset\nAgain\n"
    served = asking(*words, stdin=lines)
    assert served == asking("--no-service", *words, stdin=lines)
    assert [json.loads(line)["turn"] for line in served[1].splitlines()] == [1, 2, 1]
    kept = [each for each in read_samples(ready.project) if each.answer_id not in before]
    figures = Counter(
        (each.domain, each.model, each.prompt_tokens, each.output_tokens)
        for each in kept
        if each.kind == "answer"
    )
    assert {figure[:2] for figure in figures} == {("staff", "base:talking")}
    assert list(figures.values()) == [2, 2, 2]


def test_a_base_that_the_service_does_not_have_is_loaded_by_the_command(
    ready: Running, asking: Asking
) -> None:
    before = len(routes(ready.project))
    code, out, _ = asking("--base-model", "endless", "--max-tokens", "8", "Hi")
    assert code == 0 and out.startswith("abcdefgh")
    assert routes(ready.project)[before:] == [_ROUTES[0]]
    assert [each.name for each in ready.service.answerer.local_models.figures().bases] == [
        "talking"
    ]


def test_no_weights_are_looked_for_when_the_service_has_them(
    talking: Project, asking: Asking, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--base-model", "talking", "--offline", "Hi")
    with serving(talking) as running:
        load_base(running.service, "talking")
        monkeypatch.setenv("MODELS_CACHE", str(talking.root / "empty"))
        card = talking.base_card("talking")
        card.write_text(re.sub(r"path: /.*", "path: /nowhere/talking", card.read_text()))
        assert asking(*words)[:2] == (0, f"{answer}\n")
        assert asking("--no-service", *words)[0] != 0


def test_pieces_that_are_left_cancel_the_answer(talking: Project) -> None:
    with serving(talking) as running:
        load_base(running.service, "endless")
        service = RunningService(talking, "development")
        speaker = find_speaker(service, resolve_model(talking, "base:endless"))
        assert speaker is not None
        sampling = Sampling(max_new_tokens=16_000)
        reply = speaker.answer(speaker.dialogue(None), "Hi", sampling)
        assert next(reply.pieces)
        with pytest.raises(KeyboardInterrupt):
            reply.stream.interrupt()
        reply.pieces.close()
        assert reply.cut_off
    [row] = [row for row in export_audit(talking) if row.get("route") == _ROUTES[1]]
    assert row["status"] == 499


def test_no_more_is_reserved_than_the_answer_may_take(talking: Project, asking: Asking) -> None:
    path = talking.configs / "integration.yaml"
    costs = "  local_cost_per_hour: $0.60\n  budgets: {per_day: $0.05}\n"
    path.write_text(path.read_text() + costs)
    with serving(talking) as running:
        load_base(running.service, "talking")
        assert asking("--base-model", "talking", "--max-tokens", "3", "Hi")[0] == 0
        code, _, told = asking("--base-model", "talking", "--max-tokens", "400", "Hi")
    assert code == 4 and "it could cost $0.066" in told  # 400 s


@pytest.mark.parametrize("route", _ROUTES)
def test_only_the_socket_has_these_routes(ready: Running, route: str) -> None:
    connection = HTTPConnection(ready.url.removeprefix("http://"))
    method, path = route.split()
    connection.request(method, path, "{}", {"Authorization": f"Bearer {ready.key('acme')}"})
    assert connection.getresponse().status == 404
    connection.close()
