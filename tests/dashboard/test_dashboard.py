"""The dashboard's frame: rights of viewers, valid addresses, a snapshot that follows the lake."""

import base64
import functools
import time
from datetime import date, timedelta

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient
from starlette.requests import Request

from ser_tasks import schemas
from ser_tasks.dashboard.app import create_app
from ser_tasks.dashboard.filters import Filters, filters
from ser_tasks.dashboard.snapshot import Snapshot, Snapshots
from ser_tasks.dashboard.viewers import OWNER, Viewer, check_sign_in
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import DAY, NIGHT, Call, angry, good_calls, segment, worse, write, write_calls, write_good_lake

PASSWORD = "0123456789abcdef"
GROUPS = {
    "sales-leads": {"queues": ["sales"], "may_play": True},
    "support-leads": {"queues": ["support"]},
    "quality": {"queues": "all"},
}
SIGN_IN = Settings(dashboard_secret=PASSWORD, dashboard_groups=GROUPS)
SALES = Viewer("sales", queues=("sales",))


def browser(app, **options):
    """A browser on this machine."""
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000), **options)


def by_proxy(groups="", user="ann", password=PASSWORD, **more):
    """The headers of a request that came by the sign-in proxy."""
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {basic}", "X-Forwarded-User": user, "X-Forwarded-Groups": groups} | more


@functools.cache
def open_app(lake):
    """The dashboard without sign-in."""
    return create_app(lake, settings=Settings())


@functools.cache
def signed_app(lake):
    """The dashboard behind a sign-in proxy."""
    return create_app(lake, settings=SIGN_IN)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("lake"))
    write_good_lake(folder)
    return folder


def wait(condition, limit_s=60):
    """Waits until the condition holds."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"not within {limit_s} s"
        time.sleep(0.02)


def calls(snapshot, viewer, view="call_emotions"):
    return sorted(snapshot.query(viewer, f"SELECT call_id FROM {view}")["call_id"].to_pylist())


# Who sees what


def test_without_sign_in_only_this_machine_gets_answers(lake):
    app = open_app(lake)
    assert browser(app).get("/").status_code == 200
    assert TestClient(app, base_url="http://127.0.0.1", client=("192.0.2.7", 50000)).get("/").status_code == 403
    assert TestClient(app, base_url="http://evil.example", client=("127.0.0.1", 50000)).get("/").status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])
def test_without_sign_in_only_loopback_addresses_are_allowed(host):
    with pytest.raises(ValueError, match="Without sign-in"):
        check_sign_in(Settings(), host)
    check_sign_in(SIGN_IN, host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_without_sign_in_does_not_raise(host):
    check_sign_in(Settings(), host)


def test_an_incomplete_sign_in_is_refused():
    with pytest.raises(ValueError, match="SER_DASHBOARD_SECRET is not"):
        check_sign_in(Settings(dashboard_groups=GROUPS), "127.0.0.1")
    with pytest.raises(ValueError, match="fewer than 16"):
        check_sign_in(Settings(dashboard_secret="short"), "127.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-User": "ann", "X-Forwarded-Groups": "quality"},
        by_proxy("quality", password="wrong"),
        by_proxy("quality", password=""),
        by_proxy("quality") | {"Authorization": "Basic not-base64"},
        by_proxy("quality") | {"Authorization": f"Bearer {PASSWORD}"},
        by_proxy("quality") | {"Authorization": PASSWORD},
        by_proxy("quality", user=""),
    ],
    ids=["nothing", "no password", "wrong", "empty", "no base64", "bearer", "bare", "nobody"],
)
def test_headers_that_bypass_the_proxy_are_refused(lake, headers):
    app = signed_app(lake)
    answer = browser(app).get("/", headers=headers)
    assert answer.status_code == 401
    assert "sales" not in answer.text and "2026-11" not in answer.text


@pytest.mark.parametrize("name", ["X-Forwarded-User", "X-Forwarded-Groups", "Authorization"])
def test_a_repeated_header_is_refused(lake, name):
    """A proxy that adds its header to the visitor's own, instead of replacing it."""
    headers = [*by_proxy("support-leads").items(), (name, "quality")]
    assert browser(signed_app(lake)).get("/", headers=headers).status_code == 401


