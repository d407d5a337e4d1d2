"""Every command with `--json` has a result class, and prints what that says.

`printed_json` in tests/conftest.py checks each document that any test makes a command print; here
every command prints one at least.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import jsonschema
import pytest
import yaml

from modelyard.access.keys import check_key, create_key
from modelyard.cli.app import LightCommand
from modelyard.cli.reference import documented_commands
from modelyard.cli.results import RESULTS, command_schema
from modelyard.core.layout import Project, find_project
from modelyard.results.shape import key_lines
from modelyard.setup.init import init_project
from tiny_encoders import write_encoder

Models = Callable[..., int]

FUNCTIONS = {
    documented.command.function: documented.usage
    for documented in documented_commands()
    if isinstance(documented.command, LightCommand)
    and any("--json" in option.opts for option in documented.command.params)
}

CONFIG_LINES = """
doctor
init another
project sharing group --dry-run
feedback add --prompt "Who leads sales?" --answer Ann. --rating good
feedback list
feedback withdraw 1 --dry-run
org forget acme --dry-run
prepare-data --from-feedback --out sales
keys create --org acme
keys list
keys revoke KEY --dry-run
keys rotate KEY
audit verify
validate-config
deploy-config --all --env test
deployments
deployments --drift
backup
restore latest --to restored
restore latest --in-place
restore --discard-replaced
backup list
backup show latest --files
backup diff latest latest
backup verify --all
backup drill
backup prune --keep-daily 7
backup copy --to BACKUPS
switch-config --profile high_accuracy --domain code_analysis
config remove batch_processing --env test --dry-run
config show gpt4
config explain timeout gpt4
config diff gpt4 claude
config import axolotl.yaml
budgets
monitor --allow-no-data accuracy --allow-no-data latency --allow-no-data cost --allow-no-data errors
ask "Who leads sales?"
route explain --domain code_analysis
ab status
ab stop --keep b
prices check --max-age "36500 days"
schedule show
config review
providers compare --model basic_nlp
base list
base show smollm2-135m-instruct
base pull smollm2-135m-instruct --dry-run
"""
SPEC = (
    "--dataset flowers --base-model tiny --set schedule.epochs=1 --set schedule.rows_per_step=8 "
    "--set compute.precision=fp32 --set compute.threads=1"
)
ADAPTER_LINES = f"""
fine-tune {SPEC} --dry-run
fine-tune {SPEC}
fine-tune {SPEC} --set lora.rank=4 --experiment second
evaluate --adapter flowers@1 --dataset flowers
generate --adapter flowers@1 --compare-base --max-new-tokens 2 "What is number 3 called?"
performance-test --adapter flowers@1
report latest
report second
compare flowers@1 base:tiny --max-cases 1
adapters promote flowers@1 --force --reason "for a test"
adapters promote flowers@2 --force --reason "for a test"
adapters rollback flowers
adapters history flowers
base check
adapters list
adapters show flowers
adapters pin flowers@2
adapters unpin flowers@2
adapters verify flowers --deep
adapters diff flowers@1 flowers@2
adapters push flowers FILE
adapters pull flowers@1 FILE
adapters registry tag flowers@1 approved FILE
adapters registry list FILE
adapters registry show flowers@1 FILE
adapters registry untag flowers approved FILE
adapters registry untag flowers in-use FILE
adapters registry delete flowers@1 FILE
adapters registry prune FILE
adapters export flowers --to out
adapters import out --name copied --base-model tiny
evaluate --adapter copied@1 --dataset flowers --record
adapters gc flowers --keep 1
"""
INDEX_LINES = """
update-embeddings
index status
providers check
search "roll back"
search --related docs/one.md:1
search --eval questions.jsonl --qrels answers.tsv
search --eval questions.jsonl --qrels answers.tsv --tune
"""


def run_all(models: Models, lines: str, printed_json: Sequence[str]) -> None:
    """Run each line with --json; each prints a document, which is checked as it is printed."""
    for number, line in enumerate(lines.strip().splitlines(), 1):
        assert models(*shlex.split(line), "--json") == 0, line
        assert len(printed_json) == number, line


def functions_of(lines: str) -> set[str]:
    """The functions of the commands that these lines run."""
    return {
        function
        for function, usage in FUNCTIONS.items()
        if any(f"models {line} ".startswith(f"{usage} ") for line in lines.strip().splitlines())
    }


def test_every_command_with_json_has_a_result_class_and_is_run_here() -> None:
    assert set(FUNCTIONS) == set(RESULTS)
    run = functions_of(CONFIG_LINES) | functions_of(ADAPTER_LINES) | functions_of(INDEX_LINES)
    assert run == set(RESULTS)


@pytest.mark.parametrize("function", RESULTS)
def test_the_schema_is_valid_and_every_key_has_a_meaning(function: str) -> None:
    schema = command_schema(function, FUNCTIONS[function])
    jsonschema.Draft7Validator.check_schema(schema)
    for printed in RESULTS[function]:
        lines = list(key_lines(printed.load()))
        assert lines and all(line.meaning for line in lines)


def test_a_program_gets_the_schema_without_a_project_or_arguments(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("adapters", "show", "--json-schema") == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == command_schema("adapters.show:show_adapter", "models adapters show")
    assert schema["$id"] == "urn:modelyard:results:adapters-show"


def test_commands_for_configs_print_what_their_classes_say(
    models_here: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed_json: list[str]
) -> None:
    init_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    Path("axolotl.yaml").write_text(
        "base_model: HuggingFaceTB/SmolLM2-135M-Instruct\nadapter: lora\nlora_r: 8\n"
        "datasets:\n  - path: rows.jsonl\n    type: chat_template\nmicro_batch_size: 2\n"
    )
    integration = Path("configs/integration.yaml")
    test = "  ab_test:\n    name: trial\n    a: {}\n    b: {model: basic_nlp}\n"
    key = "  performance_monitoring:\n"
    integration.write_text(integration.read_text().replace(key, test + key, 1))
    key_id = create_key(find_project(), check_key("acme")).key.id
    run_all(
        models_here,
        CONFIG_LINES.replace("BACKUPS", (tmp_path / "backups").as_uri()).replace("KEY", key_id),
        printed_json,
    )


def test_commands_for_adapters_print_what_their_classes_say(
    models: Models, project: Project, printed_json: list[str], tmp_path: Path
) -> None:
    for name, start, count in (("train", 0, 16), ("eval", 100, 4)):
        path = project.datasets / "flowers" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {"prompt": f"What is number {n} called?", "completion": f"It is flower {n % 5}."}
            for n in range(start, start + count)
        ]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    suite = project.configs / "test_suites" / "quick.yaml"
    suite.parent.mkdir()
    suite.write_text(
        "description: Flowers\nchecks:\n"
        "- {name: flowers, dataset: flowers, scorer: contains, rows: 2, not_worse_than: base}\n"
    )
    registry = (tmp_path / "registry").as_uri()
    run_all(models, ADAPTER_LINES.replace("FILE", registry), printed_json)


def test_commands_for_indexes_print_what_their_classes_say(
    models: Models, project: Project, printed_json: list[str]
) -> None:
    encoder = write_encoder(project.root / "encoder")
    config = {
        "description": "For tests",
        "encoder": {
            **{"source": "path", "model": str(encoder), "dimensions": 32, "max_tokens": 64}
        },
        "domains": {"docs": {"description": "Prose", "sources": ["docs/*.md"]}},
    }
    (project.configs / "embedding_models").mkdir()
    (project.configs / "language_models").mkdir()
    (project.configs / "language_models" / "basic_nlp.yaml").write_text(
        "description: No model\nprovider: builtin\nmodel: basic_nlp\n"
        "context_tokens: 4k\nmax_output_tokens: 500\n"
    )
    (project.configs / "embedding_models" / "texts.yaml").write_text(yaml.safe_dump(config))
    (project.root / "docs").mkdir()
    (project.root / "docs" / "one.md").write_text("# Roll back\n\nHow to roll back an adapter.\n")
    (project.root / "docs" / "two.md").write_text("# Search\n\nThe index of a version.\n")
    (project.root / "questions.jsonl").write_text('{"_id": "1", "text": "roll back"}\n')
    (project.root / "answers.tsv").write_text("query-id\tcorpus-id\tscore\n1\tdocs/one.md\t1\n")
    run_all(models, INDEX_LINES, printed_json)
