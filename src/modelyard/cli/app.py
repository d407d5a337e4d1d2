"""The `models` command: the table of every subcommand, and the one error boundary."""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from collections import UserDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from modelyard import __version__
from modelyard.cli.access import CHANGES
from modelyard.cli.arguments import LightCommand, convert_when_given
from modelyard.cli.nested import NestedCommand
from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.os_errors import explain_os_error, explain_refused_access
from modelyard.core.wording import visible_text

P = ParamSpec("P")
R = TypeVar("R")

EXIT_CODES = {
    0: "done",
    1: "the thing asked for failed",
    2: "wrong usage or invalid input",
    3: "a bug: the traceback is in .models/logs/ (outside a project, in the cache folder's logs/)",
    4: "a threshold or gate was breached",
    5: "no data to decide",
    130: "interrupted",
}


# Each command and the function that does it, as `module:function` below modelyard.cli.
COMMANDS = {
    "doctor": "doctor:doctor",
    "init": "init:init",
    "prepare-data": "prepare_data:prepare_data",
    "fine-tune": "fine_tune:fine_tune",
    "evaluate": "evaluate:evaluate",
    "generate": "generate:generate",
    "ask": "ask:ask",
    "validate-config": "validate_config:validate_config",
    "deploy-config": "deploy_config:deploy_config",
    "deployments": "deployments:deployments",
    "switch-config": "switch_config:switch_config",
    "update-embeddings": "update_embeddings:update_embeddings",
    "search": "search:search",
    "mcp": "mcp:mcp",
    "serve": "serve:serve",
    "budgets": "budgets:budgets",
    "monitor": "monitor:monitor",
    "compare": "compare:compare",
    "performance-test": "performance_test:performance_test",
    "report": "report:report",
    "backup": "backup:backup",
    "restore": "restore:restore",
}
# The commands below one of those.
NESTED: dict[str, dict[str, str]] = {
    "adapters.remote:registry": {
        "list": "adapters.remote:list_remote",
        "show": "adapters.remote:show_remote",
        "tag": "adapters.remote:tag_remote",
        "untag": "adapters.remote:untag_remote",
        "delete": "adapters.remote_upkeep:delete_remote",
        "prune": "adapters.remote_upkeep:prune_remote",
    },
    "backup:backup": {
        "list": "backup_overview:list_snapshots",
        "show": "backup_overview:show_snapshot",
        "diff": "backup_overview:diff",
        "verify": "backup_verify:verify",
        "drill": "backup_verify:drill",
        "prune": "backup_upkeep:prune",
        "copy": "backup_upkeep:copy",
    },
}
GROUPS = {
    "base": (
        "The base models that adapters are trained on.",
        {
            "list": "base:list_bases",
            "show": "base:show_base",
            "pull": "base:pull_base",
            "check": "base_check:check_bases",
        },
    ),
    "adapters": (
        "The adapters: their versions, and which one is active.",
        {
            "list": "adapters.show:list_adapters",
            "show": "adapters.show:show_adapter",
            "promote": "adapters.active:promote",
            "rollback": "adapters.active:rollback",
            "history": "adapters.active:history",
            "pin": "adapters.gc:pin",
            "unpin": "adapters.gc:unpin",
            "gc": "adapters.gc:gc",
            "push": "adapters.registry:push",
            "pull": "adapters.registry:pull",
            "registry": "adapters.remote:registry",
            "verify": "adapters.verify:verify",
            "diff": "adapters.diff:diff",
            "import": "adapters.import_:import_adapter",
            "export": "adapters.export:export",
        },
    ),
    "feedback": (
        "What people thought of answers, to train on.",
        {
            "add": "feedback:add_feedback",
            "list": "feedback_list:list_feedback",
            "withdraw": "feedback_list:withdraw",
        },
    ),
    "project": (
        "The project itself.",
        {"sharing": "sharing:sharing"},
    ),
    "org": (
        "Organisations: what the project holds of one.",
        {"forget": "org:forget"},
    ),
    "keys": (
        "Who may use the service: API keys.",
        {
            "create": "keys:create",
            "list": "keys:list_keys",
            "revoke": "keys:revoke",
            "rotate": "keys:rotate",
        },
    ),
    "audit": (
        "The record of every request to the service.",
        {"head": "audit:head", "verify": "audit:verify", "export": "audit:export"},
    ),
    "config": (
        "Configs: settings explained, differences, schemas.",
        {
            "show": "config_show:show",
            "explain": "config:explain",
            "diff": "config:diff",
            "schema": "config:schema",
            "review": "config_review:review",
            "remove": "config_remove:remove",
            "import": "config_import:import_config",
        },
    ),
    "ab": (
        "The A/B test that runs, and its end.",
        {"status": "ab:status", "stop": "ab:stop"},
    ),
    "route": ("Which models would answer a request.", {"explain": "route:explain_route"}),
    "prices": ("What hosted models are configured to cost.", {"check": "prices:check"}),
    "providers": (
        "The language models of the configs, and who runs them.",
        {"check": "providers:check", "compare": "providers_compare:compare"},
    ),
    "schedule": (
        "What runs at fixed times, by cron or systemd.",
        {
            "show": "schedule:show",
            "install": "schedule:install",
            "remove": "schedule:remove",
        },
    ),
    "index": ("The indexes that `models search` answers from.", {"status": "index:index_status"}),
}
# Former names that still work, in scripts and fingers; help and docs do not show them.
FORMER_COMMANDS = {
    "explain": "config:explain",
    "schema": "config:schema",
}
FORMER_GROUPS = {"embeddings": "index"}


