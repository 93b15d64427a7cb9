"""Around the pages: path prefixes, probes, headers of errors, every sort and filter; and downloads that break, on a real server."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator

import duckdb
import httpx
import pyarrow as pa
import pytest
import uvicorn
from fastapi.testclient import TestClient

from ser_tasks.dashboard import calls
from ser_tasks.dashboard.app import create_app
from ser_tasks.dashboard.calls import CONDITIONS, SORTS
from ser_tasks.settings import Settings
from tests.factories.lakes import write_good_lake

PASSWORD = "0123456789abcdef"


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("lake"))
    write_good_lake(folder)
    return folder


@pytest.fixture(scope="module")
def app(lake):
    return create_app(lake, settings=Settings())


def browser(app, **options) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000), **options)


# The list


def test_every_sort_goes_with_every_filter(app):
    """Each sort with a value of each parameter in turn, and one sort with every value."""
    client = browser(app)
    parameters = [["search=a"], ["queue=sales"], *([f"{name}={value}" for value in values] for name, values in CONDITIONS.items())]
    everything = {row.split(",")[0] for row in client.get("/calls.csv").text.splitlines()[1:]}
    assert len(everything) == 5
    for number, sort in enumerate(SORTS):
        one_of_each = [values[number % len(values)] for values in parameters]
        for each in ["", *(sum(parameters, []) if sort == "outcome" else one_of_each)]:
            answer = client.get(f"/calls.csv?sort={sort}&{each}")
            assert answer.status_code == 200, (sort, each)
            found = {row.split(",")[0] for row in answer.text.splitlines()[1:]}
            assert found <= everything and (each or found == everything), (sort, each)
        assert client.get(f"/calls?sort={sort}").status_code == 200, sort


def test_sorted_by_outcome_the_reasons_are_together(app):
    rows = browser(app).get("/calls.csv?sort=outcome").text.splitlines()
    place = rows[0].split(",").index("outcome")
    outcomes = [row.split(",")[place] for row in rows[1:]]
    assert outcomes == sorted(outcomes) and len(set(outcomes)) == 4


# Downloads that fail


@contextlib.contextmanager
def served(app) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_a_download_that_fails_midway_breaks_the_connection(app, monkeypatch):
    def failing(row):
        raise duckdb.IOException("the store is away")

    with served(app) as site:
        assert httpx.get(f"{site}/calls.csv", trust_env=False).text.count("\n") == 6
        monkeypatch.setattr(calls, "csv_cell", failing)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{site}/calls.csv", trust_env=False)
        monkeypatch.undo()
        assert httpx.get(f"{site}/calls.csv", trust_env=False).text.count("\n") == 6


def test_a_query_that_fails_at_once_is_an_error(app, monkeypatch):
    class Failing:
        def execute(self, *_):
            return self

        def to_arrow_reader(self, _) -> Iterator[pa.RecordBatch]:
            raise duckdb.IOException("the store is away")

    with served(app) as site:
        monkeypatch.setattr(type(app.state.snapshots.current), "cursor", lambda *_: Failing())
        answer = httpx.get(f"{site}/calls.csv", trust_env=False)
        assert answer.status_code == 500 and "the store is away" not in answer.text


# Under a path prefix


def links(text: str) -> set[str]:
    """Every address of a page that leads to this dashboard."""
    return {found for found in re.findall(r'(?:href|src|action|data-check)="([^"]*)"', text) if not found.startswith("#")}


@pytest.mark.parametrize(
    "prefix", [pytest.param("/moods", marks=pytest.mark.slow), "/a/b.c", pytest.param("/calls", marks=pytest.mark.slow)]
)
def test_a_prefix_that_a_proxy_removes_is_in_every_link(app, prefix):
    client, headers = browser(app), {"X-Forwarded-Prefix": prefix}
    call = re.search(r'href="(/calls/[^?"]*)', client.get("/calls").text)[1]
    for path in ("/", "/calls", call, "/sql/totals", "/nowhere", "/static/nowhere", "/?first=never"):
        found = links(client.get(path, headers=headers).text)
        assert found and all(link.startswith((f"{prefix}/", "?")) for link in found), (path, found)
        assert found == {link if link.startswith("?") else prefix + link for link in links(client.get(path).text)}
    for link in sorted(links(client.get("/", headers=headers).text))[:20]:
        assert client.get(link.removeprefix(prefix).replace("&amp;", "&"), headers=headers).status_code == 200, link


@pytest.mark.parametrize("removed", [True, False])
def test_the_path_of_the_dashboards_address_is_a_prefix(lake, removed):
    client = browser(create_app(lake, settings=Settings(dashboard_url="https://example.org/moods/")))
    for path in ("/", "/calls", "/static/style.css", "/health"):
        answer = client.get(path if removed else f"/moods{path}")
        assert answer.status_code == 200, path
        assert (answer.headers.get("cache-control") == "no-store") == (not path.startswith("/static"))
    assert 'href="/moods/static/style.css"' in client.get("/").text
    answer = client.get("/moods", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/moods/")


@pytest.mark.parametrize(
    "forged", ["//evil.example", "https://evil.example", "/a//evil", '/"><script>', "/..", "/a/../b", "/a\\b", "moods", "/" + "a" * 300]
)
def test_what_is_no_prefix_is_ignored(app, forged):
    client = browser(app)
    assert links(client.get("/calls", headers={"X-Forwarded-Prefix": forged}).text) == links(client.get("/calls").text)


# Probes and errors


def test_the_probes_need_no_sign_in_and_say_whether_there_are_calls(lake):
    app = create_app(lake, settings=Settings(dashboard_secret=PASSWORD), wait=False)
    client = TestClient(app, base_url="http://10.0.0.7:8050", client=("10.0.0.9", 50000))
    assert client.get("/health").json() == {"status": "ok"}
    assert (client.get("/ready").status_code, client.get("/ready").json()) == (503, {"status": "reading"})
    app.state.snapshots.problem = "ConnectionError"
    assert (client.get("/ready").status_code, client.get("/ready").json()) == (503, {"status": "unreadable"})
    app.state.snapshots.refresh()
    assert (client.get("/ready").status_code, client.get("/ready").json()) == (200, {"status": "stale"})
    app.state.snapshots.problem = None
    assert client.get("/ready").json() == {"status": "ready"} and client.head("/ready").status_code == 200
    assert client.get("/").status_code == 401


def test_every_error_carries_the_security_headers(lake, monkeypatch):
    app = create_app(lake, settings=Settings())
    client = browser(app, raise_server_exceptions=False)
    stranger = TestClient(app, base_url="http://evil.example", client=("127.0.0.1", 50000))
    answers = [client.get("/nowhere"), client.get("/?first=never"), client.post("/"), client.get("/static/nowhere"), stranger.get("/")]
    monkeypatch.setattr(type(app.state.snapshots.current), "query", lambda *_: 1 / 0)
    answers.append(client.get("/calls"))
    assert [answer.status_code for answer in answers] == [404, 400, 405, 404, 400, 500]
    for answer in answers:
        assert "default-src 'self'" in answer.headers["content-security-policy"], answer.status_code
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["referrer-policy"] == "no-referrer"
