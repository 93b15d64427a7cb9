"""What the doctor may find: each kind of finding with its meaning and remedy, and the report of one examination."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

NIGHTLY = "ser nightly --recordings {recordings} --lake {lake}"
REPAIR = "ser doctor --lake {lake} --recordings {recordings} --repair, then ser nightly"

KINDS = {
    "broken_part": ("cannot be read", REPAIR),
    "broken_manifest": ("cannot be read: nothing of its day is planned until the manifest is rebuilt from the day's outcomes", REPAIR),
    "foreign_part": ("holds rows of another chunk, day or version than its name says", REPAIR),
    "stray_file": ("is not a part, but lies in a table's folder", REPAIR),
    "temporary_file": ("was left by an interrupted write", REPAIR),
    "rows_missing": ("has outcomes whose rows are not in call_emotions or segments", REPAIR),
    "rows_without_outcome": ("has rows of recordings that have no outcome in it", REPAIR),
    "unplanned_outcomes": ("has outcomes of recordings that no manifest of the day has", REPAIR),
    "unplanned_rows": ("has rows, but neither outcomes nor an entry in a manifest", REPAIR),
    "manifest_gap": ("is missing between the day's manifests: it was removed (restore it if you can)", REPAIR),
    "half_published": ("has rows, but no outcomes part yet: a night was killed there, or is still running", NIGHTLY),
    "not_planned": ("holds recordings that no manifest has", NIGHTLY),
    "not_handled": (
        "was planned, but has recordings without an outcome: a night was killed, or is still running",
        NIGHTLY + " --day {day}",
    ),
    "given_up": ("has recordings that failed in every attempt: no night tries them again", NIGHTLY + " --retry-given-up"),
    "not_in_version": ("has recordings without an outcome in this version, though the store holds them", REPAIR),
    "outcomes_doubled": (
        "has more than one outcome in one version",
        "by hand: move the three parts of all but one of the chunks named out of the lake",
    ),
    "keys_missing": (
        "is missing or cannot be read, and says with which keys the lake's ids were made: no night runs without it",
        "by hand: restore it from the store's versions or a backup; the first night or ser rekey wrote it, and nothing changes it",
    ),
    "planned_twice": ("is planned in more than one chunk", "by hand: as for outcomes_doubled; a manifest is never rewritten"),
}
"""The kinds of findings: what each means, and what to run."""


@dataclass(frozen=True)
class Finding:
    """One fault: its kind, where it is (a key, or a chunk of a day), and how many recordings or files it concerns."""

    kind: str
    where: str
    count: int = 1
    detail: str = ""
    day: date | None = None


@dataclass
class Report:
    """The findings of one examination, and what a repair would move, rebuild and remove."""

    lake: str
    recordings: str | None
    parts: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is no fault, and yet somebody should know."""
    to_move: list[str] = field(default_factory=list)
    """Keys, in the order of moving."""
    to_rebuild: dict[date, list[str]] = field(default_factory=dict)
    """Days with an incomplete manifest, and the keys that are missing or cannot be read."""
    unplanned: set[date] = field(default_factory=set)
    """Days with outcomes of recordings that no manifest has."""
    to_remove: list[Path] = field(default_factory=list)
    """Temporary files."""

    def add(self, kind: str, where: str, count: int = 1, detail: str = "", day: date | None = None) -> None:
        """Adds a finding."""
        self.findings.append(Finding(kind, where, count, detail, day))

    def move(self, *keys: str) -> None:
        """Adds keys that a repair moves into quarantine."""
        self.to_move += [key for key in keys if key not in self.to_move]

    def lines(self, at_most: int = 10) -> Iterator[str]:
        """The report as text: each kind of finding with its first ``at_most`` places and what to run."""
        by_kind: dict[str, list[Finding]] = {}
        for finding in self.findings:
            by_kind.setdefault(finding.kind, []).append(finding)
        names = {"lake": self.lake, "recordings": self.recordings or "RECORDINGS"}
        for kind, findings in by_kind.items():
            meaning, remedy = KINDS[kind]
            yield f"{kind}: {len(findings)}"
            for finding in findings[:at_most]:
                counted = f" ({finding.count:,})" if finding.count > 1 else ""
                yield f"  {finding.where}{counted} {meaning}" + (f": {finding.detail}" if finding.detail else "")
            if len(findings) > at_most:
                yield f"  and {len(findings) - at_most:,} more"
            yield f"  run: {remedy.format(**names, day=findings[0].day)}"
