"""Channel → role: who speaks on it."""

from ser_tasks.schemas import ROLES
from ser_tasks.settings import Settings


def channel_roles(channels: int, stated: dict[int, str] | None, source: str | None, settings: Settings) -> tuple[list[str], str | None]:
    """The role of each channel, and where the roles come from: the facts' ``source``, ``settings`` or None.

    A channel that nobody names is ``unknown``; the only channel of a mono recording that nobody names is ``mixed``.
    The settings' map is about two-sided recordings: it names a mono recording's channel only if it names just that one.
    """
    stated = stated or {}
    configured = settings.channel_roles if channels > 1 or set(settings.channel_roles) == {0} else {}
    nobody = "mixed" if channels == 1 else "unknown"
    roles = [stated.get(channel) or configured.get(channel, nobody).lower() for channel in range(channels)]
    if not any(channel in stated for channel in range(channels)):
        source = "settings" if any(channel in configured for channel in range(channels)) else None
    return [role if role in ROLES else "unknown" for role in roles], source
