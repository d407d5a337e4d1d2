"""What a rendering proves: where each answer lies, that it has an end, and that no text is lost.

The text up to where the model begins an answer, and the text up to the answer's end, must both
begin the whole rendering. The end must be one at which the base stops. Does not know token ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.template import ChatTokenizer, TemplateRefused
from modelyard.chatdata.turn_texts import Change, Span, TurnText, TurnTexts

PARTS_HINT = (
    "it reads a text only as a list of parts, and rows hold plain text: let it render "
    "`message.content` itself where that is a string"
)
"""What to do when `ChatTemplate.reads_parts_only`."""

_NEXT_TURN = Message("user", "a")
_TAG = re.compile(r"<[^<>]*>")


class Unstable(Exception):
    """A rendering that does not begin the one with more turns; its text says how, and where."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint
        """What to do about it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a rendering must not be trained on, though its answers are found."""

    reason: str
    """What is wrong: the same for every row with this fault."""
    hint: str
    """What to do about it."""
    place: str
    """Where it is, such as `message 1 of train.jsonl:12`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """One conversation as the model reads it."""

    text: str
    """All of it, and the next role's marker where that is what ends the last answer."""
    answers: tuple[Span, ...]
    """Each trained answer, from where the model begins it to the end of its end-of-turn token."""
    changes: frozenset[Change]
    """What the template did to the turns' texts."""
    faults: tuple[Fault, ...]
    """What is wrong with it; empty when it is proven."""


