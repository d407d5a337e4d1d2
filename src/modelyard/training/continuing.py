"""Continuing from a version: what must be equal, and old rows beside the new ones.

Knows versions and datasets; does not know models. The parent is pinned to one version before a run
begins, so that the same command goes on from the same weights whatever is promoted meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from modelyard.adapters.lora import CONFIG_NAME, OtherKindOfAdapter, load_lora_config
from modelyard.adapters.recorded import figures_of
from modelyard.adapters.verify import check_adapter_files
from modelyard.adapters.versions import AdapterVersion, resolve_version
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import ChatDataset, load_dataset
from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError, ProblemsFound
from modelyard.core.json_reading import read_json_object
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.records.evaluation import Evaluation, OldRows
from modelyard.training.base_shape import BaseShape, load_base_shape
from modelyard.training.spec import FineTuneSpec
from modelyard.weights.catalogue import bases_called, named_base
from modelyard.weights.local import LocalBase

_NEW, _OLD = "new", "old"
"""How groups of evaluation rows are called, before a colon and the rows' own group."""


def pin_models(project: Project, spec: FineTuneSpec) -> FineTuneSpec:
    """The spec with `base_model` as its bare NAME and `parent` as NAME@V, the active version's."""
    parent = spec.parent and resolve_version(project, spec.parent).name
    named = named_base(spec.base_model)
    found = bases_called(project, named)
    return replace(spec, base_model=found[0] if len(found) == 1 else named, parent=parent)


def load_rows(project: Project, spec: FineTuneSpec) -> tuple[ChatDataset, AdapterVersion | None]:
    """The dataset of a run, and the version it continues from; None for a fresh adapter.

    With a parent, its dataset's eval rows are evaluated too, in groups of their own, and
    `data.replay_share` of the training rows are drawn from its training rows.
    Raises InvalidInput when rows should be replayed and cannot be had.
    """
    dataset = load_dataset(project, spec.dataset, for_training=True)
    share = spec.data.replay_share
    if spec.parent is None:
        if share:
            raise InvalidInput(
                "there are no old rows to replay without a version to continue from",
                where="data.replay_share",
                hint="name it: --from NAME[@VERSION]",
            )
        return dataset, None
    parent = resolve_version(project, spec.parent)
    if parent.manifest.base.name != spec.base_model:
        raise InvalidInput(
            f"{parent.name} was trained on {parent.manifest.base.name}, not on {spec.base_model}",
            where="base_model",
            hint=f"continue with --base-model {parent.manifest.base.name}",
        )
    old, why_not = _old_dataset(project, parent)
    if old is None:
        if share:
            raise InvalidInput(f"no row can be replayed: {why_not}", where="data.replay_share")
        warning = f"the rows of {parent.name} are not evaluated again: {why_not}"
        return replace(dataset, warnings=(*dataset.warnings, warning)), parent
    return _beside(dataset, old, share=share, seed=spec.seed), parent


def require_same_adapter(parent: AdapterVersion, base: LocalBase, lora: LoraSettings) -> None:
    """Return if the parent's weights can be trained on: same base, intact, same LoRA settings.

    Raises AdapterMismatch, DamagedVersion, or ProblemsFound with each setting that differs.
    """
    check_adapter_files(parent.path, base)
    if saved := load_lora_config(parent.path / CONFIG_NAME).saved:
        raise OtherKindOfAdapter(
            f"{parent.name} uses modules_to_save ({', '.join(saved)}), which is not trained here",
            where=str(parent.path / CONFIG_NAME),
            hint="continue from a version that is LoRA alone",
        )
    config = read_json_object(parent.path / CONFIG_NAME)
    shape = load_base_shape(base.path)
    problems = [
        Diagnostic(
            message=f"is {_shown(asked)}, and {_shown(found)} in {parent.name}",
            where=f"lora.{name}",
            hint=f"continue with --set 'lora.{name}={_shown(found)}'",
        )
        for name, found, asked in _compared(config, lora, shape)
        if found != asked
    ]
    if problems:
        raise ProblemsFound(f"{parent.name} cannot be continued with other LoRA settings", problems)