def is_command(words: str) -> bool:
    """Whether `models` has this command, such as `monitor` or `prices check`."""
    group, _, command = words.partition(" ")
    return words in COMMANDS or (group in GROUPS and command in GROUPS[group][1])


class _Commands(UserDict[str, Any]):
    """Commands by name; where one is still a text of the table, it is loaded when asked for."""

    def __init__(self, commands: Mapping[str, Any], *, hidden: Collection[str]) -> None:
        super().__init__(commands)
        self._hidden = hidden

    def __getitem__(self, name: str) -> Any:
        command = super().__getitem__(name)
        if isinstance(command, str):
            command = self.data[name] = _load_command(name, command, hidden=name in self._hidden)
        return command


def _load_command(name: str, place: str, *, hidden: bool) -> Any:
    from modelyard.cli.options import add_schema_option

    module, function = place.split(":")
    command = getattr(import_module(f"modelyard.cli.{module}"), function)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    kind = NestedCommand if place in NESTED else LightCommand
    alone.command(name, cls=kind, hidden=hidden)(
        error_boundary(command, changes=place in CHANGES - {"init:init"})
    )
    loaded = typer.main.get_command(alone)
    assert isinstance(loaded, LightCommand)
    loaded.function = place
    if isinstance(loaded, NestedCommand):
        loaded.commands = _Commands(NESTED[place], hidden=())
    add_schema_option(loaded, place)
    return loaded


def _suggestion(word: str, known: Sequence[str]) -> str:
    """The command that was meant, if one is very like it: `remove` does not mean `promote`."""
    near = get_close_matches(word, known, n=1, cutoff=0.75)
    return f" (did you mean {near[0]!r}?)" if near else f"; there are {', '.join(known)}"


@contextmanager
def _masking_usage_errors() -> Iterator[None]:
    """Mask tokens in what Typer will say of wrong arguments: it repeats them."""
    try:
        yield
    except TyperException as error:
        from modelyard.secrets.detection import mask_tokens

        error.message = mask_tokens(error.message)
        raise


def _group(
    commands: Mapping[str, str],
    help: str,
    former: Mapping[str, str] = MappingProxyType({}),
    **settings: Any,
) -> typer.Typer:
    """A group of these commands; a group that is added to it comes after them."""

    class Group(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = _Commands({**commands, **self.commands, **former}, hidden=former)

        def make_context(self, *args: Any, **extra: Any) -> Any:
            with _masking_usage_errors():
                return super().make_context(*args, **extra)

        def invoke(self, ctx: Any) -> Any:
            with _masking_usage_errors():
                return super().invoke(ctx)

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            # Typer 0.29.2 converts every option of a group before it looks at the subcommand.
            for param in self.get_params(ctx):
                convert_when_given(param)
            return super().parse_args(ctx, args)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args[0] not in self.commands and not args[0].startswith("-"):
                known = [name for name in self.commands if name not in (*former, *FORMER_GROUPS)]
                ctx.fail(f"No such command {args[0]!r}{_suggestion(args[0], known)}")
            return super().resolve_command(ctx, args)

    return typer.Typer(cls=Group, no_args_is_help=True, help=help, **settings)


app = _group(
    COMMANDS,
    "Train, keep and use your organisation's own language models, on your own machines.",
    FORMER_COMMANDS,
    name="models",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in boxes and colours takes twice the time, to load rich
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: " + " · ".join(f"{code} {text}" for code, text in EXIT_CODES.items()),
)
for _name, (_help, _commands) in GROUPS.items():
    app.add_typer(_group(_commands, _help), name=_name)
for _name, _present in FORMER_GROUPS.items():
    _help, _commands = GROUPS[_present]
    app.add_typer(_group(_commands, _help), name=_name, hidden=True)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"modelyard {__version__}")
        raise typer.Exit


