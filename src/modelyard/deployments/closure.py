"""The configs that a deployment includes: those asked for, and those that they name and that are
not live yet. So no live config ever names one that is not live.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import Document
from modelyard.configs.reading.references import ConfigReference, references
from modelyard.configs.reading.shape import check_shape
from modelyard.deployments.snapshot import Snapshot, config_of, names_a_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Configs that go live together."""

    documents: Mapping[str, Document]
    """Each by its label, in the order found."""
    named_by: Mapping[str, str]
    """For each included config that was not asked for, the label of the config that names it."""


def gather(
    catalogue: ConfigCatalogue, asked: Sequence[Document], live: Snapshot, environment: str
) -> Gathered:
    """The configs asked for, and those that they name, directly or not, and that are not live."""
    documents = {document.label: document for document in asked}
    named_by: dict[str, str] = {}
    waiting = list(asked)
    while waiting:
        document = waiting.pop(0)
        for found in _named(catalogue, document, live, environment):
            if found.label not in documents and found.label not in live.configs:
                documents[found.label] = found
                named_by[found.label] = document.label
                waiting.append(found)
    return Gathered(documents=documents, named_by=named_by)


def read_integration(catalogue: ConfigCatalogue) -> Document | None:
    """The project's integration config, if it has one. Raises ModelyardError for a broken one."""
    paths = catalogue.paths("integration")
    return catalogue.read(paths[0]) if paths else None


def settings_in(document: Document, environment: str) -> Any:
    """The settings object of a document; None when they do not have the shape of their kind."""
    return check_shape(document, (environment,)).settings.get(environment)


def _named(
    catalogue: ConfigCatalogue, document: Document, live: Snapshot, environment: str
) -> Iterator[Document]:
    """The configs of the project that must be live when this one is."""
    settings = settings_in(document, environment)
    if settings is None:
        return  # the check of the config reports it
    for reference in references(settings):
        if names_a_config(reference) and config_of(reference, live) is None:
            yield from _found(catalogue, reference, environment)
    if document.kind.name == "specialized_models":
        yield from _present([read_integration(catalogue)])


def _found(
    catalogue: ConfigCatalogue, reference: ConfigReference, environment: str
) -> Iterator[Document]:
    """The project's config that a reference names."""
    if reference.to != "search_domains":
        yield from _present([catalogue.find(reference.to, reference.target)])
        return
    group, _, domain = reference.target.rpartition("/")
    if group:
        yield from _present([catalogue.find("embedding_models", group)])
        return
    for document in catalogue.documents("embedding_models"):
        settings = settings_in(document, environment)
        if settings is not None and domain in settings.domains:
            yield document
            return


def _present(documents: Iterable[Document | None]) -> Iterator[Document]:
    return (document for document in documents if document is not None)
