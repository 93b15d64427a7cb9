"""The sheets for compliance: for every policy and bundle, with settings missing and full, no field is empty, and the law is named."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ser_tasks.calls.policy import POLICIES
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.inference.bundle_files import shipped_bundles
from ser_tasks.maintenance.compliance import SHEETS, gather, texts
from ser_tasks.maintenance.compliance import write as write_sheets
from ser_tasks.maintenance.compliance.sheet import Row
from ser_tasks.settings import Deployer, Settings
from tests.factories.lakes import Call, segment, write_calls, write_good_lake

FULL = {
    "pseudonym_key": "a key of the tests, long enough",
    "keep_segments_days": 90,
    "keep_calls_days": 365,
    "keep_access_days": 400,
    "dashboard_secret": "0123456789abcdef",
    "dashboard_groups": {"leads": {"queues": "all"}},
    "channel_roles": {0: "agent", 1: "customer"},
    "deployer": Deployer(**dict.fromkeys(Deployer.model_fields, "Said by the deployer")),
}
BLANK = {"deployer": Deployer(**dict.fromkeys(Deployer.model_fields, " \n\t\u200b"))}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("sheets") / "lake")
    write_good_lake(folder)
    return folder


@pytest.fixture(scope="module")
def facts(lake):
    return gather(lake, Settings())


def fields(text):
    """(about, known, law) of every row of every table of a sheet."""
    rows = []
    for line in text.splitlines():
        if line.startswith("| ") and line != "| what | known | law |":
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def check(sheets):
    assert list(sheets) == list(SHEETS)
    for name, (title, text) in sheets.items():
        assert text.startswith(f"# {title}\n") and "Not legal advice" in text
        assert "Regulation (EU) 2024/1689" in text and "Regulation (EU) 2016/679" in text
        rows = fields(text)
        assert len(rows) >= 10, name
        for row in rows:
            assert len(row) == 3 and all(row), f"{name}: {row}"
            assert not re.search(r"\bNone\b(?! yet|:)|\bnan\b|\{\}|\[\]|(?<!\.)\.\.(?!\.)", row[1]), f"{name}: {row}"
            assert re.search(r"(Art\.|Annex) ", row[2]), f"{name}: {row}"


@pytest.mark.parametrize("settings", [{}, FULL, BLANK], ids=["missing", "full", "blank"])
@pytest.mark.parametrize("policy", POLICIES)
def test_no_field_is_empty_for_any_policy(facts, policy, settings):
    sheets = texts(replace(facts, settings=Settings(policy=policy, **settings), policy=POLICIES[policy]))
    check(sheets)
    everything = "".join(text for _, text in sheets.values())
    assert ("in SER_DEPLOYER" in everything) == (settings is not FULL)
    assert ("**Not stated**: set SER_KEEP_ACCESS_DAYS" in everything) == (settings is not FULL)
    if "agent" in POLICIES[policy].roles:
        assert "prohibited, but for medical or safety reasons" in sheets["instructions"][1]


@pytest.mark.parametrize("bundle", shipped_bundles())
def test_no_field_is_empty_for_any_bundle_and_an_empty_lake(tmp_path, bundle):
    sheets = texts(gather(str(tmp_path / "none"), Settings(), bundle))
    check(sheets)
    assert "no calls yet" in sheets["dpia"][1] and bundle in sheets["instructions"][1]
    assert "recall) 0." in sheets["annex-iv"][1]


def test_a_bundle_without_scores_says_so(facts, bundle):
    sheets = texts(replace(facts, bundle=load_bundle(bundle)))
    check(sheets)
    assert "**Not stated**: the bundle has no scores" in sheets["instructions"][1]


def test_what_comes_from_outside_breaks_no_table(tmp_path):
    folder = str(tmp_path / "lake")
    call = Call("a", [segment(0, 4, (0.9, 0.0, 0.05, 0.05))])
    call.facts |= {"language": "de | <b>x</b>\n| y |"}
    write_calls(folder, [call])
    says = Deployer(purpose="a | b\n\n# c <script>alert(1)</script>")
    write_sheets(folder, tmp_path / "out", Settings(deployer=says))
    check(
        {
            name: ((tmp_path / f"out/{name}.md").read_text().partition("\n")[0][2:], (tmp_path / f"out/{name}.md").read_text())
            for name in SHEETS
        }
    )
    page = (tmp_path / "out/dpia.html").read_text()
    assert "<script>" not in page and "<b>x</b>" not in page


def test_the_same_facts_give_the_same_bytes_and_pages_stand_alone(lake, tmp_path):
    first, second = (write_sheets(lake, tmp_path / name, Settings(**FULL)) for name in ("a", "b"))
    assert sorted(path.name for path in first) == sorted(f"{name}.{suffix}" for name in SHEETS for suffix in ("md", "html"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]

    class Cells(HTMLParser):
        open, texts = False, ()

        def handle_starttag(self, tag, attributes):
            assert not {"src", "href"} & dict(attributes).keys()
            if tag == "td":
                self.open, self.texts = True, (*self.texts, "")

        def handle_endtag(self, tag):
            self.open = self.open and tag != "td"

        def handle_data(self, data):
            if self.open:
                self.texts = (*self.texts[:-1], self.texts[-1] + data)

    for path in first:
        if path.suffix == ".html":
            cells = Cells()
            cells.feed(path.read_text())
            assert len(cells.texts) >= 30 and all(text.strip() for text in cells.texts)


def test_no_secret_is_on_a_sheet(facts):
    everything = "".join(text for _, text in texts(replace(facts, settings=Settings(**FULL))).values())
    assert FULL["pseudonym_key"] not in everything and FULL["dashboard_secret"] not in everything


def test_annex_iv_has_every_point():
    """Points 1(a) to (h), 2(a) to (h) and 3 to 9 of Annex IV."""
    import inspect

    laws = inspect.getsource(SHEETS["annex-iv"])
    for point in [*(f"1({each})" for each in "abcdefgh"), *(f"2({each})" for each in "abcdefgh"), *map(str, range(3, 10))]:
        assert f"Annex IV point {point}" in laws


def test_an_empty_field_cannot_be_made():
    for row in (("", "x", "Art. 1"), ("x", " \n", "Art. 1"), ("x", "y", "")):
        with pytest.raises(ValueError, match="empty"):
            Row(*row)
