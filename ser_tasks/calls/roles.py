"""The role of each channel: who speaks on it."""

from ser_tasks.schemas import ROLES
from ser_tasks.settings import Settings


def channel_roles(channels: int, known: dict[int, str] | None, source: str | None, settings: Settings) -> tuple[list[str], str | None]:
    """The role of each channel, and their source: ``source`` (that of ``known``, from the call's metadata), ``settings`` or None.

    A channel without a role is ``unknown``, but ``mixed`` if it is the only channel of a mono recording. The map in the settings
    describes two-sided recordings: it applies to a mono recording only if it names channel 0 alone.
    """
    known = known or {}
    configured = settings.channel_roles if channels > 1 or set(settings.channel_roles) == {0} else {}
    default = "mixed" if channels == 1 else "unknown"
    roles = [known.get(channel) or configured.get(channel, default).lower() for channel in range(channels)]
    if not any(channel in known for channel in range(channels)):
        source = "settings" if any(channel in configured for channel in range(channels)) else None
    return [role if role in ROLES else "unknown" for role in roles], source