def _compared(
    config: dict[str, Any], lora: LoraSettings, shape: BaseShape
) -> list[tuple[str, Any, Any]]:
    """Each LoRA setting that fixes the adapter's shape: its name, as it was, and as it is asked."""
    every = sorted(shape.linear_shapes)
    was = config.get("target_modules") or []
    names = [was] if isinstance(was, str) else was
    # PEFT may save whole paths; that they name every layer is proven when the weights are copied.
    targets = every if was == "all-linear" else sorted({name.rpartition(".")[2] for name in names})
    asked = every if lora.targets == ("all-linear",) else sorted(lora.targets)
    return [
        ("rank", config.get("r"), lora.rank),
        ("alpha", config.get("lora_alpha"), lora.alpha),
        ("rslora", bool(config.get("use_rslora")), lora.rslora),
        ("dora", bool(config.get("use_dora")), lora.dora),
        ("targets", targets, asked),
    ]


def _shown(value: Any) -> str:
    return f"[{', '.join(value)}]" if isinstance(value, list) else str(value).lower()


def evaluate_old_rows(
    project: Project, parent: AdapterVersion, evaluation: Evaluation
) -> OldRows | None:
    """The tuned model's figures on the parent's evaluation rows, for the promotion gate.

    None unless they are all among the evaluated rows: otherwise the two cannot be compared.
    """
    before, _ = figures_of(project, parent)
    old = [group for group in evaluation.groups if group.name.partition(": ")[0] == _OLD]
    rows = sum(group.rows for group in old)
    if before is None or not old or rows != before.rows:
        return None
    tokens = sum(group.tokens for group in old)
    loss = sum(group.tuned_loss * group.tokens for group in old) / tokens
    return OldRows(rows=rows, fingerprint=before.fingerprint, loss=loss)


def _old_dataset(project: Project, parent: AdapterVersion) -> tuple[ChatDataset | None, str]:
    """The rows that the parent was trained on, if they are here unchanged; else why not."""
    name = parent.manifest.data.name
    try:
        old = load_dataset(project, name, for_training=True)
    except ModelyardError as error:
        return None, f"its dataset {name} cannot be read ({error.message})"
    if old.fingerprint != parent.manifest.data.fingerprint:
        return None, f"its dataset {name} was changed since"
    return old, ""


def _beside(new: ChatDataset, old: ChatDataset, *, share: float, seed: int) -> ChatDataset:
    """The new dataset with replayed training rows, and the old evaluation rows.

    An old row that is also a new one counts as new only; a training row is never evaluated.
    """
    warnings = list(new.warnings)
    known = {row.trained_content for row in (*new.train, *new.evaluation)}
    spare = [row for row in old.train if row.trained_content not in known]
    wanted = round(share / (1 - share) * len(new.train))
    replayed = _draw(spare, wanted, seed)
    if len(replayed) < wanted:
        warnings.append(
            f"replayed: {counted(len(replayed), 'old row')}, all there are, not {wanted:,}"
        )
    evaluated = [row for row in old.evaluation if row.trained_content not in known]
    return replace(
        new,
        train=(*new.train, *replayed),
        evaluation=(*_grouped(_NEW, new.evaluation), *_grouped(_OLD, evaluated)),
        warnings=tuple(warnings),
    )


def _draw(rows: Sequence[Conversation], count: int, seed: int) -> list[Conversation]:
    """`count` rows in an order that depends on their content and the seed alone."""

    def place(row: Conversation) -> bytes:
        text = "\0".join(turn.content for turn in row.messages)
        return hashlib.sha256(f"{seed}\0{text}".encode()).digest()

    return sorted(rows, key=place)[:count]


def _grouped(side: str, rows: Sequence[Conversation]) -> list[Conversation]:
    """The rows in groups named after the side they come from, such as `old: facts`."""

    def fields(row: Conversation) -> dict[str, Any]:
        group = row.fields.get("group")
        return {**row.fields, "group": f"{side}: {group}" if group else side}

    return [replace(row, fields=fields(row)) for row in rows]
