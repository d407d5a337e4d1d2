"""Running commands as other users of the machine, in processes of their own."""

from __future__ import annotations

import os
import pickle
import shlex
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest.mock import patch

import pytest

from modelyard.cli.app import main

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")


@dataclass(frozen=True, slots=True)
class User:
    """A user by their numbers; the machine need not know them."""

    uid: int
    gid: int
    """Their own group, as each user has one."""
    groups: tuple[int, ...] = ()
    """The groups they are in besides."""
    umask: int = 0o022


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended."""

    code: int
    out: str
    err: str


def run_line(line: str) -> Ran:
    """`models LINE` in this process."""
    out, err = StringIO(), StringIO()
    words = ["models", *shlex.split(line)]
    with redirect_stdout(out), redirect_stderr(err), patch("sys.argv", words):
        try:
            main()
            code: object = 0
        except SystemExit as stopped:
            code = stopped.code or 0
    assert isinstance(code, int)
    return Ran(code, out.getvalue(), err.getvalue())


def run_as(user: User, line: str) -> Ran:
    """`models LINE` as a user, in a child that has given up root for good.

    The interpreter may lie where the user cannot read: whatever the line needs is imported before,
    which running it once as root does.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setgroups(user.groups)
            os.setgid(user.gid)
            os.setuid(user.uid)
            os.umask(user.umask)
            answer = pickle.dumps(run_line(line))
            with os.fdopen(writing, "wb") as stream:
                stream.write(answer)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    ran = pickle.loads(answer)
    assert isinstance(ran, Ran)
    return ran
