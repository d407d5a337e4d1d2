"""Switching: which performance profile a domain uses, as a revision like any other."""

from __future__ import annotations

from modelyard.core.layout import Project, check_name
from modelyard.deployments.deploy import Deployment, perform
from modelyard.deployments.plan import Request


def switch_config(
    project: Project,
    *,
    profile: str,
    environment: str,
    domain: str | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Deployment:
    """Let a domain use a profile (without `domain`: every one), deploying what that needs.

    Raises InvalidInput when there is no such profile or domain.
    """
    request = switch_request(profile, domain)
    return perform(project, request, environment, reason=reason, dry_run=dry_run, wait_s=wait_s)


def switch_request(profile: str, domain: str | None) -> Request:
    """What is asked for with these words. Raises InvalidInput when one is no name."""
    if domain is not None:
        check_name(domain, "domain")
    return Request(action="switch", profile=check_name(profile, "profile"), domain=domain)


def undo_switch(
    project: Project,
    *,
    environment: str,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Deployment:
    """Give the domains of the last switch the profiles that they had before it.

    What was deployed since stays. A second undo takes back the switch before that.
    """
    request = Request(action="undo")
    return perform(project, request, environment, reason=reason, dry_run=dry_run, wait_s=wait_s)
