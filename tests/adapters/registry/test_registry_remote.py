"""Addresses of stores, and messages about them without a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidInput
from modelyard.stores.credentials import lacking_credentials
from modelyard.stores.store import StoreFailed, open_store, plain_message


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


@pytest.mark.parametrize(
    ("url", "given", "said"),
    [
        ("s3://b/x", {}, "there are no credentials for s3://"),
        ("s3://b/x", {"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY is not set"),
        ("s3://b/x", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": ""}, "is not set"),
        ("s3://b/x", {"AWS_ROLE_ARN": "a"}, "AWS_WEB_IDENTITY_TOKEN_FILE is not set"),
        ("gs://b/x", {}, "there are no credentials for gs://"),
        ("az://b/x", {"AZURE_STORAGE_ACCOUNT_NAME": "a"}, "there are no credentials for az://"),
    ],
)
def test_without_credentials_nothing_is_sent_and_they_are_named(
    monkeypatch: pytest.MonkeyPatch, url: str, given: dict[str, str], said: str
) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreFailed) as refused:
        open_store(url)
    assert said in refused.value.message
    assert "in the environment" in str(refused.value.hint)


def test_keys_and_the_role_of_a_cloud_machine_are_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    assert lacking_credentials("s3", firmware=tmp_path)
    (tmp_path / "sys_vendor").write_text("Amazon EC2\n")
    assert lacking_credentials("s3", firmware=tmp_path) is None
    assert lacking_credentials("gs", firmware=tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert lacking_credentials("s3", firmware=tmp_path / "none") is None
