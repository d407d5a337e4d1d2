"""The Hugging Face hub on loopback, for pushes to repositories and what reads them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_of_the_test"


@dataclass
class Repository:
    """A repository: its commits, and where its branch and tags are."""

    private: bool
    main: str = "0" * 40
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    tags: dict[str, str] = field(default_factory=dict)

    def commit_of(self, revision: str) -> str | None:
        names = {"main": self.main, **self.tags, **{commit: commit for commit in self.commits}}
        return names.get(revision)


class WritableHub(ThreadingHTTPServer):
    """Repositories of one owner, `acme`, that the token may write."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.refuse: str | None = None
        """A part of a path, whose requests are refused with 403."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WritableHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def do_PUT(self) -> None:
        data = self._body()
        if self.server.refuse and self.server.refuse in self.path:
            return self._json(403, {"error": "no"})
        self.server.large[hashlib.sha256(data).hexdigest()] = data
        return self._send(200, b"")

    def do_POST(self) -> None:
        body = self._body()
        path = unquote(urlsplit(self.path).path)
        if self.server.refuse and self.server.refuse in path:
            return self._json(403, {"error": "no"})
        if path == "/api/validate-yaml":
            return self._json(200, {})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json(401, {"error": "who?"})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, [asked.get("organization") or "acme", asked["name"]]))
            private = asked.get("visibility") == "private"
            self.server.repositories[name] = Repository(private=private)
            return self._json(200, {"url": f"{self._root}/{name}"})
        if found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self._root}/upload/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return self._json(200, {"transfer": "basic", "objects": objects})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|tag)/(.+)", path)
        assert found, path
        repository = self.server.repositories[found[1]]
        if found[2] == "preupload":
            files = [
                {"path": path, "uploadMode": _mode(path), "shouldIgnore": False}
                for path in (file["path"] for file in json.loads(body)["files"])
            ]
            return self._json(200, {"files": files})
        if found[2] == "tag":
            repository.tags[json.loads(body)["tag"]] = repository.commit_of(found[3]) or ""
            return self._json(200, {})
        files = dict(repository.commits[repository.main])
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        commit = hashlib.sha1(f"{len(repository.commits)}".encode()).hexdigest()
        repository.commits[commit], repository.main = files, commit
        url = f"{self._root}/{found[1]}/commit/{commit}"
        return self._json(200, {"commitUrl": url, "commitOid": commit})

    @property
    def _root(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def _body(self) -> bytes:
        if length := self.headers.get("Content-Length"):
            return self.rfile.read(int(length))
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _read(self) -> None:
        path = unquote(urlsplit(self.path).path)
        found = re.fullmatch(
            r"(?:/api/models)?/([^/]+/[^/]+)(?:/(\w+)(?:/([^/]+)(?:/(.+))?)?)?", path
        )
        repository = self.server.repositories.get(found[1]) if found else None
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or repository is None or (repository.private and not allowed):
            return self._json(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
        _, what, revision, name = found.groups()
        if what == "refs":
            branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repository.main}]
            tags = [
                {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit}
                for tag, commit in repository.tags.items()
            ]
            return self._json(200, {"branches": branches, "converts": [], "tags": tags})
        commit = repository.commit_of(revision or "main")
        if commit is None:
            return self._json(404, {"error": "none"}, {"X-Error-Code": "RevisionNotFound"})
        files = repository.commits[commit]
        if what == "tree":
            return self._json(
                200,
                [
                    {"type": "file", "path": each, "size": len(data), "oid": _git_hash(data)}
                    for each, data in files.items()
                ],
            )
        if what == "resolve" and name not in files:
            return self._json(404, {"error": "none"}, {"X-Error-Code": "EntryNotFound"})
        if what == "resolve":
            data = files[name]
            headers = {"ETag": f'"{_git_hash(data)}"', "X-Repo-Commit": commit}
            return self._send(200, data, headers)
        siblings = [{"rfilename": each} for each in files]
        return self._json(200, {"id": found[1], "sha": commit, "siblings": siblings})

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), headers)

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _mode(path: str) -> str:
    return "lfs" if path.endswith("model.safetensors") else "regular"


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving_writable_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    """Within the block the hub answers, HF_ENDPOINT names it, and HF_TOKEN is its token.

    Uploads are those of git LFS: the other protocol needs servers of its own.
    """
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    hub = WritableHub()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
    thread.start()
    yield hub
    hub.shutdown()
    thread.join()
    hub.server_close()
