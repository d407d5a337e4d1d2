"""Whether a service could start here, and whom it would serve what. Changes nothing."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.access.audit_key import require_key_possible
from modelyard.access.audit_reading import verify_audit
from modelyard.access.keys import list_keys
from modelyard.answering.outside_engine import OutsideEngine
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project
from modelyard.deployments.effective import load_live_domains
from modelyard.serving.opening import find_base_to_load
from modelyard.serving.own_adapters import OwnAdapters
from modelyard.serving.permitted import Permitted, permitted_to
from modelyard.serving.process import listen


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSetting:
    """How a service is started."""

    environment: str
    """The environment whose configs decide."""
    host: str
    """The address it listens on."""
    port: int
    """The port; 0 for a free one."""
    base: str | None = None
    """The base to load first; None: that of most adapters."""
    certificate: Path | None = None
    """A file with the certificate chain, for TLS."""
    certificate_key: Path | None = None
    """A file with its key, where the first does not hold it."""
    needs_keys: bool = True
    """Whether a request must have a key."""
    loads_base: bool = True
    """Whether a base of this machine answers."""
    outside: OutsideEngine | None = None
    """What computes the local models instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What an organisation would be served."""

    organisation: str
    """Its name."""
    keys: int
    """Its keys that work now."""
    models: tuple[str, ...]
    """What it may name as a model."""
    search_domains: tuple[str, ...]
    """What it may search."""


def find_obstacles(project: Project, setting: ServiceSetting) -> Iterator[ModelyardError]:
    """Everything that would keep the service from starting, or from answering anybody."""
    checks = (_check_running, _check_address, _check_tls, _check_base, _check_keys, _check_audit)
    for check in (*checks, _check_configs):
        try:
            check(project, setting)
        except ModelyardError as error:
            yield error


def list_served(project: Project, environment: str) -> Iterator[Served]:
    """Every organisation that has a key or an adapter, and what it would be served.

    Raises what reading the configs of the environment raises.
    """
    adapters = OwnAdapters(project)
    working = [key.organisation for key in list_keys(project) if key.works_at(utc_now())]
    for organisation in sorted({*working, *adapters.organisations()}):
        permitted: Permitted = permitted_to(project, environment, adapters, organisation)
        yield Served(
            organisation=organisation,
            keys=working.count(organisation),
            models=tuple(permitted.listed()),
            search_domains=tuple(sorted(permitted.search_domains)),
        )


def require_tls(certificate: Path | None, key: Path | None) -> None:
    """Raise InvalidInput for files that are no certificate and its key."""
    if certificate is None:
        if key is not None:
            raise InvalidInput(
                "a key without a certificate", where="--certificate-key", hint="add --certificate"
            )
        return
    for path in (certificate, key):
        if path is not None and path.is_dir():
            raise InvalidInput("is a folder, and no file", where=str(path))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, key, password=lambda: _refuse_password(key or certificate)
        )
    except FileNotFoundError as error:
        missing = key if key is not None and not key.exists() else certificate
        raise InvalidInput("there is no such file", where=str(missing)) from error
    except (ssl.SSLError, OSError) as error:
        raise InvalidInput(
            f"is no certificate with its key, in PEM: {error.strerror or error}",
            where=str(certificate),
            hint="--certificate names the chain, --certificate-key the key that belongs to it",
        ) from error


def _refuse_password(key: Path) -> str:
    raise InvalidInput(
        "the key is encrypted",
        where=str(key),
        hint="write it without a password, readable by the service's user alone",
    )


def require_alone(project: Project, environment: str, error: LockHeld) -> ModelyardError:
    """The error of a second service of an environment."""
    return ModelyardError(
        f"{error.message}: an environment has one service",
        hint=f"stop that process, or serve another one than {environment} with --env",
    )


def _check_running(project: Project, setting: ServiceSetting) -> None:
    lock = project.lock("serve", setting.environment)
    if not lock.exists():
        return
    try:
        with exclusive_lock(lock, what=f"service of {setting.environment}"):
            pass
    except LockHeld as error:
        raise require_alone(project, setting.environment, error) from error


def _check_address(project: Project, setting: ServiceSetting) -> None:
    listen(setting.host, setting.port).close()


def _check_tls(project: Project, setting: ServiceSetting) -> None:
    require_tls(setting.certificate, setting.certificate_key)


def _check_base(project: Project, setting: ServiceSetting) -> None:
    if setting.outside is not None:
        setting.outside.contexts()
    elif setting.loads_base:
        find_base_to_load(project, setting.environment, OwnAdapters(project), setting.base)


def _check_keys(project: Project, setting: ServiceSetting) -> None:
    if setting.needs_keys and not any(key.works_at(utc_now()) for key in list_keys(project)):
        raise ModelyardError(
            "no key works, so nobody could ask",
            hint="make one: `models keys create --org ORG`",
        )


def _check_audit(project: Project, setting: ServiceSetting) -> None:
    if project.audit_log.exists():
        verify_audit(project)
    else:
        require_key_possible(project)


def _check_configs(project: Project, setting: ServiceSetting) -> None:
    load_live_domains(setting.environment, project=project)
