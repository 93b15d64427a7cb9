"""The Prefect server that a run uses where none is configured: a temporary one on loopback, gone when the run ends."""

from filelock import FileLock
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME


def start_server() -> None:
    """Starts the temporary server, one at a time on this machine: two that create their database at once would fail.

    Does nothing where ``PREFECT_API_URL`` names a server.
    """
    if PREFECT_API_URL.value():
        return
    home = PREFECT_HOME.value()
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "ser-server-start.lock"), get_client(sync_client=True) as client:
        client.hello()
