"""Prefect's artifacts that name calls: the pages of nights and the tables of worst calls, which the server keeps."""

import json
from collections.abc import Collection, Iterator
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact

from ser_tasks.maintenance.erasure import name_pattern

PAGE = 200
"""Artifacts that are read at a time: the most that a server answers."""


def delete_naming(names: Collection[str], delete: bool = True) -> int:
    """Deletes the artifacts whose text has one of the names, as ``maintenance.erasure`` finds them in pages. Returns their number.

    Raises ConnectionError where the Prefect server (PREFECT_API_URL) can't be reached.
    """
    named = name_pattern(names)
    if named is None:
        return 0
    try:
        with get_client(sync_client=True) as client:
            found = [each.id for each in _artifacts(client) if any(named.search(text) for text in _texts(each))]
            for artifact in found if delete else []:
                client.delete_artifact(artifact)
    except (httpx.HTTPError, RuntimeError) as error:
        raise ConnectionError(
            f"The Prefect server (PREFECT_API_URL) can't be reached ({type(error).__name__}), and its artifacts may name them: start it, "
            "or unset PREFECT_API_URL to leave them out."
        ) from None
    return len(found)


def _artifacts(client: Any) -> Iterator[Artifact]:
    offset = 0
    while page := client.read_artifacts(limit=PAGE, offset=offset):
        yield from page
        offset += len(page)


def _texts(artifact: Artifact) -> Iterator[str]:
    yield artifact.description or ""
    data = artifact.data
    yield data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    if isinstance(data, str):
        try:
            yield json.dumps(json.loads(data), ensure_ascii=False)  # a table is JSON in a text
        except ValueError:
            return
