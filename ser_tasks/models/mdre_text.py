"""MDRE with one of its two encoders: words alone."""

from ser_tasks.models.mdre import Mdre


class MdreText(Mdre):
    """The text encoder of MDRE alone, which Yoon et al. call TRE."""

    HEARS = False
