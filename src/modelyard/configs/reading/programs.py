"""Files of other programs, told by their keys, so that one line says so instead of a flood.

`models config import` translates those of three training programs; for the others it is said what
to write instead, where there is something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_FEWEST = 2
"""Keys of a program that make a file one of its own: a single one may be a mistake."""

_OWN_GROUPS = ("lora", "data", "schedule", "compute", "keep")
"""A file with one of these is a config of this program, maybe with keys in the wrong place."""

_KEYS = {
    program: frozenset(keys.split())
    for program, keys in {
        "axolotl": (
            "sequence_len micro_batch_size num_epochs lr_scheduler val_set_size sample_packing "
            "dataset_prepared_path datasets lora_target_linear evals_per_epoch saves_per_epoch "
            "train_on_inputs wandb_watch pad_to_sequence_len lora_model_dir tokenizer_type "
            "adapter rl special_tokens flash_attention"
        ),
        "LLaMA-Factory": (
            "stage finetuning_type cutoff_len template lora_rank lora_target quantization_bit "
            "dataset_dir plot_loss overwrite_cache preprocessing_num_workers val_size max_samples "
            "neat_packing adapter_name_or_path infer_backend export_dir tokenized_path "
            "peft_config quant_config train_dataset dist_config do_train export_size export_device"
        ),
        "TRL": (
            "model_name_or_path dataset_name dataset_mixture dataset_config dataset_train_split "
            "use_peft lora_r max_seq_length load_in_4bit load_in_8bit torch_dtype "
            "assistant_only_loss completion_only_loss packing_strategy num_train_epochs "
            "per_device_train_batch_size gradient_accumulation_steps lr_scheduler_type "
            "warmup_ratio output_dir report_to neftune_noise_alpha use_liger_kernel "
            "chat_template_path eval_strategy"
        ),
    }.items()
}
"""Keys that are only in files of one program, in the order in which the programs are tried.

