"""`models ask`: an answer as the configs say, streamed, explained, or as a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from modelyard.cli.chat import Said, Show, chat, read_question
from modelyard.cli.options import Chat, Environment, Json, chosen_environment, work_in_project_of
from modelyard.cli.render import StreamPrinter, print_json, print_note, print_warning
from modelyard.cli.stdin import read_stdin
from modelyard.core.errors import InvalidInput, ModelyardError, ProblemsFound
from modelyard.core.layout import Project, find_project
from modelyard.core.os_errors import explain_os_error
from modelyard.core.wording import counted
from modelyard.settings.units import MONEY

if TYPE_CHECKING:
    from modelyard.answering.request import Answer, Attempt, GivenText, LeftOut, Request
    from modelyard.chatdata.conversation import Message
    from modelyard.deployments.effective_settings import Effective

_LARGEST_FILE_BYTES = 16_000_000
_SHOWN_TITLE = 60
_STDIN = "-"


def ask(
    question: Annotated[
        str | None,
        typer.Argument(
            help="What to ask; `-` reads it from stdin. With --chat: the first question, if any."
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            metavar="DOMAIN",
            help="The kind of work: its model, instructions and sources answer. Default: the "
            "primary model of the integration config.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Ask this one and no other: a language model, a base or an adapter, as "
            "docs/models.md says.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE", help="A performance profile instead of the one switched to."
        ),
    ] = None,
    org: Annotated[
        str | None,
        typer.Option("--org", metavar="ORG", help="The organisation that asks."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            metavar="USER",
            help="Who of them: decides the side of an A/B test, and is kept nowhere.",
        ),
    ] = None,
    environment: Environment = None,
    system: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Instructions after those of the domain."),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A text that the question is about; `-` is what comes on stdin. Repeatable.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The language of the question or the code, such as de or python."
        ),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON Schema that the answer must meet."),
    ] = None,
    chat_: Chat = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also say on stderr who answered, who did not and why, and what it took.",
        ),
    ] = False,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Print the answer when all of it is there.")
    ] = False,
    no_fallback: Annotated[
        bool, typer.Option("--no-fallback", help="When the first model fails, ask no other.")
    ] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Never give an answer that was kept from before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask the models of an environment, as its configs say.

    The answer goes to stdout, all else to stderr. Exit codes: 0 answered, also when no language
    model could and what search finds is quoted instead ("degraded": --no-fallback makes it a
    failure); 1 no answer, or one that broke off, or none that meets the schema; 4 a budget or a
    limit leaves no room; 5 the domain answers only from what it finds, and found nothing.

    \b
    models ask "How do I roll back an adapter?"
    models ask --domain code_analysis --file src/app.py --explain "What can fail here?"
    git diff | models ask --domain code_analysis --file - "What can fail here?"
    models ask --domain code_analysis --env production - < question.txt
    """
    from modelyard.answering.asked_model import load_asked
    from modelyard.answering.request import Request
    from modelyard.chatdata.conversation import Message

    work_in_project_of([domain, profile])
    project = find_project()
    _refuse_stdin_twice(question, file or (), is_chat=chat_)
    given = read_question(question, command="models ask", is_chat=chat_)
    files = tuple(_read_file(path) for path in file or ())
    wanted = _read_schema(schema) if schema else None
    chosen = chosen_environment(project, environment)
    effective = load_asked(project, chosen, domain=domain, model=model, profile=profile)
    request = Request(
        messages=(Message("user", given or ""),),
        system=system,
        files=files,
        language=language,
        json_schema=wanted,
        organisation=org,
        user=user,
        use_fallback=not no_fallback,
        use_cache=not no_cache,
    )
    with _open_answerer(project, chosen, domain, model, profile) as answerer:
        talk = _Asking(answerer, effective, request, explain=explain)
        if chat_:
            chat(talk, first=given, as_json=as_json)
            return
        printer = StreamPrinter(silent=as_json)
        assert given is not None
        try:
            answer = talk.ask(given, None if no_stream or as_json else printer.show)
        except ModelyardError:
            if printer.shown:
                printer.end()
            raise
    if as_json:
        print_json(answer)
    else:
        if not printer.shown:
            printer.show(answer.text)
        printer.end()
    if explain or not as_json:
        for note in talk.notes_on(answer):
            print_note(note)


