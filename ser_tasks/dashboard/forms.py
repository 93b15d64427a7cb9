"""Forms: the few requests that write. Only a page of this dashboard can send one, and only for the viewer whom it was made for.

A form has a token, an HMAC of its viewer's name, that no other site can read. A browser says besides from which site a request comes.
"""

import hashlib
import hmac
import re
import secrets
from urllib.parse import parse_qsl, urlsplit

from fastapi import HTTPException, Request

from ser_tasks.settings import Settings

FORM_PATHS = re.compile(r"/calls/[^/]+/(reviews|listened)|/reviews/samples|/alerts/acknowledged")
"""Paths that take forms, below the prefix."""
FORM_BYTES = 16_384
"""Largest body of a form."""
MAX_FIELDS = 20


class FormError(Exception):
    """A form that is not read. ``status`` is the HTTP status of the response."""

    def __init__(self, why: str, status: int):
        super().__init__(why, status)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


def is_form_path(path: str) -> bool:
    """Whether a path takes forms. ``path``: without the prefix."""
    return FORM_PATHS.fullmatch(path) is not None


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises FormError for one of another site, for one that is too large, and for what is no form."""
    if not _same_origin(request):
        raise FormError("This form was sent by another site: open the page on the dashboard, and send it there.", 403)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise FormError("This is no form: send application/x-www-form-urlencoded.", 415)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            raise FormError(f"The form is longer than {FORM_BYTES:,} bytes.", 413)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError:
        raise FormError("The form cannot be read: it is no UTF-8, or has too many fields.", 400) from None


def form_secret(settings: Settings) -> bytes:
    """The key of tokens: the same in all processes behind one sign-in, else of this process."""
    if settings.dashboard_secret is None:
        return secrets.token_bytes(32)
    return hashlib.sha256(b"forms\0" + settings.dashboard_secret.get_secret_value().encode()).digest()


def token(request: Request) -> str:
    """The token for the forms of the viewer's pages."""
    name: str = request.state.viewer.name
    return hmac.new(request.app.state.form_secret, name.encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def checked(request: Request) -> dict[str, str]:
    """The fields of a form whose token is that of the viewer. Raises HTTPException 403."""
    form: dict[str, str] = request.state.form
    if not hmac.compare_digest(form.get("token", "").encode(), token(request).encode()):
        raise HTTPException(403, "Not saved: the page is of an earlier run of the dashboard, or of another viewer. Load it again.")
    return form


def _same_origin(request: Request) -> bool:
    """Whether a browser sent this from a page of this dashboard, or says nothing about it: then the token decides.

    Pages have no referrer, so browsers may send the origin ``null``.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site == "same-origin"
    if origin in (None, "null"):
        return True
    settings: Settings = request.app.state.settings
    own = {request.headers.get("Host", ""), urlsplit(settings.dashboard_url or "").netloc}
    return urlsplit(origin).netloc in own - {""}
