"""The flow of the alerts: evaluates the rules and sends notifications, to Prefect as an event that deploy/automations.yaml passes on."""

import asyncio
import hashlib
from collections.abc import Callable

from prefect import flow, get_run_logger
from prefect.events import Event
from prefect.events.clients import get_events_client
from prefect.settings import PREFECT_API_URL

from ser_tasks.monitoring import alert_rules
from ser_tasks.monitoring import alerts as library
from ser_tasks.monitoring.notifiers import Message, SendError
from ser_tasks.settings import Settings

EVENT = "ser.alerts"
"""Name of the event, one for each message. Its payload has title, text, severity, lake, and alerts under began, stays and ended."""


LOGGED_ALERTS = 100


@flow(name="alerts", persist_result=False)
def alerts(lake: str, rules: str | None = None) -> list[str]:
    """Evaluates every rule of a file (default: SER_ALERTS or the shipped one), and sends the notifications that are due.

    Returns a line for each target. Raises ValueError for an invalid file, and NotificationError after all targets were tried.
    """
    return run(lake, rules, get_run_logger().info)


def run(lake: str, rules: str | None, say: Callable[[str], None]) -> list[str]:
    """``alerts`` without a flow; ``say`` receives each line of the log."""
    settings = Settings()
    page = alert_rules.load(rules or settings.alerts)
    evaluation = library.evaluate(lake, page, settings)
    for alert in evaluation.alerts[:LOGGED_ALERTS]:
        say(f"{alert.severity}  {alert.rule}: {alert.message}")
    if len(evaluation.alerts) > LOGGED_ALERTS:
        say(f"and {len(evaluation.alerts) - LOGGED_ALERTS} more")
    sent = library.notify(lake, evaluation, page, settings, {"prefect": send_event})
    for line in sent:
        say(f"Sent to {line}")
    return sent


def send_event(message: Message, settings: Settings) -> None:
    """Sends a message as an event, and waits until the server has accepted it. Raises SendError."""
    if not PREFECT_API_URL.value():
        raise SendError("PREFECT_API_URL is not set: set the address of the Prefect server")
    lake = message.data["lake"]
    event = Event(
        event=EVENT,
        resource={
            "prefect.resource.id": f"ser.lake.{hashlib.sha256(lake.encode()).hexdigest()[:12]}",
            "prefect.resource.name": lake,
            "ser.severity": message.data["severity"],
        },
        payload={"id": message.id, "title": message.title, "text": message.text, **message.data},
    )

    async def send() -> None:
        async with get_events_client(reconnection_attempts=0, checkpoint_every=1) as client:
            await client.emit(event)

    try:
        asyncio.run(send())
    except Exception as error:  # the clients raise whatever their libraries raise
        raise SendError(f"the Prefect server did not accept the event ({type(error).__name__})") from None
