"""Imports an adapter that another tool made: plain PEFT, `trl sft` and others of that format.

Takes the files of an adapter from a folder, by name, and leaves the rest. They are checked in that
folder and again after they were copied. What the files do not say, such as the training data, is
recorded as unknown.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.adapters.lora import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    AdapterMismatch,
    unknown_settings,
)
from modelyard.adapters.manifest import UNKNOWN, Manifest
from modelyard.adapters.shards import INDEX_NAME, is_sharded, list_shards
from modelyard.adapters.stated_base import NAME_KEY, names_base, stated_base
from modelyard.adapters.tokenizer import (
    TEMPLATE_NAME,
    TOKENIZER_CONFIG_NAME,
    TOKENIZER_FILES,
    TOKENIZER_NAME,
    require_base_tokenizer,
    template_hash,
)
from modelyard.adapters.training_info import TrainingInfo, card_front
from modelyard.adapters.verify import require_fit, require_safe_files
from modelyard.adapters.versions import (
    CARD_NAME,
    AdapterVersion,
    register_version,
    version_of_another,
)
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput
from modelyard.core.files import sha256_file, write_json
from modelyard.core.json_reading import read_json_object
from modelyard.core.layout import Project, check_name
from modelyard.core.wording import counted
from modelyard.records.provenance import Origin, Provenance
from modelyard.settings.cards import write_card
from modelyard.weights.catalogue import BaseCard
from modelyard.weights.local import LocalBase

_PICKLED_WEIGHTS = "adapter_model.bin"
_CONVERT = (
    'where you trust it, convert it: python -c "import torch, safetensors.torch as s; '
    "w = torch.load('adapter_model.bin', weights_only=True); "
    "s.save_file({k: v.contiguous() for k, v in w.items()}, 'adapter_model.safetensors')\""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """The files that an import takes, after all checks."""

    files: Mapping[str, Path]
    """Where each file of the new version comes from, by its name there."""
    hashes: Mapping[str, str]
    """The SHA-256 of each, in hex."""
    left_behind: tuple[str, ...]
    """The other files in the folder, which are no part of an adapter."""
    tokenizer_from: str
    """`the folder` or the base's name."""
    template_from: str
    """`the folder` or the base's name."""
    template_hash: str
    """The hash of the chat template it will have."""
    base: LocalBase | BaseCard
    """The base it fits, or only its card where its weights are not on this machine."""
    stated_base: str | None
    """The base that its config names; None when it names none."""
    unknown_settings: tuple[str, ...]
    """Settings in its config that the PEFT here does not know, and would ignore."""

    @property
    def base_fingerprint(self) -> str:
        """The fingerprint of the base, or that it is not known."""
        return self.base.fingerprint if isinstance(self.base, LocalBase) else UNKNOWN

    @property
    def not_checked(self) -> tuple[str, ...]:
        """What needs the weights of the base, and was not checked without them."""
        if isinstance(self.base, LocalBase):
            return ()
        shapes = "the shapes of modules that its card does not tell"
        if self.base.architecture is None:
            shapes = "the shapes of its modules, since its card has no architecture"
        return (shapes, "the ids of its tokens", "that it is the base it was trained on")

    @property
    def run_key(self) -> str:
        """Identifies these bytes on this base: importing them again gives the same version."""
        files = "".join(f"{name} {self.hashes[name]}\n" for name in sorted(self.hashes))
        digest = hashlib.sha256(f"{self.base_fingerprint}\n{files}".encode()).hexdigest()
        return f"import/{digest[:32]}"


