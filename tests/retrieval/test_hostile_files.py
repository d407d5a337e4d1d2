"""Files that cannot be read, change while they are read, or are no files are reported."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from index_projects import Docs, all_chunks, make_docs, page
from killed import SOAK, fork
from modelyard.retrieval.index_file import open_index
from modelyard.retrieval.reading.sources import SourceFile

LOG_BYTES = 2_000_000_000 if SOAK >= 10 else 20_000_000


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    made = make_docs(tmp_path / "project")
    made.write("good.md", page("good"))
    return made


def paths(docs: Docs) -> list[str]:
    with open_index(docs.index.path) as reader:
        return [file.path for file in reader.files()]


def test_what_is_no_file_is_reported_and_the_rest_is_indexed(docs: Docs) -> None:
    folder = docs.project.root / "docs"
    os.mkfifo(folder / "pipe.md")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(folder)  # a socket's path may not be long
        listening.bind("socket.md")
    (folder / "folder.md").mkdir()
    (folder / "device.md").symlink_to("/dev/zero")
    (folder / "nowhere.md").symlink_to("gone.md")
    (folder / "itself.md").symlink_to("itself.md")
    (folder / "one.md").symlink_to("other.md")
    (folder / "other.md").symlink_to("one.md")
    (folder / "round").symlink_to("../docs")
    (folder / "up").symlink_to("..")
    (folder / "out.md").symlink_to("/etc/hostname")
    (folder / "away").symlink_to("/etc")
    done = docs.update()
    assert paths(docs) == ["docs/good.md"]
    assert done.skipped["not a file"] == ["docs/pipe.md", "docs/socket.md"]
    assert done.skipped["leaves the project"] == ["docs/away/", "docs/device.md", "docs/out.md"]
    assert done.skipped["link in a loop"] == ["docs/round/", "docs/up/"]
    reported = [path for some in done.skipped.values() for path in some]
    assert {"docs/nowhere.md", "docs/itself.md", "docs/one.md", "docs/other.md"} <= set(reported)


def test_a_device_in_the_project_is_reported(docs: Docs) -> None:
    place = docs.project.root / "docs/zeros.md"
    try:
        os.mknod(place, 0o666 | 0o020000, os.makedev(1, 5))
    except OSError:
        pytest.skip("needs the right to make a device")
    assert docs.update().skipped["not a file"] == ["docs/zeros.md"]


@pytest.mark.parametrize("kind", ["fifo", "folder", "gone", "socket"])
@pytest.mark.parametrize("rebuild", [False, True])
def test_a_file_that_is_something_else_when_it_is_opened_is_reported(
    docs: Docs, kind: str, rebuild: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the walk and the reading; a pipe without a writer would be waited for for ever."""
    docs.update()
    place = docs.write("turns.md", page("turns"))
    is_file = SourceFile.__init__

    def turn(self: SourceFile, path: str, *words: object) -> None:
        is_file(self, path, *words)  # type: ignore[arg-type]
        if path.endswith("turns.md") and place.is_file():
            place.unlink()
            if kind == "fifo":
                os.mkfifo(place)
            elif kind == "folder":
                place.mkdir()
            elif kind == "socket":
                os.chdir(place.parent)
                with socket.socket(socket.AF_UNIX) as listening:
                    listening.bind(place.name)

    monkeypatch.setattr(SourceFile, "__init__", turn)
    done = docs.update(rebuild=rebuild)
    assert paths(docs) == ["docs/good.md"]
    expected = {"gone": "gone while it was read", "fifo": "not a file"}.get(kind, "unreadable")
    assert done.skipped == {expected: ["docs/turns.md"]}


def test_a_file_becomes_a_folder_and_back_between_two_updates(docs: Docs) -> None:
    docs.write("thing.md", page("thing"))
    docs.update()
    (docs.project.root / "docs/thing.md").unlink()
    docs.write("thing.md/inside.md", page("inside"))
    assert docs.update().files.removed == 1
    assert paths(docs) == ["docs/good.md", "docs/thing.md/inside.md"]
    (docs.project.root / "docs/thing.md/inside.md").unlink()
    (docs.project.root / "docs/thing.md").rmdir()
    docs.write("thing.md", page("thing again"))
    docs.update()
    assert paths(docs) == ["docs/good.md", "docs/thing.md"]