def test_other_spellings_of_a_header_do_not_count(lake):
    headers = by_proxy("support-leads") | {"X_Forwarded_Groups": "quality", "X-Forwarded-Groups-": "quality"}
    answer = browser(signed_app(lake)).get("/", headers=headers)
    assert answer.status_code == 200 and "sales" not in answer.text


@pytest.mark.parametrize(
    ("groups", "seen"),
    [("sales-leads", {"sales"}), ("x, support-leads,sales-leads", {"sales", "support"}), ("quality", {"sales", "support"})],
)
def test_groups_decide_what_is_seen(lake, groups, seen):
    answer = browser(signed_app(lake)).get("/", headers=by_proxy(groups))
    assert answer.status_code == 200
    assert {queue for queue in ("sales", "support") if f'value="{queue}"' in answer.text or f"<p>Queue: {queue}</p>" in answer.text} == seen


@pytest.mark.parametrize("groups", ["", "other", "Sales-Leads", "sales"])
def test_without_a_group_nothing_is_visible(lake, groups):
    answer = browser(signed_app(lake)).get("/", headers=by_proxy(groups))
    assert answer.status_code == 200
    assert "sales" not in answer.text.replace(groups, "") and "support" not in answer.text


def test_the_password_is_on_no_page(lake):
    answer = browser(signed_app(lake)).get("/", headers=by_proxy("quality"))
    assert PASSWORD not in answer.text + str(answer.headers)


# What is answered


def test_every_answer_forbids_what_pages_do_not_need(lake):
    client = browser(open_app(lake))
    for path in ("/", "/nowhere", "/?first=never", "/static/style.css"):
        headers = client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'self'" and policy["object-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in str(policy) and "script-src" not in policy and "style-src" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert (headers.get("cache-control") == "no-store") == (not path.startswith("/static"))
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, "/").status_code == 405


def test_there_is_no_page_of_the_framework(lake):
    client = browser(open_app(lake))
    for path in ("/docs", "/redoc", "/openapi.json", "/static/", "/static/../app.py", "/static/..%2fapp.py"):
        assert client.get(path).status_code == 404, path


@pytest.mark.parametrize(
    "query",
    [
        "first=2026-13-01",
        "first=20261101",
        "last=0001-01-01",
        "last=x' OR 1=1",
        "first=2026-11-20&last=2026-11-01",
        "first=2010-01-01&last=2026-01-01",
        "&".join("queue=" + str(n) for n in range(51)),
        "queue=" + "x" * 501,
    ],
)
def test_a_bad_address_ends_on_a_plain_page(lake, query):
    answer = browser(open_app(lake)).get("/?" + query)
    assert answer.status_code == 400 and "<h1>Bad Request</h1>" in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/", "/calls"])
def test_an_address_with_bad_filters_keeps_the_form(lake, path):
    answer = browser(open_app(lake)).get(f"{path}?first=2026-11-20&last=2026-11-01&queue=sales")
    assert answer.status_code == 400 and "ends on 2026-11-01, before it begins on 2026-11-20: swap the two days." in answer.text
    assert 'name="first" value="2026-11-20"' in answer.text and 'name="last" value="2026-11-01"' in answer.text
    assert f'action="{path}"' in answer.text and 'value="sales" checked' in answer.text and 'value="support">' in answer.text
    for query in ("first=2026-13-01", "first=2010-01-01&last=2026-01-01", "queue=" + "x" * 501):
        assert '<form class="filters"' in browser(open_app(lake)).get(f"{path}?{query}").text


