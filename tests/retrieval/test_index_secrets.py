"""A secret that stands in a source stands in no byte that indexing leaves behind."""

from __future__ import annotations

import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from index_projects import Docs, all_chunks, make_docs, page
from killed import interruptions, kill_after
from modelyard.retrieval.index_file import open_index
from modelyard.secrets.forms import SECRET_FORMS

RUN = "Zq7Xw2Kp9Vn4Tb8Rm3Jd6Hs1Gf5Lc0Ya7Ue2Io9Pk4"
"""Letters and digits that no word has; every secret below has its own part of such a run."""


def run(number: int, length: int) -> str:
    turned = RUN[number:] + RUN[:number]
    return (turned * 3)[:length]


def hexadecimal(length: int) -> str:
    return "".join(random.Random(length).choices("0123456789abcdef", k=length))


FORMS = {
    "aws": "AKIA" + run(1, 16).upper(),
    "aws-session": "ASIA" + run(19, 16).upper(),
    "google": "AIza" + run(2, 35),
    "github": "ghp_" + run(3, 36),
    "github-fine": "github_pat_" + run(4, 60),
    "slack": "xoxb-" + run(5, 24),
    "stripe": "sk_live_" + run(6, 24),
    "hugging-face": "hf_" + run(7, 34),
    "gitlab": "glpat-" + run(19, 20),
    "npm": "npm_" + run(20, 36),
    "pypi": "pypi-" + run(21, 60),
    "api": "sk-" + run(8, 32),
    "jwt": f"eyJ{run(9, 20)}.{run(10, 24)}.{run(11, 20)}",
    "telegram": "123456789:AA" + run(22, 33),
    "discord": f"M{run(23, 23)}.{run(24, 6)}.{run(25, 38)}",
    "discord-webhook": "https://discord.com/api/webhooks/123456789012345678/" + run(26, 68),
    "google-oauth": "GOCSPX-" + run(27, 28),
    "google-access": "ya29." + run(28, 60),
    "square-secret": "sq0csp-" + run(29, 43),
    "mailgun": "key-" + hexadecimal(32),
    "mailchimp": hexadecimal(32) + "-us21",
    "sendgrid": f"SG.{run(30, 22)}.{run(31, 43)}",
    "databricks": "dapi" + hexadecimal(32) + "-2",
    "square": "EAAA" + run(32, 60),
    "plain": run(12, 40),
}
KEY_BODY = [run(number, 64) for number in range(13, 19)]
PEM = "\n".join(["-----BEGIN RSA PRIVATE KEY-----", *KEY_BODY, "-----END RSA PRIVATE KEY-----"])
PASSWORD = "Wq8#" + run(19, 12)

PLACES = {
    "prose.md": "# Access\n\nThe key {0} is what the service takes.\n",
    "heading.md": "# With {0} in it\n\nA section under a key.\n",
    "fence.md": "# Call\n\n```bash\ncurl -H 'Authorization: Bearer {0}' https://api\n```\n",
    "table.md": "# Keys\n\n| who | key |\n|---|---|\n| ops | {0} |\n",
    "front.md": "---\ntoken: {0}\n---\n\n# Page\n\nA page of its own.\n",
    "link.md": "# Link\n\nSee [there](https://ops:{0}@example.com/path?token={0}).\n",
    "service.yaml": "service:\n  name: api\n  token: {0}\n  nested: {{api_key: '{0}'}}\n",
    "settings.json": '{{"service": {{"api_key": "{0}", "list": ["{0}"]}}}}\n',
    "settings.toml": '[service]\ntoken = "{0}"\n',
    "settings.ini": "[service]\npassword = {0}\n",
    "client.py": 'TOKEN = "{0}"\n\n\ndef call(token="{0}"):\n    """Uses {0}."""\n    # {0}\n',
    "client.ts": "export function call() {{\n  const token = '{0}';\n  return `{0}`;\n}}\n",
    "client.go": 'package main\n\nfunc call() {{\n\ttoken := "{0}"\n\t_ = token\n}}\n',
    "run.sh": "#!/bin/sh\nexport API_TOKEN={0}\ncall() {{\n  curl -u user:{0} https://api\n}}\n",
    "Makefile": "deploy:\n\tTOKEN={0} ./deploy\n",
    ".env": "API_KEY={0}\nexport SECRET='{0}'\n",
    "page.html": "<h1>Key</h1><p>It is {0}.</p><a href='https://u:{0}@h/'>x</a>\n",
    "table.csv": "time,token\n2026-11-23T00:00:00Z,{0}\n",
    "metrics.prom": '# HELP m {0}\nm{{token="{0}"}} 1\n',
    "api.yaml": "openapi: 3.0.0\npaths:\n  /a:\n    get:\n      summary: with {0}\n"
    "      parameters:\n        - name: token\n          example: {0}\n",
    "notes.txt": "The password: {0}\n\nAnother paragraph.\n",
    "text.log": "2026-11-23 10:00:00 ERROR login failed token={0} for user 7\n" * 3,
    "rows.log": '{{"ts": "2026-11-23", "level": "ERROR", "message": "key {0}", "t": "{0}"}}\n',
    "odd-rows.log": '{{"ts": "{0}", "level": "{0}", "message": "a job was run"}}\n',
}


