"""Versions in repositories of the Hugging Face hub, by its client against a hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from registry_samples import SILENT, add_version, whole_versions

from adapter_samples import BETTER
from modelyard.adapters.recorded import record_figures, recorded_figures
from modelyard.adapters.registry.hub import hub_registry, parse_hub_address, push_to_hub
from modelyard.adapters.registry.pull import pull_version
from modelyard.adapters.registry.record import DamagedRegistry
from modelyard.adapters.registry.registry import VersionTaken
from modelyard.adapters.versions import load_version
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.hub.client import HubFailed
from writable_hub import WritableHub, serving_writable_hub

ADDRESS = "hf://acme/demo"

# huggingface_hub 2.4 gives httpx2 the bytes of an upload under a name that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    with serving_writable_hub(monkeypatch) as served:
        yield served


def pull(project: Project, reference: str, address: str = ADDRESS) -> bool:
    with hub_registry(reference, address) as (registry, version):
        return pull_version(project, registry, version, progress=SILENT).changed


def test_a_version_goes_there_and_comes_back_byte_for_byte(
    hub: WritableHub, here: Project, there: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add_version(here, "import/1", evaluation=None)
    planned = push_to_hub(here, first, ADDRESS, progress=SILENT, dry_run=True)
    assert planned.added and not hub.repositories
    done = push_to_hub(here, first, ADDRESS, progress=SILENT)
    assert (done.tags, done.uploads) == ({"v1": 1}, planned.uploads)
    repository = hub.repositories["acme/demo"]
    assert repository.private and repository.tags == {"v1": repository.main}
    assert {"README.md", "adapter_model.safetensors"} <= repository.commits[repository.main].keys()
    assert not push_to_hub(here, first, ADDRESS, progress=SILENT).changed
    record_figures(here, first, "sales", BETTER)
    second = add_version(here, "run-2")
    push_to_hub(here, second, ADDRESS, progress=SILENT)
    assert pull(there, "demo") and pull(there, "demo@1") and whole_versions(there) == [1, 2]
    assert not pull(there, "demo@2", f"{ADDRESS}@main")
    with pytest.raises(InvalidInput, match="holds demo@2, not other"):
        pull(there, "other")
    with pytest.raises(HubFailed, match="has no revision v7"):
        pull(there, "demo@7")
    # Offline, what was read once is read from the hub's cache.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not pull(there, "demo@1")
    with pytest.raises(HubFailed, match="needs the network"):
        push_to_hub(here, second, ADDRESS, progress=SILENT)
    with pytest.raises(HubFailed, match="is not in the hub's cache"):
        pull(there, "demo", "hf://acme/another")


def test_figures_go_with_it_and_a_killed_push_is_completed(
    hub: WritableHub, here: Project, there: Project
) -> None:
    version = add_version(here, "import/1", evaluation=None)
    record_figures(here, version, "sales", BETTER)
    push_to_hub(here, version, ADDRESS, progress=SILENT)
    del hub.repositories["acme/demo"].tags["v1"]  # killed between the commit and the tag
    done = push_to_hub(here, version, ADDRESS, progress=SILENT)
    assert (done.tags, done.uploads) == ({"v1": 1}, {})
    assert pull(there, "demo@1")
    assert recorded_figures(there, load_version(there, "demo", 1)) == recorded_figures(
        here, version
    )


def test_what_is_in_the_way_is_said(
    hub: WritableHub, here: Project, there: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_version(here, "run-1")
    with pytest.raises(HubFailed, match="acme/demo does not exist, or needs a login"):
        pull(there, "demo")
    push_to_hub(here, version, ADDRESS, progress=SILENT)
    with pytest.raises(VersionTaken, match="v1 is another version there"):
        push_to_hub(there, add_version(there, "other"), ADDRESS, progress=SILENT)
    with pytest.raises(InvalidInput, match="names a revision"):
        push_to_hub(here, version, f"{ADDRESS}@main", progress=SILENT)
    hub.refuse = "/commit/"
    with pytest.raises(HubFailed, match="HTTP 403") as refused:
        push_to_hub(here, add_version(here, "run-2"), ADDRESS, progress=SILENT)
    assert "hf auth login" in str(refused.value.hint)
    hub.refuse = "/upload/"
    with pytest.raises(HubFailed, match="HTTP 403"):
        push_to_hub(here, add_version(here, "run-3"), ADDRESS, progress=SILENT)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere")
    with pytest.raises(HubFailed, match="there is no token"):
        push_to_hub(here, version, ADDRESS, progress=SILENT)
    with pytest.raises(HubFailed, match="needs a login"):
        pull(there, "demo@1", ADDRESS)


def test_what_others_put_there_is_not_taken_unseen(
    hub: WritableHub, here: Project, there: Project
) -> None:
    push_to_hub(here, add_version(here, "run-1"), ADDRESS, progress=SILENT)
    files = hub.repositories["acme/demo"].commits[hub.repositories["acme/demo"].main]
    weights = files["adapter_model.safetensors"]
    files["adapter_model.safetensors"] = weights[:-1] + b"?"
    with pytest.raises(DamagedRegistry, match="differs from the manifest"):
        pull(there, "demo")
    del files["modelyard/MANIFEST.json"]
    with pytest.raises(InvalidInput, match="holds no version") as none:
        pull(there, "demo")
    assert "models adapters import DIR" in str(none.value.hint)


def test_peft_finds_the_base_by_its_repository(hub: WritableHub, here: Project) -> None:
    card = here.base_card("tiny")
    card.parent.mkdir(parents=True)
    card.write_text(
        "---\nname: tiny\nsummary: Small.\nparameters: 1\nlicence: none\ncontext_length: 64\n"
        "sources:\n  - kind: hub\n    repo: acme/tiny\n    revision: main\n---\n\n# Tiny\n"
    )
    push_to_hub(here, add_version(here, "run-1"), ADDRESS, progress=SILENT)
    files = hub.repositories["acme/demo"].commits[hub.repositories["acme/demo"].main]
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "acme/tiny"
    assert files["modelyard/adapter_config.json"] == b"{}"
    assert b"base_model: acme/tiny" in files["README.md"]


@pytest.mark.parametrize("address", ["hf://acme", "hf://", "hf://a/b/c", "hf://../x", "hf://a/b@"])
def test_an_address_that_names_no_repository(address: str) -> None:
    with pytest.raises(InvalidInput, match="names no repository"):
        parse_hub_address(address)


def test_the_commands_push_and_pull_and_say_what_is_not_possible_there(
    hub: WritableHub,
    here: Project,
    there: Project,
    models_here: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_version(here, "run-1")
    pushing = ("--project", str(here.root), "adapters", "push", "demo@1", ADDRESS)
    pulling = ("--project", str(there.root), "adapters", "pull", "demo@1", ADDRESS)
    assert models_here(*pushing, "--dry-run") == 0
    assert "Would push" in capsys.readouterr().out and not hub.repositories
    assert models_here(*pulling) == 1
    assert "acme/demo does not exist, or needs a login" in capsys.readouterr().err
    assert models_here(*pushing, "--json") == 0
    assert json.loads(capsys.readouterr().out)["tags"] == {"v1": 1}
    assert models_here(*pushing) == 0
    assert "already" in capsys.readouterr().out
    assert models_here(*pulling, "--json") == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1
    assert whole_versions(there) == [1]
    for words in (("registry", "list", ADDRESS), ("registry", "delete", "demo@1", ADDRESS)):
        assert models_here("--project", str(here.root), "adapters", *words) == 2
        assert "hf://" in capsys.readouterr().err


def test_the_folder_is_gone_afterwards(hub: WritableHub, here: Project) -> None:
    push_to_hub(here, add_version(here, "run-1"), ADDRESS, progress=SILENT)
    with hub_registry("demo", ADDRESS) as (registry, _):
        folder = registry.store.folder
    assert isinstance(folder, Path) and not folder.exists()
