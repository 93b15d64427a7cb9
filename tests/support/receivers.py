"""Real receivers on loopback: an HTTP server for alerts, and a mail server with STARTTLS and a login."""

import contextlib
import datetime
import email
import email.policy
import ipaddress
import json
import socket
import ssl
import threading
import time
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class WebhookReceiver:
    """Accepts POSTs on ``url`` after ``wait_s``. ``answers`` are the status codes of the next ones; then 200. A context manager."""

    def __init__(self, secret: str = "secret-path"):
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        self.answers: list[int] = []
        self.wait_s = 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked += 1
                time.sleep(receiver.wait_s)
                status = receiver.answers.pop(0) if receiver.answers else 200
                if status == 200:
                    receiver.taken.append(json.loads(body) | {"path": self.path, "type": self.headers["Content-Type"]})
                self.send_response(status)
                if status in (301, 302, 307):
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/{secret}"

    def __enter__(self) -> "WebhookReceiver":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class HangingReceiver:
    """Accepts connections on ``url`` and never answers, or with ``drips`` sends an endless header byte by byte."""

    def __init__(self, drips: bool = False):
        self.asked = 0
        self._drips, self._over = drips, threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/secret-path"

    def __enter__(self) -> "HangingReceiver":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.asked += 1
                threading.Thread(target=self._hold, args=(connection,), daemon=True).start()

    def _hold(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: " if self._drips else b"")
            while not self._over.wait(0.05):
                connection.sendall(b"x" if self._drips else b"")


class MailReceiver:
    """A mail server on ``port``. With a user and password it requires STARTTLS and that login; ``authority`` is its certificate.

    While ``down``, it refuses every mail with 451; mails to addresses in ``refused`` are refused with 550.
    """

    def __init__(self, folder: Path, user: str | None = None, password: str | None = None):
        self.letters: list[tuple[str, EmailMessage]] = []
        self.down, self.asked = False, 0
        self.refused: set[str] = set()
        self._login = (user, password)
        self.authority, key = _certificate(folder)
        options: dict[str, Any] = {}
        if user:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.authority, key)
            options = {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": self._authenticate}
        with free_port() as self.port:
            pass
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)

    def __enter__(self) -> "MailReceiver":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
        return AuthResult(success=given == self._login, handled=False)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        self.asked += 1
        if self.down:
            return "451 try again later"
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.letters += [(address, letter) for address in envelope.rcpt_tos]
        return "250 OK"


@contextlib.contextmanager
def free_port():
    """A port on which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    places = folder / "certificate.pem", folder / "key.pem"
    places[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    places[1].write_bytes(key.private_bytes(*form))
    return places
