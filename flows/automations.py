"""Puts the automations of ``deploy/automations.yaml`` on the Prefect server, with a webhook for their alerts.

``python -m flows.automations`` from the checkout; call it again after a change. The webhook's address is a secret: it is read from
``SER_ALERT_WEBHOOK_URL`` and lies encrypted in the server's block.
"""

import sys
from pathlib import Path

import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL

from ser_tasks import resource
from ser_tasks.settings import Settings

PAGE = resource("deploy/automations.yaml")
BLOCK = "ser-alerts"


def apply(page: Path = PAGE) -> list[str]:
    """Makes or replaces the webhook and the automations, and returns their names. Raises ValueError where an address is missing."""
    url = Settings().alert_webhook_url
    if not url or not url.get_secret_value():
        raise ValueError("SER_ALERT_WEBHOOK_URL is not set: give the address that takes the alerts as a POST of JSON.")
    if not PREFECT_API_URL.value():
        raise ValueError("PREFECT_API_URL is not set: give the address of the Prefect server, such as http://127.0.0.1:4200/api.")
    block = Webhook(method="POST", url=url, allow_private_urls=True).save(BLOCK, overwrite=True)
    text = page.read_text(encoding="utf-8").replace("{{ webhook }}", str(block))
    automations = [AutomationCore.model_validate(each) for each in yaml.safe_load(text)["automations"]]
    with get_client(sync_client=True) as client:
        for automation in automations:
            for old in client.read_automations_by_name(automation.name):
                client.delete_automation(old.id)
            client.create_automation(automation)
    return [automation.name for automation in automations]


if __name__ == "__main__":
    try:
        print("On the server: " + "; ".join(apply()))
    except ValueError as error:
        sys.exit(f"ser: {error}")
