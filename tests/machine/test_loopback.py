from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from threading import Thread
from urllib.parse import urlsplit

import pytest

from cde_app.machine.loopback import MOST_BYTES, BadRequestError, PageServer


def double(body: bytes) -> bytes:
    try:
        return json.dumps(2 * json.loads(body)).encode()
    except ValueError:
        raise BadRequestError("expected JSON") from None


@pytest.fixture
def server() -> Iterator[PageServer]:
    server = PageServer(b"<p>page</p>", double, port=0)
    thread = Thread(target=server.serve)
    thread.start()
    yield server
    server.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()


def ask(server: PageServer, method: str = "GET", path: str | None = None, body: str | None = None, **headers: str):
    parts = urlsplit(server.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, parts.path if path is None else path, body, named)
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_the_page_and_its_answers_are_at_one_address(server: PageServer) -> None:
    status, page, headers = ask(server)
    assert (status, page) == (200, b"<p>page</p>")
    assert headers["Cache-Control"] == "no-store"
    assert ask(server, "POST", body="21", Content_Type="application/json")[:2] == (200, b"42")


@pytest.mark.parametrize("path", ["/", "", "/wrong", "/../etc/passwd", "/favicon.ico"])
def test_nothing_else_is_served(server: PageServer, path: str) -> None:
    assert ask(server, path=path or "/")[0] == 404
    assert ask(server, "POST", path=path or "/", body="21", Content_Type="application/json")[0] == 404


def test_the_token_is_of_every_address_and_different_each_time(server: PageServer) -> None:
    other = PageServer(b"", double, port=0)
    thread = Thread(target=other.serve)
    thread.start()
    tokens = [urlsplit(one.address).path for one in (server, other)]
    other.stop()
    thread.join()
    assert len(set(tokens)) == 2
    assert all(len(token) > 30 for token in tokens)
    assert ask(server, path=tokens[1])[0] == 404


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Host": "localhost"}, {"Origin": "http://evil.example"}]
)
def test_another_host_or_origin_is_refused(server: PageServer, headers: dict[str, str]) -> None:
    assert ask(server, **headers)[0] == 403
    assert ask(server, "POST", body="21", Content_Type="application/json", **headers)[0] == 403


def test_other_methods_and_large_or_wrong_requests_are_refused(server: PageServer) -> None:
    assert ask(server, "PUT", body="1")[0] == 501
    assert ask(server, "POST", body="0" * (MOST_BYTES + 1), Content_Type="application/json")[0] == 413
    assert ask(server, "POST", body="1", Content_Type="application/json", Content_Length="-1")[0] == 413
    assert ask(server, "POST", body="1", Content_Type="text/plain")[0] == 415
    assert ask(server, "POST", body="{", Content_Type="application/json")[:2] == (400, b"expected JSON")
    assert ask(server)[0] == 200, "and it goes on"


def test_it_listens_on_the_loopback_interface_only(server: PageServer) -> None:
    port = urlsplit(server.address).port or 0
    assert urlsplit(server.address).hostname == "127.0.0.1"
    with socket.socket() as free:  # taken on 127.0.0.1, and on no other address of this machine
        free.bind(("127.0.0.2", port))
    with pytest.raises(OSError, match="in use"), socket.socket() as taken:
        taken.bind(("127.0.0.1", port))


def test_silent_connections_do_not_stop_it(server: PageServer) -> None:
    parts = urlsplit(server.address)
    silent = [socket.create_connection((parts.hostname, parts.port)) for _ in range(8)]
    assert ask(server)[0] == 200
    for one in silent:
        one.close()
