"""The server under every page: whoever may not ask is refused, whatever they send is bounded, and
the person who may goes on meanwhile."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def small(served):
    return served("tests/people/serve_small.py", 0, TOKEN)


def ask(server, path="/", method="GET", body=None, token=TOKEN, **headers):
    """(status, headers, body) of a request with the token, whose headers may be replaced."""
    origin = f"http://127.0.0.1:{server.port}"
    sent = {"Origin": origin, "Authorization": f"Bearer {token}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in sent)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None and "Content-Length" not in sent:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def raw(server, data, wait=20.0):
    """What comes back for these bytes until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as s:
        s.sendall(data)
        out = b""
        try:
            while part := s.recv(65536):
                out += part
        except ConnectionResetError:
            pass
        return out


def opened(server, path="/ws", token=TOKEN, origin=None, **kwargs):
    port = server.port
    return connect(
        f"ws://127.0.0.1:{port}{path}",
        origin=origin or f"http://127.0.0.1:{port}",
        additional_headers={"Authorization": f"Bearer {token}"},
        proxy=None,
        **kwargs,
    )


def works(server):
    return ask(server)[0] == 200 and ask(server, "/echo", "POST", b"abc")[2] == b'{"size":3}'


def test_who_has_the_token_is_served_and_pages_are_fenced_in(small):
    status, headers, body = ask(small, f"/?token={TOKEN}", Authorization=None, Origin=None)
    assert (status, body) == (200, b"<p>home</p>")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask(small, Authorization=None, Cookie=cookie.split(";")[0])[0] == 200
    assert works(small)
    with opened(small) as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "hello"


