"""The page at `/`, in a real browser."""

from __future__ import annotations

from pathlib import Path

from browser import browser, needs_chromium
from served import Running


@needs_chromium
def test_a_person_with_a_key_chats_compares_and_sees_the_service(
    running: Running, answer: str, tmp_path: Path
) -> None:
    with browser(tmp_path / "profile") as tab:
        tab.open(f"{running.url}/")
        tab.complaints.clear()  # of the key that it does not have yet
        tab.run("document.getElementById('key').value = 'sk-nothing'")
        tab.run("document.getElementById('enter').requestSubmit()")
        tab.until("document.getElementById('refused').textContent.includes('not valid')")
        tab.complaints.clear()
        tab.run(f"document.getElementById('key').value = '{running.key('acme')}'")
        tab.run("document.getElementById('enter').requestSubmit()")
        tab.until("!document.getElementById('inside').hidden")
        models = "[...document.getElementById('model').options].map((each) => each.value)"
        assert tab.run(models) == ["acme-talk", "endless", "staff", "talking"]
        tab.run("document.getElementById('model').value = 'talking'")
        tab.run(
            "const other = document.getElementById('other'); other.value = 'talking';"
            "other.dispatchEvent(new Event('change'))"
        )
        tab.run("document.getElementById('question').value = '<b>Hi</b>'")
        tab.run("document.getElementById('ask').requestSubmit()")
        tab.until("document.querySelectorAll('.turn.assistant small').length === 2")
        turns = tab.run("[...document.querySelectorAll('.turn')].map((each) => each.textContent)")
        assert turns[0] == turns[2] == "<b>Hi</b>"
        assert turns[1].startswith(answer) and turns[3].startswith(answer)
        tab.until("document.querySelectorAll('#latency circle').length === 2")
        assert tab.run("document.getElementById('state').textContent").endswith("acme")
        for scheme in ("light", "dark"):
            tab.be(scheme, 400, 800)
            assert tab.run("document.body.scrollWidth <= innerWidth")
        assert tab.complaints == []
        tab.run("window.fetch = () => Promise.reject(new TypeError('Failed to fetch')); watch()")
        tab.until("document.getElementById('state').textContent === 'the service does not answer'")


@needs_chromium
def test_everything_comes_from_the_service_itself(running: Running, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as tab:
        tab.open(f"{running.url}/")
        names = "performance.getEntriesByType('resource').map((each) => new URL(each.name).origin)"
        assert set(tab.run(names)) == {running.url}
