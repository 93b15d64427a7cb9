"""The alerts: asks the rules, and tells who is to be told. As an event on the Prefect server, deploy/automations.yaml passes it on."""

import asyncio
import hashlib
from collections.abc import Callable

from prefect import flow, get_run_logger
from prefect.events import Event
from prefect.events.clients import get_events_client
from prefect.settings import PREFECT_API_URL

from ser_tasks.monitoring import alert_rules
from ser_tasks.monitoring import alerts as library
from ser_tasks.monitoring.notifiers import Message, NotSent
from ser_tasks.settings import Settings

EVENT = "ser.alerts"
"""One such event for each message; its payload has title, text, severity, lake, and the alerts that began, stay and ended."""


@flow(name="alerts", persist_result=False)
def alerts(lake: str, rules: str | None = None) -> list[str]:
    """Asks every rule of a file (SER_ALERTS or the shipped one if not given), tells what is due, and returns who was told what.

    Raises ValueError for a faulty file, and Untold, after all else was told, where somebody was not.
    """
    return run(lake, rules, get_run_logger().info)


def run(lake: str, rules: str | None, say: Callable[[str], None]) -> list[str]:
    """The same without a flow."""
    settings = Settings()
    page = alert_rules.load(rules or settings.alerts)
    asked = library.ask(lake, page, settings)
    for finding in asked.findings[:100]:
        say(f"{finding.severity}  {finding.rule}: {finding.message}")
    if len(asked.findings) > 100:
        say(f"and {len(asked.findings) - 100} more")
    told = library.tell(lake, asked, page, settings, {"prefect": send_event})
    for line in told:
        say(f"Told {line}")
    return told


def send_event(message: Message, settings: Settings) -> None:
    """Sends a message as an event, and waits until the server has it. Raises NotSent."""
    if not PREFECT_API_URL.value():
        raise NotSent("PREFECT_API_URL is not set: give the address of the Prefect server")
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
    except Exception as error:  # its clients raise what their libraries do
        raise NotSent(f"the Prefect server did not take the event ({type(error).__name__})") from None