def plan_import(source: Path, base: LocalBase | BaseCard) -> ImportPlan:
    """Check the adapter in the folder `source`, and list what would be taken. Changes nothing.

    With the card of a base, whose weights are not on this machine, it checks what the card tells;
    tokenizer and chat template must then be in the folder.
    Raises InvalidInput when there is no such folder, AdapterMismatch when it holds no safe adapter
    for `base`: pickled weights, links, keys or shapes that do not fit, a foreign tokenizer.
    """
    require_importable(source)
    has_tokenizer = all(
        (source / name).is_file() for name in (TOKENIZER_NAME, TOKENIZER_CONFIG_NAME)
    )
    if isinstance(base, BaseCard):
        _require_own_tokenizer(source, has_tokenizer)
    base_path = source if isinstance(base, BaseCard) else base.path
    tokenizer_home = source if has_tokenizer else base_path
    files = {name: source / name for name in (CONFIG_NAME, WEIGHTS_NAME)}
    files |= {
        name: tokenizer_home / name
        for name in TOKENIZER_FILES
        if name != TEMPLATE_NAME and (tokenizer_home / name).is_file()
    }
    for template_home in (source, tokenizer_home, base_path):
        if found := template_hash(template_home):
            break
    else:
        raise AdapterMismatch(
            "has no chat template, and neither has its base",
            where=str(source),
            hint=f"put a {TEMPLATE_NAME} into that folder",
        )
    if (template_home / TEMPLATE_NAME).is_file():
        files[TEMPLATE_NAME] = template_home / TEMPLATE_NAME
    require_fit(source, base)
    require_base_tokenizer(tokenizer_home, base_path)
    config = read_json_object(source / CONFIG_NAME)
    return ImportPlan(
        files=files,
        hashes={name: sha256_file(path) for name, path in files.items()},
        left_behind=tuple(sorted(path.name for path in source.iterdir() if path.name not in files)),
        tokenizer_from="the folder" if tokenizer_home == source else base.name,
        template_from="the folder" if template_home == source else base.name,
        template_hash=found,
        base=base,
        stated_base=stated_base(config),
        unknown_settings=unknown_settings(config),
    )


def _require_own_tokenizer(source: Path, has_tokenizer: bool) -> None:
    """Raise AdapterMismatch unless the folder holds what is else taken from the base."""
    if has_tokenizer and template_hash(source):
        return
    raise AdapterMismatch(
        "has no chat template" if has_tokenizer else "has no tokenizer",
        where=str(source),
        hint="it would be that of the base, whose files are not on this machine: import it without "
        "`--without-weights`, or save the tokenizer into that folder",
    )


def require_stated_base(project: Project, source: Path, plan: ImportPlan) -> None:
    """Raise AdapterMismatch when the config names another base than the one of the plan.

    Bases of one family often have equal shapes, so that an adapter of one fits the other, and
    answers nonsense.
    """
    stated, base = plan.stated_base, plan.base
    if stated is not None and not names_base(project, stated, base):
        raise AdapterMismatch(
            f"names another base, {stated!r}, than {base.name}, whose shapes it fits too",
            where=str(source / CONFIG_NAME),
            hint=f"import it with `--base-model` of the one it names; if {base.name} is that "
            "model, or is meant, say `--yes-other-base`",
        )


def require_importable(source: Path) -> None:
    """Refuse weights that only a pickle holds, links, and a folder that is no adapter.

    Raises InvalidInput when there is no such folder, AdapterMismatch for the rest; needs no base.
    """
    if not source.is_dir():
        raise InvalidInput("there is no such folder", where=str(source))
    in_shards = is_sharded(source)
    has_weights = in_shards or (source / WEIGHTS_NAME).exists()
    if (source / _PICKLED_WEIGHTS).exists() and not has_weights:
        raise AdapterMismatch(
            f"holds its weights in {_PICKLED_WEIGHTS}, a pickle, which can run any code when it is "
            "loaded",
            where=str(source),
            hint=_CONVERT,
        )
    for name in (CONFIG_NAME, WEIGHTS_NAME, *TOKENIZER_FILES):
        if (source / name).is_symlink():
            raise AdapterMismatch(
                "is a link",
                where=str(source / name),
                hint=f"copy what it leads to: cp -rL {source.name} COPY, and import COPY",
            )
    needed = (CONFIG_NAME,) if in_shards else (CONFIG_NAME, WEIGHTS_NAME)
    missing = [name for name in needed if not (source / name).is_file()]
    if missing == [WEIGHTS_NAME] and (shards := list_shards(source)):
        raise AdapterMismatch(
            f"has its weights in {counted(len(shards), 'shard')}, {shards[0].name} and so on, and "
            f"no {INDEX_NAME}, which says what is in each",
            where=str(source),
            hint="copy that file too: who saved the shards has written it beside them",
        )
    if missing:
        inner = sorted(path.parent.name for path in source.glob(f"*/{CONFIG_NAME}"))
        raise AdapterMismatch(
            f"has no {' and no '.join(missing)}, so it is no adapter of PEFT",
            where=str(source),
            hint=f"these folders in it may be: {', '.join(inner)}" if inner else None,
        )