@contextmanager
def _open_answerer(
    project: Project,
    environment: str,
    domain: str | None,
    model: str | None,
    profile: str | None,
) -> Iterator[Answers]:
    """A service of this project that runs on this machine, else what answers in this process."""
    from modelyard.cli.service_client import RunningService

    service = RunningService(project, environment)
    if service.is_there:
        from modelyard.cli.ask_service import ServiceAnswerer

        yield ServiceAnswerer(service=service, domain=domain, model=model, profile=profile)
        return
    from modelyard.answering.answer import Answerer

    with Answerer(project, note=print_warning) as answerer:
        yield answerer


class Answers(Protocol):
    """What answers a request."""

    def answer(
        self, effective: Effective, request: Request, *, on_text: Show | None = None
    ) -> Answer:
        """The answer; see `answering.answer.Answerer`."""


class _Asking:
    """Questions to the models of an environment, one after the other (`cli.chat.Talk`)."""

    def __init__(
        self, answerer: Answers, effective: Effective, request: Request, *, explain: bool
    ) -> None:
        from modelyard.answering.request import AnswerFailed, NothingFound, OverLimit

        self.name = effective.domain or effective.model.name
        self.survived: tuple[type[ModelyardError], ...] = (AnswerFailed, OverLimit, NothingFound)
        self._answerer, self._effective, self._request = answerer, effective, request
        self._explain = explain
        self._said: list[Message] = []

    def ask(self, question: str, show: Show | None) -> Answer:
        """The answer to a question after all that was said before."""
        from modelyard.answering.request import AnswerFailed
        from modelyard.chatdata.conversation import Message

        turns = (*self._said, Message("user", question))
        request = replace(self._request, messages=turns)
        try:
            answer = self._answerer.answer(self._effective, request, on_text=show)
        except AnswerFailed as error:
            if self._explain:
                for line in explain_calls(error.attempts, error.left_out):
                    print_note(line)
            raise
        return answer

    def notes_on(self, answer: Answer) -> tuple[str, ...]:
        """What a person is told after an answer."""
        notes = explain_answer(answer) if self._explain else passed_over(answer)
        notes += answer.notes
        if answer.finish == "length":
            tokens = counted(answer.usage.output_tokens, "token") if answer.usage else "its length"
            notes.append(f"cut off after {tokens}: it may not be longer")
        return tuple(notes)

    def answer(self, question: str, show: Show) -> Said:
        answer = self.ask(question, show)
        return Said(text=answer.text, result=answer, notes=self.notes_on(answer))

    def interrupt(self) -> None:
        raise KeyboardInterrupt

    def add(self, question: str, answer: str) -> None:
        from modelyard.chatdata.conversation import Message

        self._said += [Message("user", question), Message("assistant", answer)]

    def reset(self) -> None:
        self._said.clear()


def passed_over(answer: Answer) -> list[str]:
    """That another model answered than the one that the configs name first, and why."""
    reasons = {skipped.model: skipped.reason for skipped in answer.left_out}
    reasons |= {attempt.model: attempt.reason for attempt in answer.attempts if attempt.reason}
    reasons.pop(answer.model, None)
    if answer.degraded or not reasons:
        return []  # the notes of one that is degraded say so
    said = "; ".join(f"{model}: {reason}" for model, reason in reasons.items())
    return [f"{answer.model} answered in place of {said}"]


def explain_answer(answer: Answer) -> list[str]:
    """Who answered, who did not and why, and what it took."""
    lines = explain_calls(answer.attempts, answer.left_out)
    how = "answered"
    if answer.from_cache:
        how = "answered before, from the answer cache"
    if answer.degraded:
        how = "quoted what was found: no language model answered"
    if answer.variant is not None:
        lines.append(f"variant {answer.variant} of an A/B test")
    lines.append(f"{answer.model}{'' if answer.degraded else f' ({answer.ref})'} {how}")
    if answer.samples > 1:
        lines.append(f"{answer.agreed} of {answer.samples} answers drawn agree")
    for chunk in answer.chunks:
        mark = "*" if chunk.is_named else " "
        title = f"  {chunk.title[:_SHOWN_TITLE]}" if chunk.title else ""
        lines.append(f" {mark}[{chunk.number}] {chunk.place}{title}")
    lines.append(" · ".join(_figures(answer)))
    lines.append(f"answer {answer.id}: `models feedback add --answer-id {answer.id} --rating good`")
    return lines


