"""Everything that can be known before any weight is loaded, and every reason not to start.

Resolves the base, reads and tokenizes every row, proves the masks, plans the steps, predicts the
memory and checks the disk. All problems are reported at once; `--check` stops here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from modelyard.adapters.versions import AdapterVersion, version_of_another
from modelyard.chatdata.dataset import ChatDataset
from modelyard.chatdata.report import DataReport, build_data_report
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import Tokenized, tokenize_conversations
from modelyard.configs.kinds.fine_tuning import LONGEST_ROW
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError, ProblemsFound
from modelyard.core.files import require_free_space
from modelyard.core.installing import install_command
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.evaluation.right_answers import says_what_is_right
from modelyard.training.base_shape import BaseShape, load_base_shape
from modelyard.training.batches import StepPlan, plan_steps
from modelyard.training.cautions import planned_cautions
from modelyard.training.choices import Choices, RunRows, make_choices, predict_run
from modelyard.training.continuing import load_rows, require_same_adapter
from modelyard.training.memory import MemoryPlan
from modelyard.training.schedule import ChosenSchedule, choose_schedule, set_numbers
from modelyard.training.spec import FineTuneSpec
from modelyard.weights.local import LocalBase
from modelyard.weights.pull import require_base

if TYPE_CHECKING:
    from modelyard.inference.machine import Machine

_CHECKPOINT_BYTES_PER_WEIGHT = 12  # weight and two AdamW states
_OTHER_FILES_BYTES = 30_000_000


class NotEnoughMemory(ModelyardError):
    """The run would not fit, whatever is spared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """What a spec names, found and read."""

    dataset: ChatDataset
    parent: AdapterVersion | None
    base: LocalBase
    tokenizer: ChatTokenizer


