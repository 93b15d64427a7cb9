"""MDRE with one of its two encoders: audio alone."""

from ser_tasks.models.mdre import Mdre


class MdreAudio(Mdre):
    """The audio encoder of MDRE alone, which Yoon et al. call ARE."""

    READS = False
