"""Who looks, and what they may see: a reverse proxy signs people in, their groups name their queues.

The proxy says in headers who it is, and proves that it is the proxy by a password that only it and we know, as HTTP Basic
(oauth2-proxy: ``--pass-basic-auth --basic-auth-password``). Without sign-in the page answers this machine alone.
"""

import base64
import binascii
import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from fastapi import HTTPException, Request

from ser_tasks.settings import GroupRights, Settings

SECRET_CHARACTERS = 16
"""A shorter secret could be guessed."""


@dataclass(frozen=True)
class Viewer:
    name: str
    queues: tuple[str, ...] = ()
    """The queues whose calls are shown; none shows nothing."""
    everything: bool = False
    """Every call, those without a queue too."""
    may_play: bool = False
    """Whether every recording of a call that is shown may be played."""
    played_queues: tuple[str, ...] = ()
    """The queues whose recordings may be played all the same: a right to hear one queue is none to hear another."""

    def may_hear(self, queue: str | None) -> bool:
        return self.may_play or queue in self.played_queues


OWNER = Viewer("this machine", everything=True, may_play=True)
"""Who looks from the machine itself, without sign-in."""


def check_sign_in(settings: Settings, host: str) -> None:
    """Raises ValueError where the page would be open to others, or where sign-in is set up by half."""
    secret = settings.dashboard_secret
    if secret is None and settings.dashboard_groups:
        raise ValueError("SER_DASHBOARD_GROUPS is set, but SER_DASHBOARD_SECRET is not: nobody could be believed. Set both.")
    if secret is not None and len(secret.get_secret_value()) < SECRET_CHARACTERS:
        raise ValueError(f"SER_DASHBOARD_SECRET has fewer than {SECRET_CHARACTERS} characters: openssl rand -hex 32 makes a good one.")
    if secret is None and not is_loopback(host):
        raise ValueError(
            f"Without sign-in the dashboard listens on this machine alone, not on {host}: leave --host out, or put a reverse proxy "
            "with sign-in before it and set SER_DASHBOARD_SECRET and SER_DASHBOARD_GROUPS (deploy/OPERATIONS.md)."
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def viewer(request: Request) -> Viewer:
    """Who asks. Raises 401 for a request that did not come by the proxy, 403 for one from elsewhere where there is no sign-in."""
    settings: Settings = request.app.state.settings
    if settings.dashboard_secret is None:
        if request.client is None or not is_loopback(request.client.host):
            raise HTTPException(403, "Without sign-in this page answers the machine that it runs on, nobody else.")
        return OWNER
    if not _proves_itself(request, settings.dashboard_secret.get_secret_value()):
        raise HTTPException(401, "Sign in first: this page is reached through its sign-in only.")
    name = _one_header(request, settings.dashboard_user_header)
    if not name:
        raise HTTPException(401, "The sign-in did not say who you are.")
    groups = {group.strip() for group in _one_header(request, settings.dashboard_groups_header).split(",")}
    return of_groups(name, groups, settings)


def of_groups(name: str, groups: Collection[str], settings: Settings) -> Viewer:
    """A viewer with the rights of those groups that SER_DASHBOARD_GROUPS knows; others give none."""
    rights = [right for group, right in settings.dashboard_groups.items() if group in groups]
    playing = [right for right in rights if right.may_play]
    return Viewer(
        name,
        queues=_queues(rights),
        everything=any(right.queues == "all" for right in rights),
        may_play=any(right.queues == "all" for right in playing),
        played_queues=_queues(playing),
    )


def _queues(rights: list[GroupRights]) -> tuple[str, ...]:
    return tuple(sorted({queue for right in rights if right.queues != "all" for queue in right.queues}))


def _one_header(request: Request, name: str) -> str:
    """A header's value, empty without it. Two of one name mean that somebody added one of their own."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise HTTPException(401, f"The header {name} came twice: the proxy must replace it, not add to it.")
    return values[0].strip() if values else ""


def _proves_itself(request: Request, secret: str) -> bool:
    scheme, _, credentials = _one_header(request, "Authorization").partition(" ")
    try:
        password = base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and secrets.compare_digest(password, secret.encode())