@app.callback()
def _choose_project(
    context: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            metavar="DIR",
            readable=False,  # a refusal is told like any other
            help="The project to work in. Default: the one the current folder lies in.",
            envvar="MODELS_PROJECT",
        ),
    ] = None,
    # The project's former name, for scripts that still use it.
    yard: Annotated[
        Path | None, typer.Option("--yard", envvar="MODELS_YARD", readable=False, hidden=True)
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    options = {"project": project, "yard": yard}
    written = [name for name in options if _is_written(context, name)]
    # What is written on the command line is meant, whatever the variables of the shell say.
    if chosen := next(filter(None, map(options.get, (*written, *options))), None):
        os.environ["MODELS_PROJECT"] = str(chosen)


def _is_written(context: typer.Context, option: str) -> bool:
    """Whether an option stands on the command line, where a variable could also give it."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _discard_output() -> None:
    """Let what is still to be flushed to a closed pipe go nowhere, without another error."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def error_boundary(command: Callable[P, R], *, changes: bool = False) -> Callable[P, R]:
    """Turn what a command raises into a message and an exit code; only this catches everything.

    changes: whether it is one of `access.CHANGES`, which need a project that can be changed.
    """

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        from modelyard.cli.before_a_command import prepare_project
        from modelyard.cli.render import OutputClosed, flush_results, print_error

        is_done = not changes
        try:
            prepare_project(changes=changes)
            result = command(*args, **kwargs)
            is_done = True
            flush_results()
            return result
        except ModelyardError as error:
            print_error(error)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            _end_interrupted()
        except OutputClosed:  # `| head` has what it wants, but may have stopped a change halfway
            _discard_output()
            sys.exit(0 if is_done else 1)
        except BrokenPipeError:
            sys.exit(1)
        except Exception as error:
            if _is_interrupt(error):
                _end_interrupted()
            from modelyard.secrets.detection import mask_tokens

            if refused := _refusal_of_the_system(error):
                print_error(refused)
                sys.exit(refused.exit_code)
            what = visible_text(mask_tokens(f"{type(error).__name__}: {error}"))
            print(f"error: a bug in modelyard: {what}", file=sys.stderr)
            print(f"  the traceback is in {_write_traceback()}", file=sys.stderr)
            sys.exit(3)
        finally:
            _settle_stdout()

    return guarded


def _end_interrupted() -> NoReturn:
    print("interrupted", file=sys.stderr)
    sys.exit(130)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether ^C caused this error: Python 3.11 wraps it while a class is being created."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _refusal_of_the_system(error: Exception) -> ModelyardError | None:
    """A refusal that no package expected there, such as a path that is too long."""
    explained = explain_os_error(error, None) if isinstance(error, OSError) else None
    return explained or explain_refused_access(error)


def _settle_stdout() -> None:
    """Discard unwritable output: Python would try to write it again at exit, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_traceback() -> str:
    """Keep the traceback of a bug in the project's logs, else in the cache's; returns its path."""
    from modelyard.core.files import write_atomic
    from modelyard.core.layout import cache_folder, find_project

    try:
        folder = find_project().logs
    except (ModelyardError, OSError):
        folder = cache_folder() / "logs"
    path = folder / f"bug-{utc_now().replace(':', '')}-{os.getpid()}.txt"
    try:
        write_atomic(path, f"modelyard {__version__}\n{traceback.format_exc()}")
    except (ModelyardError, OSError):
        return f"no file (cannot write {path}):\n{traceback.format_exc()}"
    return str(path)


def main() -> None:
    """The console entry point."""
    # SIGTERM ends a command as ^C does; fine-tune handles both itself while it trains.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _require_streams()
        _require_text(sys.argv[1:])
        _require_current_folder()
        app(prog_name="models")
    except OSError as error:
        # Every command has its own boundary, so this is help or the version that was not written.
        _settle_stdout()
        _fail(f"stdout: cannot write: {error.strerror}", 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_streams() -> None:
    """Replace closed streams: the next file opened would get their descriptors."""
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
        _fail(
            "stdout is closed, so the result cannot be written; `>/dev/null` discards it",
            1,
        )


def _require_current_folder() -> None:
    """Refuse to start in a folder that was deleted: torch would even end the process."""
    try:
        Path.cwd()
    except FileNotFoundError:
        _fail("the current folder does not exist any more; go into another one", 2)


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
