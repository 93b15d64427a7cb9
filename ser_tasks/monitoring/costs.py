"""The size of a lake, and the cost of a night for each 1,000 calls. Prices come from the settings; without them there is no price."""

from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

from ser_tasks import schemas
from ser_tasks.settings import Settings
from ser_tasks.storage import Store

Row = dict[str, Any]

NOT_SET = "not set"


def size_by_table(lake: Store) -> list[Row]:
    """Files and bytes of each top folder of the lake, the largest first, and their sum. Lists the whole lake."""
    files: dict[str, int] = defaultdict(int)
    sizes: dict[str, int] = defaultdict(int)
    for item in lake.list():
        table = item.key.partition("/")[0]
        files[table] += 1
        sizes[table] += item.size_bytes
    rows: list[Row] = [{"table": table, "files": files[table], "bytes": sizes[table]} for table in files]
    rows.sort(key=lambda row: (-row["bytes"], row["table"]))
    return [*rows, {"table": "together", "files": sum(row["files"] for row in rows), "bytes": sum(row["bytes"] for row in rows)}]


def machine_hours(run: Row) -> float | None:
    """Hours from the start of a run to its end, for all its machines together; None in rows of older code."""
    if run["machines"] is None:
        return None
    hours: float = (run["ended_at"] - run["started_at"]).total_seconds() / 3600
    return hours * int(run["machines"])


def thousand_audio_hours(run: Row, settings: Settings) -> str | None:
    """What 1,000 audio-hours take at a run's speed, in words, with their price where the settings have one. None if it is not known."""
    hours = machine_hours(run)
    if hours is None or not run["audio_s"]:
        return None
    needed = hours * 1000 / (run["audio_s"] / 3600)
    price = settings.price_machine_hour
    cost = "" if price is None else f": {needed * price:,.2f} {settings.currency or 'at the price that is set'}"
    return f"1,000 audio-hours take {needed:,.2f} machine-hours at this night's speed, from its start to its end{cost}."


def cost_rows(run: Row, before: list[Row], settings: Settings) -> list[Row]:
    """Machine-hours and GB for each 1,000 calls, and their price, with the medians of the nights before.

    A call is a recording with an outcome. A figure is None if it is not known, and NOT_SET if the settings have no price.
    ``before`` are rows of ``runs``; those without calls or without the figure are left out.
    """

    def written_gb(night: Row) -> float | None:
        return None if night["written_bytes"] is None else night["written_bytes"] / 1e9

    price = settings.currency or "price"
    figures: list[tuple[str, Callable[[Row], float | None], float | None]] = [
        ("machine-hours", machine_hours, 1.0),
        ("GB written to the lake", written_gb, 1.0),
        (f"{price} of the machine-hours", machine_hours, settings.price_machine_hour),
        (f"{price} a month of keeping the GB", written_gb, settings.price_gb_month),
    ]
    rows: list[Row] = []
    for what, amount, unit_price in figures:
        if unit_price is None:
            rows.append({"for 1,000 calls": what, "this night": NOT_SET, "median": NOT_SET, "nights before": 0})
            continue
        known = [cost for night in before if (cost := _per_thousand(night, amount(night), unit_price)) is not None]
        here = _per_thousand(run, amount(run), unit_price)
        rows.append({"for 1,000 calls": what, "this night": here, "median": median(known) if known else None, "nights before": len(known)})
    return rows


def _per_thousand(night: Row, amount: float | None, price: float) -> float | None:
    handled = sum(night[outcome] for outcome in schemas.OUTCOMES)
    return None if amount is None or not handled else amount * price / handled * 1000
