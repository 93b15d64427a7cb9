"""Viewers and their rights: a reverse proxy signs people in, and their groups determine their queues.

The proxy names the viewer in headers, and authenticates itself with a shared password as HTTP Basic (oauth2-proxy:
``--pass-basic-auth --basic-auth-password``). Without sign-in, the dashboard answers requests from its own machine only.
"""

import base64
import binascii
import getpass
import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace

from fastapi import HTTPException, Request

from ser_tasks.settings import GroupRights, Settings

SECRET_CHARACTERS = 16
"""Minimum length of the shared password: a shorter one could be guessed."""


@dataclass(frozen=True)
class Viewer:
    name: str
    queues: tuple[str, ...] = ()
    """The queues whose calls the viewer may see; without any, none."""
    everything: bool = False
    """Whether the viewer may see every call, including those without a queue."""
    may_play: bool = False
    """Whether the viewer may play the recordings of all visible calls."""
    playable_queues: tuple[str, ...] = ()
    """Queues whose recordings the viewer may play without that right: it holds for each queue separately."""

    may_review: bool = False
    """Whether the viewer may judge all visible calls. Who may judge a call may play it, too."""
    reviewable_queues: tuple[str, ...] = ()
    """Queues whose calls the viewer may judge without that right."""

    may_acknowledge: bool = False
    """Whether the viewer may acknowledge all alerts, including those on no queue."""
    acknowledgeable_queues: tuple[str, ...] = ()
    """Queues whose alerts the viewer may acknowledge without that right."""

    def may_play_queue(self, queue: str | None) -> bool:
        return self.may_play or queue in self.playable_queues

    def may_review_queue(self, queue: str | None) -> bool:
        return self.may_review or queue in self.reviewable_queues

    def may_acknowledge_alert(self, subject: str) -> bool:
        """``subject``: what the alert is about, such as a queue."""
        return self.may_acknowledge or subject in self.acknowledgeable_queues

    def as_reviewer(self) -> "Viewer":
        """The same viewer, who sees only the calls that they may judge."""
        return replace(self, queues=self.reviewable_queues, everything=self.may_review)


OWNER = Viewer("this machine", everything=True, may_play=True, may_review=True, may_acknowledge=True)
"""The viewer without sign-in, on the machine itself."""


def reviewer_name(viewer: Viewer, settings: Settings) -> str:
    """The name stored with what a viewer writes: as the sign-in names them; without sign-in SER_REVIEWER, or this user's name."""
    if viewer is not OWNER:
        return viewer.name
    if settings.reviewer:
        return settings.reviewer
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return viewer.name


def check_sign_in(settings: Settings, host: str) -> None:
    """Raises ValueError if the dashboard would be open to other machines, or if sign-in is configured incompletely."""
    secret = settings.dashboard_secret
    if secret is None and settings.dashboard_groups:
        raise ValueError("SER_DASHBOARD_GROUPS is set, but SER_DASHBOARD_SECRET is not: the proxy could not authenticate itself. Set both.")
    if secret is not None and len(secret.get_secret_value()) < SECRET_CHARACTERS:
        raise ValueError(f"SER_DASHBOARD_SECRET has fewer than {SECRET_CHARACTERS} characters: openssl rand -hex 32 makes a good one.")
    if secret is None and not is_loopback(host):
        raise ValueError(
            f"Without sign-in the dashboard listens on this machine only, not on {host}: omit --host, or put a reverse proxy "
            "with sign-in in front of it and set SER_DASHBOARD_SECRET and SER_DASHBOARD_GROUPS (deploy/OPERATIONS.md)."
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def viewer(request: Request) -> Viewer:
    """The viewer of a request. Raises HTTPException 401 for requests that bypass the proxy, and 403 for other machines without sign-in."""
    settings: Settings = request.app.state.settings
    if settings.dashboard_secret is None:
        if request.client is None or not is_loopback(request.client.host):
            raise HTTPException(403, "Without sign-in, the dashboard answers only requests from the machine that it runs on.")
        return OWNER
    if not _proves_itself(request, settings.dashboard_secret.get_secret_value()):
        raise HTTPException(401, "Sign in first: this page can be reached only through its sign-in.")
    name = _one_header(request, settings.dashboard_user_header)
    if not name:
        raise HTTPException(401, "The sign-in did not name you.")
    groups = {group.strip() for group in _one_header(request, settings.dashboard_groups_header).split(",")}
    return of_groups(name, groups, settings)


def of_groups(name: str, groups: Collection[str], settings: Settings) -> Viewer:
    """A viewer with the rights of the groups in SER_DASHBOARD_GROUPS; other groups give none."""
    rights = [right for group, right in settings.dashboard_groups.items() if group in groups]
    playing = [right for right in rights if right.may_play]
    reviewing = [right for right in playing if right.may_review]
    acknowledging = [right for right in rights if right.may_acknowledge]
    return Viewer(
        name,
        queues=_queues(rights),
        everything=any(right.queues == "all" for right in rights),
        may_play=any(right.queues == "all" for right in playing),
        playable_queues=_queues(playing),
        may_review=any(right.queues == "all" for right in reviewing),
        reviewable_queues=_queues(reviewing),
        may_acknowledge=any(right.queues == "all" for right in acknowledging),
        acknowledgeable_queues=_queues(acknowledging),
    )


def _queues(rights: list[GroupRights]) -> tuple[str, ...]:
    return tuple(sorted({queue for right in rights if right.queues != "all" for queue in right.queues}))


def _one_header(request: Request, name: str) -> str:
    """A header's value, empty if it is missing. Raises 401 for two headers of one name: the visitor has added one."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise HTTPException(401, f"The request has the header {name} twice: the proxy must replace it, not add to it.")
    return values[0].strip() if values else ""


def _proves_itself(request: Request, secret: str) -> bool:
    scheme, _, credentials = _one_header(request, "Authorization").partition(" ")
    try:
        password = base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and secrets.compare_digest(password, secret.encode())
