"""`models mcp`: the search indexes as tools for coding agents."""

from __future__ import annotations

from importlib.util import find_spec

from modelyard.cli.options import Environment, chosen_environment
from modelyard.core.errors import ModelyardError
from modelyard.core.installing import install_command
from modelyard.core.layout import find_project


def mcp(environment: Environment = None) -> None:
    """Offer the search indexes to a coding agent over stdio.

    A server of the Model Context Protocol on stdin and stdout, which the agent starts itself, with
    the tools search, related and status. They only read. It ends when stdin does; docs/search.md
    has the lines for an agent's config. It needs the package mcp.
    """
    project = find_project()
    asked = chosen_environment(project, environment)
    if find_spec("mcp") is None:
        raise ModelyardError(
            "the package mcp is not installed, which `models mcp` speaks with",
            hint=f"`{install_command('mcp')}`",
        )
    from modelyard.retrieval.mcp_server import serve_on_stdio

    serve_on_stdio(project, asked)
