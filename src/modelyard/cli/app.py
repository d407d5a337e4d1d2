"""The `models` command: registration of every subcommand, and the one error boundary."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from typer.core import TyperGroup

from modelyard import __version__
from modelyard.cli import base, doctor, evaluate, fine_tune, generate, init, prepare_data
from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError

P = ParamSpec("P")
R = TypeVar("R")

EXIT_CODES = {
    0: "done",
    1: "the thing asked for failed",
    2: "wrong usage or invalid config",
    3: "a bug: the traceback is in .models/logs/",
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
        print(f"modelyard {__version__}")
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
        try:
            return command(*args, **kwargs)
        except ModelyardError as error:
            from modelyard.cli.render import print_error

            print_error(error)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            print(f"error: a bug in modelyard: {type(error).__name__}: {error}", file=sys.stderr)
            print(f"  the traceback is in {_write_traceback()}", file=sys.stderr)
            sys.exit(3)

    return guarded


def _write_traceback() -> str:
    """Keep the traceback of a bug in the yard's logs (or the current folder); returns its path."""
    from modelyard.core.layout import find_yard

    try:
        folder = find_yard().logs
        folder.mkdir(parents=True, exist_ok=True)
    except (ModelyardError, OSError):
        folder = Path.cwd()
    path = folder / f"bug-{utc_now().replace(':', '')}-{os.getpid()}.txt"
    try:
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


def main() -> None:
    """The console entry point."""
    app(prog_name="models")
