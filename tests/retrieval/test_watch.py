"""A saved file is taken up within two seconds, and only by the domains that it belongs to."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from index_yards import make_docs, page

from modelyard.retrieval.watch import watch_domains


def test_a_saved_file_is_searchable_within_two_seconds(tmp_path: Path) -> None:
    docs = make_docs(tmp_path / "yard")
    docs.write("bases.md", page("bases"))
    stop = threading.Event()
    indexed = threading.Event()

    def follow() -> None:
        for _ in watch_domains(docs.yard, [docs.domain], stop=stop):
            docs.update()
            indexed.set()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        assert indexed.wait(20)
        for subject in ("ships", "trains", "planes"):
            docs.write(f"deep/{subject}.md", page(subject))
            saved = time.monotonic()
            while not any(subject in repr(row) for row in docs.rows()):
                assert time.monotonic() - saved < 2.0, f"{subject} was not taken up in time"
                time.sleep(0.02)
        (docs.yard.root / "docs/bases.md").unlink()
        gone = time.monotonic()
        while any("bases" in repr(row) for row in docs.rows()):
            assert time.monotonic() - gone < 2.0
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join(10)
