"""Whether a version is what was registered, safe to load, and fits its base: all that is wrong.

Reads bytes and headers, loads no model and needs no torch. `check.py` asks the same of a folder and
stops at the first kind of fault; here every fault is listed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelyard.adapters.check import require_fit, require_safe_files, require_same_base
from modelyard.adapters.manifest import require_intact
from modelyard.adapters.versions import AdapterVersion, active_number, version_numbers
from modelyard.core.errors import Diagnostic, ModelyardError
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase

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


def verify_version(
    project: Project, version: AdapterVersion, base: LocalBase | None
) -> list[Diagnostic]:
    """Everything that is wrong with a version; an empty list when it is fit for use.

    Its files are the manifest's, byte for byte, and no others; there are no pickles and no links;
    `base` is the one it was trained on; every key and shape is one of the base's, and not every
    lora_B is zero; tokenizer and chat template are those it was trained with. Without `base`, what
    needs it is not asked.
    """
    folder, manifest = version.path, version.manifest
    checks: list[Callable[[], None]] = [
        lambda: require_safe_files(folder),
        lambda: require_intact(folder, manifest),
        lambda: _require_template(folder, manifest.template_hash),
    ]
    if base is not None:
        checks += [
            lambda: require_same_base(folder, manifest, base),
            lambda: require_fit(folder, base),
            lambda: require_base_tokenizer(folder, base.path),
        ]
    found: list[Diagnostic] = []
    try:
        require_safe_files(folder)
    except ModelyardError as error:
        if any(path.is_symlink() or not path.exists() for path in folder.rglob("*")):
            return _problems(error, folder, project)  # what a link leads to is not opened
    for check in checks:
        try:
            check()
        except ModelyardError as error:
            found += _problems(error, folder, project)
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            found.append(
                Diagnostic(message=message, where=_inside(error.filename, folder, project))
            )
    return list({(one.where, one.message): one for one in found}.values())


def verify_pointer(project: Project, adapter: str) -> list[Diagnostic]:
    """What is wrong with the link in models/trained/: it leads elsewhere, or to what is gone."""
    try:
        number = active_number(project, adapter)
    except ModelyardError as error:
        return [Diagnostic(message=error.message, where=error.where, hint=error.hint)]
    if number is None or number in version_numbers(project, adapter):
        return []
    return [
        Diagnostic(
            message=f"leads to {adapter}@{number}, whose files are gone",
            where=project.show(project.trained_link(adapter)),
            hint="restore them, or promote a version that is whole",
        )
    ]


def _problems(error: ModelyardError, folder: Path, project: Project) -> list[Diagnostic]:
    """An error as the problems it sums up, or as one, its place named within the version."""
    if error.problems:
        return list(error.problems)
    where = _inside(error.where, folder, project)
    return [Diagnostic(message=error.message, where=where, hint=error.hint)]


def _inside(where: Any, folder: Path, project: Project) -> str | None:
    if where is None or Path(str(where)) == folder:
        return None
    path = Path(str(where))
    return path.name if path.parent == folder else project.show(path)


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
    inside = _load_object(folder / TOKENIZER_CONFIG_NAME).get("chat_template")
    if isinstance(inside, list):
        named = [one for one in inside if isinstance(one, dict) and one.get("name") == "default"]
        inside = named[0].get("template") if named else None
    return inside if isinstance(inside, str) else None


def _require_template(folder: Path, trained_with: str) -> None:
    found = template_hash(folder)
    if found is None:
        raise ModelyardError("has no chat template", where=str(folder))
    if found != trained_with:
        raise ModelyardError("is not the chat template it was trained with", where=TEMPLATE_NAME)


def require_base_tokenizer(folder: Path, base: Path) -> None:
    """Return if the tokenizer in `folder` gives the ids that the weights in `base` mean.

    The files may differ in form. Raises ModelyardError with the first token that differs.
    """
    for name in (TOKENIZER_NAME, TOKENIZER_CONFIG_NAME):
        if not (folder / name).is_file():
            raise ModelyardError("is missing", where=name)
    if (folder / TOKENIZER_NAME).read_bytes() == (base / TOKENIZER_NAME).read_bytes():
        return
    own, wanted = (_token_ids(place / TOKENIZER_NAME) for place in (folder, base))
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
    values = _load_object(path)
    try:
        vocabulary = values["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: pairs of a token and its score
            vocabulary = {pair[0]: place for place, pair in enumerate(vocabulary)}
        added = {one["content"]: one["id"] for one in values.get("added_tokens") or ()}
        return {**vocabulary, **added}
    except (KeyError, TypeError, IndexError) as error:
        raise ModelyardError("is not a tokenizer", where=str(path)) from error


def _load_object(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelyardError("is not JSON", where=str(path)) from error
    if not isinstance(values, dict):
        raise ModelyardError("does not hold a JSON object", where=str(path))
    return values
