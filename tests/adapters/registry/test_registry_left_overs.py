"""A pull goes on with what an earlier one left, and believes none of it unseen."""

from __future__ import annotations

from typing import Any

import pytest
from registry_samples import SILENT, add_version, pull, push, whole_versions

from modelyard.adapters.registry.blobs import blob_key
from modelyard.adapters.registry.pull import plan_pull
from modelyard.adapters.registry.registry import Registry, find_remote_version
from modelyard.core.layout import Project


def test_a_pull_goes_on_with_what_an_earlier_one_left(
    here: Project, there: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_version(here, "run-1", size_bytes=5_000_000)
    push(here, version, registry)
    entry = version.manifest.files["adapter_model.safetensors"]
    weights = (version.path / "adapter_model.safetensors").read_bytes()
    incoming = there.incoming("demo")
    incoming.mkdir(parents=True)
    part = incoming / f"{entry.sha256}.part"
    part.write_bytes(weights[:3_000_000])
    asked = []
    download = type(registry.store).download

    def noting(self: Any, key: str, *, offset: int = 0) -> Any:
        asked.append((key == blob_key(entry.sha256), offset))
        return download(self, key, offset=offset)

    monkeypatch.setattr(type(registry.store), "download", noting)
    plan = plan_pull(there, registry, find_remote_version(registry, "demo"), SILENT)
    assert plan.fetched_bytes == plan.version.size_bytes - 3_000_000
    assert pull(there, registry, "demo") and whole_versions(there) == [1]
    assert (True, 3_000_000) in asked and (True, 0) not in asked


@pytest.mark.parametrize("left", [b"wrong" * 1000, b"x" * 9_000_000, b""])
def test_a_left_over_that_is_wrong_is_fetched_anew(
    here: Project, there: Project, registry: Registry, left: bytes
) -> None:
    version = add_version(here, "run-1", size_bytes=20_000)
    push(here, version, registry)
    sha256 = version.manifest.files["adapter_model.safetensors"].sha256
    there.incoming("demo").mkdir(parents=True)
    (there.incoming("demo") / f"{sha256}.part").write_bytes(left)
    assert pull(there, registry, "demo") and whole_versions(there) == [1]


def test_a_left_over_with_the_right_name_and_wrong_bytes_is_not_believed(
    here: Project, there: Project, registry: Registry
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    sha256 = version.manifest.files["adapter_model.safetensors"].sha256
    there.incoming("demo").mkdir(parents=True)
    (there.incoming("demo") / sha256).write_bytes(b"wrong")
    assert pull(there, registry, "demo") and whole_versions(there) == [1]
