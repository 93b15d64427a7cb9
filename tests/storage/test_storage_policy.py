"""deploy/storage-policy.json: every request of the product is allowed by it, and every statement by itself is needed."""

import fnmatch
import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from ser_tasks.lake.catalog import connect, write_catalog
from ser_tasks.monitoring import alerts
from ser_tasks.monitoring.alert_rules import load
from ser_tasks.monitoring.run_report import write_night_report
from ser_tasks.settings import Settings
from ser_tasks.storage import StoreAccessError, open_store
from ser_tasks.storage import s3 as door
from tests.factories.calls import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call
from tests.support.faulty_s3 import Request
from tests.support.s3 import POLICY, night_policy, upload


def action_of(request: Request) -> str:
    """The right that Amazon's documentation asks for a request."""
    if not request.key:
        assert request.method == "GET" and request.prefix is not None, request
        return "s3:ListBucket"
    if request.method == "DELETE":
        return "s3:AbortMultipartUpload" if "uploadId" in request.query else "s3:DeleteObject"
    return {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "POST": "s3:PutObject"}[request.method]


def allows(statement: dict[str, Any], request: Request) -> bool:
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    resource = f"arn:aws:s3:::{request.bucket}" + (f"/{request.key}" if request.key else "")
    condition = statement.get("Condition")
    assert condition is None or list(condition) == ["StringLike"] and list(condition["StringLike"]) == ["s3:prefix"]
    in_prefix = condition is None or fnmatch.fnmatchcase(request.prefix or "", condition["StringLike"]["s3:prefix"])
    return action_of(request) in actions and fnmatch.fnmatchcase(resource, statement["Resource"]) and in_prefix


@pytest.fixture
def night(faulty_s3, s3, monkeypatch, tmp_path):
    """What a night with the policy's rights, a rerun, its report and alerts, a question, a catalogue file and a broken upload ask for."""
    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    write_call(tmp_path / "in", "2026-11-20/a.wav", two_sided([("customer", 1, 5)], 6), TWO_SIDED)
    upload(s3, tmp_path / "in", source)
    statements = night_policy(source, lakes, "night/emotions")
    for name, value in s3.identity(*statements).items():
        monkeypatch.setenv(name, value)
    open_store.cache_clear()
    lake, bundle = f"s3://{lakes}/night/emotions", tiny_bundle(tmp_path)
    run_night(f"s3://{source}", lake, bundle)
    assert run_night(f"s3://{source}", lake, bundle)["planned"] == 0
    with connect(lake) as connection:
        assert connection.execute("SELECT outcome FROM outcomes").fetchall() == [("scored",)]
    write_night_report(lake)
    rules, told = load(), []
    evaluation = alerts.evaluate(lake, rules, Settings(), datetime.now(UTC) + timedelta(days=2))  # then a night is late
    alerts.notify(lake, evaluation, rules, Settings(), {"prefect": lambda message, _: told.append(message)})
    with connect(lake) as connection:
        assert connection.execute("SELECT count(*) FROM alerts WHERE told_at IS NOT NULL").fetchall() == [(len(evaluation.alerts),)]
    assert len(told) == 1
    write_catalog(lake, tmp_path / "warehouse.duckdb")
    requests = faulty_s3.requests
    monkeypatch.setattr(door, "UPLOAD_BYTES", 5 << 20)
    faulty_s3.choose(lambda request: "expired" if request.query.get("partNumber") == "2" else None)
    with pytest.raises(StoreAccessError):
        open_store(lake).write_bytes("large", bytes(11 << 20))
    return statements, requests + faulty_s3.requests


def test_every_request_is_allowed_and_every_statement_is_needed(night):
    statements, requests = night
    assert len(requests) > 50
    for request in requests:
        assert any(allows(statement, request) for statement in statements), request
    for statement in statements:
        others = [other for other in statements if other is not statement]
        needed = [request for request in requests if not any(allows(other, request) for other in others)]
        assert needed, f"Nothing needs {statement['Sid']}."
    asked = {action_of(request) for request in requests}
    allowed = {action for statement in statements for action in statement["Action"] if len(action) > 1} - {"s3:ListBucket"}
    assert allowed <= asked | {"s3:DeleteObject"}, "what is deleted by retention and repairs, no night deletes"


def test_the_policy_allows_no_more_than_it_says(s3):
    """Asked of the server, which keeps to the policy."""
    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    identity = s3.identity(*night_policy(source, lakes, "night/emotions"))
    s3.client.put_object(Bucket=source, Key="a.wav", Body=b"x")
    s3.client.put_object(Bucket=lakes, Key="night/other", Body=b"x")
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        aws_access_key_id=identity["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=identity["AWS_SECRET_ACCESS_KEY"],
    )
    client.put_object(Bucket=lakes, Key="night/emotions/x", Body=b"x")
    client.delete_object(Bucket=lakes, Key="night/emotions/x")
    forbidden = [
        lambda: client.put_object(Bucket=source, Key="x", Body=b""),
        lambda: client.delete_object(Bucket=source, Key="a.wav"),
        lambda: client.get_object(Bucket=lakes, Key="night/other"),
        lambda: client.put_object(Bucket=lakes, Key="night/other", Body=b""),
        lambda: client.delete_object(Bucket=lakes, Key="night/other"),
        lambda: client.list_objects_v2(Bucket=lakes),
        lambda: client.list_objects_v2(Bucket=lakes, Prefix="night/"),
        lambda: client.delete_bucket(Bucket=lakes),
        lambda: client.put_bucket_policy(Bucket=source, Policy="{}"),
    ]
    for number, ask in enumerate(forbidden):
        with pytest.raises(ClientError) as error:
            ask()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, number


def test_the_documented_command_fills_the_policy_in(tmp_path):
    """The command in OPERATIONS.md gives the policy that the other tests use."""
    root = POLICY.parent.parent
    command = re.search(r"^sed .*storage-policy\.json > night-policy\.json$", (root / "deploy" / "OPERATIONS.md").read_text(), re.M)[0]
    subprocess.run(command.replace("> ", f"> {tmp_path}/"), shell=True, cwd=root, check=True)
    filled = json.loads((tmp_path / "night-policy.json").read_text())
    assert filled == {"Version": "2012-10-17", "Statement": night_policy("calls", "lake", "emotions")}
    assert not re.search("BUCKET|PREFIX", json.dumps(filled))
