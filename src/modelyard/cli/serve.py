"""`models serve`: the models of the project over HTTP, each organisation with its own."""

from __future__ import annotations

import ipaddress
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, chosen_environment
from modelyard.cli.render import print_note, print_warning
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import exclusive_lock
from modelyard.core.layout import find_project
from modelyard.core.wording import counted
from modelyard.settings.units import SIZE

if TYPE_CHECKING:
    from modelyard.serving.service import Service


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
        int, typer.Option(min=1, max=1024, help="The most answers that are computed at once.")
    ] = 16,
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
) -> None:
    """Answer over HTTP: OpenAI's API, and Anthropic's.

    One base is in memory; an organisation's adapter is loaded when it is first asked, and whose
    request it is comes from the API key alone.

    \b
    models keys create --org techcorp
    models serve
    """
    from modelyard.access.caller import Caller
    from modelyard.inference.engine_limits import EngineLimits
    from modelyard.serving.app import build_app
    from modelyard.serving.opening import choose_base, open_service
    from modelyard.serving.process import Course, Listening, listen, listen_locally, run
    from modelyard.serving.service import ServiceLimits

    project = find_project()
    chosen = chosen_environment(project, environment)
    if insecure_local:
        _require_loopback(host)
    engine = EngineLimits(max_batch=max_batch, adapter_bytes=_bytes(adapter_memory))
    lock = project.lock("serve", chosen)
    with (
        exclusive_lock(lock, what=f"the service of {chosen}", wait_s=0),
        open_service(
            project,
            chosen,
            engine=engine,
            limits=ServiceLimits(),
            without_key=Caller(organisation=None) if insecure_local else None,
            note=print_warning,
        ) as service,
    ):
        listener = listen(host, port)
        local = listen_locally(project.service_socket(chosen))
        where = f"http://{host}:{listener.getsockname()[1]}"
        base = base_model or choose_base(service)

        def started() -> None:
            print_note(f"listening on {where}")
            if base is not None:
                threading.Thread(target=_load, args=(service, base), daemon=True).start()
            else:
                service.loaded.set()

        def draining(under_way: int) -> None:
            if under_way:
                print_note(f"finishing {counted(under_way, 'answer')}")

        run(
            service,
            build_app(service),
            Listening(tcp=listener, local=local),
            Course(drain_s=drain, on_start=started, on_drain=draining),
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
