"""References to models: every form, what is refused, and that text and value are one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import InvalidInput
from modelyard.records.modelref import KIND_WORDS, ModelRef, version_number


@pytest.mark.parametrize(
    ("text", "kind", "name", "version"),
    [
        ("smollm2-135m-instruct", None, "smollm2-135m-instruct", None),
        ("gpt-4", None, "gpt-4", None),
        ("base:smollm2-135m-instruct", "base", "smollm2-135m-instruct", None),
        ("adapter:techcorp-demo", "adapter", "techcorp-demo", None),
        ("adapter:techcorp-demo@2", "adapter", "techcorp-demo", 2),
        ("Qwen/Qwen2.5-3B", "base", "Qwen/Qwen2.5-3B", None),
        ("base:Qwen/Qwen2.5-3B", "base", "Qwen/Qwen2.5-3B", None),
        ("techcorp-demo@2", "adapter", "techcorp-demo", 2),
        ("model:gpt-4", "model", "gpt-4", None),
        ("domain:code_analysis", "domain", "code_analysis", None),
        ("custom/lab_assistant", "custom", "lab_assistant", None),
    ],
)
def test_each_form_names_one_thing(
    text: str, kind: str | None, name: str, version: int | None
) -> None:
    found = ModelRef.parse(text)
    assert (found.kind, found.name, found.version) == (kind, name, version)
    assert ModelRef.parse(str(found)) == found


def test_a_version_is_written_in_the_short_form() -> None:
    assert str(ModelRef.parse("adapter:techcorp-demo@2")) == "techcorp-demo@2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not the name of a model"),
        ("a/b/c", "'a/b/c' is not the name of a model"),
        ("Qwen/Qwen2.5-3B@2", "only adapters have versions"),
        ("../models", "is not the name of a model"),
        ("base:../tiny", "is not a valid base model name"),
        ("custom/a/b", "is not a valid custom model name"),
        ("custom:lab", r"no kind of model \(did you mean 'custom/lab'\?\)"),
        ("adaptor:demo", r"'adaptor:' in .* is no kind of model \(did you mean 'adapter'\?\)"),
        ("base:tiny@2", "only adapters have versions"),
        ("demo@", "names no version"),
        ("demo@0", "names no version"),
        ("demo@01", "names no version"),
        ("demo@latest", "names no version"),
        ("demo@1@2", "names no version"),
        ("demo@9999999999", "names no version"),
        ("a\x1b[2J", r"'a\\x1b\[2J' is not the name of a model"),
    ],
)
def test_what_is_no_reference_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        ModelRef.parse(text)
    assert caught.value.hint


def test_where_one_kind_belongs_a_bare_name_is_of_it_and_others_are_refused() -> None:
    assert ModelRef.parse("demo", kind="adapter") == ModelRef("adapter", "demo")
    assert ModelRef.parse("base:tiny", kind="base") == ModelRef("base", "tiny")
    with pytest.raises(InvalidInput, match="'base:tiny' names a base model, where an adapter bel"):
        ModelRef.parse("base:tiny", kind="adapter")
    with pytest.raises(InvalidInput, match="'a/b' names a base model, where an adapter belongs"):
        ModelRef.parse("a/b", kind="adapter")
    with pytest.raises(InvalidInput, match="only adapters have versions"):
        ModelRef.parse("tiny@1", kind="base")


seeded = settings(database=None, derandomize=True, max_examples=200, deadline=None)
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)


@seeded
@given(
    st.one_of(
        st.builds(ModelRef, st.sampled_from([None, *KIND_WORDS]), names),
        st.builds(ModelRef, st.just("adapter"), names, st.integers(1, 999_999_999)),
    )
)
def test_text_and_value_are_one(reference: ModelRef) -> None:
    assert ModelRef.parse(str(reference)) == reference


@seeded
@given(st.text(max_size=30) | st.from_regex(r"[a-z]{0,8}[:/@]?[a-z0-9.]{0,8}@?[0-9]{0,11}"))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = ModelRef.parse(text)
    except InvalidInput:
        return
    assert ModelRef.parse(str(reference)) == reference


def test_numbers_of_versions_have_one_spelling() -> None:
    assert version_number("12") == 12
    assert [version_number(text) for text in ("", "0", "01", "1 ", "²", "-1", "1e3")] == [None] * 7
