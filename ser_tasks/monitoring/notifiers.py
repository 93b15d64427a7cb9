"""Hands messages over: to a webhook (POST of JSON) and by e-mail. What is secret comes from the settings, and no error holds it."""

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


class NotSent(RuntimeError):
    """A message that was not taken; says by whom and why."""


@dataclass(frozen=True)
class Message:
    """What is told: a line, a page of plain text, and the same as data for programs."""

    title: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The same for the same message: who gets it twice can tell."""
        return hashlib.sha256(f"{self.title}\n{self.text}".encode()).hexdigest()[:20]


def mail_addresses(settings: Settings) -> list[str]:
    """The addresses of SER_MAIL_TO."""
    return [address for _, address in getaddresses([settings.mail_to or ""]) if address]


def post(message: Message, settings: Settings) -> None:
    """POSTs a message to SER_ALERT_WEBHOOK_URL as JSON: id, title, text, and its data. Raises NotSent."""
    secret = settings.alert_webhook_url
    url = secret.get_secret_value() if secret else ""
    if not url:
        raise NotSent("SER_ALERT_WEBHOOK_URL is not set: give the address that takes alerts as a POST of JSON")
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
        raise NotSent(f"{server} answered {error.code}") from None
    except urllib.error.URLError as error:
        raise NotSent(f"{server} can't be reached ({type(error.reason).__name__})") from None
    except (OSError, http.client.HTTPException) as error:
        raise NotSent(f"{server} gave no answer ({type(error).__name__})") from None
    except ValueError:
        raise NotSent(f"{server} has no address that can be used: SER_ALERT_WEBHOOK_URL begins with http:// or https://") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, and elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def mail(message: Message, to: str, settings: Settings) -> None:
    """Mails a message as plain text to one address. Raises NotSent."""
    _send(_letter(message, to, settings), to, settings)


def mail_page(page: str, message: Message, to: str, settings: Settings, name: str = "page.html") -> None:
    """Mails an HTML page that stands alone to one address: the message's text, and the page attached as ``name``. Raises NotSent.

    Attached, since mail programs strip the charts (SVG) and styles of a page in the letter itself.
    """
    letter = _letter(message, to, settings)
    letter.add_attachment(page, subtype="html", filename=name)
    _send(letter, to, settings)


def _letter(message: Message, to: str, settings: Settings) -> EmailMessage:
    if not settings.mail_from:
        raise NotSent("SER_MAIL_FROM is not set: give the sender's address")
    letter = EmailMessage()
    try:
        letter["From"] = settings.mail_from
        letter["To"] = Address(addr_spec=to)
        letter["Subject"] = message.title
        letter["Message-ID"] = (
            f"<{message.id}.{hashlib.sha256(to.encode()).hexdigest()[:8]}@{settings.mail_from.rpartition('@')[2].strip('> ')}>"
        )
    except Exception as error:  # what the parts of an address may raise is not documented
        raise NotSent(f"{to!r} or SER_MAIL_FROM is no address ({type(error).__name__})") from None
    letter["Date"] = formatdate(localtime=False)
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.text)
    return letter


def _send(letter: EmailMessage, to: str, settings: Settings) -> None:
    if not settings.smtp_host:
        raise NotSent("SER_SMTP_HOST is not set: give the server that takes mail")
    password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
    if (settings.smtp_user or password) and settings.smtp_security == "none":
        raise NotSent("SER_SMTP_SECURITY is none, and a password would go over the network in the clear: use starttls or tls")
    server = f"the mail server {settings.smtp_host}:{settings.smtp_port}"
    try:
        context = ssl.create_default_context()  # SSL_CERT_FILE names a company's own authority
        if settings.smtp_security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_S, context=context)
        else:
            smtp = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_S)
        with smtp:
            if settings.smtp_security == "starttls":
                smtp.starttls(context=context)
            if settings.smtp_user:
                smtp.login(settings.smtp_user, password or "")
            smtp.send_message(letter, to_addrs=[to])
    except smtplib.SMTPAuthenticationError as error:
        raise NotSent(f"{server} refused the login ({error.smtp_code}): check SER_SMTP_USER and SER_SMTP_PASSWORD") from None
    except smtplib.SMTPRecipientsRefused as error:
        raise NotSent(f"{server} refused {to} ({next(iter(error.recipients.values()))[0]})") from None
    except smtplib.SMTPSenderRefused as error:
        raise NotSent(f"{server} refused the sender of SER_MAIL_FROM ({error.smtp_code})") from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"{server} answered {error.smtp_code}") from None
    except smtplib.SMTPNotSupportedError:
        raise NotSent(f"{server} offers no STARTTLS or no login: see SER_SMTP_SECURITY and SER_SMTP_USER") from None
    except ssl.SSLCertVerificationError as error:
        raise NotSent(
            f"{server} has a certificate that is not trusted ({error.verify_message}): SSL_CERT_FILE names another authority"
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise NotSent(f"{server} can't be reached ({type(error).__name__})") from None