def load_inputs(
    project: Project, spec: FineTuneSpec, *, progress: Progress, offline: bool = False
) -> RunInputs:
    """Resolve the base, fetching it if it must be, and read the dataset's rows."""
    dataset, parent = load_rows(project, spec)
    require_machine(spec)
    base = require_base(project, spec.base_model, progress=progress, offline=offline)
    return RunInputs(
        dataset=dataset, parent=parent, base=base, tokenizer=ChatTokenizer.load(base.path)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight(RunInputs):
    """A run that can start."""

    spec: FineTuneSpec
    """The settings, with the numbers of `schedule`."""
    schedule: ChosenSchedule
    train: Tokenized
    evaluation: Tokenized
    report: DataReport
    choices: Choices
    plan: StepPlan
    memory: MemoryPlan
    warnings: tuple[str, ...]


def run_preflight(
    project: Project,
    spec: FineTuneSpec,
    inputs: RunInputs,
    machine: Machine,
    *,
    progress: Progress,
    kept_choices: Choices | None = None,
) -> Preflight:
    """Check everything. Raises ProblemsFound with every bad row, or the error that forbids a start.

    `kept_choices` are those of a run that is resumed.
    """
    dataset, base, tokenizer = inputs.dataset, inputs.base, inputs.tokenizer
    progress.stage(
        f"preflight: {counted(len(dataset.train), 'training row')}, "
        f"{counted(len(dataset.evaluation), 'evaluation row')}"
    )
    max_length = spec.data.max_length
    most_tokens = min(base.context_length() or LONGEST_ROW, LONGEST_ROW)
    train, evaluation = (
        tokenize_conversations(
            rows,
            tokenizer,
            max_length=max_length,
            most_tokens=most_tokens,
            allow_control_tokens=spec.data.allow_control_tokens,
        )
        for rows in (dataset.train, dataset.evaluation)
    )
    report = build_data_report(dataset, train, evaluation, max_length=max_length)
    problems = [*train.problems]
    if any(problem.where == tokenizer.template.name for problem in problems):
        # What is wrong with the template is said once.
        problems += [each for each in evaluation.problems if each.where != tokenizer.template.name]
    else:
        problems += evaluation.problems
    problems += report.problems
    problems += train.unproven or evaluation.unproven
    if problems:
        problems += organisation_problems(project, spec, dataset, inputs.parent)
        raise ProblemsFound(
            f"dataset {dataset.name} cannot be trained on: {counted(len(problems), 'problem')}",
            problems,
            hint="nothing was dropped or changed; correct these and run the command again",
        )
    require_one_organisation(project, spec, dataset, inputs.parent)
    shape = load_base_shape(base.path)
    kept_schedule = kept_choices.schedule if kept_choices else None
    schedule = kept_schedule or choose_schedule(
        spec.schedule, spec.lora, rows=len(train.rows), width=shape.hidden
    )
    spec = set_numbers(spec, schedule)
    rows = _run_rows(dataset, train, evaluation)
    choices = kept_choices or make_choices(spec, schedule, machine, shape, rows)
    _require_possible(choices, shape, spec)
    if inputs.parent is not None:
        require_same_adapter(inputs.parent, base, spec.lora)
    plan = plan_steps(
        train.rows,
        spec.schedule,
        schedule,
        packing=spec.data.packing,
        tokens_per_batch=choices.tokens_per_batch,
        seed=spec.seed,
    )
    memory = predict_run(spec, schedule, shape, choices, rows)
    _require_memory(memory, machine)
    written_bytes = shape.adapter_parameters(spec.lora) * _CHECKPOINT_BYTES_PER_WEIGHT
    require_free_space(
        project.root,
        written_bytes * (spec.keep.checkpoints_kept + 2) + _OTHER_FILES_BYTES,
        "the run's checkpoints and the new version",
    )
    return Preflight(
        spec=spec,
        schedule=schedule,
        dataset=dataset,
        parent=inputs.parent,
        base=base,
        tokenizer=tokenizer,
        train=train,
        evaluation=evaluation,
        report=report,
        choices=choices,
        plan=plan,
        memory=memory,
        warnings=(
            *dataset.warnings,
            *report.warnings,
            *planned_cautions(
                evaluation_rows=len(evaluation.rows),
                steps=len(plan.steps),
                warmup_steps=plan.warmup_steps(spec.schedule),
            ),
        ),
    )


def find_owner(
    spec: FineTuneSpec, dataset: ChatDataset, parent: AdapterVersion | None
) -> str | None:
    """The organisation that the new version will belong to; None for no organisation."""
    return spec.org or dataset.org or (parent.manifest.org if parent else None)


def require_one_organisation(
    project: Project, spec: FineTuneSpec, dataset: ChatDataset, parent: AdapterVersion | None
) -> None:
    """Raise ProblemsFound unless adapter, data and parent may go together."""
    if problems := organisation_problems(project, spec, dataset, parent):
        raise ProblemsFound(
            f"{spec.adapter} cannot be trained on what belongs to another organisation", problems
        )


def organisation_problems(
    project: Project, spec: FineTuneSpec, dataset: ChatDataset, parent: AdapterVersion | None
) -> list[Diagnostic]:
    """What forbids training an adapter of one organisation on what belongs to another.

    Data and a parent of no organisation may be used by every organisation. An adapter's versions
    all belong to the same organisation, or all to none.
    """
    owners = [(spec.org, "--org"), (dataset.org, str(dataset.path))]
    if parent is not None:
        owners.append((parent.manifest.org, parent.name))
    known = [(org, where) for org, where in owners if org]
    owner = find_owner(spec, dataset, parent)
    if present := version_of_another(project, spec.adapter, owner):
        whose = f"organisation '{present.manifest.org}'" if present.manifest.org else "none"
        problem = Diagnostic(
            message=f"belongs to {whose}, and the new version would belong to "
            + (f"organisation '{owner}'" if owner else "none"),
            where=present.name,
            hint="give the adapter another name with --adapter, or train on the same "
            "organisation's data",
        )
        return [problem]
    return [
        Diagnostic(
            message=f"belongs to organisation '{org}', and the adapter to '{known[0][0]}'",
            where=where,
            hint="train each organisation's adapter on its own data",
        )
        for org, where in known[1:]
        if org != known[0][0]
    ]


def require_machine(spec: FineTuneSpec) -> None:
    """Refuse settings that this machine cannot carry out: before a base is fetched for them.

    Raises InvalidInput with what is missing. torch is imported only for what needs a GPU.
    """
    if spec.compute.quantize in ("4bit", "8bit"):
        _require_quantization(spec.compute.quantize, _device())
    if spec.compute.optimizer == "adamw_8bit" and _device() != "cuda":
        raise InvalidInput(
            "8-bit optimizer states need a CUDA GPU, and this machine has none",
            where="compute.optimizer",
            hint="use --set compute.optimizer=adamw",
        )
    if spec.keep.tensorboard and find_spec("tensorboard") is None:
        raise InvalidInput(
            "TensorBoard is not installed",
            where="keep.tensorboard",
            hint=f"install it with `{install_command('tensorboard')}`",
        )


def _device() -> str:
    from modelyard.inference.machine import device_name

    return device_name()


def _require_quantization(quantize: str, device: str) -> None:
    from modelyard.inference.weights import require_quantization

    require_quantization(quantize, device)


def _require_possible(choices: Choices, shape: BaseShape, spec: FineTuneSpec) -> None:
    if choices.quantize != "none":
        _require_quantization(choices.quantize, choices.device)
    known = ", ".join(shape.linear_shapes)
    if not spec.lora.targets:
        raise InvalidInput(
            "names no module, so there is nothing to train",
            where="lora.targets",
            hint=f"there are: {known}; or all-linear",
        )
    if spec.lora.targets != ("all-linear",):
        unknown = [name for name in spec.lora.targets if name not in shape.linear_shapes]
        if unknown:
            raise InvalidInput(
                f"the base has no linear module {', '.join(unknown)}",
                where="lora.targets",
                hint=f"there are: {known}; or all-linear",
            )


def _run_rows(dataset: ChatDataset, train: Tokenized, evaluation: Tokenized) -> RunRows:
    scorable = {row.source for row in dataset.evaluation if says_what_is_right(row)}
    return RunRows(
        train=train.rows,
        evaluation=evaluation.rows,
        answered=[row for row in evaluation.rows if row.source in scorable],
    )


def _require_memory(memory: MemoryPlan, machine: Machine) -> None:
    if memory.total > machine.usable_bytes:
        raise NotEnoughMemory(
            f"the run needs about {memory.total / 1e9:.1f} GB at its peak (weights "
            f"{memory.weights / 1e9:.1f}, activations {memory.activations / 1e9:.1f}), "
            f"and {machine.usable_bytes / 1e9:.1f} GB can be had",
            hint=(
                "take a smaller base, lower data.max_length or schedule.tokens_per_batch, "
                "or use --quantize 4bit on a GPU"
            ),
        )
