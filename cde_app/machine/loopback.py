"""One page on this machine's loopback interface, for the browser of the user who started the process."""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock

ADDRESS = "127.0.0.1"
MOST_BYTES = 100_000
"""The largest request."""
PATIENCE = 30.0
"""How long a connection may be silent [seconds]."""
MOST_CONNECTIONS = 32

Answer = Callable[[bytes], bytes]


class BadRequestError(Exception):
    """A request that cannot be answered; the message says why."""


class PageServer:
    """Serves one page and its answers at one address, `http://127.0.0.1:<port>/<token>`.

    A GET returns the page and a POST the answer to its body. Any other path is not found, be it a wrong token or none.
    A request whose Host is another name is refused, so that no web site can reach the page by giving its own name the
    address of this machine.

    Args:
        page: the HTML page.
        answer: JSON to JSON; raises BadRequestError. It is called by one thread at a time.
        port: 0 takes a free one.

    Raises:
        OSError: the port cannot be used.
    """

    def __init__(self, page: bytes, answer: Answer, *, port: int) -> None:
        self._token = secrets.token_urlsafe(24)
        self._server = _Server((ADDRESS, port), _handler(page, answer, self._token))

    @property
    def address(self) -> str:
        """The address of the page, with its token."""
        return f"http://{ADDRESS}:{self._server.server_address[1]}/{self._token}"

    def serve(self) -> None:
        """Serve until Ctrl-C or `stop`."""
        try:
            self._server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
        finally:
            self._server.server_close()

    def stop(self) -> None:
        """End `serve`, from another thread."""
        self._server.shutdown()


class _Server(ThreadingHTTPServer):
    """A thread per connection, because browsers open connections that they do not use, and at most so many."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._free = BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a connection that broke."""


def _handler(page: bytes, answer: Answer, token: str) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers the requests of one server."""
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = PATIENCE
        wbufsize = -1  # an answer is one packet, or the browser waits 40 ms for the second

        def do_GET(self) -> None:
            if self._may_come_in():
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", page)

        def do_POST(self) -> None:
            if not self._may_come_in():
                return
            length = self.headers.get("Content-Length", "")
            if not length.isascii() or not length.isdigit() or int(length) > MOST_BYTES:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MOST_BYTES} bytes")
                return
            if self.headers.get_content_type() != "application/json":
                self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
                return
            body = self.rfile.read(int(length))
            try:
                with lock:
                    content = answer(body)
            except BadRequestError as error:
                self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            except Exception as error:  # a bug: the page says so, and the next request is answered
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"this is a bug: {type(error).__name__}: {error}")
            else:
                self._send(HTTPStatus.OK, "application/json", content)

        def _may_come_in(self) -> bool:
            host = f"{ADDRESS}:{self.connection.getsockname()[1]}"
            if self.headers.get("Host") != host or self.headers.get("Origin", f"http://{host}") != f"http://{host}":
                self._refuse(HTTPStatus.FORBIDDEN, "this page is for the address that cde explore has printed")
                return False
            if not hmac.compare_digest(self.path.encode(), f"/{token}".encode()):
                self._refuse(HTTPStatus.NOT_FOUND, "no such page")
                return False
            return True

        def _refuse(self, status: HTTPStatus, why: str) -> None:
            self.close_connection = True  # the body may not have been read
            self._send(status, "text/plain; charset=utf-8", why.encode())

        def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
            self.send_response(status)
            headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
            headers |= {
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "X-Frame-Options": "DENY",
            }
            if self.close_connection:
                headers["Connection"] = "close"
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def version_string(self) -> str:
            return "cde"

        def log_message(self, *arguments: object) -> None:
            """Write no line per request: the address has the token."""

    return Handler
