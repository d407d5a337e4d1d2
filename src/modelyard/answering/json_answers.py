"""Answers that must be JSON: whether one meets its schema, and how a model is asked to repair it.

References out of a schema are never followed: no answer is checked over a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from modelyard.chatdata.conversation import Message
from modelyard.core.errors import InvalidInput
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.pattern_search import SearchTooLong, is_found
from modelyard.core.wording import visible_line
from modelyard.secrets.detection import mask_tokens

if TYPE_CHECKING:
    from jsonschema import Draft7Validator

_MOST_NAMED = 3
_LONGEST_PROBLEM = 200
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*(?:json|JSON)?")
_TOO_DEEP = "it is nested too deeply"
_OWN = "urn:modelyard:schema"
"""The address of a schema, to which its references are relative."""


def json_text(text: str) -> str:
    """The JSON in an answer: without whitespace around it, and the one code fence around all."""
    stripped = text.strip()
    first, _, rest = stripped.partition("\n")
    opening = _FENCE.fullmatch(first.rstrip(" \t"))
    if opening is None or not rest.endswith(opening[1]):
        return stripped
    return rest.removesuffix(opening[1]).strip()


def problem(text: str, schema: Mapping[str, Any]) -> str | None:
    """What keeps an answer from being JSON that meets the schema; None when it does.

    A few of the problems, each with its place in the answer, in one line.
    """
    try:
        value = parse_json(json_text(text))
        json.dumps(value, allow_nan=False)
    except InvalidJson as error:
        return f"it {error.message}"
    except ValueError:
        return "it is not JSON: it holds NaN or an infinite number"
    except RecursionError:
        return _TOO_DEEP
    return _unmet(schema, value) if schema else None


def _unmet(schema: Mapping[str, Any], value: Any) -> str | None:
    from referencing.exceptions import Unresolvable

    try:
        return "; ".join(_problems(_validator(schema), value)) or None
    except RecursionError:
        return _TOO_DEEP
    except OverflowError:
        return "it holds a number that is too large"
    except (Unresolvable, ValueError) as error:
        return f"its schema cannot be used: {_short(str(error))}"
    except SearchTooLong as error:
        return f"it cannot be checked: {_short(error.message)}"


def check_schema(schema: Mapping[str, Any], *, where: str) -> None:
    """Raise InvalidInput for what no answer can be checked with; `where` names it.

    That is no JSON Schema, or one that refers to something outside of itself.
    """
    from jsonschema.exceptions import SchemaError

    validator = type(_validator(schema))
    try:
        validator.check_schema(dict(schema), format_checker=validator.FORMAT_CHECKER)
        outside = _outside_references(schema)
        if not outside:
            _follow_references(schema)
    except SchemaError as error:
        place = error.json_path.removeprefix("$").lstrip(".") or "the whole of it"
        raise InvalidInput(
            f"is no JSON Schema: {place}: {_short(error.message)}", where=where
        ) from error
    except RecursionError as error:
        raise InvalidInput(
            f"is no JSON Schema: {_TOO_DEEP}, or a part of it refers to itself", where=where
        ) from error
    if outside:
        raise InvalidInput(
            f"refers to {_short(outside[0])}, which is not in it",
            where=where,
            hint="write what it refers to under $defs; nothing is fetched",
        )
    keywords = {key for part in _parts(schema) for key in part}
    if keywords >= {"unevaluatedProperties", "patternProperties"}:
        raise InvalidInput(
            "has patternProperties and unevaluatedProperties, whose check has no bound in time",
            where=where,
            hint="write additionalProperties instead of unevaluatedProperties",
        )


def is_exact(schema: Mapping[str, Any]) -> bool:
    """Whether what is held to a schema while it is made meets it, and needs no check.

    Of `oneOf`, more than one may be met.
    """
    return all("oneOf" not in part for part in _parts(schema))


def repair_messages(
    messages: Sequence[Message], answer: str, problem: str, schema: Mapping[str, Any]
) -> tuple[Message, ...]:
    """The conversation with the answer and what is wrong with it, for a second try."""
    wanted = f" It must meet this JSON Schema:\n{json.dumps(schema)}" if schema else ""
    return (
        *messages,
        Message("assistant", answer.strip() or "(no text)"),
        Message(
            "user",
            f"This cannot be used: {problem}. Answer again with the corrected JSON value and "
            f"nothing else.{wanted}",
        ),
    )


def _validator(schema: Mapping[str, Any]) -> Draft7Validator:
    """What checks by the draft that the schema names, else by draft 7, as configs are checked."""
    from jsonschema import Draft7Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    found = validator_for(schema, default=Draft7Validator)
    return cast("type[Draft7Validator]", _bounded(found))(schema, registry=Registry())


@cache
def _bounded(validator: Any) -> Any:
    """The validator with searches for regular expressions that come to an end."""
    from jsonschema import validators

    extend: Any = validators.extend
    return extend(
        validator,
        {
            "pattern": _check_pattern,
            "patternProperties": _check_pattern_properties,
            "additionalProperties": _check_additional_properties,
        },
    )


def _check_pattern(validator: Any, pattern: str, value: Any, _: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if validator.is_type(value, "string") and not is_found(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _check_pattern_properties(
    validator: Any, schemas: Mapping[str, Any], value: Any, _: Any
) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, schema in schemas.items():
            for name, item in value.items():
                if is_found(pattern, name):
                    yield from validator.descend(item, schema, path=name, schema_path=pattern)


def _check_additional_properties(
    validator: Any, additional: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if not validator.is_type(value, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    more = [
        name
        for name in value
        if name not in known and not any(is_found(pattern, name) for pattern in patterns)
    ]
    if validator.is_type(additional, "object"):
        for name in more:
            yield from validator.descend(value[name], additional, path=name)
    elif not additional and more:
        names = ", ".join(map(repr, more))
        yield ValidationError(f"Additional properties are not allowed ({names} unexpected)")


def _problems(validator: Draft7Validator, value: Any) -> Iterator[str]:
    errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    for error in errors[:_MOST_NAMED]:
        yield f"{error.json_path}: {_short(error.message)}"
    if errors[_MOST_NAMED:]:
        yield f"and {len(errors) - _MOST_NAMED} more"


def _outside_references(schema: Mapping[str, Any]) -> list[str]:
    """What a schema refers to that it does not hold."""
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT7

    resource = Resource.from_contents(schema, default_specification=DRAFT7)
    resolver = Registry().with_resource(_OWN, resource).resolver(_OWN)
    outside = []
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            outside.append(reference)
    return outside


def _follow_references(schema: Mapping[str, Any]) -> None:
    """Check a value with each part that is referred to.

    Raises RecursionError where one leads to itself again without a step into the value, so that no
    value could be checked.
    """
    validator = _validator(schema)
    for reference in set(_references(schema)):
        validator.evolve(schema={"$ref": reference}).is_valid(None)


def _references(schema: Mapping[str, Any]) -> Iterator[str]:
    for part in _parts(schema):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every mapping in a schema, itself included."""
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _short(text: str) -> str:
    line = visible_line(mask_tokens(text))
    return line if len(line) <= _LONGEST_PROBLEM else f"{line[:_LONGEST_PROBLEM]}..."
