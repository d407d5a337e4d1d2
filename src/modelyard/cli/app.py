"""The `models` command: registration of every subcommand, and the one error boundary."""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer
from typer.core import TyperGroup

from modelyard import __version__
from modelyard.cli import base, doctor, evaluate, fine_tune, generate, init, prepare_data
from modelyard.cli.adapters import (
    diff,
    export,
    gc,
    history,
    import_,
    list_,
    pin,
    promote,
    pull,
    push,
    rollback,
    show,
    unpin,
    verify,
)
from modelyard.cli.feedback.add import add_feedback
from modelyard.cli.feedback.list_ import list_feedback
from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.visible import visible_text

P = ParamSpec("P")
R = TypeVar("R")

EXIT_CODES = {
    0: "done",
    1: "the thing asked for failed",
    2: "wrong usage or invalid config",
    3: "a bug: the traceback is in .models/logs/ (outside a yard, in the cache folder's logs/)",
    4: "a threshold or gate was breached",
    5: "no data to judge",
    130: "interrupted",
}


class _LightGroup(TyperGroup):
    """A group that converts only those of its options that were given.

    Typer 0.29.2 converts every option of a group before it looks at the subcommand, through
    pydantic, whose import takes as long as all else that `models fine-tune --help` does.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for param in self.get_params(ctx):
            _skip_when_absent(param)
        return super().parse_args(ctx, args)


def _skip_when_absent(param: Any) -> None:
    convert = param.process_value
    param.process_value = lambda ctx, value: None if value is None else convert(ctx, value)


app = typer.Typer(
    name="models",
    cls=_LightGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in boxes and colours takes twice the time, to load rich
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, keep and use your organisation's own language models, on your own machines.",
    epilog="Exit codes: " + " · ".join(f"{code} {text}" for code, text in EXIT_CODES.items()),
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"modelyard {__version__}")
        raise typer.Exit


@app.callback()
def _choose_yard(
    yard: Annotated[
        Path | None,
        typer.Option(
            "--yard",
            metavar="DIR",
            help="The yard to work in. Default: the one the current folder lies in.",
            envvar="MODELS_YARD",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    if yard is not None:
        os.environ["MODELS_YARD"] = str(yard)


def error_boundary(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what a command raises into a message and an exit code; only this catches everything."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        from modelyard.cli.render import flush_results, print_error

        try:
            result = command(*args, **kwargs)
            flush_results()
            return result
        except ModelyardError as error:
            print_error(error)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            sys.exit(1)
        except Exception as error:
            what = visible_text(f"{type(error).__name__}: {error}")
            print(f"error: a bug in modelyard: {what}", file=sys.stderr)
            print(f"  the traceback is in {_write_traceback()}", file=sys.stderr)
            sys.exit(3)
        finally:
            _settle_stdout()

    return guarded


def _settle_stdout() -> None:
    """Let what cannot be written go nowhere: Python would try again at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_traceback() -> str:
    """Keep the traceback of a bug in the logs of the yard, else of the cache; returns its path."""
    from modelyard.core.layout import cache_folder, find_yard

    try:
        folder = find_yard().logs
    except (ModelyardError, OSError):
        folder = cache_folder() / "logs"
    path = folder / f"bug-{utc_now().replace(':', '')}-{os.getpid()}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(f"modelyard {__version__}\n{traceback.format_exc()}")
    except OSError:
        return f"no file (cannot write {path}):\n{traceback.format_exc()}"
    return str(path)


def _register(group: typer.Typer, name: str, command: Callable[..., Any]) -> None:
    group.command(name)(error_boundary(command))


_register(app, "doctor", doctor.doctor)
_register(app, "init", init.init)
_register(app, "prepare-data", prepare_data.prepare_data)
_register(app, "fine-tune", fine_tune.fine_tune)
_register(app, "evaluate", evaluate.evaluate)
_register(app, "generate", generate.generate)

_bases = typer.Typer(
    cls=_LightGroup, no_args_is_help=True, help="The base models that adapters are trained on."
)
_register(_bases, "list", base.list_bases)
_register(_bases, "show", base.show_base)
_register(_bases, "pull", base.pull_base)
app.add_typer(_bases, name="base")

_adapters = typer.Typer(
    cls=_LightGroup, no_args_is_help=True, help="The adapters: versions, and which is in use."
)
_register(_adapters, "list", list_.list_adapters)
_register(_adapters, "show", show.show_adapter)
_register(_adapters, "promote", promote.promote)
_register(_adapters, "rollback", rollback.rollback)
_register(_adapters, "history", history.history)
_register(_adapters, "pin", pin.pin)
_register(_adapters, "unpin", unpin.unpin)
_register(_adapters, "gc", gc.gc)
_register(_adapters, "push", push.push)
_register(_adapters, "pull", pull.pull)
_register(_adapters, "verify", verify.verify)
_register(_adapters, "diff", diff.diff)
_register(_adapters, "import", import_.import_adapter)
_register(_adapters, "export", export.export)
app.add_typer(_adapters, name="adapters")

_feedback = typer.Typer(
    cls=_LightGroup, no_args_is_help=True, help="What people thought of answers, to learn from."
)
_register(_feedback, "add", add_feedback)
_register(_feedback, "list", list_feedback)
app.add_typer(_feedback, name="feedback")


def main() -> None:
    """The console entry point."""
    # SIGTERM ends a command as ^C does; fine-tune has its own way with both while it trains.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _require_streams()
        _require_text(sys.argv[1:])
        app(prog_name="models")
    except OSError as error:
        # Every command has its own boundary, so this is help or the version, unwritable.
        _settle_stdout()
        _fail(f"stdout: cannot write: {error.strerror}", 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_streams() -> None:
    """Put something in the place of closed streams: what is opened next would get their numbers."""
    stdout_is_closed = sys.stdout is None
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if stdout_is_closed:
        _fail("stdout is closed, so a result has nowhere to go; `>/dev/null` throws it away", 1)


def _require_text(arguments: list[str]) -> None:
    """Refuse arguments that are not UTF-8: names, prompts and records are text."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            _fail(f"the argument {ascii(os.fsencode(argument))[1:]} is not UTF-8 text", 2)


def _fail(text: str, exit_code: int) -> NoReturn:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(exit_code)