class Prover:
    """Renders conversations with a base's chat template, and proves what the renderings hold."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._turn_texts = TurnTexts(tokenizer.render)

    def render(self, conversation: Conversation) -> Rendering:
        """Raises TemplateRefused, or Unstable when nothing proves where the answers lie."""
        if conversation.is_plain_text:
            text, start = self._tokenizer.render_plain_text(conversation.answer)
            return Rendering(
                text=text, answers=((start, len(text)),), changes=frozenset(), faults=()
            )
        messages, source = conversation.messages, conversation.source
        whole = text = self._tokenizer.render(messages)
        texts = self._turn_texts.locate(messages, whole)
        faults: list[Fault] = []
        answers: list[Span] = []
        for index, (message, own) in enumerate(zip(messages, texts, strict=True)):
            place = f"message {index + 1} of {source}"
            if not own.is_there and message.content.strip():
                faults.append(self._lost(message, own.change, place))
            if message.role == "assistant":
                span, text, wrong = self._answer(messages, index, whole, own, place)
                faults += wrong
                if message.trained:
                    answers.append(span)
        return Rendering(
            text=text,
            answers=tuple(answers),
            changes=frozenset(own.change for own in texts),
            faults=tuple(faults),
        )

    def _answer(
        self, messages: Sequence[Message], index: int, whole: str, own: TurnText, place: str
    ) -> tuple[Span, str, list[Fault]]:
        """An answer's span, the text that it is a span of, and what is wrong with it."""
        is_last = index + 1 == len(messages)
        prompt = self._tokenizer.render(messages[:index], add_generation_prompt=True)
        upto = whole if is_last else self._tokenizer.render(messages[: index + 1])
        if not upto.startswith(prompt):
            raise Unstable(
                f"the text before the answer changes ({place})",
                "give the base a template that begins an answered turn as its generation prompt "
                "does",
            )
        faults: list[Fault] = []
        if own.is_there:
            header = self._plain_text(whole[len(prompt) : own.span[0]])
            if header and prompt == self._tokenizer.render(messages[:index]):
                faults.append(_no_generation_prompt(header, place))

        text_end = max(len(prompt), own.span[1] if own.is_there else 0)
        answer = upto[: self._after_stop(upto, text_end)]
        text = whole
        if not answer:
            closing = upto[text_end:].rstrip()
            answer = upto[:text_end] + closing
            rest = self._after_text(messages, own) if is_last else whole[text_end:]
            next_turn = rest.removeprefix(closing) if rest.startswith(closing) else ""
            if marker := self._stop_at_start(next_turn):
                answer += marker
                text = answer if is_last else whole
            elif own.change is not Change.LEFT_OUT:
                answer = upto[: _turn_end(upto, self._tokenizer.special_texts)]
                faults.append(self._no_stop(answer, next_turn, place))
        if not text.startswith(answer):
            raise Unstable(
                f"the answer changes when turns follow ({place})",
                "give the base a template that renders a turn the same whatever follows it, or "
                "give each answer a row of its own",
            )
        return (len(prompt), len(answer)), text, faults

    def _after_stop(self, text: str, start: int) -> int:
        """The end of the first stop of the base in `text` from `start` on; 0 without one."""
        found = [
            (place, -len(stop))
            for stop in self._tokenizer.stop_texts
            if (place := text.find(stop, start)) >= 0
        ]
        place, length = min(found, default=(0, 0))
        return place - length

    def _after_text(self, messages: Sequence[Message], own: TurnText) -> str:
        """What follows the last answer's text when a user turn comes next; empty if unknown."""
        more = [*messages, _NEXT_TURN]
        try:
            rendered = self._tokenizer.render(more)
        except TemplateRefused:
            return ""
        found = self._turn_texts.locate(more, rendered)[-2]
        return rendered[found.span[1] :] if own.is_there and found.is_there else ""

    def _stop_at_start(self, text: str) -> str:
        """The stop with which `text` begins, with the whitespace before it; empty without one.

        It is the next role's marker in GLM-4, and in Qwen1.5 the end of turn, which its template
        renders only when a turn follows.
        """
        end = self._after_stop(text, 0)
        return text[:end] if text[:end].strip() in self._tokenizer.stop_texts else ""

    def _plain_text(self, text: str) -> str:
        """What remains of `text` without control tokens and tags: a role's name, for example."""
        for special in self._tokenizer.special_texts:
            text = text.replace(special, " ")
        return _TAG.sub(" ", text).strip()

    def _lost(self, message: Message, change: Change, place: str) -> Fault:
        if change is Change.REWRITTEN:
            return Fault(
                f"the chat template does not render the text of {message.role} turns as it is "
                "written",
                "give the base a template that renders `message.content` itself",
                place,
            )
        hint = (
            PARTS_HINT
            if self._tokenizer.template.reads_parts_only(message.role)
            else f"give the base a template that renders {message.role} turns, or put what they "
            "say into other turns"
        )
        return Fault(f"the chat template leaves out the text of {message.role} turns", hint, place)

    def _no_stop(self, answer: str, next_turn: str, place: str) -> Fault:
        tokenizer = self._tokenizer
        ending = _first(tokenizer.special_texts, answer.endswith)
        marker = _first(tokenizer.special_texts, next_turn.lstrip().startswith)
        what = "no token"
        if ending:
            what = ending
        elif marker:
            what = f"nothing but the {marker} of the next turn"
        stops = " or ".join(tokenizer.stop_texts)
        hints = [f"let the template end each answer with {stops}"] if stops else []
        if token := ending or marker:
            token_id = tokenizer.tokenizer.token_to_id(token)
            hints.append(
                f"if the base was trained to stop at {token}, add its id {token_id} to "
                "eos_token_id in its generation_config.json"
            )
        return Fault(
            f"the chat template ends an answer with {what}, and the base stops at "
            f"{stops or 'none'} ({tokenizer.stops_file}), so the model would learn answers "
            "without an end",
            "; or, ".join(hints),
            place,
        )


def _first(texts: Sequence[str], fits: Callable[[str], bool]) -> str:
    return next(filter(fits, texts), "")


def _no_generation_prompt(header: str, place: str) -> Fault:
    return Fault(
        f"the chat template has no generation prompt, so the model would learn {header!r} as the "
        "beginning of each answer",
        "let the template render what precedes an answer when `add_generation_prompt` is set",
        place,
    )


def no_stop_token(tokenizer: ChatTokenizer, source: str) -> Fault:
    """The text of a stop ends an answer, and the tokenizer makes other tokens of it."""
    return Fault(
        f"the end of an answer, {' or '.join(tokenizer.stop_texts)}, does not become the token at "
        "which the base stops",
        "mark it as a special token in the base's tokenizer.json",
        source,
    )


def _turn_end(text: str, special_texts: tuple[str, ...]) -> int:
    """The end of the last turn: after its end-of-turn token, whatever whitespace follows that."""
    trimmed = text.rstrip()
    return len(trimmed) if trimmed.endswith(special_texts) else len(text)
