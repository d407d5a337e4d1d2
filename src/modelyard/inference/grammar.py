"""Answers that are JSON of a schema from their first token to their last: llguidance's masks.

A schema becomes a grammar over the bytes of the text, and that a set of tokens that may be next:
some 15 microseconds a token with a vocabulary of 49,152. What llguidance does not know of a schema
is refused, and not left out.
Source: https://github.com/guidance-ai/llguidance, docs/json_schema.md and docs/syntax.md.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from modelyard.chatdata.template import ChatTokenizer
from modelyard.core.errors import InvalidInput, ModelyardError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_KEPT = 8
_OPTIONS: Any = {
    "coerce_one_of": True,  # as anyOf: the answer is checked by the schema itself, too
    "whitespace_pattern": r"\n?[ \t]{0,16}",  # without a bound, small models write nothing else
}


class UnsupportedForm(InvalidInput):
    """A schema or a grammar has something that no answer can be held to token by token."""


class FormFailed(ModelyardError):
    """A form turned out too large to hold an answer to, after the answer had begun."""


class Grammars:
    """Grammars over the vocabularies of a few tokenizers; threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._vocabularies: OrderedDict[int, tuple[ChatTokenizer, LLTokenizer]] = OrderedDict()

    def json(self, schema: Mapping[str, Any], tokenizer: ChatTokenizer) -> GrammarConstraint:
        """What holds one answer to a schema; an empty one stands for any JSON.

        Raises UnsupportedForm.
        """
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_OPTIONS)
        return self._constraint(grammar, tokenizer, "the JSON Schema")

    def around_json(
        self, before: str, schema: Mapping[str, Any], after: str, tokenizer: ChatTokenizer
    ) -> GrammarConstraint:
        """What holds one answer to a text, JSON of a schema, and another text.

        A text that is a control token is that token. Raises UnsupportedForm.
        """
        from llguidance import LLMatcher

        form = json.dumps({**schema, "x-guidance": _OPTIONS})
        parts = [_literal(before, tokenizer), "form", _literal(after, tokenizer)]
        lark = f"start: {' '.join(filter(None, parts))}\nform: %json {form}\n"
        return self._constraint(LLMatcher.grammar_from_lark(lark), tokenizer, "tools")

    def _constraint(self, grammar: str, tokenizer: ChatTokenizer, what: str) -> GrammarConstraint:
        from llguidance import LLMatcher

        matcher = LLMatcher(self._vocabulary(tokenizer), grammar, log_level=0)
        if matcher.is_error():
            reason = " ".join(matcher.get_error().split())[:200]
            raise UnsupportedForm(
                f"cannot be kept to while an answer is computed: {reason}",
                where=what,
                hint="leave it out of the schema",
            )
        return GrammarConstraint(matcher)

    def _vocabulary(self, tokenizer: ChatTokenizer) -> LLTokenizer:
        """The tokenizer as llguidance takes it: a quarter of a second, once."""
        from llguidance import LLTokenizer

        with self._lock:
            found = self._vocabularies.pop(id(tokenizer), None)
            if found is None:
                made = LLTokenizer(
                    tokenizer.tokenizer.to_str(), eos_token=sorted(tokenizer.eos_ids)
                )
                found = tokenizer, made
            self._vocabularies[id(tokenizer)] = found
            if len(self._vocabularies) > _KEPT:
                self._vocabularies.popitem(last=False)
        return found[1]


class GrammarConstraint:
    """How far one answer has come in its grammar: a `Constraint` of the scheduler."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def allowed(self) -> Tensor:
        """Which tokens may be next: bool [n]."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little").view(np.bool_)
        self._require_valid()
        return torch.from_numpy(allowed)

    def advance(self, token: int) -> None:
        """Go on by a token that was chosen."""
        self._matcher.consume_token(token)
        self._require_valid()

    def _require_valid(self) -> None:
        if self._matcher.is_error():
            said, _, _ = self._matcher.get_error().partition("<state>")  # then: the answer so far
            reason = " ".join(said.split())[:200]
            raise FormFailed(
                f"the form of the answer cannot be kept to: {reason}",
                hint="let its repetitions and patterns allow less",
            )


def _literal(text: str, tokenizer: ChatTokenizer) -> str:
    """A text in llguidance's dialect of Lark: what of it is a control token, by its id."""
    control = next(
        (each for each in tokenizer.special_texts if each and text.startswith(each)), None
    )
    if control is None:
        return json.dumps(text) if text else ""
    rest = text.removeprefix(control)
    number = tokenizer.tokenizer.token_to_id(control)
    return f"<[{number}]> {json.dumps(rest)}" if rest else f"<[{number}]>"
