"""What licences permit. Apart from the corpora they are of: a night asks, and need not load pandas for that."""

UNKNOWN = "unknown"

LICENCES = ("CC0", "Apache-2.0", "CC BY 4.0", "CC BY-NC-SA 4.0")
"""Licences that can be combined, from the most permissive to the strictest, which then applies to the whole."""
COMMERCIAL = ("CC0", "Apache-2.0", "CC BY 4.0")
"""Licences that permit commercial use."""


def permits_commercial_use(licence: str) -> bool:
    """Whether a company may use weights under this licence; not if the licence is unknown."""
    return licence in COMMERCIAL


def forbidden_use(name: str, licence: str) -> str | None:
    """One line on what the licence of a bundle of this name forbids; None where it permits commercial use."""
    if permits_commercial_use(licence):
        return None
    if licence == UNKNOWN:
        return f"The licence of model {name} is unknown: ask the owners of its training data before a company uses it."
    return f"The licence of model {name}, {licence}, forbids commercial use: a company uses --model default or fast."
