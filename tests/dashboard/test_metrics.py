"""``/metrics`` of the dashboard: who may read it, and that no call is named in it."""

import base64

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from ser_tasks.dashboard.app import create_app
from ser_tasks.dashboard.metrics import METRICS
from ser_tasks.settings import Settings
from tests.factories.lakes import write_good_lake

TOKEN = "0123456789abcdef-token"
PASSWORD = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("lake"))
    write_good_lake(folder)
    return folder


def browser(lake: str, **settings) -> TestClient:
    app = create_app(lake, settings=Settings(**settings))
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000), raise_server_exceptions=False)


def test_pages_are_counted_by_route_and_status_and_no_call_is_named(lake):
    client = browser(lake, metrics_token=TOKEN)
    for path in ("/", "/calls/id-angry", "/calls/id-angry?secret=c-4711", "/calls/nobody", "/static/style.css", "/wp-admin.php", "/health"):
        client.get(path)
    client.post("/")
    text = client.get("/metrics", headers=BEARER).text
    found = {(each.name, *each.labels.values()): each.value for family in text_string_to_metric_families(text) for each in family.samples}
    pages = {key[1:]: value for key, value in found.items() if key[0] == "ser_dashboard_pages_total"}
    assert pages["/calls/{recording_id}", "200"] == 2 and pages["/calls/{recording_id}", "404"] == 1
    assert pages["/", "200"] == 1 and pages["/static", "200"] == 1 and pages["other", "404"] == 1 and pages["other", "405"] == 1
    assert found["ser_dashboard_page_seconds_count", "/calls/{recording_id}"] == 3
    assert found["ser_dashboard_lake_read_timestamp_seconds",] > 1e9 and found["ser_dashboard_lake_unreadable",] == 0
    assert all(any(key[0].startswith(name) for key in found) for name in METRICS)
    for word in ("angry", "4711", "nobody", "wp-admin"):
        assert word not in text


@pytest.mark.parametrize(
    "sign_in", [{}, {"dashboard_secret": PASSWORD, "dashboard_groups": {"all": {"queues": "all"}}}], ids=["open", "behind a proxy"]
)
def test_only_the_token_reads_it(sign_in, lake):
    client = browser(lake, metrics_token=TOKEN, **sign_in)
    basic = base64.b64encode(f"proxy:{PASSWORD}".encode()).decode()
    viewer = {"Authorization": f"Basic {basic}", "X-Forwarded-User": "ann", "X-Forwarded-Groups": "all"}
    wrong = [{}, viewer, {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": TOKEN}, {"Authorization": "Bearer "}]
    wrong += [
        {"Authorization": f"Bearer {TOKEN}é".encode("latin-1")},
        {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()},
    ]
    for headers in wrong:
        answer = client.get("/metrics", headers=headers)
        assert answer.status_code == 401 and "ser_dashboard" not in answer.text, headers
    answer = client.get("/metrics", headers=BEARER)
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store" and "Content-Security-Policy" in answer.headers
    if sign_in:
        assert client.get("/", headers=BEARER).status_code == 401  # the scraper sees no call


def test_it_is_off_unless_there_is_a_token(lake):
    client = browser(lake)
    assert client.get("/metrics", headers=BEARER).status_code == 404
    with pytest.raises(ValidationError, match="fewer than 16 characters"):
        Settings(metrics_token="short")
