"""DuckDB's access to S3: the httpfs extension and a secret from the AWS credential chain."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

from ser_tasks.lake.sql_text import literal
from ser_tasks.storage import open_store

THREADS = 16
"""Threads at least: they wait for the network most of the time."""


def open_s3(connection: duckdb.DuckDBPyConnection, uri: str) -> None:
    """Gives a connection access to ``s3://bucket/prefix``, for as long as it is open.

    Endpoint, region and credentials are those that boto3 finds. Raises what the store raises where it cannot be listed, and RuntimeError
    where DuckDB has no httpfs extension.
    """
    import boto3

    open_store(uri).check()  # its errors explain more than DuckDB's
    load_httpfs(connection)
    connection.execute(f"SET threads = {max(THREADS, os.cpu_count() or 1)}")
    session = boto3.Session()
    client = session.client("s3")
    endpoint = urlsplit(client.meta.endpoint_url)
    credentials = session.get_credentials()
    if credentials is None:
        raise PermissionError("There are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile.")
    frozen = credentials.get_frozen_credentials()
    options = {
        "TYPE": "s3",
        "SCOPE": literal("s3://" + uri.removeprefix("s3://").partition("/")[0]),
        "ENDPOINT": literal(endpoint.netloc),
        "URL_STYLE": "'vhost'" if "amazonaws.com" in endpoint.netloc else "'path'",
        "USE_SSL": str(endpoint.scheme == "https").lower(),
        "REGION": literal(client.meta.region_name or "us-east-1"),
        "KEY_ID": literal(frozen.access_key),
        "SECRET": literal(frozen.secret_key),
    }
    if frozen.token:
        options["SESSION_TOKEN"] = literal(frozen.token)
    try:
        connection.execute(f"CREATE OR REPLACE TEMPORARY SECRET lake ({', '.join(f'{key} {value}' for key, value in options.items())})")
    except duckdb.Error:
        raise RuntimeError(f"DuckDB {duckdb.__version__} takes no secret of type s3.") from None  # its own message quotes the secret


def load_httpfs(connection: duckdb.DuckDBPyConnection) -> None:
    """Loads DuckDB's extension for S3: the installed package's, or else the one that DuckDB downloads. Raises RuntimeError without one."""
    try:
        import duckdb_extension_httpfs
    except ImportError:
        folder = Path()
    else:
        folder = Path(duckdb_extension_httpfs.__file__).parent / "extensions"
    extension = folder / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    try:
        connection.execute(f"LOAD {literal(str(extension))}" if extension.exists() else "INSTALL httpfs; LOAD httpfs")
    except duckdb.Error as error:
        raise RuntimeError(
            f"DuckDB {duckdb.__version__} has no httpfs extension, which reads S3: "
            f"pip install duckdb-extension-httpfs=={duckdb.__version__} ({error})"
        ) from error
