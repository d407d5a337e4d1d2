"""Whatever is sent, the service says what is wrong, tells nothing of itself, and goes on."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.chatdata.template import ChatTokenizer
from modelyard.core.layout import Project
from modelyard.serving import connections
from modelyard.serving.app import routes
from modelyard.serving.service import ServiceLimits
from served import Running, serving

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "talking", "messages": [{"role": "user", "content": "Hi"}]}
LEAKS = (b"Traceback", b"/tmp", b"/home", b"site-packages", b".py")


class Client:
    """Sends bytes over one connection of its own to each request."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.key = running.key("acme")

    def send(
        self, body: bytes | str, path: str = CHAT, *, method: str = "POST", **headers: str
    ) -> tuple[int, bytes]:
        """Status and body; the service must still answer, and tell nothing of itself."""
        connection = HTTPConnection(self.running.url.removeprefix("http://"), timeout=30)
        written = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        connection.request(
            method, path, written, {"Authorization": f"Bearer {self.key}", **headers}
        )
        response = connection.getresponse()
        said = response.read()
        connection.close()
        assert response.status < 500, said
        assert response.status == 200 or not [leak for leak in LEAKS if leak in said], said
        return response.status, said

    def raw(self, sent: bytes, *, until: bytes | None = None) -> bytes:
        """What comes back until the service closes the connection, or has said this."""
        host, port = self.running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(sent.replace(b"KEY", self.key.encode()))
            said = b""
            while (until is None or until not in said) and (piece := connection.recv(65536)):
                said += piece
        return said


@pytest.fixture(scope="module")
def made_client(shared: Running) -> Client:
    return Client(shared)


@pytest.fixture
def client(made_client: Client, running: Running) -> Client:
    return made_client


def asked(**fields: Any) -> str:
    return json.dumps(ASKED | fields)


def schema(of: Any) -> str:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": of}}
    return asked(response_format=form, max_tokens=4)


def tool(parameters: Any) -> str:
    function = {"type": "function", "function": {"name": "find", "parameters": parameters}}
    return asked(tools=[function], tool_choice="required", max_tokens=4)


WRONG = {
    "nothing": "",
    "no object": "[]",
    "deep": '{"model":' + "[" * 100_000,
    "deep tool": tool(json.loads('{"a":' * 150 + "1" + "}" * 150)),
    "huge integer": asked()[:-1] + ', "seed": ' + "9" * 5000 + "}",
    "infinite": asked()[:-1] + ', "temperature": 1e999}',
    "NaN": asked()[:-1] + ', "temperature": NaN}',
    "long answer": asked(max_tokens=10**18),
    "bytes": b'{"model": "\xff\xfe"}',
    "UTF-16": asked().encode("utf-16"),
    "half a character": asked()[:-1] + ', "user": "\\ud800"}',
    "a field too many": asked(grammar="root ::= x"),
    "an image": asked(messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
    "no message": asked(messages=[]),
    "many stops": asked(stop=["a"] * 17),
    "a foreign file": schema({"$ref": "file:///etc/passwd"}),
    "a foreign host": schema({"$ref": "http://127.0.0.1:9/x"}),
    "itself": schema({"$ref": "#"}),
    "no expression": schema({"type": "string", "pattern": "("}),
    "many choices": schema({"enum": [str(number) for number in range(20_000)]}),
    "a tool that refers to nothing": tool({"$ref": "#/$defs/none"}),
    "no tool": asked(tools=[{}]),
    "two of one name": asked(tools=[json.loads(tool({}))["tools"][0]] * 2),
    "arguments that are no JSON": asked(
        messages=[
            {
                "role": "assistant",
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}],
            }
        ]
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_body_is_refused(client: Client, what: str) -> None:
    status, said = client.send(WRONG[what])
    assert status == 400
    assert json.loads(said)["error"]["message"]


@pytest.mark.parametrize("form, field", [(schema, "response_format"), (tool, "tools")])
def test_the_field_with_a_form_that_cannot_be_kept_to_is_named(
    client: Client, form: Callable[[Any], str], field: str
) -> None:
    looks_ahead = {"type": "string", "pattern": "a(?!b)"}
    status, said = client.send(form({"type": "object", "properties": {"a": looks_ahead}}))
    assert status == 400
    assert json.loads(said)["error"]["param"] == field, said


def test_a_conversation_of_nothing_is_answered_or_refused(client: Client) -> None:
    silent = [{"role": "developer", "content": ""}]
    assert client.send(asked(messages=silent))[0] in (200, 400)
    body = json.dumps({"model": "talking", "input": silent})
    assert client.send(body, "/v1/responses")[0] in (200, 400)


@pytest.mark.parametrize(
    "of",
    [
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**8},
        {"type": "string", "pattern": "(a+)+(b|c)*$"},
        {"type": "string", "pattern": "a{1,1000000}"},
    ],
)
def test_a_schema_that_no_answer_can_end_is_no_burden(client: Client, of: Any) -> None:
    status, _ = client.send(schema(of))
    assert status in (200, 400)


