"""A fine-tuning API on loopback that does what a real one does, also on a bad day."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

KEY = "sk-loopback-4f9Qx27LmZt81Vb"

Misbehaviour = Callable[[Callable[[], Response]], Response]
"""Answers a request instead of the server; may call what it would have done."""


def status(code: int, message: str = "a bad day", **headers: str) -> Misbehaviour:
    """Refuse without doing anything."""
    body = json.dumps({"error": {"message": message, "code": None}})
    return lambda _: Response(body, code, headers, content_type="application/json")


def quota() -> Misbehaviour:
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    return lambda _: Response(json.dumps(body), 429, content_type="application/json")


def lost(answer: Misbehaviour) -> Misbehaviour:
    """Do it, and answer with something else: the client cannot know that it was done."""

    def do_and_answer(do: Callable[[], Response]) -> Response:
        do()
        return answer(do)

    return do_and_answer


def says(body: str, content_type: str = "application/json", code: int = 200) -> Misbehaviour:
    """Answer with a body that is none of this API's."""
    return lambda _: Response(body, code, content_type=content_type)


class TuningServer:
    """Files and jobs, in memory."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("/v1")
        self.files: list[dict[str, Any]] = []
        self.jobs: list[dict[str, Any]] = []
        self.uploads: list[bytes] = []
        self.states = ["running", "succeeded"]
        """What a job is, each time that it is asked for; then the last."""
        self.page_rows = 2
        self.says_has_more = True
        self.keeps_metadata = True
        self.names_models = True
        """Whether a job that succeeded says what its model is called."""
        self.asked: list[dict[str, Any]] = []
        """The bodies of chat completions."""
        self.answer: Callable[[str, str], str] = lambda model, question: "Mild."
        """What a model says to a question."""
        self.requests: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.misbehave: dict[int, Misbehaviour] = {}
        """By the number of the request, from 1."""
        self.misbehave_on: dict[str, list[Misbehaviour]] = {}
        """By `METHOD /path`, one for each request to it."""
        self.kill: tuple[int, str] | None = None
        """Kill the client at the n-th request, `before` or `after` it is carried out."""
        self.client: int | None = None
        """The process that is killed."""
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        server.expect_request(re.compile("/v1/.*")).respond_with_handler(self._answer)

    def forget(self) -> None:
        """Have no file and no job, as at the beginning."""
        for held in (self.files, self.jobs, self.uploads, self.requests, self.bodies, self.headers):
            held.clear()

    def add_job(self, **values: Any) -> dict[str, Any]:
        """A job of somebody else, or of an earlier run."""
        job = {
            **{"id": f"ftjob-{next(self._ids)}", "object": "fine_tuning.job", "metadata": None},
            **{"training_file": "file-other", "asked": 0, "error": None, **values},
        }
        self.jobs.insert(0, job)
        return job

    def _answer(self, request: Request) -> Response:
        with self._lock:
            name = f"{request.method} {request.path.removeprefix('/v1')}"
            self.requests.append(name)
            self.headers.append(dict(request.headers))
            number = len(self.requests)
            body = request.get_data(cache=True) if not request.files else b""
            if self.kill == (number, "before"):
                return self._kill_client()
            planned = self.misbehave_on.get(re.sub(r"ftjob-\w+", "ID", name))
            odd = planned.pop(0) if planned else self.misbehave.get(number)
            answer = (
                odd(lambda: self._do(request, body)) if odd is not None else self._do(request, body)
            )
            if self.kill == (number, "after"):
                return self._kill_client()
            return answer

    def _kill_client(self) -> Response:
        assert self.client is not None
        os.kill(self.client, signal.SIGKILL)
        return Response(status=500)

    def _do(self, request: Request, body: bytes) -> Response:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _json({"error": {"message": "wrong key"}}, 401)
        path = request.path.removeprefix("/v1")
        match (request.method, path.strip("/").split("/")):
            case "GET", ["files"]:
                return self._page(request, list(reversed(self.files)))
            case "POST", ["files"]:
                content = request.files["file"].read()
                self.uploads.append(content)
                file = {
                    **{"id": f"file-{next(self._ids)}", "object": "file", "bytes": len(content)},
                    **{"filename": request.files["file"].filename, "purpose": "fine-tune"},
                    **{"created_at": 1, "status": "processed"},
                }
                assert request.form["purpose"] == "fine-tune"
                self.files.append(file)
                return _json(file)
            case "GET", ["fine_tuning", "jobs"]:
                return self._page(request, [self._shown(job, "queued") for job in self.jobs])
            case "POST", ["fine_tuning", "jobs"]:
                asked = json.loads(body)
                self.bodies.append(asked)
                metadata = asked["metadata"] if self.keeps_metadata else None
                job = self.add_job(
                    metadata=metadata,
                    training_file=asked["training_file"],
                    model=asked["model"],
                    suffix=asked["suffix"],
                )
                return _json(self._shown(job, "validating_files"))
            case "POST", ["chat", "completions"]:
                asked = json.loads(body)
                self.asked.append(asked)
                text = self.answer(asked["model"], asked["messages"][-1]["content"])
                return Response(_stream(asked["model"], text), content_type="text/event-stream")
            case "GET", ["fine_tuning", "jobs", job_id]:
                job = self._job(job_id)
                state = job.get("status") or self.states[min(job["asked"], len(self.states) - 1)]
                job["asked"] += 1
                return _json(self._shown(job, state))
            case "POST", ["fine_tuning", "jobs", job_id, "cancel"]:
                job = self._job(job_id)
                job["status"] = "cancelled"
                return _json(self._shown(job, "cancelled"))
            case "GET", ["fine_tuning", "jobs", job_id, "events"]:
                job = self._job(job_id)
                return self._page(request, list(reversed(_events(job_id, job["asked"]))))
        return _json({"error": {"message": f"no {path}"}}, 404)

    def _job(self, job_id: str) -> dict[str, Any]:
        return next(job for job in self.jobs if job["id"] == job_id)

    def _shown(self, job: dict[str, Any], state: str) -> dict[str, Any]:
        made = state == "succeeded"
        tuned = f"ft:{job.get('model')}:org:{job.get('suffix')}:{job['id'][6:]}"
        return {
            **{key: value for key, value in job.items() if key != "asked"},
            "status": state,
            "fine_tuned_model": tuned if made and self.names_models else None,
            "trained_tokens": 12_000 if made else None,
            "error": {"code": "invalid", "message": job["error"]} if job["error"] else None,
            "created_at": 1,
        }

    def _page(self, request: Request, rows: list[dict[str, Any]]) -> Response:
        after = request.args.get("after")
        ids = [row["id"] for row in rows]
        start = ids.index(after) + 1 if after else 0
        page = rows[start : start + self.page_rows]
        answer: dict[str, Any] = {"object": "list", "data": page}
        if self.says_has_more:
            answer["has_more"] = start + self.page_rows < len(rows)
        return _json(answer)


def _events(job_id: str, count: int) -> list[dict[str, Any]]:
    """One event for each time that the job was asked for."""
    return [
        {
            **{"id": f"{job_id}-event-{number}", "created_at": 100 + number, "level": "info"},
            **{"object": "fine_tuning.job.event", "message": f"Step {number}: loss 0.{number}"},
        }
        for number in range(1, count + 1)
    ]


def _stream(model: str, text: str) -> str:
    """A chat completion as server-sent events."""
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    events = [
        {**chunk, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
        {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**chunk, "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}},
    ]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


def _json(value: Any, code: int = 200) -> Response:
    return Response(json.dumps(value), code, content_type="application/json")