@pytest.mark.parametrize("path", ["/", "/calls", "/calls.csv", "/csv/totals", "/sql/totals", "/calls/id-angry"])
def test_a_queue_that_no_call_has_is_named_with_the_nearest(lake, path):
    answer = browser(open_app(lake)).get(f"{path}?queue=sales&queue=Suport")
    assert answer.status_code == 400 and "No call has the queue &#39;Suport&#39;: did you mean &#39;support&#39;?" in answer.text
    assert '<form class="filters"' in answer.text and 'value="sales" checked' in answer.text
    answer = browser(open_app(lake)).get(f"{path}?queue=zzz")
    assert answer.status_code == 400 and "there are &#39;sales&#39;, &#39;support&#39;." in answer.text
    answer = browser(open_app(lake)).get(f"{path}?queue=")
    assert answer.status_code == 400 and "No call is without a queue" in answer.text


def test_a_queue_of_others_reads_like_one_that_is_not_there(lake):
    browsing = browser(signed_app(lake))
    answers = [browsing.get(f"/?queue={name}", headers=by_proxy("sales-leads")) for name in ("support", "suppors")]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].text.replace("support", "suppors") == answers[1].text and "&#39;sales&#39;" in answers[0].text
    answers = [browsing.get(f"/?queue={name}", headers=by_proxy("nobody")) for name in ("sales", "zzzzz")]
    assert answers[0].text.replace("sales", "zzzzz") == answers[1].text and "there are no queues" in answers[1].text


def test_filters_come_back_as_they_were_given(lake):
    app = open_app(lake)

    def of(query):
        return filters(Request({"type": "http", "app": app, "query_string": query.encode(), "headers": []}))

    assert of("") == Filters(DAY - timedelta(days=27), DAY)
    assert of("last=2026-11-10") == Filters(date(2026, 10, 14), date(2026, 11, 10))
    assert of("first=2026-12-01") == Filters(date(2026, 12, 1), date(2026, 12, 1))
    given = Filters(date(2026, 11, 1), date(2026, 11, 7), ("a&b=c", "", "<script>", "'; DROP TABLE x"))
    assert of(given.query()) == given
    assert of(given.query(queue=None, emotion="anger", last=given.first)) == Filters(given.first, given.first)
    assert given.before() == Filters(date(2026, 10, 25), date(2026, 10, 31), given.queues)
    with pytest.raises(HTTPException):
        of("first=2026-11-1")


# The snapshot


def test_a_viewer_sees_the_calls_of_their_queues_in_every_view(lake):
    snapshot = Snapshot(lake)
    assert calls(snapshot, OWNER) == ["angry", "mono", "silent", "worse"]
    assert calls(snapshot, SALES) == ["angry", "silent", "worse"]
    assert calls(snapshot, Viewer("nobody")) == []
    for view in ("outcomes", "outcomes_all", "newest", "call_emotions_all", "segments", "segments_all", "worst_calls", "escalations"):
        seen = set(calls(snapshot, SALES, view))
        assert seen and seen <= {"angry", "silent", "worse"}, view
        assert calls(snapshot, Viewer("nobody"), view) == [], view
    assert snapshot.query(SALES, "SELECT DISTINCT queue FROM calls_by_day_and_queue")["queue"].to_pylist() == ["sales"]
    assert len(snapshot.query(Viewer("nobody"), "FROM recordings")) == 0


def test_views_say_the_same_as_those_of_the_lake(lake):
    from ser_tasks.lake import catalog, sql_views

    snapshot = Snapshot(lake)
    with catalog.connect(lake) as connection:
        for view in sql_views.all_views():
            if view.folder != "checks":
                order = "ORDER BY ALL" if view.folder == "staging" else ""
                wanted = connection.execute(f"SELECT COLUMNS(c -> c <> 'agent_pseudonym') FROM {view.name} {order}").fetchall()
                sql = f"SELECT COLUMNS(c -> c <> 'agent_pseudonym') FROM {view.name} {order}"
                assert [tuple(row.values()) for row in snapshot.query(OWNER, sql).to_pylist()] == wanted, view.name


