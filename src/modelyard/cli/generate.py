"""`models generate`: an answer from a base or an adapter, streamed, or a conversation with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from modelyard.cli.chat import chat, read_question
from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import Chat, Environment, Json, Offline, chosen_environment
from modelyard.cli.render import print_json, print_note, print_stream, print_title
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, find_project
from modelyard.inference.sampling import HOTTEST, LARGEST_SEED, Sampling
from modelyard.records.modelref import ModelRef

if TYPE_CHECKING:
    from modelyard.cli.speaker import Speaking
    from modelyard.modelrefs.resolving import ResolvedModel


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """What one model answered."""

    model: str
    """The base, or the version of an adapter."""
    answer: str
    """Its answer."""
    cut_off: bool
    """Whether it was cut off before the model ended it."""


@dataclass(frozen=True, kw_only=True)
class GenerateResult:
    """The answers to one prompt."""

    prompt: str
    """What was asked."""
    answers: tuple[ModelAnswer, ...]
    """The answer of each model that was asked."""


def generate(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="What to ask; `-` reads it from stdin. With --chat: the first question, if any."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="REF",
            help="The model that answers: a base, an adapter, a language model or a domain, as "
            "docs/models.md says.",
        ),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@VERSION]", help="The version that answers; without @, the active one."
        ),
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Ask this base without an adapter.")
    ] = None,
    chat_: Chat = False,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A system turn before the question.")
    ] = None,
    compare_base: Annotated[
        bool, typer.Option("--compare-base", help="Ask the bare base the same, before the adapter.")
    ] = False,
    max_tokens: Annotated[
        int,
        typer.Option(
            "--max-tokens", "--max-new-tokens", metavar="N", min=1, help="Longest answer in tokens."
        ),
    ] = 256,
    temperature: Annotated[
        float,
        typer.Option(
            metavar="T", min=0.0, max=HOTTEST, help="0 takes the likeliest token; higher varies."
        ),
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p",
            metavar="P",
            max=1.0,
            help="Vary only among the likeliest tokens that together have this probability.",
        ),
    ] = 1.0,
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k",
            metavar="N",
            min=0,
            help="Vary only among this many of the likeliest tokens; 0 is all.",
        ),
    ] = 0,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="End the answer before this text; \\n is a line end. Repeatable.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=LARGEST_SEED, help="Seed of a varied answer.")
    ] = 0,
    no_service: Annotated[
        bool,
        typer.Option("--no-service", help="Load the model here, also when a service has it."),
    ] = False,
    offline: Offline = False,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Answer a prompt with a model, or hold a conversation.

    Of a language model or a domain only the base and the adapter are used: what is sampled and how
    long the answer gets is what the options here say, and its instructions are not sent.

    A service of this project that runs here and has the base in memory answers; else the model is
    loaded here.

    With --chat, ^C stops an answer and ^D or /exit ends. When stdin is not a terminal, each of its
    lines is a question, the answers alone are printed, and --json gives one line for each.

    \b
    models generate --adapter techcorp-demo@2 "Who is the CFO?"
    models generate --adapter techcorp-demo --chat --temperature 0.7 --top-p 0.9
    models generate --model domain:code_analysis --env production "Who is the CFO?"
    """
    sampling = Sampling(
        max_new_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop=tuple(map(_read_stop, stop or ())),
        seed=seed,
    )
    project = find_project()
    question = read_question(prompt, command="models generate", is_chat=chat_)
    environment = chosen_environment(project, environment)
    chosen = _choose_model(project, model, adapter, base_model, environment)
    if compare_base and (chat_ or chosen.version is None):
        _refuse_comparison(chat_)
    served_in = None if no_service else environment
    with _open_speaker(project, chosen, served_in, offline=offline) as speaker:
        if chat_:
            from modelyard.cli.speaker import Conversation

            chat(Conversation(speaker, system, sampling), first=question, as_json=as_json)
        else:
            assert question is not None
            _answer_once(speaker, question, system, sampling, compare_base, as_json)


@contextmanager
def _open_speaker(
    project: Project, chosen: ResolvedModel, served_in: str | None, *, offline: bool
) -> Iterator[Speaking[Any]]:
    """The model in the service of an environment that has it in memory, else loaded here."""
    if served_in is not None:
        from modelyard.cli.generate_service import find_speaker
        from modelyard.cli.service_client import RunningService

        if served := find_speaker(RunningService(project, served_in), chosen):
            yield served
            return
    from modelyard.modelrefs.local_model import require_model

    with showing_progress() as progress:
        local = require_model(project, chosen, progress=progress, offline=offline)

    from modelyard.cli.speaker import open_speaker

    with open_speaker(project, chosen, local) as speaker:
        yield speaker


def _answer_once(
    speaker: Speaking[Any],
    question: str,
    system: str | None,
    sampling: Sampling,
    compare_base: bool,
    as_json: bool,
) -> None:
    answers = []
    for as_base in (True, False) if compare_base else (False,):
        reply = speaker.answer(speaker.dialogue(system), question, sampling, as_base=as_base)
        name = speaker.base_name if as_base else speaker.name
        with closing(reply.pieces) as pieces:
            if as_json:
                text = "".join(pieces).strip()
                answers.append(ModelAnswer(model=name, answer=text, cut_off=reply.cut_off))
                continue
            if compare_base:
                print_title(name)
            print_stream(pieces)
        for note in reply.notes:
            print_note(note)
    if as_json:
        print_json(GenerateResult(prompt=question, answers=tuple(answers)))


def _refuse_comparison(chat: bool) -> NoReturn:
    if chat:
        raise InvalidInput(
            "--compare-base compares the answers to one prompt", hint="leave --chat out"
        )
    raise InvalidInput("--compare-base compares with an adapter", hint="name one with --adapter")


def _read_stop(text: str) -> str:
    """A text that ends an answer, as the command line writes it."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _choose_model(
    project: Project,
    model: str | None,
    adapter: str | None,
    base_model: str | None,
    environment: str,
) -> ResolvedModel:
    """The model that --model, --adapter or --base-model names; configs are of the environment."""
    from modelyard.modelrefs.resolving import require_trained_on, resolve_model
    from modelyard.weights.catalogue import find_base

    base = ModelRef("base", find_base(project, base_model).name) if base_model else None
    if model is not None:
        if adapter or base:
            raise InvalidInput(
                "--model names the whole model", hint="leave --adapter and --base-model out"
            )
        return resolve_model(project, model, environment=environment)
    if adapter is not None:
        found = resolve_model(project, ModelRef.parse(adapter, kind="adapter"))
        if base and found.version:
            hint = "leave --base-model out: the version knows its base"
            require_trained_on(found.version, base.name, hint=hint)
        return found
    if base is None:
        raise InvalidInput(
            "name a model to answer",
            hint="--model REF, such as base:smollm2-135m-instruct, techcorp-demo@2 or "
            "domain:code_analysis",
        )
    return resolve_model(project, base)
