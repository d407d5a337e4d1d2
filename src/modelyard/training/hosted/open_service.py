"""The client of a provider's fine-tuning API, with the key of the language model."""

from __future__ import annotations

import os

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.pacing import Pause, RetryPolicy, pause
from modelyard.training.hosted.plan import OPENAI_URL
from modelyard.training.hosted.service import RETRIES, FineTuningService
from modelyard.training.hosted.tunable import HostedBase


class NoKey(ModelyardError):
    """The provider needs a key, and there is none where the config says."""


def open_service(
    project: Project, base: HostedBase, *, pause: Pause = pause, retries: RetryPolicy = RETRIES
) -> FineTuningService:
    """The calls of the API that tunes this model. Raises NoKey when its key cannot be read."""
    import httpx2
    from openai import OpenAI

    key = _read_key(project, base)
    url = base.settings.endpoint or OPENAI_URL
    client = OpenAI(
        api_key=key,
        base_url=url,
        max_retries=0,
        http_client=httpx2.Client(follow_redirects=False, trust_env=False),
    )
    host = httpx2.URL(url).netloc.decode()
    return FineTuningService(client, host=host, pause=pause, retries=retries)


def _read_key(project: Project, base: HostedBase) -> str:
    reference = base.settings.api_key
    if reference is None:
        return "none"  # an endpoint of one's own may ask for none; the client insists on a text
    kind, _, name = reference.partition(":")
    key = ""
    if kind == "env":
        key = os.environ.get(name, "").strip()
    else:
        try:
            key = project.written_path(name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            key = ""
    if not key or not key.isascii() or not key.isprintable():
        raise NoKey(
            f"{base.name} is tuned by its provider, which needs a key, and there is none",
            where=reference,
            hint=f"set it and run the same command again; `api_key` of {base.name} says where it "
            "is looked for",
        )
    return key
