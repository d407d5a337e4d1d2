"""`models serve`: the models of the project over HTTP, each organisation with its own."""

from __future__ import annotations

import ipaddress
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, chosen_environment
from modelyard.cli.render import print_note, print_table, print_text, print_warning
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project, find_project
from modelyard.core.wording import counted
from modelyard.inference.engine_limits import EngineLimits
from modelyard.settings.units import SIZE

if TYPE_CHECKING:
    from modelyard.answering.outside_engine import OutsideEngine
    from modelyard.serving.checking import ServiceSetting
    from modelyard.serving.service import Service


class CannotServe(ModelyardError):
    """What would keep a service from starting, or from answering anybody."""


def serve(
    environment: Environment = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8091,
    base_model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The base to load first; the service is ready then. Default: that of most "
            "adapters.",
        ),
    ] = None,
    adapter_memory: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Memory for adapters that wait to be asked; those not used for longest go.",
        ),
    ] = "2 GB",
    max_batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="The most answers that are computed at once. Default: 16, or more where the "
            "profile of a domain has more (batching.max_requests).",
        ),
    ] = None,
    engine_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Let another engine compute the local models: its API of OpenAI, such as "
            "http://localhost:8000/v1.",
        ),
    ] = None,
    engine_key: Annotated[
        str | None,
        typer.Option(metavar="REF", help="Where the key of that engine is: env:NAME."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Serve over TLS with this certificate chain (PEM)."),
    ] = None,
    certificate_key: Annotated[
        Path | None,
        typer.Option(
            "--certificate-key", metavar="FILE", help="Its key, where the chain has it not."
        ),
    ] = None,
    insecure_local: Annotated[
        bool,
        typer.Option(
            "--insecure-local",
            help="Serve without keys, on a loopback address only: whoever is on this machine may "
            "use every organisation's models.",
        ),
    ] = False,
    drain: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="On SIGTERM: how long running answers may still take."
        ),
    ] = 30.0,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Start nothing: say what would hinder it, and whom it would serve what.",
        ),
    ] = False,
) -> None:
    """Answer over HTTP: OpenAI's API, and Anthropic's.

    One base is in memory; an organisation's adapter is loaded when it is first asked, and whose
    request it is comes from the API key alone. SIGTERM or ^C lets running answers come to their
    end.

    An environment has one service. Exit code 1: it cannot start, or --check found what would hinder
    it.

    \b
    models keys create --org techcorp
    models serve --check
    models serve
    """
    from modelyard.serving.batching import choose_max_batch
    from modelyard.serving.checking import ServiceSetting

    project = find_project()
    chosen = chosen_environment(project, environment)
    if insecure_local:
        _require_loopback(host)
    adapter_bytes = _bytes(adapter_memory)
    setting = ServiceSetting(
        environment=chosen,
        host=host,
        port=port,
        base=base_model,
        certificate=certificate,
        certificate_key=certificate_key,
        needs_keys=not insecure_local,
        outside=_outside(project, engine_url, engine_key, base_model),
    )
    if check:
        _check(project, setting, max_batch)
    else:
        engine = EngineLimits(
            max_batch=choose_max_batch(project, chosen, max_batch), adapter_bytes=adapter_bytes
        )
        _run(project, setting, engine, drain)


def _check(project: Project, setting: ServiceSetting, max_batch: int | None) -> None:
    """Say what would hinder the service, what it would serve whom, and how much at once."""
    from modelyard.serving.checking import find_obstacles, list_served

    obstacles = list(find_obstacles(project, setting))
    with suppress(ModelyardError):  # one of the obstacles then
        served = list(list_served(project, setting.environment))
        if served:
            print_table(
                ("organisation", ">keys", "models", "search domains"),
                [
                    (
                        each.organisation,
                        each.keys,
                        *map(", ".join, (each.models, each.search_domains)),
                    )
                    for each in served
                ],
            )
        if setting.outside is None:
            _print_batch(project, setting.environment, max_batch)
    if obstacles:
        raise CannotServe(
            f"the service of {setting.environment} would not do",
            problems=[
                Diagnostic(message=each.message, where=each.where, hint=each.hint)
                for each in obstacles
            ],
        )
    print_note(f"nothing hinders the service of {setting.environment}")