def make_secret_docs(root: Path, chunker: str) -> Docs:
    docs = make_docs(root)
    sources = ("docs/**/*.log",) if chunker == "logs" else ("docs/**", "docs/.env")
    settings = replace(docs.index.settings, sources=sources, chunker=chunker, chunk_tokens=200)  # type: ignore[arg-type]
    docs.index = replace(docs.index, settings=settings)
    return docs


def plant(docs: Docs, secrets: dict[str, str]) -> None:
    for kind, secret in secrets.items():
        for name, text in PLACES.items():
            docs.write(f"{kind}/{name}" if kind else name, text.format(secret))
    docs.write("key.md", f"# Key\n\nBefore it.\n\n```\n{PEM}\n```\n\nAfter it.\n")
    docs.write("key.pem", PEM)
    indented = PEM.replace("\n", "\n    ")
    docs.write("key.yaml", f"tls:\n  key: |\n    {indented}\n  after: x\n")
    docs.write("key.log", f"2026-11-23 10:00:00 INFO loaded\n{PEM}\n2026-11-23 10:00:01 INFO on\n")
    docs.write("key.py", f'KEY = """{PEM}"""\n\n\ndef use():\n    return KEY\n')
    docs.write(
        "database.md",
        f"# Database\n\npostgresql://app:{PASSWORD}@db:5432/prod\n\npassword: {PASSWORD}\n",
    )


def assert_nowhere(docs: Docs, when: str, *more: str) -> None:
    """No core of a secret, in capitals or not, in any byte of what indexing wrote."""
    cores = {name: secret[4:-4] for name, secret in FORMS.items()}
    cores |= {f"key line {number}": line[8:-8] for number, line in enumerate(KEY_BODY)}
    cores |= {"password": PASSWORD[4:], **{item: item for item in more}}
    folders = (docs.index.path.parent, docs.project.local_state)
    places = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert docs.index.path in places or not docs.index.path.exists()
    for place in places:
        kept = place.read_bytes().lower()
        found = [name for name, core in cores.items() if core.lower().encode() in kept]
        assert not found, f"{when}: {found} in {place.name}"


def test_there_is_a_secret_of_every_form() -> None:
    planted = " ".join([*FORMS.values(), PEM])
    missing = [kind for kind, _, form in SECRET_FORMS if not re.search(form, planted)]
    assert missing == []


@pytest.mark.parametrize("chunker", ["auto", "logs", "markdown", "paragraphs", "code", "keys"])
def test_a_secret_is_nowhere_after_any_change(tmp_path: Path, chunker: str) -> None:
    docs = make_secret_docs(tmp_path / "project", chunker)
    docs.write("good.md", page("good"))
    docs.write("good.log", "2026-11-23 10:00:00 INFO all is well\n")
    docs.update()
    plant(docs, FORMS)
    done = docs.update()
    with open_index(docs.index.path) as reader:
        assert any("****" in f"{chunk.title} {chunk.text}" for chunk in all_chunks(reader))
    assert done.chunks.added > (5 if chunker == "logs" else 50)
    assert_nowhere(docs, "added")
    assert not [text for text in docs.encoders.encoder.encoded if run(3, 20) in text]
    turned = dict(zip(FORMS, [*list(FORMS.values())[1:], FORMS["aws"]], strict=True))
    plant(docs, turned)
    docs.update()
    assert_nowhere(docs, "edited")
    docs.update(rebuild=True)
    assert_nowhere(docs, "rebuilt")
    shutil.rmtree(docs.project.root / "docs/aws")
    (docs.project.root / "docs/database.md").unlink()
    docs.update()
    assert_nowhere(docs, "removed")


def test_a_secret_is_nowhere_after_a_killed_update(tmp_path: Path) -> None:
    """Its journal, its half of a new index, the write-ahead log of the cache."""
    docs = make_secret_docs(tmp_path / "project", "auto")
    docs.write("good.md", page("good"))
    docs.update()
    start = tmp_path / "start"
    shutil.copytree(docs.project.root, start)
    for rebuild in (False, True):
        plant(docs, {"": FORMS["github"]})
        for number in interruptions(lambda again=rebuild: docs.update(rebuild=again), "kill"):
            assert_nowhere(docs, f"killed at call {number}")
            shutil.rmtree(docs.project.root)
            shutil.copytree(start, docs.project.root)
            plant(docs, {"": FORMS["github"]})
    for seconds in (0.05, 0.1, 0.2):
        kill_after(docs.update, seconds)
        assert_nowhere(docs, f"killed after {seconds} s")


