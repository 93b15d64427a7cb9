"""Installs the automations of ``deploy/automations.yaml`` on the Prefect server, with the webhook that they call.

Run ``python -m flows.automations`` after every change. The webhook's URL is a secret: it is read from ``SER_ALERT_WEBHOOK_URL`` and
stored encrypted, in a block on the server.
"""

import sys
from pathlib import Path

import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL

from ser_tasks.resources import resource
from ser_tasks.settings import Settings

PAGE = resource("deploy/automations.yaml")
BLOCK = "ser-alerts"


def apply(page: Path = PAGE) -> list[str]:
    """Creates or replaces the webhook and the automations, and returns their names. Raises ValueError if an address is not set."""
    url = Settings().alert_webhook_url
    if not url or not url.get_secret_value():
        raise ValueError("SER_ALERT_WEBHOOK_URL is not set: set the URL that accepts alerts as a POST of JSON.")
    if not PREFECT_API_URL.value():
        raise ValueError("PREFECT_API_URL is not set: set the address of the Prefect server, such as http://127.0.0.1:4200/api.")
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
        print("Installed: " + "; ".join(apply()))
    except ValueError as error:
        sys.exit(f"ser: {error}")