def test_a_queue_cannot_break_out_of_the_filter(tmp_path):
    hostile = ["'; DROP TABLE x; --", "<script>", 'a"b', "sales', 'support", "new\nline", "%", "x" * 500, "$queues", ""]
    spoken = [segment(0, 4, (0.1, 0.8, 0.05, 0.05))]
    write_calls(str(tmp_path), [Call(f"n{n}", spoken, queue=name) for n, name in enumerate(hostile)])
    snapshot = Snapshot(str(tmp_path))
    assert len(calls(snapshot, OWNER)) == len(hostile)
    for name in hostile:
        rows = snapshot.query(Viewer("x", queues=(name,)), "SELECT queue FROM call_emotions")["queue"].to_pylist()
        assert rows == [name]
    assert calls(snapshot, Viewer("x", queues=("sales", "support", "*"))) == []


def test_no_emotion_of_an_agent_is_in_it(tmp_path):
    """A research lake, in which agents were scored, too."""
    lake = str(tmp_path)
    of_agent = Call("agent", [segment(0, 4, (0.9, 0, 0.1, 0), role="agent")], emotion_role="agent", policy="everyone")
    of_nobody = Call("unknown", [segment(0, 4, (0.9, 0, 0.1, 0), role="unknown")], emotion_role="unknown", policy="everyone", chunk="c2")
    write_calls(lake, [of_agent, of_nobody, angry(chunk="c3")])
    snapshot = Snapshot(lake)
    emotions = [f"{prefix}_{each}" for prefix in ("share", "mean_p") for each in schemas.EMOTIONS] + ["share_unsure"]
    emotions += ["emotion_role", "peak_anger", "peak_anger_at_s", "escalated", "negativity_change", "scored_speech_s", "dominant_emotion"]
    for row in snapshot.query(OWNER, "FROM call_emotions WHERE call_id <> 'angry'").to_pylist():
        assert row["outcome"] == "withheld" and {row[name] for name in emotions} == {None}
    assert snapshot.query(OWNER, "SELECT outcome FROM outcomes ORDER BY call_id")["outcome"].to_pylist() == [
        "withheld",
        "scored",
        "withheld",
    ]
    for view in ("segments", "segments_all"):
        rows = snapshot.query(OWNER, f"FROM {view} WHERE role IN ('agent', 'unknown')").to_pylist()
        assert len(rows) == 3
        assert {row[name] for row in rows for name in ("emotion", "confidence", "p_anger", "unsure")} == {None}
    assert calls(snapshot, OWNER, "worst_calls") == ["angry"]


def test_no_pseudonym_of_an_agent_is_in_it(tmp_path):
    call = angry()
    call.facts["agent_pseudonym"] = "pseudonym-of-ben"
    write_calls(str(tmp_path), [call])
    snapshot = Snapshot(str(tmp_path))
    for view in ("call_emotions", "call_emotions_all"):
        assert snapshot.query(OWNER, f"SELECT agent_pseudonym FROM {view}")["agent_pseudonym"].to_pylist() == [None]


@pytest.mark.parametrize("lake", ["nowhere", "."])
def test_an_empty_lake_and_one_that_is_not_there(tmp_path, lake):
    app = create_app(str(tmp_path / lake), settings=Settings())
    answer = browser(app).get("/")
    assert answer.status_code == 200 and "no calls" in answer.text
    assert not (tmp_path / "nowhere").exists()


def test_half_a_night_shows_what_is_done(tmp_path):
    """A run in progress: a chunk is published, of another the outcomes are still missing."""
    lake = str(tmp_path)
    write_calls(lake, [angry()])
    half = worse(chunk="c2")
    write(lake, "recordings", [half.recording], chunk="manifest-000002")
    write(lake, "call_emotions", [half.facts], chunk="c2")
    assert calls(Snapshot(lake), OWNER) == ["angry"]
    assert browser(open_app(lake)).get("/").status_code == 200


