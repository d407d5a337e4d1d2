"""Files that are no configs, and what is taken from other programs' habits in those that are."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.report import CheckReport
from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import load_document, resolve
from modelyard.configs.reading.programs import find_other_file, program_of
from modelyard.core.layout import Project
from modelyard.settings.yaml_files import inspect_yaml

MODEL = """\
description: A model behind an endpoint
provider: openai_compatible
endpoint: https://api.example.com/v1
model: llama3:8b
api_key: env:SOME_KEY
context_tokens: 4k
max_output_tokens: 1k
prices: {input_per_million: $1, output_per_million: $1}
"""

# By what each is called; each as somebody would have it, cut to a few lines.
OTHER_FILES = {
    "a config of the LiteLLM proxy": """\
model_list:
  - model_name: gpt-4
    litellm_params: {model: azure/gpt-4, api_base: os.environ/AZURE_API_BASE}
general_settings: {master_key: sk-1234}
""",
    "a promptfoo config": """\
description: My eval
prompts: ["file://prompt.txt"]
providers: [openai:gpt-4o-mini]
tests:
  - vars: {topic: bananas}
    assert: [{type: icontains, value: yellow}]
""",
    "an axolotl config": """\
base_model: NousResearch/Llama-3.2-1B
datasets: [{path: teknium/GPT4-LLM-Cleaned, type: alpaca}]
sequence_len: 2048
micro_batch_size: 2
""",
    "a LLaMA-Factory config": """\
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
stage: sft
finetuning_type: lora
template: llama3
cutoff_len: 2048
""",
    "a config of LibreChat": """\
version: 1.2.1
endpoints:
  custom: [{name: groq, apiKey: "${GROQ_API_KEY}", baseURL: "https://api.groq.com/openai/v1"}]
""",
    "a config of Portkey's gateway": """\
strategy: {mode: fallback}
targets: [{provider: openai, virtual_key: a}, {provider: anthropic, virtual_key: b}]
""",
    "a config of Llama Stack": """\
version: 2
image_name: starter
apis: [inference]
providers: {inference: [{provider_id: ollama, provider_type: "remote::ollama"}]}
""",
    "a pipeline of Haystack": """\
components: {llm: {type: haystack.components.generators.OpenAIGenerator}}
connections: []
""",
    "a request to a chat API": """\
{"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.7}
""",
    "a config of SGLang": "model-path: Qwen/Qwen2.5-7B\ntp-size: 2\nmem-fraction-static: 0.8\n",
    "a config of Text Generation Inference": "model_id: Qwen/Qwen2.5-7B\nnum_shard: 2\n",
    "a config of llama.cpp": "model: qwen.gguf\nctx-size: 4096\nn-gpu-layers: 99\n",
    "a TRL config": """\
model_name_or_path: Qwen/Qwen2-0.5B
dataset_name: trl-lib/Capybara
use_peft: true
""",
    "a torchtune config": """\
model: {_component_: torchtune.models.llama3_1.lora_llama3_1_8b, lora_rank: 8}
batch_size: 2
""",
    "a docker-compose file": """\
version: "3.8"
x-logging: &logging {driver: json-file}
services:
  api: {image: nginx, logging: *logging}
""",
    "a Kubernetes manifest": """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
---
apiVersion: v1
kind: Service
""",
    "a Helm chart": "apiVersion: v2\nname: api\nversion: 0.1.0\nappVersion: '1.16'\n",
    "the values of a Helm chart": """\
replicaCount: 1
image: {repository: nginx, tag: ""}
service: {type: ClusterIP, port: 80}
""",
    "a GitHub workflow": """\
name: CI
on: [push]
jobs:
  test: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4}]}
""",
    "a pre-commit config": """\
repos:
  - repo: https://github.com/pre-commit/pre-commit-hooks
    rev: v4.6.0
    hooks: [{id: check-yaml}]
""",
    "a GitLab pipeline": "image: python:3.11\ntest:\n  script: [pytest]\n",
    "an Ansible playbook": "- hosts: all\n  tasks: [{ping: }]\n",
    "a config of vLLM": "model: meta-llama/Llama-3.1-8B\nmax-model-len: 8192\n",
    "a config of Continue": """\
