"""What prepare-data is asked to do, and what can never be prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard.chatdata.columns import ColumnMapping
from modelyard.chatdata.splits import DEFAULT_EVALUATION_SHARE
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """What prepare-data is asked to do."""

    sources: tuple[Path, ...]
    """Files of any accepted format, or folders of such files; none with `from_feedback`."""
    out: str
    """The dataset: a name, `datasets/NAME`, or the path of a folder."""
    evaluation_share: float = DEFAULT_EVALUATION_SHARE
    """The share of rows kept back to judge with."""
    from_feedback: bool = False
    """Whether the source is the unused feedback of `org` (None: of none) in state.db."""
    columns: ColumnMapping | None = None
    """How the columns of a table make a conversation; None for files of conversations."""
    org: str | None = None
    """Whose data it is; None keeps what the card says."""
    licence: str | None = None
    """Its licence; None keeps what the card says."""
    drop_sensitive: bool = False
    """Whether rows with a secret or an e-mail address, in any of their keys, are left out."""
    skip_bad_rows: bool = False
    """Whether bad rows are left out and listed, where they are otherwise an error."""
    force: bool = False
    """Whether files that prepare-data did not write, or wrote from other sources, are replaced."""


def require_sound(request: PrepareRequest) -> None:
    """Raise InvalidInput for what can never be prepared."""
    if not 0 < request.evaluation_share < 1:
        raise InvalidInput(
            f"the evaluation share must lie between 0 and 1, not {request.evaluation_share:g}",
            hint="give a share such as --eval-share 0.1",
        )
    if request.from_feedback and (request.sources or request.columns):
        raise InvalidInput(
            "a dataset is made from feedback or from files, not from both",
            hint="leave out the files and --prompt, or leave out --from-feedback",
        )
    if request.from_feedback and request.org is not None:
        check_name(request.org, "organisation")
    if not request.from_feedback and not request.sources:
        raise InvalidInput(
            "nothing was named to prepare",
            hint="name files or folders, or add --from-feedback",
        )


def locate_out(project: Project, out: str) -> Path:
    """The dataset's folder. A name, or `datasets/NAME`, means the project's."""
    name = out.rstrip("/").removeprefix("datasets/")
    if "/" not in name or ".." in Path(out).parts:
        folder = project.dataset(name)
        project.contain(folder, "dataset")
        return folder
    folder = Path(out).expanduser().resolve()
    check_name(folder.name, "dataset")
    return folder


def require_own_folder(project: Project, folder: Path, shown: str) -> None:
    """Feedback is marked with the dataset's name, so the name must mean this folder."""
    if folder.resolve() != project.datasets.resolve() / folder.name:
        raise InvalidInput(
            "is no dataset of this project, and feedback belongs to one",
            where=shown,
            hint="give --out datasets/NAME",
        )
