"""From the settings of a language model to the client that calls it."""

from __future__ import annotations

from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.core.layout import Project
from modelyard.providers.anthropic_messages import AnthropicMessages
from modelyard.providers.hosted import HostedModel
from modelyard.providers.openai_chat import OpenAIChat


def open_provider(settings: LanguageModel, project: Project) -> HostedModel:
    """The client of a hosted model or of one behind an endpoint; it is a Provider.

    Nothing is loaded, read or connected before its first call, so that a missing key is a failure
    of that call. A client keeps its connections: open one for each model, and keep it.
    """
    assert not settings.in_process, f"{settings.provider} answers without an API"
    kind = AnthropicMessages if settings.provider == "anthropic" else OpenAIChat
    return kind(settings, project)