def test_a_snapshot_follows_the_lake(tmp_path):
    lake = str(tmp_path)
    snapshots = Snapshots(lake, refresh_s=60)
    before = snapshots.current
    assert snapshots.refresh() is False and snapshots.current is before
    write_calls(lake, [angry()])
    assert snapshots.refresh() is True and calls(snapshots.current, OWNER) == ["angry"]
    assert calls(before, OWNER) == []  # an open snapshot keeps its state
    assert snapshots.refresh() is False
    write_calls(lake, [angry(scored_at=NIGHT + timedelta(days=1), outcome="no_speech", reason_code="no_speech")])
    assert snapshots.refresh() is True
    assert snapshots.current.query(OWNER, "SELECT outcome FROM call_emotions")["outcome"].to_pylist() == ["no_speech"]
    for item in list(open_store(lake).list("outcomes/")):
        open_store(lake).delete(item.key)
    assert snapshots.refresh() is True and calls(snapshots.current, OWNER) == []


def test_while_the_lake_is_read_each_page_says_so(lake):
    client = browser(create_app(lake, settings=SIGN_IN, wait=False))  # nothing reads it: the client does not start the background
    for path in ("/", "/calls", "/csv/totals", "/nowhere"):
        answer = client.get(path, headers=by_proxy("quality"))
        assert answer.status_code == 503 and answer.headers["refresh"] == "3" and "<h1>Reading the lake</h1>" in answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert client.get("/static/style.css").status_code == 200
    client.app.state.snapshots.refresh()
    assert client.get("/", headers=by_proxy("quality")).status_code == 200


def test_the_default_page_is_cached_before_the_first_visit(lake):
    for settings in (Settings(), SIGN_IN):
        app = create_app(lake, settings=settings, wait=False)
        app.state.snapshots.refresh(app.state.snapshots.prepare)
        before = dict(app.state.snapshots.current.cache)
        client = browser(app)
        for group in GROUPS:
            assert client.get("/", headers=by_proxy(group)).status_code == 200
        after = app.state.snapshots.current.cache
        assert {key: figures for key, figures in after.items() if key[0] != "queues"} == before != {}


def test_a_lake_that_cannot_be_read_at_first_is_reported_and_retried(tmp_path, monkeypatch):
    from ser_tasks.dashboard import snapshot

    write_calls(str(tmp_path), good_calls())
    app = create_app(str(tmp_path), settings=Settings(dashboard_refresh_s=0.05), wait=False)

    def away(*_):
        raise ConnectionError("the store is away")

    monkeypatch.setattr(snapshot, "Snapshot", away)
    with browser(app) as client:
        wait(lambda: app.state.snapshots.problem)
        answer = client.get("/")
        assert answer.status_code == 503 and "The lake cannot be read" in answer.text and "the store is away" not in answer.text
        monkeypatch.undo()
        wait(lambda: client.get("/").status_code == 200)


def test_it_is_refreshed_in_the_background_and_an_unreachable_lake_is_reported(tmp_path, monkeypatch):
    lake = str(tmp_path)
    app = create_app(lake, settings=Settings(dashboard_refresh_s=0.05))

    with browser(app) as client:
        write_calls(lake, good_calls())
        wait(lambda: app.state.snapshots.current.calls == 4)

        def away(*_):
            raise ConnectionError("the store is away")

        monkeypatch.setattr(Snapshots, "fingerprint", away)
        wait(lambda: app.state.snapshots.problem)
        answer = client.get("/")
        assert answer.status_code == 200 and "could not be read since" in answer.text and "the store is away" not in answer.text
        monkeypatch.undo()
        wait(lambda: app.state.snapshots.problem is None)