def _print_batch(project: Project, environment: str, max_batch: int | None) -> None:
    """Say how many answers would be computed at once, and why so many."""
    from modelyard.serving.batching import USUAL_BATCH, choose_max_batch, list_batches

    rows = choose_max_batch(project, environment, max_batch)
    batches = list_batches(project, environment)
    if batches:
        print_text()
        print_table(
            ("domain", "profile", ">answers at once"),
            [(each.domain, each.profile, min(each.most or rows, rows)) for each in batches],
        )
    why = "--max-batch" if max_batch is not None else "by default"
    asking = [each.domain for each in batches if each.most == rows]
    if max_batch is None and rows != USUAL_BATCH:
        why = f"batching.max_requests of the profile of {asking[0]}"
    print_note(f"at most {counted(rows, 'answer')} of each base are computed at once: {why}")


def _run(project: Project, setting: ServiceSetting, engine: EngineLimits, drain_s: float) -> None:
    """Serve until a signal ends it."""
    from modelyard.access.caller import Caller
    from modelyard.serving.app import build_app
    from modelyard.serving.checking import require_alone, require_tls
    from modelyard.serving.opening import find_base_to_load, open_service
    from modelyard.serving.process import Course, Listening, listen, listen_locally, run
    from modelyard.serving.service import ServiceLimits

    environment = setting.environment
    require_tls(setting.certificate, setting.certificate_key)
    with ExitStack() as stack:
        lock = project.lock("serve", environment)
        try:
            stack.enter_context(exclusive_lock(lock, what=f"service of {environment}"))
        except LockHeld as error:
            raise require_alone(project, environment, error) from error
        listener = stack.enter_context(listen(setting.host, setting.port))
        service = stack.enter_context(
            open_service(
                project,
                environment,
                engine=engine,
                limits=ServiceLimits(),
                without_key=None if setting.needs_keys else Caller(organisation=None),
                note=print_warning,
                outside=setting.outside,
            )
        )
        base = None
        if setting.outside is None:
            base = find_base_to_load(project, environment, service.own_adapters, setting.base)
        if base is None:
            service.loaded.set()
        else:  # torch is imported while the app is built
            Thread(target=_load, args=(service, base), daemon=True).start()
        scheme = "http" if setting.certificate is None else "https"
        host = f"[{setting.host}]" if ":" in setting.host else setting.host
        where = f"{scheme}://{host}:{listener.getsockname()[1]}"

        def draining(under_way: int) -> None:
            if under_way:
                print_note(f"finishing {counted(under_way, 'answer')}")

        run(
            service,
            build_app(service),
            Listening(
                tcp=listener,
                local=stack.enter_context(listen_locally(project.service_socket(environment))),
                certificate=setting.certificate,
                certificate_key=setting.certificate_key,
            ),
            Course(
                drain_s=drain_s,
                on_start=lambda: print_note(f"listening on {where}"),
                on_drain=draining,
            ),
        )


def _load(service: Service, base: str) -> None:
    """Load the base, and say so."""
    from modelyard.serving.opening import load_base

    try:
        load_s = load_base(service, base)
    except ModelyardError as error:
        print_warning(f"{base} is not loaded: {error}")
    else:
        print_note(f"{base} is loaded ({load_s:.1f} s)")


def _outside(
    project: Project, url: str | None, key: str | None, base: str | None
) -> OutsideEngine | None:
    """The engine that is named. Raises InvalidInput for what names none."""
    from modelyard.answering.outside_engine import Engine, OutsideEngine

    if url is None:
        if key is not None:
            raise InvalidInput(
                "a key without an engine", where="--engine-key", hint="add --engine-url"
            )
        return None
    if base is not None:
        raise InvalidInput(
            "no base is loaded where another engine computes",
            where="--base-model",
            hint="leave it out, or --engine-url",
        )
    if re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", url) is None:
        raise InvalidInput(
            "is no URL without user, query and fragment",
            where="--engine-url",
            hint="such as http://localhost:8000/v1",
        )
    if key is not None and re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", key) is None:
        raise InvalidInput(
            "is no reference to a key", where="--engine-key", hint="such as env:ENGINE_KEY"
        )
    return OutsideEngine(project, Engine(url=url, key=key))


def _bytes(text: str) -> int:
    size = SIZE.parse(text)
    if size is None or size <= 0:
        raise InvalidInput(f"{text!r} is no size", where="--adapter-memory", hint="such as 2 GB")
    return int(size)


def _require_loopback(host: str) -> None:
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise InvalidInput(
            f"--insecure-local is for a loopback address, and {host} can be reached from elsewhere",
            hint="leave one of the two out: keys are made with `models keys create --org ORG`",
        )
