from __future__ import annotations

from importlib import import_module

import pytest

from modelyard.deployments import effective


def test_the_import_that_the_version_before_documented_works_and_names_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match=r"from modelyard\.deployments\.effective"):
        from modelyard.configs.live.effective import load_effective
    assert load_effective is effective.load_effective


def test_what_was_never_there_is_not_there() -> None:
    with pytest.raises(AttributeError):
        import_module("modelyard.configs.live.effective").load_nothing  # noqa: B018
