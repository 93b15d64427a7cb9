"""Prefect at the edge: order, retries and concurrency limits; no arithmetic.

Set before Prefect is imported: no telemetry, and time for the first start of the server that Prefect runs by itself
where none is configured (``PREFECT_API_URL``).
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

import logging

from ser_tasks.printable import PrintableRecord

logging.setLogRecordFactory(PrintableRecord)  # names from outside reach no terminal as they are
