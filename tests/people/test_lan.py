"""Pages for other machines: at this machine's address in its network, encrypted, and to nobody
without the token."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import struct
import time

import pytest
from made import run_of
from websockets.sync.client import connect

from mili_jax.people import lan
from mili_jax.types import ConfigError

TOKEN = "a-token-that-is-long-enough"


def here():
    try:
        return lan.address()
    except ConfigError as error:
        # Without a network there is nobody to serve. The refusal is tested all the same, below.
        pytest.skip(str(error))


def trusting(folder):
    return ssl.create_default_context(cafile=folder / lan.AUTHORITY)


def ask(server, folder, host, path="/", **headers):
    connection = http.client.HTTPSConnection(
        host, server.port, timeout=10, context=trusting(folder)
    )
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("found", [OSError("Network is unreachable"), "127.0.0.1", "0.0.0.0"])
def test_a_machine_without_a_network_is_told_so(found, monkeypatch):
    class Asked(socket.socket):
        def connect(self, _):
            if isinstance(found, OSError):
                raise found

        def getsockname(self):
            return found, 0

    monkeypatch.setattr(lan.socket, "socket", Asked)
    with pytest.raises(ConfigError, match="--lan: this machine is in no network; leave --lan out"):
        lan.address()


def test_a_certificate_is_kept_and_made_again_for_another_address(tmp_path):
    first = lan.certificate(tmp_path, "192.0.2.7")
    assert first.key.stat().st_mode & 0o777 == 0o600
    said = lan.fingerprint(first)
    assert re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", said)
    assert lan.fingerprint(lan.certificate(tmp_path, "192.0.2.7")) == said
    other = lan.fingerprint(lan.certificate(tmp_path, "192.0.2.8"))
    assert other != said
    for path in (first.certificate, first.key):
        path.write_text("damaged")
        assert lan.fingerprint(lan.certificate(tmp_path, "192.0.2.8")) != other
    first.key.chmod(0o644)
    again = lan.certificate(tmp_path, "192.0.2.8")
    assert again.key.read_text().startswith("-----BEGIN")


def test_the_label_page_for_another_machine(tmp_path, label):
    host = here()
    run_of(tmp_path, 3)
    server = label(tmp_path, "--lan")
    folder = tmp_path / "people" / "tls"
    assert server.url.startswith(f"https://{host}:{server.port}/")
    status, headers, body = ask(server, folder, host, f"/?token={server.token}")
    assert status == 200 and b"Did the robot" in body and "; Secure" in headers["set-cookie"]
    assert ask(server, folder, host)[0] == 403
    bearer = {"Authorization": f"Bearer {server.token}"}
    assert ask(server, folder, host, **bearer)[0] == 200
    assert ask(server, folder, host, **bearer, Host="evil.example")[0] == 421
    assert ask(server, folder, host, **bearer, Origin=f"http://{host}:{server.port}")[0] == 403
    with socket.create_connection((host, server.port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"200" not in plain.recv(1000)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=2)
    said = "".join(server.lines)
    with (
        socket.create_connection((host, server.port), timeout=10) as raw,
        trusting(folder).wrap_socket(raw, server_hostname=host) as encrypted,
    ):
        found = ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(binary_form=True))
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "certificate.pem").write_text(found)
    seen = lan.Tls(tmp_path / "seen" / "certificate.pem", tmp_path)
    assert lan.fingerprint(seen) in said and "could read the token" in said


def test_the_teleoperation_page_for_a_headset(served, tmp_path):
    host = here()
    flags = "--playground", f"--workdir={tmp_path}", "--lan", "--port=0", "--no-open"
    server = served("-m", "mili_jax.cli", "teleop", *flags)
    with connect(
        f"wss://{host}:{server.port}/drive",
        ssl=trusting(tmp_path / "people" / "tls"),
        origin=f"https://{host}:{server.port}",
        additional_headers={"Authorization": f"Bearer {server.token}"},
        proxy=None,
    ) as page:
        packet = page.recv(timeout=20)
        length = struct.unpack(">I", packet[:4])[0]
        assert json.loads(packet[4 : 4 + length])["state"] == "ready"


def test_who_does_not_even_greet_is_not_waited_for(served, tmp_path):
    server = served("tests/people/serve_small.py", 0, TOKEN, tmp_path)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent:
        assert silent.recv(100) == b""
    assert (
        time.monotonic() - begun < 15
    )  # its patience is 1.5 s; the usual minute is not waited for
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(server, tmp_path, "127.0.0.1", **bearer)[0] == 200