def import_adapter(
    project: Project, adapter: str, plan: ImportPlan, *, org: str | None = None, wait_s: float = 0.0
) -> AdapterVersion:
    """Make the planned files the next version of `adapter`; the same bytes give the same version.

    Raises InvalidInput when the adapter belongs to another organisation, AdapterMismatch when the
    files changed after they were checked.
    """
    check_name(adapter, "adapter")
    require_same_org(project, adapter, org)
    packages, spec = _stated(plan.files[CONFIG_NAME])
    spec[NAME_KEY] = plan.stated_base
    if plan.not_checked:
        spec["not_checked"] = list(plan.not_checked)

    def fill(staged: Path, manifest: Manifest) -> None:
        for name, path in plan.files.items():
            _copy(path, staged / name, plan.hashes[name])
        # In place of a path on another machine, the base's name in the project.
        config = read_json_object(staged / CONFIG_NAME)
        config[NAME_KEY] = plan.base.name
        write_json(staged / CONFIG_NAME, config)
        require_safe_files(staged)
        require_fit(staged, plan.base)
        write_card(staged / CARD_NAME, *_card(manifest, plan))

    return register_version(
        project,
        adapter,
        fill=fill,
        provenance=Provenance(
            run_key=plan.run_key,
            org=org,
            base=Origin(name=plan.base.name, fingerprint=plan.base_fingerprint),
            data=Origin(name=UNKNOWN, fingerprint=UNKNOWN),
            template_hash=plan.template_hash,
            spec=spec,
            packages=packages,
            machine={},
        ),
        wait_s=wait_s,
    )


def require_same_org(project: Project, adapter: str, org: str | None) -> None:
    """Raise InvalidInput unless every version of `adapter` belongs to `org`; None: to nobody."""
    if org is not None:
        check_name(org, "organisation")
    if version := version_of_another(project, adapter, org):
        owner = version.manifest.org
        raise InvalidInput(
            f"{version.name} belongs to "
            f"{f'the organisation {owner!r}' if owner else 'no organisation'}, "
            f"and this one would belong to {f'{org!r}' if org else 'none'}",
            hint=f"import it with `--org {owner}`, or under another name"
            if owner
            else "leave `--org` out, or import it under another name",
        )


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy one file, not following a link; fails unless it has the bytes that were checked."""
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise AdapterMismatch("is gone since it was checked", where=str(source)) from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise AdapterMismatch("became a link since it was checked", where=str(source)) from error
    with os.fdopen(handle, "rb") as stream, target.open("xb") as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
    if sha256_file(target) != sha256:
        raise AdapterMismatch(
            "changed while it was imported",
            where=str(source),
            hint="run the same command again when nothing writes there",
        )


def _stated(config: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """The package versions and training settings that adapter_config.json states."""
    values = read_json_object(config)
    maker = values.get("peft_version")
    targets = values.get("target_modules")
    lora = {
        "rank": values.get("r"),
        "alpha": values.get("lora_alpha"),
        "dropout": values.get("lora_dropout"),
        "targets": sorted(targets) if isinstance(targets, list) else targets,
        "rslora": bool(values.get("use_rslora")),
        "dora": bool(values.get("use_dora")),
    }
    return ({"peft": str(maker)} if maker else {}), {"imported": True, "lora": lora}


def _stated_words(manifest: Manifest) -> str:
    stated = manifest.spec[NAME_KEY]
    return f" Its config named its base `{stated}`." if stated else ""


def _card(manifest: Manifest, plan: ImportPlan) -> tuple[dict[str, Any], str]:
    name, base, lora = (
        f"{manifest.adapter}@{manifest.version}",
        plan.base.name,
        manifest.spec["lora"],
    )
    front = card_front(
        manifest, TrainingInfo(), spec={f"lora.{key}": value for key, value in lora.items()}
    )
    peft = manifest.packages.get("peft")
    made_by = f"PEFT {peft}" if peft else "a tool that does not say its version"
    body = f"""\
# {manifest.adapter}, version {manifest.version}

A LoRA adapter for `{base}`, imported from files that {made_by} wrote. Its training data, and when \
and where it was trained, are unknown.{_stated_words(manifest)}

Rank {lora["rank"]}, alpha {lora["alpha"]}. The tokenizer is from {plan.tokenizer_from}, the chat \
template from {plan.template_from}.

## Evaluation

Not evaluated when it was imported. `models evaluate --adapter {name} --dataset NAME --record` \
compares it with its base, and keeps the figures in the project beside this version.

## Use

```sh
models generate --adapter {name} "Your question"
```
"""
    return front | {"imported_at": utc_now()}, body
