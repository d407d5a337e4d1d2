"""Local models as providers: several threads at once, several adapters on one base, in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from answer_samples import make_effective
from answering_base import write_answering
from modelyard.adapters.import_ import import_adapter, plan_import
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import load_version
from modelyard.answering.local_models import LocalModels
from modelyard.answering.local_provider import share_of
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.configs.kinds.performance_profiles import Batching
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.effective_settings import EffectiveModel
from modelyard.inference.engine_limits import BatchShare, EngineLimits
from modelyard.providers.call import Call, CallFailure, Reply
from modelyard.weights.pull import BaseUnavailable, require_base

ANSWER = "abcdefgh"


def model(name: str = "talking", adapter: str | None = None) -> EffectiveModel:
    settings = LanguageModel(
        description="Here",
        provider="local",
        model=name,
        adapter=adapter,
        context_tokens=512,
        max_output_tokens=100,
    )
    return EffectiveModel(name="here", settings=settings)


def call(question: str = "Hi", **generation: object) -> Call:
    drawn = Generation(**{"max_output_tokens": 20, "temperature": 0.0, **generation})  # type: ignore[arg-type]
    return Call(messages=(Message("user", question),), generation=drawn)


@pytest.fixture
def talking(project: Project, tiny_base_folder: Path) -> Project:
    """With a base that says one thing to everything; both are available locally."""
    write_answering(project, tiny_base_folder, ANSWER, endless=False)
    for name in ("tiny", "talking"):
        require_base(project, name, progress=Silent())
    return project


@pytest.fixture
def local_models(talking: Project) -> Iterator[LocalModels]:
    with closing(LocalModels(talking)) as opened:
        yield opened


def test_an_answer_comes_in_pieces_with_its_tokens_counted(local_models: LocalModels) -> None:
    local = local_models.find(model(), "development")
    provider, load_s = local_models.open(local, "acme")
    assert load_s > 0
    pieces: list[str] = []
    reply = provider.send(call(), timeout_s=60, on_text=pieces.append)
    assert isinstance(reply, Reply)
    assert (reply.text, "".join(pieces), reply.finish) == (ANSWER, ANSWER, "stop")
    tokens = local_models.tokenizer(local).encode_prompt([Message("user", "Hi")])
    assert reply.usage.input_tokens == len(tokens)
    assert reply.usage.output_tokens > 1
    assert not reply.usage.is_estimated
    assert local_models.open(local, "other")[1] == 0


def test_the_longest_answer_and_stop_texts_are_kept_to(local_models: LocalModels) -> None:
    provider, _ = local_models.open(local_models.find(model(), "development"), None)
    cut = provider.send(call(max_output_tokens=1), timeout_s=60, on_text=None)
    assert isinstance(cut, Reply)
    assert (cut.finish, cut.usage.output_tokens) == ("length", 1)
    stopped = provider.send(call(stop=("de",)), timeout_s=60, on_text=None)
    assert isinstance(stopped, Reply)
    assert (stopped.text, stopped.finish) == ("abc", "stop")


def test_threads_are_answered_together(local_models: LocalModels) -> None:
    local = local_models.find(model(), "development")
    texts: list[str] = []

    def ask(number: int) -> None:
        provider, _ = local_models.open(local, f"org{number}")
        reply = provider.send(call(f"Question {number}"), timeout_s=60, on_text=None)
        texts.append(reply.text if isinstance(reply, Reply) else reply.reason)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [ANSWER] * 8


def test_answers_of_a_domain_are_computed_in_its_share_of_a_step(local_models: LocalModels) -> None:
    one = Batching(max_requests=1)
    share = share_of(make_effective(domain="staff", batching=one))
    assert share == BatchShare(of="staff", most=1)
    assert share_of(make_effective(domain="staff")) is None
    assert share_of(make_effective(domain=None, profile=None, batching=one)) is None
    local = local_models.find(model(), "development")
    running: list[int] = []

    def ask(number: int) -> None:
        provider, _ = local_models.open(local, f"org{number}", share)
        provider.send(call(), timeout_s=60, on_text=lambda _: running.append(now()))

    def now() -> int:
        (base,) = local_models.figures().bases
        return base.running

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(running) >= 4
    assert max(running) == 1


def test_a_prompt_that_leaves_no_room_is_too_long(local_models: LocalModels) -> None:
    provider, _ = local_models.open(local_models.find(model(), "development"), None)
    failure = provider.send(call("word " * 600), timeout_s=60, on_text=None)
    assert isinstance(failure, CallFailure)
    assert (failure.kind, failure.is_temporary) == ("too_long", False)
    assert failure.usage is not None
    assert failure.usage.input_tokens == 0


def test_an_answer_that_takes_too_long_is_ended(local_models: LocalModels) -> None:
    provider, _ = local_models.open(local_models.find(model("tiny"), "development"), None)
    failure = provider.send(call(max_output_tokens=400), timeout_s=0.05, on_text=None)
    assert isinstance(failure, CallFailure)
    assert failure.kind == "timeout"
    after = provider.send(call(max_output_tokens=3), timeout_s=60, on_text=None)
    assert isinstance(after, Reply)


def test_what_showing_a_piece_raises_ends_the_answer(local_models: LocalModels) -> None:
    provider, _ = local_models.open(local_models.find(model(), "development"), None)

    def nobody_reads(_: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        provider.send(call(), timeout_s=60, on_text=nobody_reads)


def test_adapters_share_one_base_in_memory(
    talking: Project, local_models: LocalModels, save_adapter: Callable[..., Path]
) -> None:
    base = require_base(talking, "tiny", progress=Silent())
    for name, modules in (("one", ["q_proj", "v_proj"]), ("two", ["o_proj", "up_proj"])):
        plan = plan_import(save_adapter(target_modules=modules), base)
        import_adapter(talking, name, plan)
    texts = []
    for adapter in (None, "one@1", "two@1", "one@1"):
        local = local_models.find(model("tiny", adapter), "development")
        provider, _ = local_models.open(local, None)
        reply = provider.send(call(), timeout_s=60, on_text=None)
        assert isinstance(reply, Reply)
        texts.append(reply.text)
    assert texts[1] == texts[3]
    assert len(set(texts)) == 3
    assert len(local_models._threads) == 1


def test_a_base_that_cannot_be_loaded_can_be_tried_again(
    talking: Project, local_models: LocalModels
) -> None:
    local = local_models.find(model(), "development")
    weights = local.base.path / "model.safetensors"
    intact = weights.read_bytes()
    weights.write_bytes(b"not weights")
    before = threading.active_count()
    with pytest.raises(ModelyardError, match="weights cannot be loaded"):
        local_models.open(local, None)
    assert threading.active_count() <= before + 1
    weights.write_bytes(intact)
    provider, _ = local_models.open(local, None)
    reply = provider.send(call(), timeout_s=60, on_text=None)
    assert isinstance(reply, Reply)
    local_models.close()
    failure = provider.send(call(), timeout_s=60, on_text=None)
    assert isinstance(failure, CallFailure)
    assert "closed" in failure.reason


def test_a_base_that_is_not_here_is_not_fetched(talking: Project) -> None:
    card = talking.base_card("tiny")
    text = card.read_text().replace("name: tiny", "name: far")
    far = talking.base_card("far")
    far.parent.mkdir()
    far.write_text(text.replace("kind: path", "kind: hub").replace("path: /", "repo: a"))
    with (
        closing(LocalModels(talking)) as models,
        pytest.raises((BaseUnavailable, InvalidInput)),
    ):
        models.find(model("far"), "development")


def test_a_replaced_version_goes_when_its_answers_have_ended(
    talking: Project, save_adapter: Callable[..., Path]
) -> None:
    base = require_base(talking, "tiny", progress=Silent())
    for modules in (["q_proj"], ["o_proj"], ["up_proj"]):
        version = import_adapter(
            talking, "one", plan_import(save_adapter(target_modules=modules), base), org="acme"
        )
    limits = EngineLimits(max_batch=4)
    texts = {}
    with closing(LocalModels(talking, limits=limits)) as models:
        for number in (1, 2, 3, 2):
            promote_version(talking, load_version(talking, "one", number))
            local = models.find(model("tiny", "one"), "development")
            provider, _ = models.open(local, "acme")
            ended: list[str] = []

            def move_on(piece: str, ended: list[str] = ended) -> None:
                """The next version is promoted and found while this one still answers."""
                if not ended:
                    promote_version(talking, load_version(talking, "one", 1))
                    models.find(model("tiny", "one"), "development")
                ended.append(piece)

            reply = provider.send(call(max_output_tokens=60), timeout_s=60, on_text=move_on)
            assert isinstance(reply, Reply)
            assert texts.setdefault(number, reply.text) == reply.text
        models.open(models.find(model("tiny", "one"), "development"), "acme")
        pinned, _ = models.open(models.find(model("tiny", "one@3"), "development"), "acme")
        assert isinstance(pinned.send(call(), timeout_s=60, on_text=None), Reply)
        (figures,) = models.figures().bases
    assert len(set(texts.values())) == 3
    named = {each.name: (each.organisation, each.digest) for each in figures.adapters}
    digests = [load_version(talking, "one", n).manifest.digest for n in (1, 3)]
    assert named == {"one@1": ("acme", digests[0]), "one@3": ("acme", digests[1])}
    assert len(models._checked) == len(models._active) == len(models._tokenizers) == 2
    assert (figures.running, figures.waiting, figures.name) == (0, 0, "tiny")
    assert figures.output_tokens > figures.loads > 3
    assert version.number == 3


def test_an_adapter_with_an_engine_of_its_own_gives_it_up_when_it_is_replaced(
    talking: Project, save_adapter: Callable[..., Path]
) -> None:
    base = require_base(talking, "tiny", progress=Silent())
    dora, plain = ({"use_dora": True}, {})
    for options in (dora, plain):
        folder = save_adapter(target_modules=["q_proj"], **options)
        import_adapter(talking, "one", plan_import(folder, base))
    with closing(LocalModels(talking)) as models:
        promote_version(talking, load_version(talking, "one", 1))
        provider, _ = models.open(models.find(model("tiny", "one"), "development"), None)
        assert len(models._threads) == 2  # that of the base, which does not compute it, and its own
        assert isinstance(provider.send(call(), timeout_s=60, on_text=None), Reply)
        own = provider._thread
        again, load_s = models.open(models.find(model("tiny", "one"), "development"), None)
        assert (again._thread, load_s) == (own, 0.0)
        promote_version(talking, load_version(talking, "one", 2))
        models.open(models.find(model("tiny", "one"), "development"), None)
        own._thread.join(30)
        assert not own._thread.is_alive()
        assert len(models._threads) == 1
