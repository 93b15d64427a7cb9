"""The pages for people: links lead somewhere, files and settings that they name exist, and they stay readable."""

import re
from pathlib import Path

import pytest

from ser_tasks.calls.metadata import Sidecar, call_metadata
from ser_tasks.datasets import DATASETS
from ser_tasks.features import FEATURE_SETS
from ser_tasks.models import MODELS
from ser_tasks.settings import Settings
from ser_tasks.transcripts.reader import FORMATS

ROOT = Path(__file__).parents[2]
NAMES = [
    *("README.md", ".github/CONTRIBUTING.md", "deploy/OPERATIONS.md", "deploy/GROWTH.md", "sql/ANALYSTS.md"),
    *(f"deploy/docs/{name}.md" for name in ("MODEL", "FIELD", "DIARIZATION", "BI", "GLOSSARY", "decisions", "CHANGELOG")),
]
FOR_TESTS = {"SER_DATA_DIR", "SER_FAULT_SEED", "SER_DBT", "SER_SUPERSET_PYTHON", "SER_NOTEBOOK_PYTHON", "SER_CATALOG"}
"""Variables that only tests and the notebook read."""
MAX_PICTURE_BYTES = 150_000


def anchors(page: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_is_named_exists(name):
    named = re.findall(r"`((?:ser_tasks|flows|sql|tests|deploy|\.ci)/[\w./-]*)`", (ROOT / name).read_text(encoding="utf-8"))
    optional = {
        "deploy/ser.env",
        "deploy/sign-in.env",
        "deploy/database.env",
        "deploy/server.env",
        "deploy/dashboard.env",
        "deploy/store.json",
    }  # written by operators
    assert [path for path in named if path not in optional and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_that_is_named_exists(name):
    named = set(re.findall(r"SER_[A-Z_]+[A-Z]", (ROOT / name).read_text(encoding="utf-8")))
    assert named <= {f"SER_{field.upper()}" for field in Settings.model_fields} | FOR_TESTS


@pytest.mark.parametrize("name", NAMES)
def test_prose_keeps_to_140_columns(name):
    prose = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL).splitlines()
    assert [line for line in prose if len(line) > 140 and not line.startswith(("|", "!["))] == []


def test_the_readme_is_one_page_with_small_pictures():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = [ROOT / path for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)]
    assert len(page.splitlines()) <= 160 and {path.name for path in pictures} == {"overview.png", "call.png"}
    assert all(path.stat().st_size < MAX_PICTURE_BYTES for path in pictures)
    assert "CC BY-NC-SA 4.0" in "\n".join(page.splitlines()[:12])


def test_the_sidecar_in_the_readme_has_every_field():
    sidecar = re.search(r"```json\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    metadata = call_metadata("2026-11-20/call-0815.wav", sidecar.encode(), {}, Settings())
    assert metadata.values.keys() == Sidecar.model_fields.keys() | {"call_date"} and set(metadata.sources.values()) == {"sidecar"}
    assert metadata.get("channels") == {0: "agent", 1: "customer"} and metadata.get("notice_given") is True


def test_the_layout_names_every_package():
    layout = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The layout")[2].partition("```\n\nImports")[0]
    packages = [path.parent.name for path in (ROOT / "ser_tasks").glob("*/__init__.py")]
    assert [name for name in packages if f" {name}/" not in layout] == []


def test_the_layout_names_every_module():
    """Entries of the registries (a corpus, an architecture, a feature set, a format) are one file each and are not listed."""
    layout = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The layout")[2].partition("```\n\nImports")[0]
    listed = set(re.findall(r"\w+", layout)) | {*MODELS, *FEATURE_SETS, *DATASETS, *FORMATS, "plain_turns"}
    modules = [*(ROOT / "flows").rglob("*.py"), *(ROOT / "ser_tasks").glob("*.py"), *(ROOT / "ser_tasks").glob("*/*.py")]
    assert sorted(str(path.relative_to(ROOT)) for path in modules if path.stem not in listed and not path.stem.startswith("__")) == []
