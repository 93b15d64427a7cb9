"""The lake's doctor: compares store, manifests, outcomes and parts, says what is wrong and what to run, and repairs what is safe.

``inventory`` lists the lake and reads every part's footer, ``reconcile`` compares what the parts say, ``findings`` holds the kinds of
findings and the report, ``repairs`` does the repairs. Only temporary files are ever deleted: a faulty part moves into ``quarantine/`` in
the lake, and the next night makes its chunk again.
"""

import duckdb

from ser_tasks.maintenance.doctor.findings import KINDS, Finding, Report
from ser_tasks.maintenance.doctor.inventory import take_inventory
from ser_tasks.maintenance.doctor.reconcile import reconcile
from ser_tasks.maintenance.doctor.repairs import repair
from ser_tasks.scratch import scratch_folder
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store

__all__ = ["KINDS", "Finding", "Report", "examine", "repair"]


def examine(lake: str, recordings: str | None = None, settings: Settings | None = None, deep: bool = False) -> Report:
    """What is wrong with a lake. With ``recordings``, also which recordings of that store the lake does not have.

    Reads the footers of all parts; ``deep`` reads every page. Raises FileNotFoundError for a local folder that does not exist, and the
    store's errors where it cannot be reached.
    """
    settings = settings or Settings()
    store = open_store(lake)
    store.check()
    if recordings:
        open_store(recordings).check()
    for every_page in (deep, deep, True):
        report = Report(store.uri, recordings)
        with scratch_folder(settings.scratch) as scratch:
            inventory = take_inventory(store, report, every_page)
            try:
                reconcile(store, report, inventory, settings, scratch)
                return report
            except duckdb.OutOfMemoryException:
                raise
            except (
                duckdb.Error,
                UnicodeDecodeError,
            ) as error:  # a part was replaced meanwhile, or only its footer is good
                fault = error
    raise fault
