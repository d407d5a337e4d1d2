"""`models generate`: one answer from a base or an adapter, streamed to the terminal."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Json, Offline
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

if TYPE_CHECKING:
    from modelyard.adapters.versions import AdapterVersion

_LONGEST_PROMPT = 1_000_000


def generate(
    prompt: Annotated[str, typer.Argument(help="What to ask; `-` reads it from stdin.")],
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
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of a varied answer.")] = 0,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Answer one prompt with an adapter or a base model."""

    project = find_project()
    question = _read_prompt(prompt)
    version = _chosen_version(project, adapter, base_model, compare_base)
    if version is not None and base_model and base_model != version.manifest.base.name:
        raise InvalidInput(
            f"{version.name} was trained on {version.manifest.base.name}, not on {base_model}",
            hint="leave --base-model out: the version knows its base",
        )

    from modelyard.adapters.verify import check_adapter_files
    from modelyard.chatdata.conversation import Message
    from modelyard.weights.pull import require_base

    name = version.manifest.base.name if version else base_model or "smollm2-135m-instruct"
    with showing_progress() as progress:
        base = require_base(project, name, progress=progress, offline=offline)
    if version is not None:
        check_adapter_files(version.path, base)

    from modelyard.inference.engine import Engine
    from modelyard.inference.machine import probe_machine
    from modelyard.monitoring.recording import record_answer
    from modelyard.records.spool import Recorder

    machine, recorder, started = probe_machine(), Recorder(project), time.perf_counter()
    engine = Engine.load(base, version.path if version else None, machine=machine)
    load_s = time.perf_counter() - started
    turns = [Message("system", system)] if system else []
    ids = engine.tokenizer.encode_prompt([*turns, Message("user", question)])
    speakers = [(version.name, True)] if version else [(base.name, False)]
    if compare_base:
        speakers.insert(0, (base.name, False))
    answers = []
    for speaker, with_adapter in speakers:
        answer = engine.stream(
            ids,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            use_adapter=with_adapter,
        )
        pieces = record_answer(
            answer,
            recorder,
            model=version.name if version and with_adapter else f"base:{base.name}",
            adapter_digest=version.manifest.digest if version and with_adapter else None,
            prompt_tokens=len(ids),
            load_s=load_s,
        )
        load_s = 0.0
        with closing(pieces):
            if as_json:
                answers.append({"model": speaker, "answer": "".join(pieces).strip()})
                continue
            if compare_base:
                print_title(speaker)
            print_stream(pieces)
    recorder.close()
    if recorder.problem:
        print_warning(f"not in the records of answers: {recorder.problem}")
    if as_json:
        print_json({"prompt": question, "answers": answers})


def _read_prompt(prompt: str) -> str:
    text = prompt
    if prompt == "-":
        text = read_stdin(_LONGEST_PROMPT + 1, "the prompt is not UTF-8 text")
    if len(text) > _LONGEST_PROMPT:
        raise InvalidInput(f"the prompt is longer than {_LONGEST_PROMPT:,} characters")
    if not text.strip():
        raise InvalidInput("the prompt is empty", hint='models generate "Your question"')
    return text.strip()


def _chosen_version(
    project: Project, adapter: str | None, base_model: str | None, compare_base: bool
) -> AdapterVersion | None:
    from modelyard.adapters.versions import resolve_version

    if adapter is not None:
        return resolve_version(project, adapter)
    if compare_base:
        raise InvalidInput(
            "--compare-base compares with an adapter", hint="name one with --adapter"
        )
    if base_model is None:
        raise InvalidInput(
            "name a model to answer",
            hint="--adapter NAME for an adapter, --base-model NAME for a bare base",
        )
    return None
