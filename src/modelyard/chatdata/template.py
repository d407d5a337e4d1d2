"""Chat templates and tokenizers, without torch: the same text and ids that transformers gives.

Owns where a base's folder keeps its template, special tokens and end-of-turn tokens. Does not know
datasets or masks.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
from tokenizers import Tokenizer

from modelyard.chatdata.conversation import Conversation, Message, message_dicts
from modelyard.chatdata.longest_token import LeastTokens, least_tokens_by
from modelyard.core.errors import InvalidInput
from modelyard.core.json_reading import read_json_object

_PROBE = (Message("user", "a"), Message("assistant", "b"))


TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("chat_template.jinja", "generation_config.json", "config.json"),
)
"""The files of a folder that decide what `ChatTokenizer.load` gives."""


class TemplateRefused(InvalidInput):
    """The chat template does not accept a conversation (Gemma's refuses a system turn)."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`, with which templates mark answers for transformers: renders its body."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers defines it; Jinja's own `tojson` escapes HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _sandbox() -> jinja2.Environment:
    """As transformers/utils/chat_template_utils.py makes it; templates are untrusted code."""
    sandbox = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    sandbox.filters["tojson"] = _tojson
    sandbox.globals.update(
        raise_exception=_raise_exception,
        strftime_now=lambda form: datetime.now().strftime(form),
    )
    return sandbox


_FAILURES = (
    *(TypeError, ValueError, LookupError, AttributeError),
    *(ArithmeticError, RecursionError, MemoryError),
)
"""What a template may run into, beside the errors of Jinja."""


class ChatTemplate:
    """A Jinja chat template; `name` is its name in errors, such as `tiny/chat_template.jinja`."""

    def __init__(self, text: str, *, name: str, special_tokens: Mapping[str, Any]) -> None:
        self.text = text
        self.name = name
        self._special_tokens = dict(special_tokens)
        self._tools: list[Any] | None = None
        self._variables: dict[str, Any] = {}
        try:
            self._template = _sandbox().from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise InvalidInput(
                f"the chat template is not valid Jinja: {error.message}",
                where=f"{name}:{error.lineno}",
            ) from error
        except _FAILURES as error:  # what is constant in it is computed while it is compiled
            raise InvalidInput(
                f"the chat template fails: {str(error) or type(error).__name__}", where=name
            ) from error

    @property
    def variable_names(self) -> frozenset[str]:
        """Every variable that the template reads and does not set itself."""
        return frozenset(jinja2.meta.find_undeclared_variables(_sandbox().parse(self.text)))

    def bound_to(self, tools: Sequence[Any], variables: Mapping[str, Any]) -> ChatTemplate:
        """The same template, rendering with these tools and variables."""
        bound = copy.copy(self)
        bound._tools, bound._variables = list(tools) or None, dict(variables)
        return bound

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The conversation as the model reads it. Raises TemplateRefused."""
        return self._render(message_dicts(messages), add_generation_prompt)

    def reads_parts_only(self, role: str) -> bool:
        """Whether it renders a text that is a list of parts, and leaves out the same as a string.

        Vision models have such templates: `[{"type": "text", "text": ...}]`.
        """
        text = "\ue000"
        turns: list[list[dict[str, Any]]] = [
            [{"role": role, "content": content}]
            for content in (text, [{"type": "text", "text": text}])
        ]
        plain, parts = (self._holds(text, turn) for turn in turns)
        return parts and not plain

    def _holds(self, text: str, messages: list[dict[str, Any]]) -> bool:
        try:
            return text in self._render(messages, False)
        except TemplateRefused:
            return False

    def _render(self, messages: list[dict[str, Any]], add_generation_prompt: bool) -> str:
        try:
            return self._template.render(
                messages=messages,
                tools=self._tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **{**self._special_tokens, **self._variables},
            )
        except jinja2.TemplateError as error:
            raise TemplateRefused(
                f"the chat template refuses this conversation: {error.message or error}",
                where=self.name,
            ) from error
        except _FAILURES as error:
            reason = str(error) or type(error).__name__
            raise TemplateRefused(
                f"the chat template fails on this conversation: {reason}", where=self.name
            ) from error


@dataclass(frozen=True)
class ChatTokenizer:
    """A base's tokenizer and chat template."""

    tokenizer: Tokenizer = field(repr=False)
    """The tokenizer of tokenizer.json, without padding or truncation."""
    template: ChatTemplate = field(repr=False)
    """The chat template."""
    eos_ids: frozenset[int]
    """Every token that ends an answer: the configured ones and the template's end of turn."""
    stop_ids: frozenset[int]
    """Those at which the base stops by its own settings, whatever the template says."""
    stops_file: str
    """The file that names `stop_ids`, such as `tiny/generation_config.json`."""
    pad_id: int
    """The token that fills rows of a batch; it is always masked."""
    special_texts: tuple[str, ...] = field(repr=False)
    """The texts of all control tokens, such as `<|im_end|>`."""
    eos_text: str = ""
    """The text of the end-of-sequence token, which ends a text without turns; empty for none."""

    @classmethod
    def load(cls, folder: Path) -> ChatTokenizer:
        """Read tokenizer.json, tokenizer_config.json and the chat template of a base's folder.

        Raises InvalidInput when one is missing or damaged.
        """
        config = _load_json(folder / "tokenizer_config.json")
        special = _special_tokens(folder, config)
        template = _load_template(folder, config, special)
        path = folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise InvalidInput(f"cannot read the tokenizer: {error}", where=str(path)) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()

        added = tokenizer.get_added_tokens_decoder().values()
        special_texts = tuple(token.content for token in added if token.special)
        stop_ids, stops_file = _configured_eos_ids(folder)
        eos_id = tokenizer.token_to_id(special.get("eos_token", ""))
        if not stop_ids and eos_id is not None:
            stop_ids = [eos_id]
        turn_end_id = tokenizer.token_to_id(_end_of_turn(template, special_texts))
        eos_ids = {*stop_ids, *(token for token in (eos_id, turn_end_id) if token is not None)}
        if not eos_ids:
            raise InvalidInput(
                "names no token that ends an answer",
                where=str(folder / "tokenizer_config.json"),
                hint="set eos_token there, to the token that ends a turn in the chat template",
            )
        pad_id = tokenizer.token_to_id(special.get("pad_token", ""))
        if pad_id is None:
            pad_id = min(eos_ids)
        return cls(
            tokenizer=tokenizer,
            template=template,
            eos_ids=frozenset(eos_ids),
            stop_ids=frozenset(stop_ids),
            stops_file=f"{folder.name}/{stops_file}",
            pad_id=pad_id,
            special_texts=special_texts,
            eos_text=special.get("eos_token", ""),
        )

    @cached_property
    def stop_texts(self) -> tuple[str, ...]:
        """The texts of `stop_ids`."""
        texts = (self.decode([token], skip_special_tokens=False) for token in sorted(self.stop_ids))
        return tuple(text for text in texts if text.strip())

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The control tokens, which have no text in an answer."""
        added = self.tokenizer.get_added_tokens_decoder()
        return frozenset(token for token, entry in added.items() if entry.special)

    @property
    def template_hash(self) -> str:
        """The SHA-256 of the chat template's text."""
        return f"sha256:{hashlib.sha256(self.template.text.encode()).hexdigest()}"

    def bound_to(self, conversation: Conversation) -> ChatTokenizer:
        """The same, rendering with the row's tools and what it gives to the template."""
        tools, variables = conversation.tools, conversation.template_variables
        if not tools and not variables:
            return self
        return replace(self, template=self.template.bound_to(tools, variables))

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The conversation as the model reads it."""
        return self.template.render(messages, add_generation_prompt=add_generation_prompt)

    def render_plain_text(self, text: str) -> tuple[str, int]:
        """A text without turns as the model reads it, and where in it the text itself begins.

        It gets the token that this tokenizer puts before a text, and its end-of-sequence token.
        """
        plain, marked = (
            self.tokenizer.encode("a", add_special_tokens=add) for add in (False, True)
        )
        before = marked.tokens.index(plain.tokens[0]) if plain.tokens else 0
        begin = self.decode(marked.ids[:before], skip_special_tokens=False)
        return f"{begin}{text}{self.eos_text}", len(begin)

    def encode(self, text: str) -> list[int]:
        """Token ids of a rendered text; control tokens in it count, none are added."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def least_tokens(self, text: str) -> int:
        """Tokens that a text has at least, known without counting them; 0 where they are not."""
        least = self._least_tokens
        return 0 if least is None else least(text)

    @cached_property
    def _least_tokens(self) -> LeastTokens | None:
        return least_tokens_by(self.tokenizer)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, up to where the assistant's answer begins."""
        return self.encode(self.render(messages, add_generation_prompt=True))

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids, by default without control tokens."""
        tokens = [int(token) for token in ids]
        return str(self.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens))


def _load_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    if optional and not path.is_file():
        return {}
    return read_json_object(path)


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token`, `eos_token` and the other special tokens that templates use by name."""
    named = {**_load_json(folder / "special_tokens_map.json", optional=True), **config}
    texts = {
        key: value.get("content") if isinstance(value, dict) else value
        for key, value in named.items()
        if key.endswith("_token")
    }
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _load_template(
    folder: Path, config: Mapping[str, Any], special: Mapping[str, str]
) -> ChatTemplate:
    path = folder / "chat_template.jinja"
    text: Any
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"cannot read: {error}", where=str(path)) from error
    else:
        path = folder / "tokenizer_config.json"
        text = config.get("chat_template")
        if isinstance(text, list):
            named = {entry.get("name"): entry for entry in text if isinstance(entry, dict)}
            text = named.get("default", {}).get("template")
        if not isinstance(text, str):
            raise InvalidInput(
                "has no chat template",
                where=str(folder),
                hint="use an instruct model, or put a chat_template.jinja into that folder",
            )
    return ChatTemplate(text, name=f"{folder.name}/{path.name}", special_tokens=special)


def _configured_eos_ids(folder: Path) -> tuple[list[int], str]:
    """The tokens at which transformers lets the base stop, and the file that names them."""
    for name in ("generation_config.json", "config.json"):
        found = _load_json(folder / name, optional=True).get("eos_token_id")
        if found is None:
            continue
        ids = found if isinstance(found, list) else [found]
        if any(type(token) is not int for token in ids):
            raise InvalidInput(
                f"eos_token_id must be a token id or a list of them, and is {found!r}",
                where=str(folder / name),
            )
        return ids, name
    return [], "tokenizer_config.json"


def _end_of_turn(template: ChatTemplate, special_texts: tuple[str, ...]) -> str:
    """The control token with which the template ends an answer, else an empty text."""
    try:
        rendered = template.render(_PROBE).rstrip()
    except TemplateRefused:
        return ""
    return next((text for text in special_texts if rendered.endswith(text)), "")