def explain_calls(attempts: tuple[Attempt, ...], left_out: tuple[LeftOut, ...]) -> list[str]:
    """Each model that was not asked, and each call, with the reason."""
    lines = [f"{skipped.model} not asked: {skipped.reason}" for skipped in left_out]
    for attempt in attempts:
        reason = f", {attempt.reason}" if attempt.reason else ""
        waited = f" after a wait of {attempt.waited_s:.1f} s" if attempt.waited_s >= 0.05 else ""
        lines.append(
            f"call of {attempt.model}: {attempt.outcome.replace('_', ' ')}{reason} "
            f"({attempt.latency_s:.2f} s{waited})"
        )
    return lines


def _figures(answer: Answer) -> list[str]:
    """Time, tokens and cost of an answer."""
    figures = [f"{answer.latency_s:.2f} s"]
    if answer.first_token_s is not None:
        figures.append(f"first token after {answer.first_token_s:.2f} s")
    if answer.load_s >= 0.05:
        figures.append(f"loaded in {answer.load_s:.1f} s before")
    if answer.waited_s >= 0.05:
        figures.append(f"waited {answer.waited_s:.1f} s")
    if answer.usage is None:
        figures.append("tokens unknown")
    else:
        about = "about " if answer.usage.is_estimated else ""
        cached = answer.usage.cached_input_tokens
        kept = f" ({cached:,} of them cached)" if cached else ""
        figures.append(
            f"{about}{counted(answer.usage.input_tokens, 'token')} in{kept}, "
            f"{answer.usage.output_tokens:,} out"
        )
    figures.append("cost unknown" if answer.cost_usd is None else MONEY.show(answer.cost_usd))
    return figures


def _refuse_stdin_twice(question: str | None, files: Sequence[Path], *, is_chat: bool) -> None:
    """Refuse `--file -` where something else reads stdin as well."""
    times = sum(str(path) == _STDIN for path in files)
    if times + (is_chat or question == _STDIN) > 1 and times:
        other = "--chat" if is_chat else "the question `-`" if times == 1 else "another --file -"
        raise InvalidInput(
            f"--file - and {other} both read stdin", hint="give the text as a file: --file PATH"
        )


def _read_file(path: Path) -> GivenText:
    """A text that is given with the question."""
    from modelyard.answering.request import GivenText

    if str(path) == _STDIN:
        text = read_stdin(_LARGEST_FILE_BYTES + 1)
        _refuse_too_large(len(text), "stdin")
        return GivenText(name="stdin", text=text)
    content = _read_bytes(path)
    try:
        return GivenText(name=str(path), text=content.decode())
    except UnicodeDecodeError as error:
        raise InvalidInput(
            "is not UTF-8 text", where=str(path), hint="give a text file, such as its text export"
        ) from error


def _read_schema(path: Path) -> Mapping[str, Any]:
    """The JSON Schema in a file, checked as one."""
    from modelyard.configs.checking.json_schema import check_json_schema
    from modelyard.core.json_reading import parse_json

    found = parse_json(_read_bytes(path), where=str(path))
    if not isinstance(found, dict):
        raise InvalidInput("does not hold a JSON object", where=str(path))
    if problems := [replace(wrong, where=str(path)) for wrong in check_json_schema(found, ())]:
        raise ProblemsFound("the file is no JSON Schema", problems)
    return found


def _read_bytes(path: Path) -> bytes:
    """What a file holds, or a pipe, as shells write `<(git diff)`."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise explain_os_error(error, path) or InvalidInput(
            f"cannot be read: {error.strerror}", where=str(path)
        ) from error
    _refuse_too_large(len(content), str(path))
    return content


def _refuse_too_large(size: int, where: str) -> None:
    if size > _LARGEST_FILE_BYTES:
        raise InvalidInput(
            f"is larger than {_LARGEST_FILE_BYTES // 1_000_000} MB, more than any model takes",
            where=where,
        )
