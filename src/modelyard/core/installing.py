"""The command that installs a Python package into the environment in which this program runs."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

_PACKAGE = "modelyard"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def install_command(package: str) -> str:
    """The command for a package that modelyard can use, in the versions that it works with.

    It names the interpreter, since `pip` alone may belong to another one.
    """
    if find_spec("pip") is None:  # as in environments that uv makes
        words = ["uv", "pip", "install", "--python", sys.executable]
    else:
        words = [sys.executable, "-m", "pip", "install"]
    return shlex.join([*words, _requirement(package)])


def _requirement(package: str) -> str:
    """The package with the versions that modelyard asks for, such as `tensorboard>=2.20`."""
    try:
        wanted = requires(_PACKAGE) or []
    except PackageNotFoundError:  # run from its sources
        wanted = []
    for text in wanted:
        name = _NAME.match(text)
        if name is not None and name[0] == package:
            return text.partition(";")[0].strip()
    return package
