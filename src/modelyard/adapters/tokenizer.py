"""The tokenizer and chat template of an adapter: their files, and whether they fit its base.

Reads the files as JSON and text; loads no tokenizer.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import read_json_object

TOKENIZER_NAME = "tokenizer.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
TEMPLATE_NAME = "chat_template.jinja"
TOKENIZER_FILES = (
    TOKENIZER_NAME,
    TOKENIZER_CONFIG_NAME,
    TEMPLATE_NAME,
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)
"""What transformers may read of a tokenizer and its chat template."""


def template_hash(folder: Path) -> str | None:
    """`sha256:<hex>` of the chat template in `folder`, None when there is none.

    The text is that of chat_template.jinja, else of tokenizer_config.json, as transformers picks.
    Raises ModelyardError when a file is not readable text.
    """
    text = _template_text(folder)
    return None if text is None else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _template_text(folder: Path) -> str | None:
    path = folder / TEMPLATE_NAME
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ModelyardError("is not UTF-8 text", where=str(path)) from error
    if not (folder / TOKENIZER_CONFIG_NAME).is_file():
        return None
    inside = read_json_object(folder / TOKENIZER_CONFIG_NAME).get("chat_template")
    if isinstance(inside, list):
        named = {entry.get("name"): entry for entry in inside if isinstance(entry, dict)}
        inside = named.get("default", {}).get("template")
    return inside if isinstance(inside, str) else None


def require_template(folder: Path, trained_with: str) -> None:
    """Raise ModelyardError unless the chat template in `folder` has the hash `trained_with`."""
    found = template_hash(folder)
    if found is None:
        raise ModelyardError("has no chat template", where=str(folder))
    if found != trained_with:
        raise ModelyardError("is not the chat template it was trained with", where=TEMPLATE_NAME)


def require_base_tokenizer(folder: Path, base: Path) -> None:
    """Check that the tokenizer in `folder` gives every token the id that it has in `base`.

    The files may differ in form. Raises ModelyardError with the first token that differs, and when
    a file is missing or damaged.
    """
    for name in (TOKENIZER_NAME, TOKENIZER_CONFIG_NAME):
        if not (folder / name).is_file():
            raise ModelyardError("is missing", where=name)
    for name in TOKENIZER_FILES:
        if name.endswith(".json") and name != TOKENIZER_NAME and (folder / name).is_file():
            read_json_object(folder / name)
    if (folder / TOKENIZER_NAME).read_bytes() == (base / TOKENIZER_NAME).read_bytes():
        return
    own, wanted = (_token_ids(home / TOKENIZER_NAME) for home in (folder, base))
    for token in sorted(wanted.keys() | own.keys()):
        if token in wanted and own.get(token) != wanted[token]:
            raise ModelyardError(
                f"gives the token {token!r} the id {own.get(token)}, the base {wanted[token]}",
                where=TOKENIZER_NAME,
            )
    if added := sorted(own.keys() - wanted.keys()):
        names = ", ".join(repr(token) for token in added[:3])
        raise ModelyardError(
            f"has tokens that the base does not know: {names}", where=TOKENIZER_NAME
        )


def _token_ids(path: Path) -> dict[str, int]:
    """Every token of a tokenizer.json with its id."""
    values = read_json_object(path)
    try:
        vocabulary = values["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: pairs of a token and its score
            vocabulary = {pair[0]: index for index, pair in enumerate(vocabulary)}
        return {
            **vocabulary,
            **{token["content"]: token["id"] for token in values.get("added_tokens") or ()},
        }
    except (KeyError, TypeError, IndexError) as error:
        raise ModelyardError("is not a tokenizer", where=str(path)) from error
