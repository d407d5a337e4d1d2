"""What a hosted fine-tuning job would send, to whom and at what cost; known before any call."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from modelyard.chatdata.dataset import ChatDataset, load_dataset
from modelyard.chatdata.report import build_data_report
from modelyard.chatdata.sensitive import SensitiveValue, find_sensitive
from modelyard.chatdata.tokenizing import Tokenized
from modelyard.configs.kinds.fine_tuning import LONGEST_ROW
from modelyard.configs.kinds.integration import Budgets
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.deployments.live_domains import integration_of
from modelyard.deployments.running import running_snapshot
from modelyard.providers.openai_chat import OpenAIChat
from modelyard.training.hosted.tunable import HostedBase
from modelyard.training.hosted.upload import Upload, build_upload

DEFAULT_EPOCHS = 3
"""Passes over the rows where nobody says how many; the provider's own choice would have no known
cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedRequest:
    """What is asked for."""

    dataset: str
    """Name under datasets/, or a path."""
    base: HostedBase
    """The model that is tuned."""
    experiment: str
    """The folder under experiments/ that records the job."""
    org: str | None = None
    """The organisation whose budget pays; None: that of the data."""
    epochs: int = DEFAULT_EPOCHS
    """Passes over the training rows."""
    seed: int = 0
    """The seed of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedPlan:
    """A job that can start, as far as this machine knows."""

    request: HostedRequest
    """What is asked for."""
    dataset: ChatDataset
    """The rows."""
    org: str | None
    """The organisation whose budget pays."""
    upload: Upload
    """What is sent."""
    sensitive: tuple[SensitiveValue, ...]
    """Secrets and e-mail addresses in the training rows, by place."""
    warnings: tuple[str, ...]
    """What a person should know about the rows."""
    budgets: Budgets
    """What may be spent in the environment."""

    @property
    def url(self) -> str:
        """The API that the rows are sent to."""
        return self.request.base.settings.url or OpenAIChat.default_endpoint

    @property
    def host(self) -> str:
        """Its host, for people."""
        return urlsplit(self.url).netloc

    @property
    def most_tokens(self) -> int:
        """An upper bound of the training tokens of all passes."""
        return self.upload.most_tokens * self.request.epochs

    @property
    def likely_tokens(self) -> int:
        """About how many training tokens all passes have, by a rule of thumb."""
        return self.upload.likely_tokens * self.request.epochs

    @property
    def most_cost_usd(self) -> float | None:
        """What the job can cost at most; None: the price is unknown."""
        return self._cost_usd(self.most_tokens)

    @property
    def likely_cost_usd(self) -> float | None:
        """What it probably costs; None: the price is unknown."""
        return self._cost_usd(self.likely_tokens)

    def _cost_usd(self, tokens: int) -> float | None:
        price_usd = self.request.base.price_usd
        return None if price_usd is None else tokens * price_usd / 1e6


def build_plan(project: Project, request: HostedRequest) -> HostedPlan:
    """Read and check everything that this machine has. Makes no call and writes nothing.

    Raises InvalidInput for rows that may not leave the machine or belong to another organisation,
    ProblemsFound for rows that cannot be sent.
    """
    dataset = load_dataset(project, request.dataset, for_training=True)
    if dataset.local_only and request.base.settings.needs_network:
        raise InvalidInput(
            f"the rows of {dataset.name} may not leave this machine (`local_only: true`), and "
            f"{request.base.name} is tuned by its provider",
            where=project.show(dataset.path),
            hint="train an adapter here: --base-model NAME, as in `models base list`",
        )
    if request.org and dataset.org and request.org != dataset.org:
        raise InvalidInput(
            f"belongs to organisation '{dataset.org}', and not to '{request.org}'",
            where=project.show(dataset.path),
            hint="leave --org out, or train each organisation's model on its own data",
        )
    report = build_data_report(dataset, Tokenized(rows=()), max_length=LONGEST_ROW)
    if report.problems:
        raise ProblemsFound(f"dataset {dataset.name} cannot be trained on", report.problems)
    upload = build_upload(dataset.train, provider=request.base.settings.provider)
    return HostedPlan(
        request=request,
        dataset=dataset,
        org=request.org or dataset.org,
        upload=upload,
        sensitive=tuple(find_sensitive(dataset.train)),
        warnings=(*dataset.warnings, *report.warnings),
        budgets=_budgets(project, request.base.environment),
    )


def _budgets(project: Project, environment: str) -> Budgets:
    integration = integration_of(running_snapshot(project, environment)[1])
    return integration.model_integration.budgets if integration else Budgets()
