from __future__ import annotations

import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapter_samples import BETTER, facts
from modelyard.adapters.manifest import DamagedVersion, Manifest, build_manifest
from modelyard.adapters.promote import promote_version
from modelyard.adapters.training_info import (
    TrainingInfo,
    load_training_info,
    render_training_info,
)
from modelyard.adapters.versions import register_version
from modelyard.core.layout import Project
from modelyard.records.evaluation import Evaluation, ModelFigures, PairedDifference
from modelyard.settings.cards import load_card, write_card


def card_of(
    path: Path,
    evaluation: Evaluation | None,
    *,
    parent: str | None = None,
    base_path: Path = Path("/bases/tiny"),
) -> str:
    manifest = build_manifest("demo", 1, {}, facts(parent=parent, code_commit="12345e67"))
    info = TrainingInfo(
        rows=1240, trained_at="2026-11-22T14:31:49Z", duration_s=109.26, evaluation=evaluation
    )
    front, body = render_training_info(
        manifest, info, spec={"lora.rank": 16, "pattern": "a|b"}, base_path=base_path
    )
    write_card(path / "TRAINING_INFO.md", front, body)
    return (path / "TRAINING_INFO.md").read_text()


def test_the_front_matter_holds_what_the_program_needs(tmp_path: Path) -> None:
    card_of(tmp_path, BETTER)
    front = load_card(tmp_path / "TRAINING_INFO.md").front.value
    assert front["base"] == {"name": "tiny", "fingerprint": "sha256:base"}
    assert front["dataset"]["rows"] == 1240
    assert front["duration_s"] == 109.3
    assert front["evaluation"] == BETTER.figures_mapping()
    assert front["code_commit"] == "12345e67"
    assert list(front)[:3] == ["adapter", "version", "base"]
    info = load_training_info(tmp_path)
    assert (info.rows, info.trained_at) == (1240, "2026-11-22T14:31:49Z")
    assert (info.duration_s, info.evaluation) == (109.3, BETTER)


def test_the_body_tells_a_person_what_it_is_and_how_good(tmp_path: Path) -> None:
    text = card_of(tmp_path, BETTER, parent="demo@0")
    assert "trained on 1,240 conversations of `techcorp` in 1 min 49 s, continuing demo@0" in text
    assert "| loss | 3.100 | 1.200 |" in text
    assert "| perplexity | 22.20 | 3.32 |" in text
    assert "| facts recalled | 0% | 90% |" in text
    assert "On 60 conversations it never saw, the loss differs by -1.900" in text
    assert "(95% interval -2.100 to -1.700)" in text
    assert 'models generate --adapter demo@1 "Your question"' in text
    assert "models adapters rollback demo --to N" in text
    assert "| pattern | a\\|b |" in text


def test_the_body_names_what_the_chat_template_changed() -> None:
    manifest = build_manifest("demo", 1, {}, facts())
    info = TrainingInfo(rows=3, template_changes=("2 rows whose reasoning is left out (a:1)",))
    _, body = render_training_info(manifest, info, spec={"a": 1}, base_path=Path("/bases/tiny"))
    assert (
        "## Training\n\nNot all texts were trained on as they are written:\n\n"
        "- 2 rows whose reasoning is left out (a:1)\n\n| setting | value |"
    ) in body


def test_figures_that_are_missing_are_said_to_be_missing(tmp_path: Path) -> None:
    assert "Not evaluated." in card_of(tmp_path, None)
    assert load_training_info(tmp_path).evaluation is None
    few = replace(
        BETTER,
        rows=1,
        tuned=ModelFigures(loss=1.0),
        difference=PairedDifference(-1.0, None, None),
    )
    text = card_of(tmp_path, few)
    assert "too few for an interval" in text
    assert "| perplexity | 22.20 | — |" in text
    assert "| facts recalled | 0% | — |" in text
    assert load_training_info(tmp_path).evaluation == few


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("evaluation", "good", "the evaluation must be a mapping"),
        ("rows", None, "'evaluation.rows' is required"),
        ("rows", 0, "'evaluation.rows' must be at least 1, not 0"),
        ("tuned", {}, "'evaluation.tuned.loss' is required"),
        ("base", {"loss": "3"}, "'evaluation.base.loss' must be a number, not '3'"),
        ("tuned", {"loss": 1.0, "facts_recalled": 90}, "must be between 0 and 1, not 90"),
        ("fingerprint", 5, "'evaluation.fingerprint' must be text, not 5"),
        ("difference", {"mean": 1.0, "low": None, "high": 2.0}, "needs both 'low' and 'high'"),
    ],
)
def test_figures_that_are_missing_or_odd_are_damage_at_their_place(
    tmp_path: Path, key: str, value: Any, message: str
) -> None:
    figures = BETTER.figures_mapping() | {key: value}
    if value is None:
        del figures[key]
    front = {"evaluation": figures} if key != "evaluation" else {"evaluation": value}
    write_card(tmp_path / "TRAINING_INFO.md", front, "")
    with pytest.raises(DamagedVersion) as caught:
        load_training_info(tmp_path)
    (problem,) = caught.value.diagnostics()
    assert message in problem.message
    assert str(problem.where).startswith(f"{tmp_path}/TRAINING_INFO.md:")


def test_what_another_version_keeps_on_a_card_is_ignored(tmp_path: Path) -> None:
    figures = BETTER.figures_mapping()
    figures["tuned"]["rouge"] = 0.5
    front = {"evaluation": {**figures, "graded_by": "people"}, "mood": "good"}
    write_card(tmp_path / "TRAINING_INFO.md", front, "")
    assert load_training_info(tmp_path).evaluation == BETTER


def test_a_card_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedVersion, match="cannot read"):
        load_training_info(tmp_path)
    (tmp_path / "TRAINING_INFO.md").write_text("---\na: 1\na: 2\n---\n")
    with pytest.raises(DamagedVersion) as caught:
        load_training_info(tmp_path)
    assert len(caught.value.problems) == 1


def test_the_python_on_the_card_runs_as_it_stands(
    project: Project, saved_adapter: Path, tiny_base_folder: Path
) -> None:
    """PeftModel and AutoTokenizer read models/trained/demo as any folder of theirs."""

    def fill(staged: Path, manifest: Manifest) -> None:
        shutil.copytree(saved_adapter, staged, dirs_exist_ok=True)
        card_of(staged, BETTER, base_path=tiny_base_folder)

    version = register_version(project, "demo", fill=fill, provenance=facts())
    promote_version(project, version)
    text = (project.trained_link("demo") / "TRAINING_INFO.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        # PEFT 0.21 uses a name that transformers 5.23 has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        exec(code, names)

    import torch
    from safetensors.torch import load_file

    saved = load_file(saved_adapter / "adapter_model.safetensors")
    loaded = dict(names["model"].named_parameters())
    for name, tensor in saved.items():
        module, part, _ = name.rsplit(".", 2)
        assert torch.equal(loaded[f"{module}.{part}.default.weight"].float(), tensor.float())
    chat = names["tokenizer"].apply_chat_template(
        [{"role": "user", "content": "What is the colour of the sky?"}],
        return_tensors="pt",
        add_generation_prompt=True,
        return_dict=True,
    )
    model = names["model"].eval()
    with torch.no_grad():
        tuned = model(**chat).logits
        with model.disable_adapter():
            base = model(**chat).logits
    assert not torch.equal(tuned, base)
