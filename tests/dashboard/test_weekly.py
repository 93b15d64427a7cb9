"""The weekly page: one file that stands alone, with the rows of those it is for; and its mail, against a server on loopback."""

import html
import re
from datetime import date, timedelta

import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.dashboard import weekly
from ser_tasks.dashboard.mailing import MailingError, key_of, mail_week
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.viewers import OWNER, Viewer
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import DAY, good_calls, write_calls
from tests.support.receivers import MailReceiver

MONDAY = date(2026, 11, 16)
GROUPS = '{"sales-leads": {"queues": ["sales"]}, "support-leads": {"queues": ["support"]}, "quality": {"queues": "all"}}'
TO = '{"sales@example.org": ["sales-leads"], "support@example.org": ["support-leads"], "head@example.org": ["quality"]}'


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("lake"))
    write_calls(folder, good_calls())
    return folder


@pytest.fixture(scope="module")
def snapshot(lake):
    return Snapshot(lake)


@pytest.fixture
def post_office(tmp_path, monkeypatch):
    """A mail server, and the settings of a site that mails by it."""
    with MailReceiver(tmp_path) as server:
        variables = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(server.port), "SMTP_SECURITY": "none", "MAIL_FROM": "ser@example.org"}
        for name, value in (variables | {"DASHBOARD_GROUPS": GROUPS, "WEEKLY_TO": TO}).items():
            monkeypatch.setenv(f"SER_{name}", value)
        yield server


@pytest.fixture
def own_lake(tmp_path):
    """A lake of its own: what was mailed is written into it."""
    write_calls(str(tmp_path / "own"), good_calls())
    return str(tmp_path / "own")


def page_of(letter):
    [attached] = letter.iter_attachments()
    return attached.get_content()


# The page


def test_it_stands_alone(snapshot):
    text = weekly.make(snapshot, OWNER, MONDAY).html
    assert "<svg" in text and "<style>" in text and "default-src 'none'" in text
    assert not re.search(r"<script|<link|<img|<iframe|\bsrc=|url\((?!#)|@import|\bon\w+=", text)
    assert set(re.findall(r"https?://[\w.]+", text)) == {"http://www.w3.org"}  # the names of SVG itself
    assert "href" not in re.sub(r"xlink:href=\"#|xmlns:xlink", "", text)


def test_its_figures_lead_to_the_dashboard_where_there_is_one(snapshot):
    links = re.findall(r'<a href="([^"]*)"', weekly.make(snapshot, OWNER, MONDAY, "https://moods.example.org").html)
    assert links and all(link.startswith("https://moods.example.org/") for link in links)
    assert "https://moods.example.org/calls?first=2026-11-16&amp;last=2026-11-22&amp;outcome=readable" in links


def test_it_shows_the_week_and_says_what_it_rests_on(snapshot):
    made = weekly.make(snapshot, OWNER, MONDAY)
    assert made.title == "Calls and moods, week 47 of 2026"
    assert "16 November 2026 to 22 November 2026" in made.html and "Limits of these figures" in made.html
    assert "4 calls, 2 of them scored. Anger: " in made.text and "every queue" in made.text
    assert "There are no calls in this week" in weekly.make(snapshot, OWNER, MONDAY - timedelta(weeks=3)).text


def test_it_holds_the_rows_of_its_queues_alone(snapshot):
    sales = weekly.make(snapshot, Viewer("", queues=("sales",)), MONDAY)
    support = weekly.make(snapshot, Viewer("", queues=("support",)), MONDAY)
    nobody = weekly.make(snapshot, Viewer(""), MONDAY)
    assert "3 calls, 2 of them scored" in sales.text and "support" not in sales.html + sales.text
    assert "1 calls, none of them scored" in support.text and "sales" not in support.html + support.text
    assert "no calls in this week" in nobody.text and "sales" not in nobody.html and "support" not in nobody.html


def test_its_statements_run_in_ser_sql(snapshot, lake, tmp_path):
    """Those of a queue's page ask for that queue alone."""
    text = weekly.make(snapshot, Viewer("", queues=("sales",)), MONDAY).html
    shown = re.findall(r"<summary>([^<]*)</summary><pre[^>]*><code>(.*?)</code>", text, re.DOTALL)
    assert len(shown) == 12
    file = tmp_path / "totals.sql"
    file.write_text(html.unescape(dict(shown)["How did callers sound over the whole period?"]))
    answer = CliRunner().invoke(app, ["sql", "--lake", lake, "--file", str(file), "--format", "csv"])
    assert answer.exit_code == 0 and answer.stdout.splitlines()[1].startswith("3,2,1,0,")


@pytest.mark.parametrize("week", ["2026-47", "2026-W54", "2026-W00", "2026-W47-1", "W47", "", "2026-W4७"])
def test_what_is_no_week_is_named(week):
    with pytest.raises(ValueError, match="is not a week: write it as 2026-W47"):
        weekly.monday_of(week)


