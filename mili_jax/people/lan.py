"""A page for other machines in the same network: at this machine's address there, and encrypted.

Without encryption whoever listens in the network could read the token and drive, and browsers know
WebXR and some other things only of pages that came encrypted or from the machine itself.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import socket
import ssl
import sys
from pathlib import Path

import trustme
from cryptography import x509

from mili_jax.people.serving import Tls
from mili_jax.storage.files import atomic_write, make_directory
from mili_jax.types import ConfigError, DataError

DAYS = 397  # that a certificate holds; browsers take none that holds longer
AUTHORITY, CERTIFICATE, KEY = "authority.pem", "certificate.pem", "key.pem"
_ELSEWHERE = "192.0.2.1", 9  # an address of nobody: nothing is sent there


def address() -> str:
    """This machine's own address in its network. Raises ConfigError if it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(_ELSEWHERE)
            found: str = asked.getsockname()[0]
        except OSError:
            found = "127.0.0.1"
    if found.startswith("127.") or found == "0.0.0.0":
        raise ConfigError("--lan: this machine is in no network; leave --lan out")
    return found


def certificate(folder: Path, host: str) -> Tls:
    """A certificate for that address, made if the folder has none that holds.

    The authority that signs it is made for it alone, and its key is forgotten: nobody can sign
    another one. Its certificate, `authority.pem`, can be installed on the other machine, which then
    does not warn. Raises DataError if the folder cannot be written.
    """
    found = Tls(folder / CERTIFICATE, folder / KEY)
    if not _holds(found, host):
        authority = trustme.CA(organization_name="mili")
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=DAYS)
        made = authority.issue_cert(host, not_after=until)
        make_directory(folder)
        try:
            handle = os.open(found.key, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with open(handle, "wb") as file:
                file.write(made.private_key_pem.bytes())
        except OSError as error:
            raise DataError(f"{found.key} cannot be written ({error.strerror})") from None
        chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
        atomic_write(found.certificate, chain)
        atomic_write(folder / AUTHORITY, authority.cert_pem.bytes())
    return found


def _holds(found: Tls, host: str) -> bool:
    """Whether it can be used, for this address, for a day at least."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(found.certificate, found.key)
        read = x509.load_pem_x509_certificate(found.certificate.read_bytes())
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        here = [str(name) for name in names.get_values_for_type(x509.IPAddress)]
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    private = found.key.stat().st_mode & 0o077 == 0
    return private and host in here and read.not_valid_after_utc > soon


def fingerprint(found: Tls) -> str:
    """SHA-256 of the certificate, as browsers show it."""
    first = found.certificate.read_text().partition("-----END CERTIFICATE-----")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1])).hexdigest().upper()
    return ":".join(digest[k : k + 2] for k in range(0, len(digest), 2))


def explain(name: str, found: Tls) -> None:
    """Says on stderr why it is encrypted, and what the other machine will say. name: of the
    command."""
    print(
        f"{name}: other machines in this network can reach this page, so it is encrypted. Without "
        "that, whoever listens there could read the token, and a headset's browser would have no "
        f"WebXR. The browser warns of a certificate that it does not know: go on if its SHA-256 "
        f"is {fingerprint(found)}, or install {found.certificate.parent / AUTHORITY} there first.",
        file=sys.stderr,
        flush=True,
    )