NAMED = {
    "block.yaml": "db:\n  password: |\n    {0}\n  user: bob\n",
    "folded.yaml": "service:\n  apiKey: >-\n    {0}\n  name: x\n",
    "list.yaml": "tokens:\n  - {0}\n  - other\n",
    "pair.yaml": "env:\n  - name: DB_PASSWORD\n    value: {0}\n  - name: HOST\n    value: db\n",
    "below.yaml": "db:\n  password:\n    {0}\n  user: bob\n",
    "list.json": '{{"passwords": ["{0}"], "user": "bob"}}\n',
    "list.toml": 'passwords = ["{0}"]\nuser = "bob"\n',
    "element.xml": "<db>\n  <password>{0}</password>\n</db>\n",
    "attributes.xml": '<db><add key="DbPassword" value="{0}"/></db>\n',
    ".env": "DB_PASS={0}\n",
    "short.txt": "pwd={0}\n",
    "connection.txt": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={0}==;X=y\n",
    "option.sh": "#!/bin/sh\ntool --password {0} --now\n",
    "short-option.sh": "#!/bin/sh\ntool -p{0}\n",
    "mysql.sh": "#!/bin/sh\nload() {{\n  mysql -u root -p{0} shop\n}}\n",
    "curl.sh": "#!/bin/sh\ncurl -u bob:{0} https://api.example.com\n",
    "said.md": "# Access\n\nMy password is {0}.\n\nThen type passwd {0} there.\n",
    "table.md": "# Who\n\n| user | password |\n|---|---|\n| bob | {0} |\n",
    "table.csv": "user,password\nbob,{0}\n",
    "client.py": "class Client:\n    db_pass = '{0}'\n    # the password is {0}\n",
    "said.log": "2026-11-23 10:00:00 WARN login: the password is {0} they said\n",
    "said.html": "<h1>Access</h1><p>My password is {0}.</p>\n",
}
"""Places where only a name says that there is a secret."""


@pytest.mark.parametrize("chunker", ["auto", "paragraphs"])
def test_a_secret_that_is_only_named_is_nowhere(tmp_path: Path, chunker: str) -> None:
    docs = make_secret_docs(tmp_path / "project", chunker)
    docs.write("good.md", page("good"))
    secrets = {"letters": "Kq7Xw2Kp9Vn4", "signs": "hunT3r#blue&9"}
    for kind, secret in secrets.items():
        for name, text in NAMED.items():
            docs.write(f"{kind}/{name}", text.format(secret))
        docs.write(f"{kind}/token-Zu8Rk2Lw0Qx5.md", page("named"))
    done = docs.update()
    assert done.chunks.added > len(NAMED)
    assert_nowhere(docs, "added", *(secret[2:-2] for secret in secrets.values()), "u8Rk2Lw0Qx")
    reported = done.skipped["a secret in its name"]
    assert reported == [f"docs/{kind}/****" for kind in sorted(secrets)]


def test_a_file_with_a_secret_in_its_name_is_left_out_and_reported_redacted(
    tmp_path: Path,
) -> None:
    docs = make_secret_docs(tmp_path / "project", "auto")
    docs.write("good.md", page("good"))
    for kind in ("github", "hugging-face", "slack", "aws"):
        docs.write(f"{FORMS[kind]}.md", page(kind))
        docs.write(f"deep/{FORMS[kind]}/inside.md", page(kind))
    done = docs.update()
    assert_nowhere(docs, "named")
    reported = done.skipped["a secret in its name"]
    assert "docs/****.md" in reported and "docs/deep/****/inside.md" in reported
    assert not [path for path in reported if run(3, 12) in path]
    with open_index(docs.index.path) as reader:
        assert [file.path for file in reader.files()] == ["docs/good.md"]
    assert docs.update().unchanged


def test_no_message_of_an_update_repeats_a_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    docs = make_secret_docs(tmp_path / "project", "auto")
    plant(docs, FORMS)
    done = repr(docs.update()) + repr(docs.update(dry_run=True))
    said = capfd.readouterr()
    for secret in FORMS.values():
        assert secret[4:-4] not in done + said.out + said.err


def test_what_was_removed_is_in_no_byte_of_the_index(tmp_path: Path) -> None:
    """Also what no rule recognises as a secret. Single words stay until the index is rebuilt."""
    docs = make_docs(tmp_path / "project")
    docs.write("good.md", page("good", 30))
    docs.write("told.md", "# Told\n\nThe code word is zanzibarhorse, and nobody may know.\n")
    docs.write("more.md", "# More\n\nThe other one is madagascarmouse, they say.\n")
    docs.update()
    for text in (b"zanzibarhorse, and", b"madagascarmouse, they"):
        assert text in docs.index.path.read_bytes()
    docs.write("told.md", "# Told\n\nThere is no code word here.\n")
    (docs.project.root / "docs/more.md").unlink()
    docs.update()
    for text in (b"zanzibarhorse, and", b"madagascarmouse, they"):
        assert text not in docs.index.path.read_bytes()
    docs.update(rebuild=True)
    for stem in (b"anzibarhors", b"adagascarmous"):
        assert stem not in docs.index.path.read_bytes()
