"""The folders of the lake's tables. Apart from their columns, for what starts fast: a schema needs pyarrow."""

PARTITIONS: dict[str, tuple[str, ...]] = {
    "recordings": ("day",),
    "outcomes": ("day", "version"),
    "segments": ("day", "version"),
    "call_emotions": ("day", "version"),
    "runs": ("day",),
    "profiles": ("day",),
    "deletions": ("day",),
    "alerts": ("day",),
    "reviews": ("day",),
    "review_samples": ("day",),
}
"""Hive folders of each table, outermost first. ``day`` is a date, ``version`` is ``<model>.<policy>``."""
