"""What a lake takes up, and what a night costs for each 1,000 calls. Prices are the site's own; without them there is no sum."""

from collections import defaultdict
from statistics import median
from typing import Any

from ser_tasks import schemas
from ser_tasks.settings import Settings
from ser_tasks.storage import Store

Row = dict[str, Any]

NOT_SET = "not set"


def size_by_table(lake: Store) -> list[Row]:
    """Files and bytes of each top folder of the lake, the largest first, and their sum. Lists the whole lake."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for item in lake.list():
        place = found[item.key.partition("/")[0]]
        place[0] += 1
        place[1] += item.size_bytes
    rows = [{"table": table, "files": files, "bytes": size} for table, (files, size) in found.items()]
    rows.sort(key=lambda row: (-row["bytes"], row["table"]))
    return [*rows, {"table": "together", "files": sum(row["files"] for row in rows), "bytes": sum(row["bytes"] for row in rows)}]


def machine_hours(run: Row) -> float | None:
    """Hours from a run's begin to its end, start-up included, for each of its machines; None in rows of older code."""
    if run["machines"] is None:
        return None
    return (run["ended_at"] - run["started_at"]).total_seconds() / 3600 * run["machines"]


def cost_rows(run: Row, before: list[Row], settings: Settings) -> list[Row]:
    """Machine-hours and GB for each 1,000 calls handled, and their price, beside the median of the nights before.

    A call is a recording with an outcome. A figure is None where it is not known, NOT_SET where the settings have no price.
    ``before`` are rows of ``runs``; those that handled nothing, or do not know, are left out.
    """

    def written_gb(night: Row) -> float | None:
        return None if night["written_bytes"] is None else night["written_bytes"] / 1e9

    price = settings.currency or "price"
    rows = []
    for what, of, each in (
        ("machine-hours", machine_hours, 1.0),
        ("GB written to the lake", written_gb, 1.0),
        (f"{price} of the machine-hours", machine_hours, settings.price_machine_hour),
        (f"{price} a month of keeping the GB", written_gb, settings.price_gb_month),
    ):
        if each is None:
            rows.append({"for 1,000 calls": what, "this night": NOT_SET, "median": NOT_SET, "nights before": 0})
            continue
        known = [found for night in before if (found := _per_thousand(night, of(night), each)) is not None]
        here = _per_thousand(run, of(run), each)
        rows.append({"for 1,000 calls": what, "this night": here, "median": median(known) if known else None, "nights before": len(known)})
    return rows


def _per_thousand(night: Row, amount: float | None, price: float) -> float | None:
    handled = sum(night[outcome] for outcome in schemas.OUTCOMES)
    return None if amount is None or not handled else amount * price / handled * 1000
