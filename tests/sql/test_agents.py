"""Figures grouped by agent: never of fewer calls than the minimum, in any mart, alert or page."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.viewers import OWNER
from ser_tasks.lake import catalog, sql_views
from ser_tasks.monitoring import alert_rules
from ser_tasks.settings import Settings
from tests.factories.lakes import NIGHT, Call, angry, segment, views_over, write_calls

CALLS = {"agent-of-1": 1, "agent-of-9": 9, "agent-of-10": 10, "agent-of-40": 40}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("agents") / "lake")
    calls = []
    for agent, count in CALLS.items():
        for number in range(count):
            call = Call(f"{agent}-call-{number}", angry().segments)
            call.facts |= {"agent_pseudonym": agent, "agent_speech_s": 4.0, "interruptions_by_agent": 1}
            calls.append(call)
    write_calls(folder, calls)
    return folder


def marts():
    return [view.name for view in sql_views.all_views() if view.folder == "marts"]


def test_one_mart_names_agents_and_it_has_the_minimum():
    """A new mart with agents' pseudonyms must use min_calls_by_agent(), too: add it here with a test of its figures."""
    with catalog.connect("nowhere") as views:
        naming = [name for name in marts() if any("agent_pseudonym" in column for column in views.table(name).columns)]
    assert naming == ["calls_by_agent"]


def test_no_mart_shows_an_agent_of_few_calls(lake):
    with views_over(lake) as views:
        for name in marts():
            table = views.table(name).to_arrow_table()
            for column in table.column_names:
                shown = {str(value) for value in table[column].to_pylist()}
                assert not shown & {"agent-of-1", "agent-of-9"}, f"{name}.{column}"


def test_the_mart_says_how_many_agents_are_not_shown(lake):
    with views_over(lake) as views:
        rows = views.sql("FROM calls_by_agent").to_arrow_table().to_pylist()
    assert [(row["agent_pseudonym"], row["calls"]) for row in rows] == [("agent-of-40", 40), ("agent-of-10", 10), (None, None)]
    assert rows[0]["share_agent_speech"] == pytest.approx(4 / 40) and rows[0]["interruptions_per_h"] == pytest.approx(90)
    assert rows[0]["mean_duration_s"] == 40 and rows[0]["days"] == 1
    hidden = {name: value for name, value in rows[2].items() if value is not None}
    assert hidden == {"agents_not_shown": 2, "note": "2 agents with fewer than 10 calls are not shown"}


def test_no_emotion_is_grouped_by_agent(lake):
    with views_over(lake) as views:
        columns = views.table("calls_by_agent").columns
    assert not [column for column in columns if any(word in column for word in ("anger", "emotion", "negativ", "unsure", "happi", "sad"))]


@pytest.mark.usefixtures("without_comments")
@pytest.mark.parametrize(("minimum", "shown"), [(5, {"agent-of-9", "agent-of-10", "agent-of-40"}), (11, {"agent-of-40"}), (41, set())])
def test_the_setting_moves_the_minimum_in_every_connection(lake, tmp_path, monkeypatch, minimum, shown):
    import duckdb

    monkeypatch.setenv("SER_MIN_CALLS_BY_AGENT", str(minimum))
    query = "SELECT agent_pseudonym FROM calls_by_agent WHERE agent_pseudonym IS NOT NULL"
    with views_over(lake) as views, views.cursor() as cursor:
        assert {name for (name,) in cursor.execute(query).fetchall()} == shown
    with duckdb.connect(catalog.write_catalog(lake, tmp_path / "file.duckdb"), read_only=True) as file:
        assert {name for (name,) in file.execute(query).fetchall()} == shown


def test_the_minimum_without_a_setting_is_the_setting_s_default(monkeypatch):
    """The macro says it once more: catalog reads no setting where none is set."""
    monkeypatch.delenv("SER_MIN_CALLS_BY_AGENT", raising=False)
    with catalog.connect("nowhere") as views:
        assert views.execute("SELECT min_calls_by_agent()").fetchall() == [(Settings().min_calls_by_agent,)]
    assert Settings.model_fields["min_calls_by_agent"].default == 10


@pytest.mark.parametrize("minimum", [0, 1, 4])
def test_a_minimum_that_would_describe_single_calls_is_refused(minimum):
    with pytest.raises(ValueError, match="min_calls_by_agent"):
        Settings(min_calls_by_agent=minimum)


