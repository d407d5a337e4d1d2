"""Where the settings of a config in an environment were written, and the revision that gave them.

The line of every setting is kept with its deployment, since the file may change afterwards.
Development uses the drafts, every other environment what is deployed there. The settings of a
domain have further layers: `domain_settings.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from modelyard.configs.explain import Explanation, Layer, explain, written_layers
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT, KINDS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import Document, config_name, resolve
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.deployments.revisions import (
    Revision,
    check_environment,
    list_revisions,
    not_deployed,
)
from modelyard.deployments.running import running_snapshot
from modelyard.deployments.snapshot import (
    Content,
    Origin,
    Snapshot,
    content_of,
    parse_origins,
    render_origins,
    split_label,
)
from modelyard.settings.yaml_files import YamlSource

UNKNOWN_LAYER = "deployed config"
"""The layer of a setting that was deployed by a version which kept no lines."""


def deployable_content(document: Document, environment: str) -> Content:
    """A valid config as it is deployed to an environment, with the line of every setting."""
    origins = {
        key: Origin(layer.name, layer.where or document.source.name)
        for key, layer in written_layers(document, environment).items()
    }
    values = resolve(document, environment).values
    return content_of(values, render_origins(document.source.name, origins))


@dataclass(frozen=True)
class RunningConfigs:
    """The configs that commands in an environment use, each setting with its origin."""

    catalogue: ConfigCatalogue
    """The drafts of the project."""
    environment: str
    """The environment."""
    number: int
    """Its newest revision; 0 when there is none."""
    snapshot: Snapshot
    """What runs there."""
    _explained: dict[tuple[str, str], tuple[Explanation, ...]] = field(default_factory=dict)

    @property
    def is_draft(self) -> bool:
        """Whether the drafts run."""
        return self.environment == DEFAULT_ENVIRONMENT

    @property
    def live_revision(self) -> int | None:
        """The revision that is live; None where the drafts run."""
        return None if self.is_draft else self.number

    @cached_property
    def history(self) -> Sequence[Revision]:
        """The revisions of the environment, the newest first."""
        return list_revisions(self.catalogue.project, self.environment)[::-1]

    def require_deployed(self) -> None:
        """Return if something runs there. Raises NotDeployed when nothing is deployed."""
        if not (self.is_draft or self.number):
            raise not_deployed(self.environment)

    def label_of(self, word: str) -> str:
        """The label of the config that a person means, which may be live without a draft.

        Raises InvalidInput when there is none, or when it is not deployed; NotDeployed when
        nothing is.
        """
        try:
            label = self.catalogue.inspect(self.catalogue.locate(word)).label
        except ModelyardError:
            names = (word, config_name(Path(word)))  # also for the path of a file that is gone
            named = [
                live
                for live in self.snapshot.configs
                if live == word or split_label(live)[1] in names
            ]
            if self.is_draft or len(named) != 1:
                raise
            label = named[0]
        if label in self.snapshot.configs or not KINDS[split_label(label)[0]].deployable:
            return label
        self.require_deployed()
        raise InvalidInput(
            f"{label} is not deployed to {self.environment}",
            hint=f"`models deploy-config {label} --env {self.environment}` deploys it; "
            "`--draft` takes the draft",
        )

    def explain(self, label: str, key: str = "") -> tuple[Explanation, ...]:
        """The settings of one config at a dotted key, or below it; all of them for an empty one.

        Raises ProblemsFound when it is not valid, InvalidInput when there is no such key.
        """
        if (label, key) not in self._explained:
            self._explained[label, key] = self._explain(label, key)
        return self._explained[label, key]

    def _explain(self, label: str, key: str) -> tuple[Explanation, ...]:
        kind, name = split_label(label)
        if self.is_draft or not KINDS[kind].deployable:
            draft = self.catalogue.find(kind, name)
            if draft is None:
                raise InvalidInput(f"there is no config {label}, or it cannot be read")
            return explain(draft, key, self.environment if draft.kind.deployable else None)
        content = self.snapshot.configs[label]
        source = YamlSource(name=label, value=content.values, text="", positions={})
        deployed = Document(path=Path(label), kind=KINDS[kind], name=name, source=source)
        origins = parse_origins(content.origins or self._lines_of_draft(label, content))
        revision = self.since(lambda past: past.configs.get(label) == content.digest)
        found = []
        for setting in explain(deployed, key, None):
            origin = origins.get(setting.key)
            layer = Layer(
                name=origin.layer if origin else UNKNOWN_LAYER,
                value=setting.value,
                where=origin.where if origin else label,
                revision=revision,
            )
            layers = tuple(layer if below.where else below for below in setting.layers)
            found.append(with_layers(setting, layers, layers[-1] if layers else None))
        return tuple(found)

    def _lines_of_draft(self, label: str, content: Content) -> str | None:
        """Where the draft has these settings; None when it has others, or there is none."""
        draft = self.catalogue.find(*split_label(label))
        same = draft and deployable_content(draft, self.environment)
        return same.origins if same and same.digest == content.digest else None

    def since(self, holds: Callable[[Revision], bool]) -> int | None:
        """The oldest of the newest revisions for which something holds without a break."""
        since = None
        for revision in self.history:
            if not holds(revision):
                break
            since = revision.number
        return since


def with_layers(
    setting: Explanation, layers: tuple[Layer, ...], effective: Layer | None
) -> Explanation:
    """The setting with other layers, one of which is effective."""
    return replace(
        setting,
        value=effective.value if effective else None,
        layer=effective.name if effective else None,
        where=effective.where if effective else None,
        revision=effective.revision if effective else None,
        layers=layers,
    )


def open_running(catalogue: ConfigCatalogue, environment: str) -> RunningConfigs:
    """The configs that run in an environment.

    Raises InvalidInput when it does not exist, ProblemsFound for a draft that cannot be read in
    development.
    """
    check_environment(catalogue.project, environment)
    number, snapshot = running_snapshot(catalogue.project, environment)
    return RunningConfigs(catalogue, environment, number, snapshot)
