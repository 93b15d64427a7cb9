"""What a lake takes up, and what a night costs for each 1,000 calls. Prices are the site's own; without them there is no sum."""

from collections import defaultdict
from statistics import median
from typing import Any

from ser_tasks import schemas
from ser_tasks.settings import Settings
from ser_tasks.store import Store

Row = dict[str, Any]


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
    """Machine-hours and GB for each 1,000 calls handled, and their price where the settings have one, beside the median before.

    ``before`` are rows of ``runs``; those that handled nothing, or do not know, are left out. A call is a recording with an outcome.
    """
    figures = [
        ("machine-hours", lambda night: machine_hours(night), 1.0),
        ("GB written to the lake", lambda night: None if night["written_bytes"] is None else night["written_bytes"] / 1e9, 1.0),
    ]
    currency = f"{settings.currency} " if settings.currency else ""
    if settings.price_machine_hour is not None:
        figures.append((f"{currency}for machines", figures[0][1], settings.price_machine_hour))
    if settings.price_gb_month is not None:
        figures.append((f"{currency}a month for keeping them", figures[1][1], settings.price_gb_month))
    rows = []
    for what, of, price in figures:
        here = _per_thousand(run, of(run), price)
        known = [each for night in before if (each := _per_thousand(night, of(night), price)) is not None]
        rows.append({"for 1,000 calls": what, "this night": here, "median": median(known) if known else None, "nights": len(known)})
    return rows


def _per_thousand(night: Row, amount: float | None, price: float) -> float | None:
    handled = sum(night[outcome] for outcome in schemas.OUTCOMES)
    return None if amount is None or not handled else amount * price / handled * 1000
