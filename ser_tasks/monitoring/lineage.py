"""OpenLineage events of a night (https://openlineage.io): which recordings, under which model, became which rows of the lake.

Off unless OpenLineage's own variables name a transport. Events hold addresses, counts, columns and the model: no key and no id.
"""

import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import duckdb

from ser_tasks import schemas
from ser_tasks.lake import parts
from ser_tasks.settings import code_version
from ser_tasks.storage import Store

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

NAMESPACE = "ser-nightly"
"""Namespace of the jobs where OPENLINEAGE_NAMESPACE is not set."""
VERSIONED = ("outcomes", "call_emotions", "segments")
"""Tables of a night's results, beside ``recordings`` (what it planned) and ``runs`` (its own row)."""
MODEL_FACET = "serNightly_model"
SEND_LIMIT_S = 3.0
VARIABLE = "OPENLINEAGE__TRANSPORT__"
"""How variables begin that configure the transport."""


@dataclass(frozen=True)
class Parent:
    """The run that started a night: of a Prefect flow, or what OPENLINEAGE_PARENT_ID names."""

    namespace: str
    job: str
    run_id: str


@dataclass(frozen=True)
class NightRun:
    """What is known of a night from its start on."""

    run_id: str
    started_at: datetime
    recordings_uri: str
    lake_uri: str
    model_id: str
    """``<name>-<version>-<hash>``; the hash covers weights, labels, normalisation and calibration."""
    feature_set: str
    policy: str
    parent: Parent | None = None


@dataclass(frozen=True)
class Written:
    """What a night wrote to a table: its rows, and the bytes and number of the parts that hold them."""

    rows: int
    size_bytes: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class End:
    """How a night ended. ``error`` is the exception's type and first line, of a night that failed."""

    event: str
    """COMPLETE, FAIL, or ABORT where it was stopped."""
    written: Mapping[str, Written] = field(default_factory=dict)
    error: str | None = None


def is_on() -> bool:
    """Whether OpenLineage's own variables name a transport. (Its client would also look for a file in the working directory.)"""
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    names = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG")
    return any(os.environ.get(name) for name in names) or any(name.startswith(VARIABLE) for name in os.environ)


def written(connection: duckdb.DuckDBPyConnection, lake: Store, run_id: str) -> dict[str, Written]:
    """What a run wrote to each table. Of ``recordings`` and ``runs`` the bytes are unknown.

    ``connection``: views over the days that it touched.
    """
    [(planned,)] = connection.execute("SELECT count(*) FROM recordings_all WHERE run_id = $run", {"run": run_id}).fetchall()
    [(runs,)] = connection.execute("SELECT count(*) FROM runs WHERE run_id = $run", {"run": run_id}).fetchall()
    found = {"recordings": Written(planned), "runs": Written(runs)}
    for table in VERSIONED:
        query = f"SELECT day, version, if(part = '', chunk_id, part), count(*) FROM parts.{table} WHERE run_id = $run GROUP BY ALL"
        rows = connection.execute(query, {"run": run_id}).fetchall()
        days = {row[0] for row in rows}
        sizes = {item.key: item.size_bytes for day in days for _, item in parts.listed(lake, parts.folder(table, day=day))}
        keys = {f"{parts.folder(table, day=day, version=version)}{name}.parquet" for day, version, name, _ in rows}
        found[table] = Written(sum(row[3] for row in rows), sum(sizes.get(key, 0) for key in keys), len(keys))
    return found


