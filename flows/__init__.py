"""Prefect at the edge: order, retries and concurrency limits; no arithmetic.

Set before Prefect is imported: no telemetry, and time for the first start of the server that Prefect runs by itself
where none is configured (``PREFECT_API_URL``). And logs as JSON where that is set: Prefect leaves a root logger that has a handler alone.
"""

import logging
import os

from ser_tasks import logs
from ser_tasks.printable import PrintableRecord

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
logging.setLogRecordFactory(PrintableRecord)  # names from outside reach no terminal as they are
logs.configure()