HOSTILE = {
    "no token": ("/", 403, {"Authorization": None}),
    "a wrong token": ("/", 403, {"token": "x" * 30}),
    "a token that begins right": ("/", 403, {"token": TOKEN[:-1]}),
    "a token of other letters": ("/", 403, {"Authorization": "Bearer \xe4\xf6"}),
    "a wrong token in the address": (f"/?token={TOKEN}x", 403, {"Authorization": None}),
    "a cookie that cannot be read": ("/", 403, {"Authorization": None, "Cookie": "\x01=;,=\xff"}),
    "a page of another site": ("/", 403, {"Origin": "https://evil.example"}),
    "another port's page": ("/", 403, {"Origin": "http://127.0.0.1:1"}),
    "a sandboxed frame": ("/", 403, {"Origin": "null"}),
    "a foreign name": ("/", 421, {"Host": "evil.example"}),
    "a name that ends right": ("/", 421, {"Host": "127.0.0.1.evil.example"}),
    "another site's request": ("/", 403, {"Origin": None, "Sec_Fetch_Site": "cross-site"}),
    "up in the tree": ("/../../../../etc/passwd", 404, {}),
    "up in the tree, encoded": ("/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, {}),
    "a path with a zero": ("/a%00b", 404, {}),
    "a folder": ("//etc/passwd", 404, {}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_requests_are_refused_with_a_reason(small, what):
    path, status, headers = HOSTILE[what]
    found, fields, body = ask(small, path, **headers)
    assert found == status
    if status != 404:
        assert json.loads(body)["error"] and TOKEN not in body.decode()
        assert "default-src" in fields["content-security-policy"]
    assert works(small)


def test_a_post_needs_an_origin_and_only_three_methods_are_served(small):
    assert ask(small, "/echo", "POST", b"x", Origin=None)[0] == 403
    for method in ("PUT", "DELETE", "TRACE", "OPTIONS", "PATCH", "CONNECT"):
        assert ask(small, "/echo", method)[0] == 405
    assert works(small)


def test_bodies_are_bounded_whether_or_not_they_say_their_length(small):
    assert ask(small, "/echo", "POST", b"x" * (1 << 18))[0] == 200
    assert ask(small, "/echo", "POST", b"", Content_Length="9" * 18)[0] == 413
    assert ask(small, "/echo", "POST", b"", Content_Length="9" * 30)[0] in (400, 413)
    assert ask(small, "/echo", "POST", b"", Content_Length="-1")[0] in (400, 413)
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = (
        f"POST /echo HTTP/1.1\r\nHost: 127.0.0.1:{small.port}\r\nOrigin: http://127.0.0.1:"
        f"{small.port}\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    assert b"413" in raw(small, head + chunk * 8 + b"0\r\n\r\n").split(b"\r\n")[0]
    assert works(small)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 60000 + b"\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    ],
)
def test_what_is_no_request_ends_the_connection(small, data):
    answer = raw(small, data)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert works(small)


def test_who_says_nothing_or_half_a_request_is_not_waited_for(small):
    begun = time.monotonic()
    assert raw(small, b"") == b""
    assert raw(small, b"GET / HTTP/1.1\r\nHost: ") == b""
    head = f"POST /echo HTTP/1.1\r\nHost: 127.0.0.1:{small.port}\r\nContent-Length: 9\r\n"
    head += f"Origin: http://127.0.0.1:{small.port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\nabc"
    assert b" 503 " in raw(small, head.encode())
    assert time.monotonic() - begun < 19  # each has its own limit, all of them far below this
    assert works(small)


def test_a_thousand_sockets_do_not_keep_the_person_out(small):
    with opened(small) as ws:
        idle = []
        try:
            for _ in range(1000):
                s = socket.socket()
                s.settimeout(5)
                s.connect(("127.0.0.1", small.port))
                idle.append(s)
                if len(idle) % 250 == 0:
                    assert works(small)
                    ws.send("still")
                    assert ws.recv(timeout=5) == "still"
        finally:
            for s in idle:
                s.close()
    assert works(small) and small.rss() < 300


def test_who_asks_too_often_without_a_token_does_not_use_up_the_person_s_share(small):
    found = [ask(small, token="wrong" * 5)[0] for _ in range(260)]
    assert found[0] == 403 and found[-1] == 429
    assert works(small)


def test_slow_readers_are_bounded(small):
    request = (
        f"GET /big HTTP/1.1\r\nHost: 127.0.0.1:{small.port}\r\n"
        f"Authorization: Bearer {TOKEN}\r\n\r\n"
    ).encode()
    readers = []
    for _ in range(4):
        s = socket.create_connection(("127.0.0.1", small.port), timeout=20)
        s.sendall(request)
        readers.append(s)
    time.sleep(6)
    assert works(small)
    for s in readers:  # what the kernel holds still comes, then the end
        total = 0
        try:
            while part := s.recv(1 << 20):
                total += len(part)
        except OSError:
            pass
        assert total < 64 << 20
        s.close()
    assert small.rss() < 400


def test_a_web_socket_is_for_who_may_ask(small):
    for kwargs in ({"token": "x" * 30}, {"origin": "https://evil.example"}):
        with pytest.raises(InvalidStatus) as refused:
            opened(small, **kwargs)
        assert refused.value.response.status_code == 403
    assert works(small)


def test_messages_are_bounded_in_size_rate_and_pieces(small):
    with opened(small) as ws:
        ws.send("x" * 60000)
        assert len(ws.recv(timeout=5)) == 60000
        with pytest.raises(ConnectionClosed):
            ws.send("x" * 70000)
            ws.recv(timeout=5)
    with opened(small) as ws, pytest.raises(ConnectionClosed) as closed:
        for _ in range(2000):
            ws.send("x")
        while True:
            ws.recv(timeout=5)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1008
    with opened(small) as ws, pytest.raises(ConnectionClosed):
        ws.send("" for _ in range(100000))
        ws.recv(timeout=5)
    with opened(small) as ws, pytest.raises(ConnectionClosed):
        ws.socket.sendall(b"\xff" * 100)  # no frame at all
        ws.recv(timeout=5)
    assert works(small)


def test_a_web_socket_that_is_not_read_is_ended(small):
    before = small.rss()
    with opened(small, "/flood", max_queue=1) as ws:
        time.sleep(6)
        assert works(small)
        with pytest.raises(ConnectionClosed):
            for _ in range(2000):
                ws.recv(timeout=5)
    assert small.rss() - before < 100


def test_faults_are_sentences_for_the_page_and_details_for_the_terminal(small):
    status, _, body = ask(small, "/refuses")
    assert (status, json.loads(body)) == (409, {"error": "file x is damaged; restore it"})
    status, _, body = ask(small, "/breaks")
    assert status == 500 and "ZeroDivisionError" in json.loads(body)["error"]
    assert ask(small, "/slow")[0] == 503
    assert works(small)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_asked_also_while_somebody_waits(small, number):
    with opened(small) as ws:
        ws.send("a")
        ws.recv(timeout=5)
        said, code = small.end(number)
    assert code == 128 + number, said


def test_a_port_that_is_taken_is_said_in_a_line(small):
    from mili_jax.people import serving
    from mili_jax.types import ConfigError

    with pytest.raises(ConfigError, match=f"--port={small.port}: cannot listen"):
        serving.bind(small.port)
    with serving.bind(None) as one, serving.bind(None) as other:
        assert one.getsockname()[1] != other.getsockname()[1]


def test_a_token_is_kept_for_its_owner_alone(tmp_path):
    from mili_jax.people import serving
    from mili_jax.types import DataError

    path = tmp_path / "people" / "token"
    token = serving.kept_token(path)
    assert serving.kept_token(path) == token and len(token) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(DataError, match="others may read"):
        serving.kept_token(path)
    path.chmod(0o600)
    for content in (b"", b"short", b"\xff\xfe" * 20, b"a" * 30 + b"\n/../"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="holds no token"):
            serving.kept_token(path)