@pytest.fixture
def open_docs() -> Iterator[Docs]:
    """A project that another user may read and write; pytest's own folders are private."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    with TemporaryDirectory(prefix="modelyard-test-") as name:
        Path(name).chmod(0o755)
        yield make_docs(Path(name) / "project")


def test_files_that_may_not_be_read_are_reported(open_docs: Docs) -> None:
    docs = open_docs
    docs.write("good.md", page("good"))
    docs.write("private.md", page("private")).chmod(0o600)
    docs.write("closed/hidden.md", page("hidden")).parent.chmod(0o700)
    for place in (docs.project.root, docs.project.root / "models"):
        os.chown(place, 65534, 65534)

    def update() -> None:
        os.setgid(65534)
        os.setuid(65534)
        done = docs.update()
        assert done.skipped == {"unreadable": ["docs/closed/", "docs/private.md"]}, done.skipped
        assert paths(docs) == ["docs/good.md"]

    assert os.waitpid(fork(update), 0)[1] == 0


@pytest.mark.parametrize(
    "name",
    [
        b"two\nlines.md",
        b"not-\xff\xfe-utf8.md",
        b"bell\x07 and \x1b[31m.md",
        "zw\u200bsp \u202e.md".encode(),
        b"q'uote\" ; drop table files; --.md",
        b"%s %n {path} ?mode=rwc#.md",
        b"n" * 252 + b".md",
        b" .md",
    ],
)
def test_odd_names_are_indexed_and_found_again(docs: Docs, name: bytes) -> None:
    place = docs.write(os.fsdecode(name), page("odd"))
    docs.update()
    (shown,) = set(paths(docs)) - {"docs/good.md"}
    shown.encode()
    assert docs.update().files.reused == 2
    place.unlink()
    assert docs.update().files.removed == 1
    assert paths(docs) == ["docs/good.md"]


def test_of_two_names_that_are_shown_alike_one_is_reported(docs: Docs) -> None:
    for name in (b"a\xff.md", b"a\xfe.md"):
        docs.write(os.fsdecode(name), page("odd"))
    done = docs.update()
    assert paths(docs) == ["docs/a\N{REPLACEMENT CHARACTER}.md", "docs/good.md"]
    assert done.skipped == {"shown like another": ["docs/a\N{REPLACEMENT CHARACTER}.md"]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"# Nul\n\nBefore \0 and after.\n", "binary"),
        (b"# Nul\n\n" + b"word " * 4000 + b"\0 far behind.\n", None),
        (b"# Latin\n\nCaf\xe9 cr\xe8me.\n", "broken encoding"),
        (b"# Cut\n\nA cut emoji \xf0\x9f\x98", "broken encoding"),
        (b"\xff\xfe" + "# Wide\n\nWide letters.\n".encode("utf-16-le")[:-1], "broken encoding"),
        (b"\xff\xfe" + "# Wide\n\nWide letters.\n".encode("utf-16-le"), None),
        (b"\xef\xbb\xbf# Mark\n\nWith a mark.\n", None),
        (b"# Surrogate\n\n\xed\xa0\x80\n", "broken encoding"),
        (b"", None),
        (b"\n" * 10_000, None),
        (b"# " * 5_000 + b"x", None),
        (b"> " * 5_000 + b"x", None),
        (b"[" * 20_000, "no words in it"),
        (b"- " * 3_000 + b"x", None),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else str(value),
)
def test_odd_bytes_are_indexed_or_reported(docs: Docs, content: bytes, reason: str | None) -> None:
    docs.write("odd.md", "").write_bytes(content)
    began = time.monotonic()
    done = docs.update()
    assert time.monotonic() - began < 20
    assert "docs/good.md" in paths(docs)
    assert done.skipped == ({reason: ["docs/odd.md"]} if reason else {})
    assert docs.update().files.added == 0


def test_a_hundred_megabytes_without_a_line_end(docs: Docs) -> None:
    """Too large for a document; a log is read whole, and its long line is cut."""
    line = b"2026-11-23 10:00:00 ERROR one very long line " + b"word and word " * 7_500_000
    docs.write("long.md", "").write_bytes(line)
    assert docs.update().skipped == {"too large": ["docs/long.md"]}
    settings = replace(docs.index.settings, chunker="logs", sources=("docs/long.md",))
    docs.index = replace(docs.index, settings=settings)
    done = docs.update()
    assert done.chunks.total == 1 and not done.skipped


def test_a_file_that_grows_while_it_is_read_is_taken_up_next_time(docs: Docs) -> None:
    """Whatever part was read, lines and hash belong together, and the next update has the rest."""
    place = docs.write("grows.md", "")
    stop = threading.Event()

    def grow() -> None:
        with place.open("a") as stream:
            for number in range(100_000):
                stream.write(f"# Part {number}\n\nGrowing line {number} of it.\n\n")
                stream.flush()
                if stop.wait(0.0005):
                    return

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(5):
            docs.update()
            with open_index(docs.index.path) as reader:
                for chunk in all_chunks(reader):
                    if chunk.path == "docs/grows.md" and "Growing" in chunk.text:
                        assert f"line {(chunk.first_line - 1) // 4} of it" in chunk.text
    finally:
        stop.set()
        thread.join()
    docs.update()
    found = docs.rows()
    docs.update(rebuild=True)
    assert docs.rows() == found


def test_files_that_come_and_go_while_an_update_reads_never_stop_it(docs: Docs) -> None:
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            place = docs.write(f"churn/{number % 40}.md", page(f"churn {number}"))
            if number % 3:
                place.unlink()
            elif number % 5 == 0:
                place.rename(place.with_name("moved.md"))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for number in range(10 * SOAK):
            docs.update(rebuild=number % 4 == 0)
            assert "docs/good.md" in paths(docs)
    finally:
        stop.set()
        thread.join()
    docs.update()
    found = docs.rows()
    docs.update(rebuild=True)
    assert docs.rows() == found


MEASURE = """
import sys, time
sys.path[:0] = sys.argv[2:]
from dataclasses import replace
from pathlib import Path
from index_projects import make_docs
docs = make_docs(Path(sys.argv[1]))
settings = replace(docs.index.settings, chunker="logs", sources=("docs/*.log",))
docs.index = replace(docs.index, settings=settings)
def peak_kib():  # getrusage would also count the process that this one was forked from
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak_kib()
began = time.monotonic()
done = docs.update()
took_s = time.monotonic() - began
assert not done.skipped, done.skipped
print(done.chunks.total, took_s, peak_kib() - before)
"""


def test_a_large_log_is_read_in_little_memory(tmp_path: Path) -> None:
    """`make soak` takes 2 GB."""
    docs = make_docs(tmp_path / "project")
    log = docs.write("large.log", "")
    write_log(log, LOG_BYTES)
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, str(docs.project.root), *sys.path],
        capture_output=True,
        text=True,
        check=False,
    )
    log.unlink()
    assert ended.returncode == 0, ended.stderr
    templates, took_s, more_kib = ended.stdout.split()
    print(
        f"{LOG_BYTES / 1e6:,.0f} MB of log: {templates} templates in {float(took_s):.1f} s, "
        f"{int(more_kib) / 1024:.0f} MB more memory"
    )
    assert 5 <= int(templates) <= 1_000
    assert int(more_kib) < 150 * 1024


def write_log(log: Path, size_bytes: int) -> None:
    """Lines of a service, of some hundred kinds, each with its own numbers."""
    kinds = [
        f"{level} {part}: {what} {{n}} for user {{u}} took {{t}} ms"
        for level in ("INFO", "WARNING", "ERROR")
        for part in ("api", "store", "queue", "auth", "search")
        for what in ("request", "connection to host", "job", "retry of message", "lookup of key")
    ]
    block = "".join(
        f"2026-11-{1 + n % 28:02} {n % 24:02}:{n % 60:02}:{n % 59:02},{n % 1000:03} "
        + kinds[n * 7 % len(kinds)].format(n=n * 37, u=n % 991, t=n % 5003)
        + "\n"
        for n in range(100_000)
    ).encode()
    with log.open("wb") as stream:
        written = 0
        while written < size_bytes:
            written += stream.write(block[: size_bytes - written])


@pytest.mark.parametrize("moment_s", [-(1 << 40), -1, 0, 1 << 40, 1 << 33])
def test_a_time_that_no_calendar_has_is_taken(docs: Docs, moment_s: int) -> None:
    place = docs.write("old.md", page("old"))
    os.utime(place, (0, moment_s))
    docs.update()
    assert paths(docs) == ["docs/good.md", "docs/old.md"]
    assert docs.update().unchanged


def test_of_a_log_only_the_broken_characters_are_lost_whatever_the_chunker(docs: Docs) -> None:
    settings = replace(docs.index.settings, chunker="auto", sources=("docs/*.log",))
    docs.index = replace(docs.index, settings=settings)
    docs.write("app.log", "").write_bytes(b"ERROR disk full\nINFO caf\xe9 opened\n")
    done = docs.update()
    assert done.skipped == {"characters in a broken encoding": ["docs/app.log"]}
    assert done.chunks.total == 2
    docs.write("wide.log", "").write_bytes("ERROR wide letters\n".encode("utf-16"))
    docs.update()
    assert any("ERROR wide letters" in str(row) for row in docs.rows())


def test_a_file_without_a_word_is_reported_once(docs: Docs) -> None:
    docs.write("blob.md", "QUJD" * 100_000)
    assert docs.update().skipped == {"no words in it": ["docs/blob.md"]}
    assert docs.update().unchanged
