"""Sends messages to a webhook (POST of JSON) and by e-mail. Secrets come from the settings, and no error text contains one."""

import hashlib
import http.client
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, getaddresses
from typing import Any
from urllib.parse import urlsplit

from ser_tasks.settings import Settings

TIMEOUT_S = 30


class SendError(RuntimeError):
    """A receiver did not accept a message. The text names the receiver and the cause."""


@dataclass(frozen=True)
class Message:
    """A message: a title of one line, plain text, and the same as data for programs."""

    title: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Equal for equal messages, so that receivers recognise repeated ones."""
        return hashlib.sha256(f"{self.title}\n{self.text}".encode()).hexdigest()[:20]


def mail_addresses(settings: Settings) -> list[str]:
    """The addresses of SER_MAIL_TO."""
    return [address for _, address in getaddresses([settings.mail_to or ""]) if address]


def post(message: Message, settings: Settings) -> None:
    """POSTs a message to SER_ALERT_WEBHOOK_URL as JSON: id, title, text, and its data. Raises SendError."""
    secret = settings.alert_webhook_url
    url = secret.get_secret_value() if secret else ""
    if not url:
        raise SendError("SER_ALERT_WEBHOOK_URL is not set: set the URL that accepts alerts as a POST of JSON")
    body = json.dumps({"id": message.id, "title": message.title, "text": message.text, **message.data}).encode()
    request_headers = {"Content-Type": "application/json", "User-Agent": "ser-nightly"}
    server = "the webhook"
    try:
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise ValueError
        server = f"the webhook at {place.scheme}://{place.hostname}"  # the rest of the address is the secret
        request = urllib.request.Request(url, body, request_headers, method="POST")
        urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        raise SendError(f"{server} answered {error.code}") from None
    except urllib.error.URLError as error:
        raise SendError(f"{server} can't be reached ({type(error.reason).__name__})") from None
    except (OSError, http.client.HTTPException) as error:
        raise SendError(f"{server} did not answer ({type(error).__name__})") from None
    except ValueError:
        raise SendError(f"{server} has an invalid address: SER_ALERT_WEBHOOK_URL must begin with http:// or https://") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, and at another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def mail(message: Message, to: str, settings: Settings) -> None:
    """Mails a message as plain text to one address. Raises SendError."""
    _send(_email(message, to, settings), to, settings)


def mail_page(page: str, message: Message, to: str, settings: Settings, name: str = "page.html") -> None:
    """Mails a self-contained HTML page to one address: the message's text, with the page attached as ``name``. Raises SendError.

    It is an attachment, since mail programs strip charts (SVG) and styles from an HTML body.
    """
    email = _email(message, to, settings)
    email.add_attachment(page, subtype="html", filename=name)
    _send(email, to, settings)


def _email(message: Message, to: str, settings: Settings) -> EmailMessage:
    if not settings.mail_from:
        raise SendError("SER_MAIL_FROM is not set: set the sender's address")
    email = EmailMessage()
    try:
        email["From"] = settings.mail_from
        email["To"] = Address(addr_spec=to)
        email["Subject"] = message.title
        email["Message-ID"] = (
            f"<{message.id}.{hashlib.sha256(to.encode()).hexdigest()[:8]}@{settings.mail_from.rpartition('@')[2].strip('> ')}>"
        )
    except Exception as error:  # the parsers of addresses do not document what they raise
        raise SendError(f"{to!r} or SER_MAIL_FROM is not an e-mail address ({type(error).__name__})") from None
    email["Date"] = formatdate(localtime=False)
    email["Auto-Submitted"] = "auto-generated"
    email.set_content(message.text)
    return email


def _send(email: EmailMessage, to: str, settings: Settings) -> None:
    if not settings.smtp_host:
        raise SendError("SER_SMTP_HOST is not set: set the mail server")
    password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
    if (settings.smtp_user or password) and settings.smtp_security == "none":
        raise SendError("SER_SMTP_SECURITY is none, which would send the password unencrypted: use starttls or tls")
    server = f"the mail server {settings.smtp_host}:{settings.smtp_port}"
    try:
        context = ssl.create_default_context()  # SSL_CERT_FILE adds a company's own authority
        if settings.smtp_security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_S, context=context)
        else:
            smtp = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_S)
        with smtp:
            if settings.smtp_security == "starttls":
                smtp.starttls(context=context)
            if settings.smtp_user:
                smtp.login(settings.smtp_user, password or "")
            smtp.send_message(email, to_addrs=[to])
    except OSError as error:  # SMTPException is one
        raise SendError(f"{server} {_reason(error, to)}") from None


def _reason(error: OSError, to: str) -> str:
    """Why a mail server did not accept a mail, without any secret."""
    match error:
        case smtplib.SMTPAuthenticationError():
            reason = f"refused the login ({error.smtp_code}): check SER_SMTP_USER and SER_SMTP_PASSWORD"
        case smtplib.SMTPRecipientsRefused():
            reason = f"refused {to} ({next(iter(error.recipients.values()))[0]})"
        case smtplib.SMTPSenderRefused():
            reason = f"refused the sender of SER_MAIL_FROM ({error.smtp_code})"
        case smtplib.SMTPResponseException():
            reason = f"answered {error.smtp_code}"
        case smtplib.SMTPNotSupportedError():
            reason = "offers no STARTTLS or no login: see SER_SMTP_SECURITY and SER_SMTP_USER"
        case ssl.SSLCertVerificationError():
            reason = f"has a certificate that is not trusted ({error.verify_message}): SSL_CERT_FILE adds an authority"
        case _:
            reason = f"can't be reached ({type(error).__name__})"
    return reason