@pytest.mark.parametrize(
    "name",
    [
        *("../../etc/passwd", "adapter:../x@1", "acme-talk@0", "acme-talk@99999999999999999999"),
        *("a\0b", " acme-talk", "ACME-TALK", "асme-talk", "acme-talk\n", "zeta-talk@1", ""),
        *("model:house", "adapter:acme-talk@1@2", "base:", "custom:x", "domain:../staff"),
    ],
)
def test_a_name_that_is_nobodys_is_not_found(client: Client, name: str) -> None:
    said = client.send(asked(model=name))
    assert said[0] == 404 and json.loads(said[1])["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("name", ["..%2f..%2fetc", "a%00b", "%ED%A0%80", "../../etc", "%zz"])
def test_so_is_one_in_an_address(client: Client, name: str) -> None:
    assert client.send("", f"/v1/models/{name}", method="GET")[0] == 404


def test_what_is_no_http_request_ends_the_connection(client: Client) -> None:
    start = b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n"
    for sent in (
        b"\x16\x03\x01\x00\xa5\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        start + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        start + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        start + b"Transfer-Encoding: gzip\r\n\r\n",
    ):
        assert client.raw(sent).startswith(b"HTTP/1.1 400"), sent


def test_old_and_hasty_clients_are_answered(client: Client) -> None:
    line = b"GET /v1/models HTTP/1.%d\r\nHost: x\r\nAuthorization: Bearer KEY\r\n"
    assert client.raw(line % 0 + b"\r\n").count(b"HTTP/1.1 200") == 1
    last = line % 1 + b"Connection: close\r\n\r\n"
    assert client.raw((line % 1 + b"\r\n") * 4 + last).count(b"HTTP/1.1 200") == 5
    twice = b"GET /v1/models HTTP/1.0\r\nAuthorization: Bearer no\r\nAuthorization: Bearer KEY\r\n"
    assert client.raw(twice + b"\r\n").startswith(b"HTTP/1.1 401")


def test_other_sites_and_other_methods_get_nothing(client: Client) -> None:
    origin = {"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST"}
    connection = HTTPConnection(client.running.url.removeprefix("http://"))
    for method, path, status in (
        ("OPTIONS", CHAT, 405),
        ("GET", CHAT, 405),
        ("PUT", "/v1/models", 405),
        ("HEAD", "/v1/models", 405),
        ("HEAD", "/healthz", 200),
        ("HEAD", "/", 200),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/ask", 404),
    ):
        connection.request(method, path, headers=origin)
        response = connection.getresponse()
        response.read()
        assert response.status == status, (method, path)
        assert not [name for name, _ in response.getheaders() if "access-control" in name.lower()]
        assert response.getheader("X-Content-Type-Options") == "nosniff"
    connection.close()


def test_who_sends_too_much_reads_why(client: Client) -> None:
    body = asked(messages=[{"role": "user", "content": "a" * 4_100_000}])
    for headers in ({}, {"Connection": "close"}, {"Expect": "100-continue"}):
        status, said = client.send(body, **headers)
        assert (status, json.loads(said)["error"]["code"]) == (413, "body_too_large")


def test_a_prompt_that_cannot_fit_is_refused_before_it_is_tokenised(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = ChatTokenizer.encode

    def noted(self: ChatTokenizer, text: str) -> list[int]:
        encoded.append(len(text))
        return encode(self, text)

    monkeypatch.setattr(ChatTokenizer, "encode", noted)
    for content in ("a" * 3_900_000, " " * 3_900_000, "\u00e9" * 600_000):
        status, said = client.send(asked(messages=[{"role": "user", "content": content}]))
        error = json.loads(said)["error"]
        assert (status, error["code"]) == (400, "context_length_exceeded")
        assert "about" in error["message"]
    assert max(encoded, default=0) < 200_000


@pytest.fixture
def impatient(talking: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A service that waits shortly, and takes little."""
    monkeypatch.setattr(connections, "HEADER_TIME_S", 0.2)
    limits = ServiceLimits(body_bytes=10_000, body_s=0.2)
    with serving(talking, limits=limits) as running:
        yield Client(running)


def test_who_sends_slowly_or_too_much_holds_nothing(impatient: Client) -> None:
    start = b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n"
    began = time.monotonic()
    assert impatient.raw(b"") == impatient.raw(start) == b""
    length = b"Content-Length: 900\r\n\r\n{"
    assert impatient.raw(start + length).startswith(b"HTTP/1.1 408")
    chunked = b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    assert impatient.raw(start + chunked).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 30
    for sent in (
        b"Content-Length: 99999999999999999999\r\n\r\n",
        b"Content-Length: 10001\r\n\r\n" + b" " * 10_001,
        b"Transfer-Encoding: chunked\r\n\r\n",
    ):
        more = b"1000\r\n" + b" " * 4096 + b"\r\n"
        sent += more * 3 if b"chunked" in sent else b""
        assert impatient.raw(start + sent, until=b"}}").startswith(b"HTTP/1.1 413"), sent
    assert impatient.send(asked())[0] == 200


def test_the_document_of_the_api_describes_every_route(client: Client) -> None:
    document = json.loads(client.send("", "/openapi.json", method="GET")[1])
    described = {
        (method.upper(), path) for path, each in document["paths"].items() for method in each
    }
    public = {
        (route.method, route.path.replace(":path}", "}"))
        for route in routes()
        if not route.is_local
    }
    assert public <= described
    known = document["components"]["schemas"]
    references = json.dumps(document).split('"$ref": "#/components/schemas/')[1:]
    assert {each.split('"')[0] for each in references} <= set(known)
    for path, each in document["paths"].items():
        named = {word.strip("{}") for word in path.split("/") if word.startswith("{")}
        for operation in each.values():
            assert named == {each["name"] for each in operation.get("parameters", [])}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_field_of_any_body_breaks_the_service(client: Client, data: st.DataObject) -> None:
    route = data.draw(st.sampled_from([each for each in routes() if each.body is not None]))
    assert route.body is not None
    fields = st.sampled_from(sorted(route.body.model_fields))
    body = data.draw(st.dictionaries(fields, JSON, max_size=4))
    body |= {"model": "talking", "messages": ASKED["messages"]} if data.draw(st.booleans()) else {}
    status, said = client.send(json.dumps(body), route.path)
    assert status in (200, 400, 404) and said