def event(run: NightRun, end: End | None = None) -> "RunEvent":
    """The event of a night's start, or of its end. Raises ImportError without the package of ``ser-nightly[telemetry]``."""
    from openlineage.client import event_v2 as v2
    from openlineage.client.facet_v2 import (
        documentation_dataset,
        error_message_run,
        job_type_job,
        nominal_time_run,
        output_statistics_output_dataset,
        parent_run,
        processing_engine_run,
        schema_dataset,
    )

    producer = f"urn:ser-nightly:{quote(code_version())}"
    v2.set_producer(producer)
    namespace = os.environ.get("OPENLINEAGE_NAMESPACE") or NAMESPACE
    facets: dict[str, Any] = {
        MODEL_FACET: _model_facet(run),
        "nominalTime": nominal_time_run.NominalTimeRunFacet(nominalStartTime=_time(run.started_at)),
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(version=code_version(), name="ser-nightly"),
    }
    if run.parent:
        facets["parent"] = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=run.parent.run_id), job=parent_run.Job(namespace=run.parent.namespace, name=run.parent.job)
        )
    if end and end.error:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(message=end.error, programmingLanguage="python")
    outputs = []
    for table in ("recordings", *VERSIONED, "runs"):
        columns = [
            schema_dataset.SchemaDatasetFacetFields(name=column.name, type=str(column.type), description=_meaning(column))
            for column in schemas.TABLES[table]
        ]
        statistics: dict[str, Any] = {}
        if end and table in end.written:
            counts = end.written[table]
            statistics["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                rowCount=counts.rows, size=counts.size_bytes, fileCount=counts.files
            )
        place = dataset_name(run.lake_uri, table)
        outputs.append(
            v2.OutputDataset(*place, facets={"schema": schema_dataset.SchemaDatasetFacet(fields=columns)}, outputFacets=statistics)
        )
    documentation = documentation_dataset.DocumentationDatasetFacet(description="Recordings of calls, with their sidecars")
    return v2.RunEvent(
        eventType=v2.RunState(end.event if end else "START"),
        eventTime=_time(datetime.now(UTC) if end else run.started_at),
        run=v2.Run(runId=run_uuid(run.run_id), facets=facets),
        job=v2.Job(
            namespace=namespace,
            name="nightly",
            facets={"jobType": job_type_job.JobTypeJobFacet(processingType="BATCH", integration="SER_NIGHTLY", jobType="JOB")},
        ),
        inputs=[v2.InputDataset(*dataset_name(run.recordings_uri), facets={"documentation": documentation})],
        outputs=outputs,
        producer=producer,
    )


def send(sent: "RunEvent", limit_s: float = SEND_LIMIT_S) -> None:
    """Sends an event by the transport that the variables name. Raises what the transport raises where it fails."""
    from openlineage.client import OpenLineageClient

    logging.getLogger("openlineage").setLevel(logging.CRITICAL)  # it says each try; the caller says the end
    before = set(os.environ)
    client = OpenLineageClient()
    for name in [name for name in set(os.environ) - before if name.startswith(VARIABLE)]:  # the client writes aliases there
        del os.environ[name]
    client.emit(sent)
    if not client.close(limit_s):
        raise TimeoutError(f"not accepted within {limit_s:g} s")


def run_uuid(run_id: str) -> str:
    """OpenLineage's id of a night: a UUID that is derived from the run's id, so that its start and its end have the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"ser-nightly/{run_id}"))


def parent_of(variables: Mapping[str, str]) -> Parent | None:
    """The parent that ``OPENLINEAGE_PARENT_ID`` names as namespace/job/run id; None where it is not set. Raises ValueError."""
    text = variables.get("OPENLINEAGE_PARENT_ID")
    if not text:
        return None
    namespace, _, rest = text.partition("/")
    job, _, run_id = rest.rpartition("/")
    if not (namespace and job):
        raise ValueError(f"OPENLINEAGE_PARENT_ID is {text!r}: write it as namespace/job/run id, the last a UUID.")
    return Parent(namespace, job, str(uuid.UUID(run_id)))


def dataset_name(uri: str, table: str = "") -> tuple[str, str]:
    """Namespace and name of a store, or a table of a lake, by OpenLineage's rules: s3://bucket and the prefix, file and the path."""
    address = urlsplit(uri)
    if address.scheme == "s3":
        return f"s3://{address.netloc}", "/".join(filter(None, (address.path.strip("/"), table))) or "/"
    return "file", "/".join(filter(None, (uri.removeprefix("file://").rstrip("/"), table)))


def _model_facet(run: NightRun) -> Any:
    from openlineage.client.facet_v2 import RunFacet

    name, version, digest = run.model_id.rsplit("-", 2)
    return RunFacet().with_additional_properties(
        name=name, version=version, hash=digest, hashAlgorithm="SHA-256, 8 hex digits", featureSet=run.feature_set, policy=run.policy
    )


def _meaning(column: Any) -> str:
    return str((column.metadata or {}).get(b"meaning", b""), "utf-8")


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
