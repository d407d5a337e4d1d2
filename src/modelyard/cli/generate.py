"""`models generate`: one answer from a base or an adapter, streamed to the terminal."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, Json, Offline, chosen_environment
from modelyard.cli.render import (
    print_json,
    print_stream,
    print_title,
    print_warning,
    read_stdin,
    showing_progress,
)
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, find_project
from modelyard.records.modelref import ModelRef

if TYPE_CHECKING:
    from modelyard.modelrefs.resolving import ResolvedModel

_LONGEST_PROMPT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """What one model answered."""

    model: str
    """The base, or the version of an adapter."""
    answer: str
    """Its answer."""


@dataclass(frozen=True, kw_only=True)
class GenerateResult:
    """The answers to one prompt."""

    prompt: str
    """What was asked."""
    answers: tuple[ModelAnswer, ...]
    """The answer of each model that was asked."""


def generate(
    prompt: Annotated[str, typer.Argument(help="What to ask; `-` reads it from stdin.")],
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
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A system turn before the question.")
    ] = None,
    compare_base: Annotated[
        bool, typer.Option("--compare-base", help="Ask the bare base the same, before the adapter.")
    ] = False,
    max_new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Longest answer in tokens.")
    ] = 256,
    temperature: Annotated[
        float,
        typer.Option(
            metavar="T", min=0.0, max=5.0, help="0 takes the likeliest token; higher varies more."
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=2**31, help="Seed of a varied answer.")
    ] = 0,
    offline: Offline = False,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Answer one prompt with an adapter or a base model.

    Of a language model or a domain only the base and the adapter are used: what is sampled and how
    long the answer gets is what the options here say, and its instructions are not sent.

    \b
    models generate --adapter techcorp-demo@2 "Who is the CFO?"
    models generate --model domain:code_analysis --env production "Who is the CFO?"
    """
    from modelyard.chatdata.conversation import Message
    from modelyard.inference.sampling import Sampling
    from modelyard.modelrefs.local_model import LocalModel, require_model

    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    project = find_project()
    question = _read_prompt(prompt)
    chosen = _choose_model(project, model, adapter, base_model, environment)
    if compare_base and chosen.version is None:
        raise InvalidInput(
            "--compare-base compares with an adapter", hint="name one with --adapter"
        )
    with showing_progress() as progress:
        local = require_model(project, chosen, progress=progress, offline=offline)

    from modelyard.inference.open_model import open_model
    from modelyard.monitoring.recording import record_answer
    from modelyard.records.spool import Recorder

    recorder, started = Recorder(project), time.perf_counter()
    loaded = open_model(local, use_grid=True, note=print_warning)
    load_s = time.perf_counter() - started
    turns = [Message("system", system)] if system else []
    ids = loaded.tokenizer.encode_prompt([*turns, Message("user", question)])
    speakers = [(local, loaded)]
    if compare_base:
        speakers.insert(0, (LocalModel(base=local.base), loaded.without_adapter))
    answers = []
    for speaker, speaking in speakers:
        answer = speaking.stream(ids, sampling)
        pieces = record_answer(
            answer,
            recorder,
            model=str(speaker.ref),
            adapter_digest=speaker.version.manifest.digest if speaker.version else None,
            prompt_tokens=len(ids),
            load_s=load_s,
            domain=chosen.ref.name if chosen.ref.kind == "domain" else None,
            environment=chosen.environment,
            config_revision=chosen.config_revision,
        )
        load_s = 0.0
        with closing(pieces):
            if as_json:
                text = "".join(pieces).strip()
                answers.append(ModelAnswer(model=speaker.name, answer=text))
                continue
            if compare_base:
                print_title(speaker.name)
            print_stream(pieces)
    recorder.close()
    if recorder.problem:
        print_warning(f"not in the records of answers: {recorder.problem}")
    if as_json:
        print_json(GenerateResult(prompt=question, answers=tuple(answers)))


def _read_prompt(prompt: str) -> str:
    text = prompt
    if prompt == "-":
        text = read_stdin(_LONGEST_PROMPT + 1, "the prompt is not UTF-8 text")
    if len(text) > _LONGEST_PROMPT:
        raise InvalidInput(f"the prompt is longer than {_LONGEST_PROMPT:,} characters")
    if not text.strip():
        raise InvalidInput("the prompt is empty", hint='models generate "Your question"')
    return text.strip()


def _choose_model(
    project: Project,
    model: str | None,
    adapter: str | None,
    base_model: str | None,
    environment: str | None,
) -> ResolvedModel:
    """The model that --model, --adapter or --base-model names.

    Only configs differ between environments, but one that does not exist is never passed over.
    """
    from modelyard.modelrefs.resolving import require_trained_on, resolve_model
    from modelyard.weights.catalogue import find_base

    chosen = chosen_environment(project, environment)
    base = ModelRef("base", find_base(project, base_model).name) if base_model else None
    if model is not None:
        if adapter or base:
            raise InvalidInput(
                "--model names the whole model", hint="leave --adapter and --base-model out"
            )
        return resolve_model(project, model, environment=chosen)
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
