"""Settings as frozen dataclasses: built from mappings, checked, explained by their own docstrings.

A settings class is `@dataclass(frozen=True, slots=True, kw_only=True)` with a docstring line under
each field. Types carry the rules: `Annotated[int, Range(1, 1024)]`, `Literal["cosine", ...]`,
`Annotated[float, DURATION]` (settings/units.py), `Annotated[str, Pattern(...)]`,
`Annotated[str, Reference("language_models")]`. Nested settings classes are nested mappings, and
`Mapping[str, int]` is one with free keys. The same words serve help, schema and docs.

`marks.py` has the marks, `fields.py` reads a class, `build.py` makes one of its objects from a
mapping, with the functions that `converters.py` compiles once for each class. `yaml_files.py` reads
and writes YAML, and `cards.py` Markdown with YAML front matter.
"""
