"""deploy/: OPERATIONS.md explains every code, check, alert and finding, and the files that start the system parse and hold no secret."""

import ast
import configparser
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prefect.events.schemas.automations import AutomationCore
from prefect.utilities.importtools import import_object

from flows.alerts import EVENT
from ser_tasks.calls.policy import REMEDIES
from ser_tasks.lake.sql_views import SQL_FOLDER
from ser_tasks.maintenance import doctor
from ser_tasks.monitoring.alert_rules import Rule, Rules, load
from ser_tasks.schemas import LOCKED
from ser_tasks.settings import Settings
from ser_tasks.storage import ObjectUnusableError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (DEPLOY / "OPERATIONS.md").read_text()
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def explained(heading: str) -> set[str]:
    """Names in backticks in the first column of the tables under a heading."""
    section = re.split(r"^## ", PAGE.partition(f"\n## {heading}")[2], flags=re.MULTILINE)[0]
    return {name for line in section.splitlines() if line.startswith("| `") for name in re.findall(r"`([^`]+)`", line.split("|")[1])}


def constants(node: ast.expr, function: ast.AST) -> Iterator[str]:
    """The strings that an expression may be: a constant, either side of a condition, or what its name is assigned in the function."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body, function)
        yield from constants(node.orelse, function)
    elif isinstance(node, ast.Name):
        for each in ast.walk(function):
            if isinstance(each, ast.Assign) and any(isinstance(t, ast.Name) and t.id == node.id for t in each.targets):
                yield from constants(each.value, function)


def reason_codes() -> set[tuple[str, str]]:
    """Every (outcome, reason code): arguments of ``Extracted.end`` and ``AudioError`` in the source, the policies' refusals, and the
    objects that a store does not deliver."""
    found = {("withheld", code) for code in REMEDIES}
    found |= {("quarantined", code) for code in (ObjectUnusableError.code, *LOCKED)}
    for path in (ROOT / "ser_tasks").rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call):
                    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
                    if name == "end" and len(call.args) == 3:
                        [outcome] = constants(call.args[0], function)
                        found |= {(outcome, code) for code in constants(call.args[1], function)}
                    elif name == "AudioError":
                        found |= {("quarantined", code) for code in constants(call.args[0], function)}
    return found


def test_the_codes_in_the_source_are_found():
    codes = {code for _, code in reason_codes()}
    assert {"empty", "not_audio", "header_lies", "unreadable", "internal_error", "decoder_crash", "chunk_failed"} <= codes


def test_every_reason_code_is_explained_once_and_no_other():
    section = re.split(r"^## ", PAGE.partition("\n## Outcomes")[2], flags=re.MULTILINE)[0]
    lines = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    explained_codes = [(line[1], line[0].strip("| `")) for line in lines]
    assert len(set(explained_codes)) == len(explained_codes) and set(explained_codes) == reason_codes()
    assert all(len(line) == 4 and len(line[2]) > 5 and len(line[3]) > 6 for line in lines)


def test_every_shipped_alert_is_explained_and_no_other():
    assert explained("Alerts") == {rule.name for rule in load().rules}


def test_every_key_of_the_rule_file_is_explained_in_it():
    head = (DEPLOY / "alerts.yaml").read_text().partition("\nto:")[0]
    keys = {field.alias or name for model in (Rule, Rules) for name, field in model.model_fields.items()} - {"rules"}
    assert {key for key in keys if not re.search(rf"\b{key}\b", head)} == {"lines_a_rule"}  # explained beside it


def test_every_check_is_explained_and_no_other():
    assert explained("Checks") == {path.stem for path in (SQL_FOLDER / "checks").glob("*.sql")}


def test_every_finding_of_the_doctor_is_explained():
    assert set(doctor.KINDS) == explained("The doctor")


def test_every_exit_code_is_explained():
    for code in (0, 1, 2):
        assert re.search(rf"^\| {code} \|", PAGE, re.MULTILINE)


def test_the_deployments_name_flows_and_their_parameters():
    page = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())
    for deployment in page["deployments"]:
        flow = import_object(deployment["entrypoint"])
        assert flow.name == deployment["name"]
        assert deployment["parameters"].keys() <= set(flow.parameters.properties)
    names = [deployment["name"] for deployment in page["deployments"]]
    assert names == ["nightly", "report", "alerts", "weekly", "retention", "compact", "doctor", "backfill", "rescore"]


def test_the_automations_are_valid_and_watch_every_flow():
    text = (DEPLOY / "automations.yaml").read_text().replace("{{ webhook }}", "00000000-0000-0000-0000-000000000000")
    page = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())
    events = set()
    for each in yaml.safe_load(text)["automations"]:
        automation = AutomationCore.model_validate(each)
        events |= set(automation.trigger.expect)
        if automation.name != "ser alerts":  # the rules' events belong to no flow's state
            watched = automation.trigger.match_related["prefect.resource.name"]
            assert watched == [deployment["name"] for deployment in page["deployments"]]
    assert EVENT in events


def test_alerts_without_an_address_say_what_is_missing(monkeypatch):
    monkeypatch.delenv("SER_ALERT_WEBHOOK_URL", raising=False)
    answer = subprocess.run([sys.executable, "-m", "flows.automations"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1 and answer.stderr.strip().startswith("ser: SER_ALERT_WEBHOOK_URL is not set")


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return found


def test_the_compose_file_parses_and_starts_every_service():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert compose["services"].keys() == {"database", "server", "worker", "setup", "dashboard", "sign-in", "store", "s3"}
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]
        assert set(service.get("networks", [])) <= compose["networks"].keys()
    for name in ("server", "worker", "setup", "dashboard", "sign-in", "s3"):
        assert compose["services"][name]["cap_drop"] == ["ALL"]


def test_each_service_knows_its_own_secrets_alone():
    files = {"worker": "ser.env", "setup": "ser.env", "server": ["server.env", "database.env"], "database": "database.env"}
    files |= {"dashboard": "dashboard.env", "sign-in": "sign-in.env"}
    assert {name: service["env_file"] for name, service in services().items() if "env_file" in service} == files
    assert [name for name, service in services().items() if "secrets" in service] == ["store"]
    known = {name: set(names_of((DEPLOY / f"{name}.example").read_text())) for name in ("server.env", "dashboard.env", "database.env")}
    assert known["server.env"] == {"PREFECT_SERVER_API_AUTH_STRING"}
    assert not {"SER_PSEUDONYM_KEY", "PREFECT_API_AUTH_STRING", "SER_SMTP_PASSWORD", "SER_ALERT_WEBHOOK_URL"} & known["dashboard.env"]
    assert not {"SER_DASHBOARD_SECRET", "PREFECT_SERVER_API_AUTH_STRING"} & set(names_of((DEPLOY / "env.example").read_text()))
    written = {"ser.env", "server.env", "dashboard.env", "database.env", "sign-in.env", "store.json"}
    assert {f"deploy/{name}" for name in written} <= set((ROOT / ".gitignore").read_text().split())


def test_images_are_pinned_to_exact_versions():
    images = [service["image"] for service in services().values() if "build" not in service]
    images += re.findall(r"(?m)^FROM (\S+)", (DEPLOY / "Containerfile").read_text())
    assert len(images) == 5
    for image in images:
        assert re.search(r":v?\d+\.\d+(\.\d+)*(-[a-z-]+)?$", image), image


def test_a_build_is_given_what_the_containerfile_copies_and_nothing_else():
    kept = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"(?m)^COPY (.+) \S+$", (DEPLOY / "Containerfile").read_text())
    assert kept == {name for line in copied for name in line.split()}
    assert (ROOT / ".containerignore").read_text().splitlines()[1] == "*"
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()


def hashed(name: str) -> dict[str, str]:
    """The versions of a requirements file by normalised name, each with a SHA-256."""
    lines = [line for line in (DEPLOY / name).read_text().splitlines() if not line.startswith("#")]
    versions = {}
    for requirement, digest in zip(lines[::2], lines[1::2], strict=True):
        assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", digest), requirement
        package, version = re.fullmatch(r"([a-z0-9-]+)==(\S+) \\", requirement).groups()
        versions[package] = version
    return versions


def test_the_hashed_requirements_are_all_that_the_package_needs_in_the_versions_of_the_constraints():
    pins = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)$", (DEPLOY / "constraints.txt").read_text()))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    found = hashed("requirements.txt")
    assert {name: version for name, version in found.items() if name != "setuptools"} == {
        name: pins.get(name) for name in found if name != "setuptools"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed, seen = [*project["project"]["dependencies"], *project["build-system"]["requires"]], set()
    while needed:
        requirement = Requirement(needed.pop())
        name = canonicalize_name(requirement.name)
        if (name, *sorted(requirement.extras)) not in seen:
            seen.add((name, *sorted(requirement.extras)))
            assert name in found and requirement.specifier.contains(found[name]), requirement
            environments = [{"extra": extra} for extra in ("", *requirement.extras)]
            for each in map(Requirement, importlib.metadata.requires(name) or []):
                if each.marker is None or any(map(each.marker.evaluate, environments)):
                    each.marker = None
                    needed.append(str(each))
    assert not set(hashed("requirements-cuda.txt")) & set(found)


def test_the_database_is_reached_by_the_prefect_server_alone():
    assert [name for name, service in services().items() if "database" in service.get("networks", [])] == ["database", "server"]
    assert services()["database"]["networks"] == ["database"] and "ports" not in services()["database"]
    assert set(names_of((DEPLOY / "database.env.example").read_text())) == {"POSTGRES_PASSWORD", "PREFECT_SERVER_DATABASE_CONNECTION_URL"}


def test_the_dashboard_is_reached_by_its_sign_in_alone():
    dashboard, sign_in = services()["dashboard"], services()["sign-in"]
    assert "ports" not in dashboard and sign_in["networks"] == ["sign-in"]
    assert all(port.startswith("127.0.0.1:") for service in services().values() for port in service.get("ports", []))
    assert sign_in["environment"]["OAUTH2_PROXY_UPSTREAMS"] == "http://dashboard:8050" and "--port 8050" in dashboard["command"]
    names = (DEPLOY / "sign-in.env.example").read_text()
    assert "OAUTH2_PROXY_BASIC_AUTH_PASSWORD=" in names and "SER_DASHBOARD_SECRET=" in (DEPLOY / "dashboard.env.example").read_text()
    assert not re.search(r"^[A-Z0-9_]+=.+$", names, re.MULTILINE)


def test_the_container_is_not_root_and_installs_what_has_a_known_hash():
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER ser"]
    installs = [line for line in lines if "pip install" in line]
    assert [line for line in installs if "--require-hashes" not in line and "--no-index" not in line] == [installs[0]]
    assert "$TORCH" in installs[0] and "--require-hashes -r deploy/requirements.txt" in installs[1]
    for line in lines:
        if line.startswith("COPY "):
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists(), name


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_units_parse_and_are_hardened(unit, tmp_path):
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read_string(unit.read_text())
    service = parser["Service"]
    file = {"ser-server": "server.env", "ser-dashboard": "dashboard.env"}.get(unit.stem, "ser.env")
    assert service["EnvironmentFile"] == f"/etc/ser/{file}" and service["User"] == "ser"
    for name, value in {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "PrivateTmp": "yes", "ProtectHome": "yes"}.items():
        assert service[name] == value
    assert re.fullmatch(r"\d+G", service["MemoryMax"])
    if not shutil.which("systemd-analyze"):
        return
    (tmp_path / unit.name).write_text(re.sub("/opt/ser/venv/bin/(prefect|ser)", sys.executable, unit.read_text()))
    answer = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / unit.name], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def names_of(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def test_the_example_names_variables_that_exist_and_no_values():
    names = names_of((DEPLOY / "env.example").read_text())
    assert set(names.values()) == {""}
    assert {name for name in names if name.startswith("SER_")} <= {f"SER_{field.upper()}" for field in Settings.model_fields}
    assert {"SER_PSEUDONYM_KEY", "SER_ALERT_WEBHOOK_URL", "AWS_SECRET_ACCESS_KEY", "RECORDINGS_URI", "LAKE_URI"} <= names.keys()


def test_no_deployed_file_holds_a_secret():
    secret = re.compile(r"(?i)(secret|password|key|token|auth_string)\w*[ \t]*[=:][ \t]*[^\s<{#]")
    for path in [*DEPLOY.rglob("*.yaml"), *UNITS, DEPLOY / "Containerfile", *DEPLOY.glob("*.example")]:
        assert not secret.search(re.sub(r"(?m)^\s*#.*$", "", path.read_text())), path


def test_settings_do_not_show_their_secrets():
    settings = Settings(pseudonym_key="secret-a", alert_webhook_url="https://hooks/secret-b", smtp_password="secret-c")
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "secret-" not in text
    bare = settings.without_secrets()  # what is sent to other machines
    assert (bare.pseudonym_key, bare.alert_webhook_url, bare.smtp_password) == (None, None, None)
    assert (
        bare.model_copy(update={name: getattr(settings, name) for name in ("pseudonym_key", "alert_webhook_url", "smtp_password")})
        == settings
    )


def test_an_empty_variable_is_unset(monkeypatch):
    monkeypatch.delenv("SER_PRECISION", raising=False)
    for name in names_of((DEPLOY / "env.example").read_text()):
        if name.startswith("SER_"):
            monkeypatch.setenv(name, "")
    assert Settings() == Settings.model_construct(**{name: field.default for name, field in Settings.model_fields.items()})
