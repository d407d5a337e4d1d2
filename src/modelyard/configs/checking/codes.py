"""What each code of a finding means; SARIF reports and docs/configs.md say it."""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, str] = {
    # YAML
    "yaml-syntax": "The file is not YAML. The place is where the parser gave up.",
    "yaml-conflict": "A merge of git was not resolved: the file has both sides, and its marks.",
    "yaml-tab": "YAML is indented with spaces; a tab is no indentation.",
    "yaml-character": "A character that no YAML file can hold, or that nobody sees.",
    "yaml-duplicate-key": "A key is set twice. Readers of YAML silently keep the last one.",
    "yaml-comma": "In braces a comma ends a text, so that `{rows: 8,192}` has a key `192`. Write a "
    "number without commas, and a text that has one in quotes.",
    "yaml-key": "A key is a list or a mapping; settings have plain names.",
    "yaml-typing-trap": "A plain word that readers of YAML take for different things, such as "
    "`no`, `12:30` or `010`. Put it in quotes, or write the value that is meant.",
    "yaml-tag": "A tag such as `!!python/name`; tags are not supported.",
    "yaml-unknown-alias": "An alias names an anchor that is not set above it.",
    "yaml-recursive-alias": "An alias stands inside the value that it names.",
    "yaml-merge": "A merge key (`<<`) takes a mapping, or a list of mappings.",
    "yaml-second-document": "A file holds one config; a second document would be ignored.",
    "yaml-too-deep": "Values are nested deeper than any config is.",
    "yaml-too-large": "The file, or what its aliases unfold to, is larger than any config is.",
    "yaml-too-many-problems": "There are so many problems that reading stopped.",
    "yaml-unreadable": "The file cannot be read.",
    "yaml-not-utf8": "The file is not UTF-8 text, such as the UTF-16 of PowerShell.",
    "yaml-unused-anchor": "An anchor is set and never used; mostly a misspelt or forgotten alias.",
    # Shape
    "unreadable": "The file cannot be read as a config.",
    "not-a-mapping": "A config is a mapping of keys to values, and not empty.",
    "other-program": "The file is one of another program, such as docker-compose or axolotl. "
    "`models config import` translates those of training programs.",
    "other-kind": "The keys are those of another kind of config than the folder is for.",
    "unknown-kind": "The kind of a config is given by its folder or its schema line.",
    "other-schema": "The first lines name the schema of another kind than the folder is for. The "
    "folder counts; an editor uses the schema.",
    "not-read": "The file looks like a config, but nothing reads it because of its place or name.",
    "unknown-key": "A key that the schema does not have; its value would have no effect.",
    "written-twice": "A setting is written in two spellings, such as `order` and `fallback_order`.",
    "missing": "A required key is left out.",
    "wrong-type": "A value is of another type than its key takes.",
    "placeholder": "A value has a placeholder that nothing fills in, such as `${MODEL}`. What is "
    "deployed is what runs: write the value out, and what differs in overlays.",
    "wrong-form": "A text does not have the form that its key takes, such as a name or a URL.",
    "wrong-unit": "A quantity without its unit, or with one of another kind. Quantities say what "
    "they count: `5 seconds`, `85%`, `$0.10`, `128k`.",
    "out-of-range": "A number is outside the bounds of its key.",
    "not-a-choice": "A word that is not among those that its key takes.",
    "json-schema": "The published JSON Schema refuses what the program accepts. With --strict both "
    "must agree.",
    # Meaning
    "unknown-reference": "Something is named that does not exist.",
    "not-there-yet": "A custom model is named that does not exist yet. A warning here; a "
    "deployment refuses it.",
    "missing-dataset": "A dataset is named that is not on this machine.",
    "ambiguous-reference": "A name fits several things; in full it fits one.",
    "broken-reference": "The config that is named is itself not valid.",
    "duplicate-name": "Two configs of one kind have one name, and only one of them would be found.",
    "name-taken": "Two language models claim one name, as a name or an alias.",
    "fallback-cycle": "Fallbacks lead back to a model that was called before.",
    "fallback-end": "A chain of fallbacks ends in a model that can fail. The last one is a "
    "`builtin` model, which needs no network.",
    "leaves-the-machine": "A model needs the network, and requests of the domain must stay on this "
    "machine: it is left out. An error when no other model can answer.",
    "unreachable": "Something can never take effect, since something before it always does.",
    "contradiction": "Two settings contradict each other, or one has no effect beside the other.",
    "incomplete": "A key is required because of another key's value.",
    "ignored-setting": "A setting has no effect here.",
    "token-limits": "Numbers of tokens do not fit together: an answer into the longest that its "
    "model can give, or input and output into its context.",
    "cost-limit": "A limit on costs refuses all requests.",
    "unknown-price": "A model that costs money has no price. An unknown price is never zero.",
    "zero-price": "A price is zero for a provider who charges.",
    "provider-limits": "The provider would refuse this value.",
    "plain-http": "A key would be sent over a connection that others can read.",
    "not-measured": "A threshold is set for something that is not measured.",
    "development": "Every project has development: it reads the drafts, so nothing protects it.",
    "inherits-cycle": "Environments inherit from each other in a circle.",
    "live-environment": "An environment is not declared, and configs are live in it.",
    "not-json-schema": "What an answer must meet is no valid JSON Schema.",
    "empty": "A list or a text is empty that must not be.",
    "repeated": "A list has something twice.",
    "wrong-glob": "A pattern of files is absolute, leaves the project, or is no pattern.",
    "no-files": "Patterns find no file, though their folder is there, or one of nearly its name.",
    "empty-overlay": "An overlay is empty.",
    "same-as-base": "An overlay repeats the value below it, and hides later changes of that.",
    # Secrets
    "inline-secret": "A secret stands in the file, where everyone who reads it can use it.",
}


def explain_code(code: str) -> str:
    """What a code means, in a sentence or two."""
    return CODES.get(code, "The message says what is wrong.")
