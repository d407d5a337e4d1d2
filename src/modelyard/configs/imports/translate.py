"""A settings file of another program, as a fine-tuning config of this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.configs.imports.axolotl import translate_axolotl
from modelyard.configs.imports.left_out import is_needless
from modelyard.configs.imports.llama_factory import GROUPS, translate_llama_factory
from modelyard.configs.imports.reader import Carried, LeftOut, Reader
from modelyard.configs.imports.trl import translate_trl
from modelyard.configs.kinds.fine_tuning import FineTuning
from modelyard.configs.reading.programs import find_other_file, program_of
from modelyard.core.errors import InvalidInput, KeyPath, dotted
from modelyard.core.layout import Project
from modelyard.settings.build import build_settings
from modelyard.settings.fields import flatten_settings, settings_mapping
from modelyard.settings.yaml_files import load_yaml

_TRANSLATORS: Mapping[str, Callable[..., None]] = {
    "axolotl": translate_axolotl,
    "LLaMA-Factory": translate_llama_factory,
    "TRL": translate_trl,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What a file of another program says in a config of this one."""

    program: str
    """The program it is for: axolotl, LLaMA-Factory or TRL."""
    source: str
    """The file."""
    carried: tuple[Carried, ...]
    """The settings, in the order of a config."""
    left_out: tuple[LeftOut, ...]
    """Keys without a counterpart that may change the result."""
    needless: tuple[LeftOut, ...]
    """Keys without a counterpart on which the result does not depend."""
    base: str | None
    """The base as the file names it."""
    base_is_known: bool
    """Whether the project has a card for it."""

    @property
    def values(self) -> dict[str, Any]:
        """The settings as a config holds them, in groups."""
        return _grouped(self.carried)


def translate(
    path: Path,
    *,
    project: Project,
    devices: int | None = None,
    base_model: str | None = None,
    as_lora: bool = False,
) -> Translation:
    """Translate the settings file of another program.

    devices: how many devices it is meant for; each has rows of its own in a step.
    base_model: the base to name instead of the file's.
    as_lora: also take a file that trains all weights, and make a LoRA adapter of it.
    Raises ProblemsFound when it is not YAML, InvalidInput when it is for none of the programs, or
    trains something else than a LoRA adapter on answers.
    """
    source = load_yaml(path)
    program = program_of(source.value) if isinstance(source.value, dict) else None
    if program is None and (other := find_other_file(source.value)):
        raise InvalidInput(
            f"is {other.called}, and {', '.join(_TRANSLATORS)} are what can be imported",
            where=source.where(),
            hint=other.instead,
        )
    if program is None:
        raise InvalidInput(
            f"is not recognised as settings of {', '.join(_TRANSLATORS)}",
            where=source.where(),
            hint="a file of those programs has their keys, such as micro_batch_size (axolotl), "
            "finetuning_type (LLaMA-Factory) or per_device_train_batch_size (TRL)",
        )
    reader = Reader(program, source, groups=GROUPS)
    reader.devices = devices
    _TRANSLATORS[program](reader, as_lora=as_lora)
    is_known = _name_base(reader, project, base_model)
    _leave_out_unusable(reader)
    order = list(flatten_settings(settings_mapping(FineTuning())))
    return Translation(
        program=program,
        source=str(path),
        carried=tuple(sorted(reader.carried.values(), key=lambda setting: order.index(setting.to))),
        left_out=tuple(left for left in reader.left_out if not is_needless(left.reason)),
        needless=tuple(left for left in reader.left_out if is_needless(left.reason)),
        base=reader.base,
        base_is_known=is_known,
    )


def _name_base(reader: Reader, project: Project, base_model: str | None) -> bool:
    """Carry the base over by its name here, or by the name in the file when it has none here."""
    from modelyard.weights.catalogue import bases_called, find_base

    key = next(filter(reader.has, ("base_model", "model_name_or_path", "model")), "base_model")
    if base_model is not None:
        reader.carry("base_model", find_base(project, base_model).name)
        return True
    if reader.base is None:
        return False
    found = bases_called(project, reader.base)
    if len(found) > 1:
        reader.carry("base_model", found[0], key)
        reader.note("base_model", f"{' and '.join(found[1:])} has the same weights")
        return True
    reader.carry("base_model", found[0] if len(found) == 1 else reader.base, key)
    return len(found) == 1


def _leave_out_unusable(reader: Reader) -> None:
    """Take out values that a config cannot hold, such as a rank above the highest."""
    _, problems = build_settings(FineTuning, _grouped(reader.carried.values()), lambda _: None)
    for problem in problems:
        # A group is one level deep, and what is wrong in a list goes with the list.
        setting = reader.carried.pop(next(filter(reader.carried.get, _starts(problem.path))))
        for key in setting.keys:
            reader.leave_out(key, problem.message)
    never = reader.carried.get("keep.evaluate_every_steps")
    patience = reader.carried.get("keep.stop_after_worse")
    if never and patience and never.value == "never" and patience.value:
        del reader.carried[patience.to]
        for key in patience.keys:
            reader.leave_out(key, "nothing is evaluated while training, so nothing stops it")


def _starts(path: KeyPath) -> list[str]:
    return [dotted(path[:end]) for end in range(len(path), 0, -1)]


def _grouped(carried: Iterable[Carried]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for setting in carried:
        *groups, key = setting.to.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[key] = setting.value
    return values
