"""Whether the environment has credentials for an object store, before anything is sent.

Without any, obstore would ask the metadata service of a cloud machine at 169.254.169.254, and wait
for it in vain everywhere else. Which cloud a machine is in is read from its firmware.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_FIRMWARE = Path("/sys/class/dmi/id")
_FIRMWARE_FILES = ("sys_vendor", "product_name", "chassis_asset_tag", "bios_vendor")


@dataclass(frozen=True, slots=True)
class _Cloud:
    """How one kind of store gets its credentials."""

    alone: tuple[str, ...]
    """Variables of which each is enough."""
    together: tuple[tuple[str, ...], ...]
    """Variables that are enough only together."""
    files: tuple[str, ...]
    """Files that hold credentials, in the home folder."""
    firmware: tuple[str, ...]
    """What the firmware of its machines says, which have a role of their own."""


_CLOUDS = {
    "s3": _Cloud(
        alone=(
            *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            *("AWS_METADATA_ENDPOINT", "AWS_SKIP_SIGNATURE"),
        ),
        together=(
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        ),
        files=(),
        firmware=("Amazon EC2",),
    ),
    "gs": _Cloud(
        alone=(
            *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT_KEY"),
            *("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SKIP_SIGNATURE"),
        ),
        together=(),
        files=(".config/gcloud/application_default_credentials.json",),
        firmware=("Google Compute Engine",),
    ),
    "az": _Cloud(
        alone=(
            *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_SAS_KEY"),
            *("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN", "AZURE_FEDERATED_TOKEN_FILE"),
            *("AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET", "AZURE_USE_AZURE_CLI"),
            *("AZURE_STORAGE_USE_EMULATOR", "AZURE_SKIP_SIGNATURE", "IDENTITY_ENDPOINT"),
            "AZURE_MSI_ENDPOINT",
        ),
        together=(),
        files=(),
        firmware=("7783-7084-3265-9085-8269-3286-77",),  # the asset tag of every Azure machine
    ),
}


def lacking_credentials(scheme: str, *, firmware: Path = _FIRMWARE) -> str | None:
    """What the environment lacks for stores of this scheme; None when it has credentials.

    firmware: where Linux shows what the machine is.
    """
    cloud = _CLOUDS[scheme]
    given = {name for name, value in os.environ.items() if value}
    if given.intersection(cloud.alone) or any(given.issuperset(names) for names in cloud.together):
        return None
    if any((Path.home() / name).is_file() for name in cloud.files):
        return None
    said = " ".join(map(_read, (firmware / name for name in _FIRMWARE_FILES)))
    if any(mark in said for mark in cloud.firmware):
        return None
    for names in cloud.together:
        missing = sorted(set(names) - given)
        if 0 < len(missing) < len(names):
            return f"{', '.join(missing)} is not set"
    return f"there are no credentials for {scheme}:// in the environment"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
