"""Addresses of stores, and messages about them without a secret."""

from __future__ import annotations

import pytest

from modelyard.core.errors import InvalidInput
from modelyard.stores.store import open_store, plain_message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "store",
        "/srv/registry",
        "ftp://host/x",
        "s3://",
        "file://",
        "file://host/folder",
        "s3:/b",
    ],
)
def test_an_address_that_is_none_is_refused_with_how_to_write_one(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        open_store(url)
    assert refused.value.hint


@pytest.mark.parametrize(
    "url", ["s3://key:geheim@bucket/x", "az://a/b?sig=geheim", "s3://b/x#geheim"]
)
def test_a_key_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        open_store(url)
    assert "geheim" not in f"{refused.value}{refused.value.hint}"


def test_messages_show_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very/secret")
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sas-secret")
    error = ValueError(
        "Generic S3 error: PUT https://user:pw@host/b?X-Amz-Signature=abc failed for very/secret "
        "and sas-secret: 403 <Error>AKIA</Error>\n\nDebug source: very/secret"
    )
    shown = plain_message(error)
    assert shown == "PUT https://***@host/b failed for *** and ***: 403"