TRL comes last: its files also have the arguments of transformers' trainer, as LLaMA-Factory's do.
"""


@dataclass(frozen=True, slots=True)
class OtherFile:
    """A kind of file of another program."""

    called: str
    """What it is: `a docker-compose file`."""
    telling: str
    """What it has: paths of keys, all of which are there; `*` is any name or item, and `|` parts
    alternatives."""
    instead: str | None = None
    """What to write here instead; None where nothing of it is a matter of this program."""


_MODELS = "each model is a file in configs/language_models/: provider, model, endpoint, api_key"
_SERVED = (
    "a server is a language model with `provider: openai_compatible`, and its URL as `endpoint`"
)
_OTHER_FILES = (
    OtherFile(
        "a config of the LiteLLM proxy",
        "model_list.*.litellm_params | litellm_settings | router_settings model_list "
        "| general_settings.master_key | general_settings environment_variables",
        f"{_MODELS}; fallbacks, routing and budgets are in configs/integration.yaml",
    ),
    OtherFile(
        "a promptfoo config",
        "prompts providers | prompts tests | providers tests | prompts targets | redteam targets "
        "| defaultTest | redteam.plugins | prompts scenarios | evaluateOptions",
        "its tests are the cases of a test suite in configs/test_suites/",
    ),
    OtherFile(
        "a config of MLC LLM",
        "conv_template | quantization model_config | prefill_chunk_size | model_list.*.model_id "
        "| model_list.*.estimated_vram_bytes",
        _SERVED,
    ),
    OtherFile(
        "a BentoML config",
        "service_config engine_config | engine_config.model | service python | service include "
        "| service docker | services.*.traffic | api_server runners | api_server.metrics "
        "| api_server.logging",
        _SERVED,
    ),
    OtherFile("a file of LangChain", "_type | lc kwargs | lc id", _MODELS),
    OtherFile("a config of LangGraph", "graphs dependencies | graphs env"),
    OtherFile(
        "a prompt of Semantic Kernel",
        "template_format execution_settings | execution_settings template",
        "what a model is told is `instructions` of a config in configs/specialized_models/",
    ),
    OtherFile(
        "a config of AutoGen", "component_type | config_list.*.model | *.model *.api_key", _MODELS
    ),
    OtherFile("a config of LM Studio", "metadataOverrides | base.*.sources model", _SERVED),
    OtherFile("a config of Helicone's gateway", "routers.*.load-balance", _MODELS),
    OtherFile(
        "a fine-tuning job of OpenAI",
        "training_file",
        "`models fine-tune --base-model MODEL --dataset NAME` asks the provider for one",
    ),
    OtherFile("a config of NeMo Guardrails", "rails models | models.*.engine", _MODELS),
    OtherFile("a config of Continue", "models.*.roles | models.*.provider schema", _MODELS),
    OtherFile("a config of aichat", "clients.*.type", _MODELS),
    OtherFile("a config of llama-swap", "models.*.cmd", _SERVED),
    OtherFile("a config of LibreChat", "endpoints.custom | modelSpecs endpoints", _MODELS),
    OtherFile(
        "a config of Portkey's gateway",
        "strategy.mode targets",
        f"{_MODELS}; what answers when one fails is its `fallback`",
    ),
    OtherFile("a config of Llama Stack", "apis providers", _MODELS),
    OtherFile("a pipeline of Haystack", "components connections"),
    OtherFile(
        "a request to a chat API",
        "messages.*.role model",
        "`models ask` asks; a model's `generation` has the settings of its requests",
    ),
    OtherFile(
        "a config of vLLM",
        "tensor-parallel-size | gpu-memory-utilization | served-model-name | max-model-len "
        "| tensor_parallel_size gpu_memory_utilization | tensor_parallel_size max_model_len "
        "| uvicorn-log-level | enable-prefix-caching | max-num-seqs",
        _SERVED,
    ),
    OtherFile("a config of SGLang", "tp-size | mem-fraction-static | model-path", _SERVED),
    OtherFile(
        "a config of Text Generation Inference",
        "model_id num_shard | max_total_tokens | max_batch_prefill_tokens",
        _SERVED,
    ),
    OtherFile("a config of llama.cpp", "n-gpu-layers | ctx-size", _SERVED),
    OtherFile(
        "a model config of LocalAI", "backend context_size | parameters.model backend", _SERVED
    ),
    OtherFile(
        "an adapter_config.json of PEFT",
        "peft_type | lora_alpha target_modules",
        "`models adapters import FOLDER --name NAME` imports the adapter",
    ),
    OtherFile(
        "a config.json of Hugging Face",
        "architectures | model_type hidden_size | model_type num_hidden_layers | tokenizer_class "
        "| transformers_version",
        "a base is a folder models/base/NAME/ with a MODEL_INFO.md",
    ),
    OtherFile(
        "a torchtune config",
        "*._component_",
        "its settings are `lora`, `schedule` and `data` of a config in configs/fine_tuning/",
    ),
    OtherFile(
        "a LitGPT config",
        "checkpoint_dir lora_r | lora_query lora_key | checkpoint_dir out_dir",
        "its settings are `lora`, `schedule` and `data` of a config in configs/fine_tuning/",
    ),
    OtherFile("a DeepSpeed config", "zero_optimization | train_micro_batch_size_per_gpu"),
    OtherFile(
        "a config of Accelerate",
        "compute_environment distributed_type | distributed_type num_machines",
    ),
    OtherFile("a mergekit config", "merge_method"),
    OtherFile("a NeMo config", "exp_manager"),
    OtherFile("a config of PyTorch Lightning", "seed_everything trainer"),
    OtherFile(
        "a task of the lm-evaluation-harness",
        "doc_to_text | doc_to_target | dataset_path output_type",
        "questions with right answers are a test suite in configs/test_suites/",
    ),
    OtherFile("a file of CrewAI", "*.role *.goal"),
    OtherFile("a Rasa config", "pipeline policies | policies recipe"),
    OtherFile("an app of Dify", "app.mode"),
    OtherFile("a sweep of Weights & Biases", "method parameters | program parameters"),
    OtherFile("a config of Hydra", "hydra | defaults.*.override hydra/launcher"),
    OtherFile("a notebook of Jupyter", "cells nbformat"),
    OtherFile(
        "a docker-compose file",
        "services.*.image | services.*.build | services.*.extends | services.*.ports "
        "| services.*.environment | services.*.volumes | services.*.deploy | services.*.command",
    ),
    OtherFile("a Kubernetes manifest", "apiVersion kind"),
    OtherFile("a Helm chart", "apiVersion version name | appVersion"),
    OtherFile("a Kustomize file", "resources patches | configMapGenerator | resources namePrefix"),
    OtherFile(
        "the values of a Helm chart",
        "replicaCount | image.repository | image.pullPolicy | fullnameOverride | nameOverride "
        "| nodeSelector tolerations | ingress service",
    ),
    OtherFile("a GitHub workflow", "jobs.*.runs-on | jobs.*.steps | jobs.*.uses | on jobs"),
    OtherFile("a GitHub action", "runs.using"),
    OtherFile("a config of Dependabot", "updates.*.package-ecosystem"),
    OtherFile("a pre-commit config", "repos.*.hooks"),
    OtherFile("a DVC pipeline", "stages.*.cmd"),
    OtherFile("a GitLab pipeline", "stages | *.script | *.trigger"),
    OtherFile("a CircleCI config", "workflows.*.jobs | orbs"),
    OtherFile("an Azure pipeline", "pool.vmImage | steps.*.task | stages.*.jobs"),
    OtherFile("an Ansible playbook", "*.hosts *.tasks | *.hosts *.roles"),
    OtherFile("a CloudFormation template", "AWSTemplateFormatVersion | Resources.*.Type"),
    OtherFile(
        "a file of Terraform",
        "terraform.required_providers | terraform.backend | terraform_version lineage "
        "| resource.*.* provider | variable.*.default | variable.*.type | variable.*.description "
        "| output.*.value | module.*.source | data.*.* provider | resource.*.*.*",
    ),
    OtherFile("a Pulumi program", "runtime resources | runtime name description"),
    OtherFile("a config of the Serverless Framework", "functions.*.handler"),
    OtherFile("a conda environment", "channels dependencies"),
    OtherFile("a config of MkDocs", "site_name"),
    OtherFile("an OpenAPI document", "openapi paths | swagger paths | openapi info"),
    OtherFile("a JSON Schema", "$schema properties | $defs properties | $schema type"),
    OtherFile("a Prometheus config", "scrape_configs | groups.*.rules"),
    OtherFile("an Alertmanager config", "route receivers"),
    OtherFile("a config of the OpenTelemetry Collector", "service.pipelines"),
    OtherFile("a dbt file", "models.*.columns | sources.*.tables | model-paths"),
    OtherFile("a SkyPilot task", "run setup | run file_mounts | run resources"),
    OtherFile("a config of Ray", "applications.*.import_path | available_node_types"),
    OtherFile("an MLflow project", "entry_points"),
    OtherFile("a package.json", "dependencies scripts | devDependencies"),
)


@dataclass(frozen=True, slots=True)
class OtherText:
    """A kind of file of another program that is no YAML, or one text to YAML."""

    file: OtherFile
    """What it is."""
    telling: str
    """A regular expression of what it has somewhere; compiled where something is no mapping."""


_OTHER_TEXTS = tuple(
    OtherText(OtherFile(called, "", instead), telling)
    for called, telling, instead in (
        (
            "a Modelfile of Ollama",
            r"^(?:PARAMETER[ \t]+\w+|(?:SYSTEM|TEMPLATE|ADAPTER|MESSAGE)[ \t]+\S"
            r"|FROM[ \t]+\S+\.gguf$)",
            f"{_SERVED}; `models adapters export --format ollama` writes one for an adapter",
        ),
        ("a Dockerfile", r"^(?:RUN|COPY|ENTRYPOINT|CMD|WORKDIR)[ \t]+\S", None),
        (
            "a file of Terraform",
            r"^(?:resource|data|variable|provider|module|output|terraform|locals)\b"
            r'[ \t"\w-]*\{[ \t]*$',
            None,
        ),
        (
            "a TOML file",
            r"^\[{1,2}[\w.-]+\]{1,2}[ \t]*\n[\w.-]+[ \t]*=",
            "in YAML it is `KEY: VALUE`, and what belongs to a group is indented below its key",
        ),
        ("a Python program", r"^(?:import \w+|from [\w.]+ import |def \w+\()", None),
        ("a shell script", r"\A#!", None),
        ("XML or HTML", r"\A\s*<[?!\w]", None),
        ("a config of nginx", r"^(?:server|http|events|upstream \w+)[ \t]*\{", None),
    )
)


def find_other_text(text: str) -> OtherFile | None:
    """The kind of file of another program whose text this is; for what is no mapping to YAML."""
    return next(
        (other.file for other in _OTHER_TEXTS if re.search(other.telling, text, re.MULTILINE)), None
    )


def program_of(values: Mapping[Any, Any]) -> str | None:
    """The training program whose settings these are, as `models config import` reads them:
    axolotl, LLaMA-Factory or TRL; None for any other."""
    if any(isinstance(values.get(group), dict) for group in _OWN_GROUPS):
        return None
    for program, keys in _KEYS.items():
        if sum(key in keys for key in values) >= _FEWEST:
            return program
    return None


def called(program: str) -> str:
    """`an axolotl config`, `a TRL config`."""
    return f"an {program} config" if program[0] in "aeiou" else f"a {program} config"


def find_other_file(value: Any) -> OtherFile | None:
    """The kind of file of another program that a YAML document is; None where it looks like none.

    A training program's is told by `program_of`.
    """
    for other in _OTHER_FILES:
        for alternative in other.telling.split("|"):
            if all(any(_at(value, path.split("."))) for path in alternative.split()):
                return other
    return None


def _at(value: Any, path: list[str]) -> Iterator[bool]:
    """True for each place of nested mappings and lists that a path leads to."""
    if not path:
        yield True
        return
    first, *rest = path
    if first == "*":
        items = value.values() if isinstance(value, dict) else value
        for item in items if isinstance(value, (dict, list)) else ():
            yield from _at(item, rest)
    elif isinstance(value, dict) and first in value:
        yield from _at(value[first], rest)