def test_the_newest_whole_week():
    assert weekly.monday_of("2026-W47") == MONDAY and weekly.name_of(MONDAY) == "2026-W47"
    assert weekly.name_of(date(2027, 1, 3)) == "2026-W53"
    monday, thursday = date(2026, 11, 23), date(2026, 11, 26)
    for last_day, today in ((DAY, monday), (DAY, date(2026, 12, 20)), (thursday - timedelta(days=1), thursday), (None, thursday)):
        assert weekly.newest_week(last_day, today) == MONDAY, (last_day, today)


def test_the_command_writes_it(lake, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_DASHBOARD_GROUPS", GROUPS)
    out = tmp_path / "weekly.html"
    answer = CliRunner().invoke(app, ["weekly", "--lake", lake, "--week", "2026-W47", "--group", "support-leads", "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    assert f"Wrote {out}" in answer.stdout and "support" in out.read_text() and "sales" not in out.read_text()
    for wrong, says in (
        (["--week", "47"], "is not a week"),
        (["--group", "x"], "has no group 'x': it has sales-leads"),
        (["--queue", "sale"], "No call has the queue 'sale': did you mean 'sales'?"),
        (["--again"], "have no effect without --mail"),
        (["--mail", "--queue", "sales"], "leave out --queue and --group"),
    ):
        refused = CliRunner().invoke(app, ["weekly", "--lake", lake, *wrong])
        assert refused.exit_code == 2 and says in refused.output


# Its mail


def test_each_address_is_mailed_its_queues_once(own_lake, post_office):
    said = []
    assert len(mail_week(own_lake, "2026-W47", again=False, dry_run=True, say=said.append)) == 3
    assert post_office.letters == [] and said[0] == "sales@example.org would get 2026-W47: sales"
    mail_week(own_lake, "2026-W47", again=False, dry_run=False, say=said.append)
    letters = dict(post_office.letters)
    assert letters.keys() == {"sales@example.org", "support@example.org", "head@example.org"}
    for address, others in (("sales@example.org", "support"), ("support@example.org", "sales")):
        assert others not in page_of(letters[address]) and others not in letters[address].get_body().get_content()
    letter = letters["head@example.org"]
    assert letter["Subject"] == "Calls and moods, week 47 of 2026" and "4 calls, 2 of them scored" in letter.get_body().get_content()
    assert [each.get_filename() for each in letter.iter_attachments()] == ["calls-and-moods-2026-W47.html"]
    copy = open_store(own_lake).read_bytes(key_of(MONDAY, "sales@example.org")).decode()
    assert copy.split() == page_of(letters["sales@example.org"]).split()

    second = mail_week(own_lake, "2026-W47", again=False, dry_run=False, say=said.append)
    assert second[0] == "sales@example.org has already received 2026-W47"
    assert len(post_office.letters) == 3
    mail_week(own_lake, "2026-W47", again=True, dry_run=False, say=said.append)
    assert len(post_office.letters) == 6
    again = post_office.letters[-1][1]
    assert "sent again on request" in again.get_body().get_content() and again["Message-ID"] != letter["Message-ID"]


def test_who_could_not_be_mailed_is_mailed_by_the_next_run(own_lake, post_office):
    post_office.refused = {"sales@example.org"}
    with pytest.raises(MailingError, match="^2026-W47 was not mailed to sales@example.org: .* refused sales@example.org"):
        mail_week(own_lake, "2026-W47", again=False, dry_run=False, say=lambda line: None)
    assert [address for address, _ in post_office.letters] == ["support@example.org", "head@example.org"]
    refused = CliRunner().invoke(app, ["weekly", "--lake", own_lake, "--week", "2026-W47", "--mail"])
    assert refused.exit_code == 1 and "The next run tries again" in refused.output
    post_office.refused = set()
    mailed = CliRunner().invoke(app, ["weekly", "--lake", own_lake, "--week", "2026-W47", "--mail"])
    assert mailed.exit_code == 0 and "sales@example.org was mailed 2026-W47: sales" in mailed.output
    assert [address for address, _ in post_office.letters[2:]] == ["sales@example.org"]


def test_a_group_that_nobody_knows_and_an_empty_list_are_refused(own_lake, monkeypatch):
    with pytest.raises(ValueError, match="SER_WEEKLY_TO is not set"):
        mail_week(own_lake, None, again=False, dry_run=False, say=print)
    monkeypatch.setenv("SER_WEEKLY_TO", '{"x@example.org": ["everybody"]}')
    with pytest.raises(ValueError, match="gives x@example.org the group 'everybody', which is not in SER_DASHBOARD_GROUPS"):
        mail_week(own_lake, None, again=False, dry_run=False, say=print)


@pytest.mark.parametrize(
    "url", ["moods.example.org", "javascript:alert(1)", "https://u:p@moods.example.org", "https://x y", 'https://x"y', "https://x/?a=b"]
)
def test_an_address_of_the_dashboard_is_one(url):
    with pytest.raises(ValueError, match="not an address of a dashboard"):
        Settings(dashboard_url=url)
    assert Settings(dashboard_url="https://moods.example.org/").dashboard_url == "https://moods.example.org"
