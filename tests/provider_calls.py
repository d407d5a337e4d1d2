"""Calls of a model behind the server of provider_server.py, by the real clients."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.core.layout import Project
from modelyard.providers.call import Call, CallFailure, Reply
from modelyard.providers.open import open_provider
from provider_server import ProviderServer

KEY = "sk-test-0a1b2c3d4e5f6g7h"


@dataclass
class Caller:
    """A model behind the server, and what was shown of its answers."""

    project: Project
    server: ProviderServer
    shown: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def settings(self, provider: str = "openai", **changes: Any) -> LanguageModel:
        return LanguageModel(
            **{
                "description": "Behind the server",
                "provider": provider,
                "model": "some-model",
                "endpoint": self.server.url,
                "api_key": "env:SOME_KEY",
                "context_tokens": 8_000,
                "max_output_tokens": 1_000,
                **changes,
            }
        )

    def send(
        self,
        settings: LanguageModel,
        call: Call | None = None,
        *,
        timeout_s: float = 20,
        streaming: bool = True,
    ) -> Reply | CallFailure:
        provider = open_provider(settings, self.project)
        provider.client()  # loading it is no part of the call
        self.shown.clear()
        started = time.monotonic()
        result = provider.send(
            call or ask(), timeout_s=timeout_s, on_text=self.shown.append if streaming else None
        )
        self.took_s = time.monotonic() - started
        return result

    def count(self) -> int:
        """Requests that reached the server."""
        return len(self.server.asked)


def ask(text: str = "Who leads sales?", **generation: Any) -> Call:
    drawn = Generation(**{"max_output_tokens": 100, **generation})
    return Call(messages=(Message("system", "Be brief."), Message("user", text)), generation=drawn)