def test_the_dashboard_knows_no_agent(lake):
    rows = Snapshot(lake).query(OWNER, "FROM calls_by_agent").to_pylist()
    assert rows == []


def test_the_dashboard_shows_no_emotion_of_a_segment_of_agents(tmp_path):
    """Nor that of the unknown, whatever a night has scored: the label is hidden as emotion and scores are."""
    segments = [segment(at, at + 4, (0.9, 0.0, 0.1, 0.0), role=role) for at, role in enumerate(("agent", "unknown", "customer"))]
    write_calls(str(tmp_path), [Call("shouting", segments, policy="everyone")])
    snapshot = Snapshot(str(tmp_path))
    for view in ("segments", "segments_all"):
        found = {row["role"]: row for row in snapshot.query(OWNER, f"FROM {view}").to_pylist()}
        assert found["customer"]["label"] == found["customer"]["emotion"] == "anger"
        for role in ("agent", "unknown"):
            assert {value for name, value in found[role].items() if name in ("label", "emotion", "unsure") or name.startswith("p_")} == {
                None
            }
    with views_over(str(tmp_path)) as views:  # in SQL they are there, and said to be the agent's
        assert views.sql("SELECT label FROM segments WHERE role = 'agent'").fetchall() == [("anger",)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT agent_pseudonym AS subject, count(*) AS calls FROM call_emotions GROUP BY 1",
        "SELECT Agent_Pseudonym AS subject, 1 AS calls FROM calls_by_agent",
        "SELECT *, 1 AS calls FROM call_emotions",
    ],
)
def test_no_alert_is_about_an_agent(lake, sql):
    rule = alert_rules.Rule(name="agents", sql=sql, severity="info", message="{calls}", to=("webhook",))
    with views_over(lake) as views, pytest.raises(alert_rules.RuleError, match="agent_pseudonym"):
        alert_rules.evaluate(views, rule, NIGHT, Settings())


def answered(lake, query):
    answer = CliRunner().invoke(app, ["sql", query, "--lake", lake, "--format", "json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout), answer.stderr


@pytest.mark.parametrize(
    "query",
    [
        "SELECT agent_pseudonym, avg(share_anger) AS anger FROM call_emotions GROUP BY agent_pseudonym",
        "SELECT agent_pseudonym AS who, count(*) AS calls FROM call_emotions WHERE queue = 'sales' GROUP BY ALL ORDER BY calls LIMIT 9",
        "SELECT c.Agent_Pseudonym, queue FROM call_emotions AS c GROUP BY 1, 2 HAVING max(duration_s) > 3 OR false",
        "WITH x AS (SELECT agent_pseudonym AS who FROM call_emotions) FROM x SELECT who, count(*) GROUP BY who -- by agent",
        "SELECT * FROM (SELECT upper(agent_pseudonym) AS who, count(*) FROM call_emotions_all GROUP BY who)",
    ],
)
def test_a_query_by_agent_has_the_minimum_and_says_so(lake, query):
    rows, said = answered(lake, query)
    assert {next(iter(row.values())).lower() for row in rows} == {"agent-of-10", "agent-of-40"}
    assert "SER_MIN_CALLS_BY_AGENT" in said


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT queue, count(DISTINCT agent_pseudonym) AS agents FROM call_emotions GROUP BY ALL", [{"queue": "sales", "agents": 4}]),
        ("SELECT count(*) AS calls FROM call_emotions WHERE agent_pseudonym = 'agent-of-9'", [{"calls": 9}]),
        ("SELECT call_id FROM call_emotions WHERE agent_pseudonym = 'agent-of-1'", [{"call_id": "agent-of-1-call-0"}]),
        ("SELECT agents_not_shown FROM calls_by_agent WHERE agent_pseudonym IS NULL", [{"agents_not_shown": 2}]),
    ],
)
def test_other_queries_are_answered_as_they_are(lake, query, rows):
    assert answered(lake, query) == (rows, "")


def test_an_error_shows_its_place_in_the_query_as_written(lake):
    answer = CliRunner().invoke(app, ["sql", "SELECT agent_pseudonym, avg(anger) FROM call_emotions GROUP BY 1", "--lake", lake])
    assert answer.exit_code == 2 and "avg(anger)" in answer.output and "count_star" not in answer.output