name: Local Assistant
version: 1.0.0
schema: v1
models: [{name: Llama, provider: ollama, model: llama3.1, roles: [chat]}]
""",
    "a mergekit config": "merge_method: slerp\nbase_model: a/b\ndtype: bfloat16\n",
    "a task of the lm-evaluation-harness": """\
task: mine
dataset_path: json
doc_to_text: "{{question}}"
doc_to_target: answer
""",
    "a DeepSpeed config": '{"zero_optimization": {"stage": 3}, "bf16": {"enabled": true}}',
    "a config of Accelerate": "compute_environment: LOCAL_MACHINE\ndistributed_type: FSDP\n",
    "an adapter_config.json of PEFT": '{"peft_type": "LORA", "r": 8, "lora_alpha": 16}',
    "a config.json of Hugging Face": '{"architectures": ["LlamaForCausalLM"], "hidden_size": 64}',
    "a conda environment": "name: x\nchannels: [conda-forge]\ndependencies: [python=3.11]\n",
    "a config of MkDocs": "site_name: Docs\nnav: [{Home: index.md}]\n",
    "an OpenAPI document": "openapi: 3.1.0\ninfo: {title: x, version: '1'}\npaths: {}\n",
    "a Prometheus config": "global: {}\nscrape_configs: [{job_name: x}]\n",
    "a config of the OpenTelemetry Collector": "receivers: {}\nservice: {pipelines: {}}\n",
    "a config of NeMo Guardrails": "models: [{type: main, engine: openai, model: gpt-4}]\n",
    "a CircleCI config": "version: 2.1\njobs: {}\nworkflows: {build: {jobs: [test]}}\n",
    "a DVC pipeline": "stages: {train: {cmd: python train.py}}\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "configs" / "language_models").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    return Project(tmp_path)


def check(project: Project, text: str | bytes, *, kind: str = "language_models") -> CheckReport:
    path = project.configs / kind / "own.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return check_configs(ConfigCatalogue(project), [path], strict=True)


@pytest.mark.parametrize("called", OTHER_FILES)
@pytest.mark.parametrize("kind", ["language_models", "fine_tuning"])
def test_a_file_of_another_program_is_one_finding(project: Project, called: str, kind: str) -> None:
    report = check(project, OTHER_FILES[called], kind=kind)
    [finding] = [found for found in report.findings if found.code != "inline-secret"]
    assert (finding.code, finding.place[1:]) == ("other-program", (1, 1))
    assert finding.message == f"this is {called}, and its keys mean nothing here"
    assert finding.hint
    trained = called.split()[1] in ("axolotl", "LLaMA-Factory", "TRL")
    assert ("models config import" in finding.hint) == trained


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("model: m/Llama\nhost: 127.0.0.1\nport: 8000\nuvicorn-log-level: info\n", "of vLLM"),
        ("general_settings: {master_key: a}\nenvironment_variables: {A: b}\n", "LiteLLM proxy"),
        ("prompts: [a]\nscenarios: [{config: []}]\n", "a promptfoo config"),
        ('services:\n  web: {ports: ["80:80"]}\n', "a docker-compose file"),
        ("services:\n  api: {environment: [A=b], deploy: {replicas: 2}}\n", "docker-compose"),
        ("tokenizer_class: LlamaTokenizer\nadd_bos_token: true\n", "of Hugging Face"),
        (
            "base_model: a/b\nrl: dpo\nload_in_8bit: true\nadapter: qlora\nlora_r: 32\n"
            "datasets: [{path: x, type: chat_template}]\n",
            "an axolotl config",
        ),
        (
            "model_name_or_path: a/b\ndo_train: true\nfinetuning_type: lora\n",
            "a LLaMA-Factory config",
        ),
        (
            'service: "service:svc"\ninclude: ["*.py"]\npython: {packages: [pandas]}\n',
            "a BentoML config",
        ),
        ("engine_config: {model: a/b}\nservice_config: {}\n", "a BentoML config"),
        ('{"model_type": "llama", "quantization": "q4f16_1", "model_config": {}}', "of MLC LLM"),
        ('{"device": "iphone", "model_list": [{"model_id": "a"}]}', "a config of MLC LLM"),
        ("_type: prompt\ninput_variables: [a]\ntemplate: Tell {a}\n", "of LangChain"),
        ('{"lc": 1, "type": "constructor", "id": ["a"], "kwargs": {}}', "a file of LangChain"),
        ('{"graphs": {"agent": "./a.py:graph"}, "dependencies": ["."]}', "of LangGraph"),
        ('{"provider": {"aws": {}}, "resource": {"aws_instance": {"x": {}}}}', "of Terraform"),
        ('{"variable": {"model": {"default": "gpt-4"}}}', "a file of Terraform"),
        ('{"version": 4, "terraform_version": "1.5.0", "lineage": "x"}', "a file of Terraform"),
        ('[{"model": "gpt-4", "api_key": "env"}]', "a config of AutoGen"),
        ('{"training_file": "file-abc", "model": "gpt-4o-mini"}', "a fine-tuning job of OpenAI"),
    ],
)
def test_the_less_usual_files_of_a_program_are_told_too(
    project: Project, text: str, called: str
) -> None:
    [finding] = check(project, text, kind="language_models").findings
    assert finding.code == "other-program"
    assert called in finding.message


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("FROM llama3.2\nPARAMETER temperature 1\nSYSTEM You are: Mario\n", "a Modelfile"),
        ('FROM a\nTEMPLATE """{{ .System }}\n{{ .Prompt }}"""\n', "a Modelfile of Ollama"),
        ("FROM ./model.gguf\n", "a Modelfile of Ollama"),
        ("FROM python:3.11\nRUN pip install x\n", "a Dockerfile"),
        ('resource "aws_instance" "x" {\n  ami = "abc"\n}\n', "a file of Terraform"),
        ('[tool.llm]\nmodel = "gpt-4"\n', "a TOML file"),
        ("import os\n\nprint(os.environ)\n", "a Python program"),
        ("#!/bin/sh\nexport A=b\n", "a shell script"),
        ('<?xml version="1.0"?>\n<a/>\n', "XML or HTML"),
    ],
)
def test_a_text_of_another_program_is_no_mistake_of_yaml(
    project: Project, text: str, called: str
) -> None:
    [finding] = check(project, text, kind="language_models").findings
    assert finding.code == "other-program"
    assert called in finding.message and finding.place[1:] == (1, 1)


def test_a_file_of_a_program_that_nobody_knows_is_one_finding(project: Project) -> None:
    text = "gpus: 8\nmesh: {x: 2}\nscheduler: fifo\nmodel: a\nmodel_dir: /srv\nqueues: [a]\n"
    [finding] = check(project, text, kind="language_models").findings
    assert finding.code == "other-program"
    assert finding.message.startswith("this is no language model: nothing here is called gpus, ")
    for almost in ("gpus: 8\nmesh: {}\nmodel: a\n", MODEL + "gpus: 8\nmesh: 1\nqueues: 2\n"):
        codes = {found.code for found in check(project, almost, kind="language_models").findings}
        assert "unknown-key" in codes


@pytest.mark.parametrize("name", ["docker-compose.yml", "values.yaml", "deploy.yaml"])
def test_a_file_without_a_kind_is_named_for_what_it_is(project: Project, name: str) -> None:
    files = dict(
        zip(
            ("docker-compose.yml", "values.yaml"),
            (OTHER_FILES["a docker-compose file"], OTHER_FILES["the values of a Helm chart"]),
            strict=True,
        )
    )
    path = project.root / name
    path.write_text(files.get(name, OTHER_FILES["a Kubernetes manifest"]))
    [finding] = check_configs(ConfigCatalogue(project), [path]).findings
    assert finding.code == "other-program"


def test_no_config_of_this_repository_is_one_of_another_program() -> None:
    catalogue = ConfigCatalogue(Project(Path(__file__).parents[2]))
    for path in catalogue.paths():
        value = inspect_yaml(path).value
        assert find_other_file(value) is None, path
        assert program_of(value) is None, path


def test_settings_of_another_kind_are_one_finding_that_says_where_they_belong(
    project: Project,
) -> None:
    text = "base_model: x\nlora: {rank: 4}\nschedule: {epochs: 1}\ndata: {packing: true}\n"
    [finding] = check(project, text).findings
    assert finding.code == "other-kind"
    assert finding.hint == f"move it to {KINDS['fine_tuning'].place}"


# Habits of other programs


def test_keys_that_hold_anchors_are_no_settings(project: Project) -> None:
    text = "x-retries: &retries\n  attempts: 5\nx-note: kept for people\n" + MODEL
    text += "retries:\n  <<: *retries\nenvironments:\n  production:\n    retries: *retries\n"
    report = check(project, text)
    assert [finding.code for finding in report.findings] == ["same-as-base"]
    document = load_document(project.configs / "language_models" / "own.yaml")
    assert resolve(document).values["retries"] == {"attempts": 5}
    assert not any(key.startswith("x-") for key in document.source.value)


def test_only_keys_at_the_top_hold_anchors(project: Project) -> None:
    [finding] = check(project, MODEL + "retries: {x-attempts: 5}\n").findings
    assert finding.code == "unknown-key"


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + MODEL.encode(),
        b"---\n\xef\xbb\xbf" + MODEL.encode(),
        b"\xef\xbb\xbf---\n" + MODEL.encode(),
        b"# a remark\n\xef\xbb\xbf" + MODEL.encode(),
        MODEL.replace("\n", "\r\n").encode(),
        MODEL.encode() + b"...\n",
        b"%YAML 1.2\n---\n" + MODEL.encode(),
        MODEL.replace("4k", "4_096").encode(),
        MODEL.replace("4k", "0x1000").encode(),
        b"x-a: &a 1\nx-b: &a 4k\n" + MODEL.replace("4k", "*a").encode(),
        MODEL.encode() + b"retries:\t{attempts: 5}\n",
    ],
)
def test_what_editors_and_systems_leave_in_a_file_is_read(project: Project, text: bytes) -> None:
    assert [found for found in check(project, text).findings if found.level == "error"] == []


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("limits: {tokens_per_minute: 8,192}", "YAML reads 8,192 as 8", "write 8192"),
        ("limits: {tokens_per_minute: 1,000,000}", "reads 1,000,000 as 1", "write 1000000"),
        ("generation: {temperature: 0,5, seed: 1}", "YAML reads 0,5 as 0", "write 0.5"),
        ("retries: {first_wait: 1,5 s}", "reads 1,5 s as 1", '"1,5 s"'),
        ("basic: {message: Sorry, not now}", "'not now' has no colon", "in quotes"),
        ("basic: {message:Sorry}", "has no colon", "KEY: VALUE"),
        ("description: {{ env.NAME }}", "a key must be plain text", "of a template"),
        ("timeout: 1:30", "base-60", '"1:30"'),
        ("aliases: [no]", "'no' means false", '"no"'),
        ("retries: {attempts: 05}", "octal", ""),
        ("\xa0timeout: 1 s", "no-break space (U+00A0)", "again"),
        ("timeout: \ufeff1 s", "byte order mark (U+FEFF)", "again"),
    ],
)
def test_what_yaml_makes_of_a_line_is_said_once(
    project: Project, line: str, message: str, hint: str
) -> None:
    text = MODEL if "description" not in line else MODEL.partition("\n")[2]
    findings = check(project, f"{text}{line}\n").findings
    [finding] = [found for found in findings if found.code != "missing"]
    assert message in finding.message
    assert hint in (finding.hint or "")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "the file is empty", ""),
        ("# only a remark\n", "the file is empty", ""),
        ("- description: x\n", "this is a list", "without `- `"),
        ("description:x\n", "one value: description:x", "a space follows each colon"),
        ("description\uff1a x\n", "one value", "a wide colon (U+FF1A)"),
        ("provider = local\nmodel = x\n", "one value", "TOML, INI or .env"),
        ("hello\n", "one value: hello", "KEY: VALUE"),
    ],
)
def test_what_is_no_mapping_is_shown_as_yaml_reads_it(
    project: Project, text: str, message: str, hint: str
) -> None:
    [finding] = check(project, text).findings
    assert finding.code == "not-a-mapping"
    assert message in finding.message
    assert hint in (finding.hint or "")
