"""`models doctor`: what this machine is and can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import Json
from modelyard.cli.render import print_json, print_pairs, print_table, print_text, print_title
from modelyard.core.wording import counted, megabytes

if TYPE_CHECKING:
    from modelyard.core.file_system import FileSystem
    from modelyard.setup.doctor import Diagnosis


def doctor(as_json: Json = False) -> None:
    """Show what this machine can do, and what is missing.

    Works anywhere, in a project or not; changes nothing and uses no network. Ends with the
    command that fixes each missing thing, and exits with 0 whatever it finds.
    """
    from modelyard.setup.doctor import diagnose, doctor_result

    with showing_progress() as progress:
        diagnosis = diagnose(progress)
    if as_json:
        print_json(doctor_result(diagnosis))
    else:
        _print(diagnosis)


def _print(diagnosis: Diagnosis) -> None:
    machine = diagnosis.machine
    print_title("This machine")
    print_pairs(
        {
            "device": f"{machine.device} · {machine.name}",
            "processor": f"{diagnosis.processor} · {counted(machine.threads, 'thread')}",
            "memory": _memory(diagnosis),
            "fp32": f"{machine.fp32_gflops:,.0f} GFLOP/s, measured",
            "bf16": f"{machine.bf16_gflops:,.0f} GFLOP/s, measured",
            "trains in": f"{machine.precision}, the faster of the two",
        }
    )
    print_text()
    print_title("Versions")
    print_text(
        " · ".join(f"{name} {found or 'missing'}" for name, found in diagnosis.versions.items())
    )
    print_text()
    print_title("Places")
    print_table(
        ["what", ">holds", ">disk free", "where"],
        [
            (place.name, _bytes(place.size_bytes), _bytes(place.disk_free_bytes), place.path)
            for place in diagnosis.places
        ],
    )
    if diagnosis.file_systems:
        print_title("File systems of the project")
        print_table(
            ["where", "kind", "what a project needs"],
            [
                (found.folder, found.kind or "unknown", _abilities(found))
                for found in diagnosis.file_systems
            ],
        )
    if state := diagnosis.sharing:
        print_title("Sharing")
        whose = "" if state.sharing == "private" else f" · group {state.group}"
        print_text(f"{state.sharing}{whose}")
        print_text()
    if diagnosis.bases:
        print_title(f"Base models of {diagnosis.project.root if diagnosis.project else ''}")
        print_table(
            ["base", ">weights", "state", ">size"],
            [
                (base.name, f"{base.parameters / 1e6:,.0f} M", base.state, _bytes(base.size_bytes))
                for base in diagnosis.bases
            ],
        )
    if not diagnosis.missing:
        print_text("Nothing is missing.")
        return
    print_title("Missing, and how to fix it")
    for missing in diagnosis.missing:
        print_text(f"  {missing.what}, needed for {missing.needed_for}")
        print_text(f"      {missing.fix}")


def _abilities(found: FileSystem) -> str:
    if not found.capabilities:
        return "not known: nothing can be written there"
    works = [each.name for each in found.capabilities if each.refusal is None]
    lacks = [f"{each.name} ({each.refusal})" for each in found.lacking]
    return "; ".join(
        f"{what}: {', '.join(names)}"
        for what, names in (("missing", lacks), ("works", works))
        if names
    )


def _memory(diagnosis: Diagnosis) -> str:
    machine = diagnosis.machine
    text = f"{_bytes(machine.memory_bytes)}, {_bytes(machine.memory_free_bytes)} free"
    if machine.device_memory_bytes is not None:
        text += f" · {_bytes(machine.device_memory_bytes)} on the device"
    return text


def _bytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else megabytes(size_bytes)
