"""What the sheets state: read once from the settings, the bundle, and the lake with its checks and the doctor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_tasks.calls.policy import Policy, policy_named
from ser_tasks.inference.bundle import Bundle, load_bundle
from ser_tasks.lake import catalog, erased, read_only
from ser_tasks.lake.promotions import chosen_model
from ser_tasks.maintenance import doctor, holds
from ser_tasks.monitoring.access_log import folder_of
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import open_store

FIGURES = """
SELECT
    count(*) AS calls,
    min(call_date) AS first_day,
    max(call_date) AS last_day,
    max(scored_at) AS scored_at,
    coalesce(sum(duration_s) / 3600, 0) AS audio_h,
    count(*) FILTER (notice_given) AS informed,
    count(*) FILTER (NOT notice_given) AS not_informed,
    count(*) FILTER (notice_given IS NULL) AS notice_unknown,
    count(DISTINCT customer_pseudonym) AS customers,
    count(DISTINCT agent_pseudonym) AS agents,
    avg(share_unsure) AS share_unsure
FROM call_emotions
"""
LISTS = {
    "outcomes": "SELECT outcome, count(*) FROM outcomes GROUP BY ALL ORDER BY ALL",
    "roles": "SELECT coalesce(emotion_role, 'nobody'), count(*) FROM call_emotions GROUP BY ALL ORDER BY ALL",
    "languages": "SELECT coalesce(language, 'not stated'), count(*) FROM call_emotions GROUP BY ALL ORDER BY 2 DESC, 1 LIMIT 20",
    "versions": "SELECT version, count(*) FROM outcomes_all GROUP BY ALL ORDER BY ALL",
    "deletions": "SELECT table_name, count(DISTINCT day) FROM deletions GROUP BY ALL ORDER BY ALL",
    "oldest": """
        SELECT name, min(day) FROM (
            SELECT 'recordings' AS name, day FROM recordings UNION ALL SELECT 'outcomes', day FROM outcomes
            UNION ALL SELECT 'call_emotions', day FROM call_emotions UNION ALL SELECT 'segments', day FROM segments
        ) GROUP BY ALL ORDER BY ALL
    """,
}
"""Lists of a name and a figure."""


@dataclass(frozen=True)
class Facts:
    """Everything that a sheet may state."""

    settings: Settings
    policy: Policy
    bundle: Bundle
    lake: str
    code_version: str
    figures: dict[str, Any]
    """The columns of FIGURES."""
    lists: dict[str, list[tuple[str, Any]]]
    """The rows of LISTS."""
    checks: dict[str, int]
    """Offending rows by check."""
    findings: tuple[str, ...]
    """What the doctor finds, one line a kind."""
    holds: int
    erasures: int
    access_log: str
    """Folder of the access log."""


def gather(lake: str, settings: Settings, model: str | None = None) -> Facts:
    """The facts of a lake that may be empty. Raises ValueError and OSError for a lake, policy or bundle that cannot be read."""
    store = open_store(lake)
    policy, bundle = policy_named(settings.policy), load_bundle(chosen_model(settings, lake, model), settings.priors or None)
    with catalog.connect(lake) as views:
        [figures] = read_only.query(views, FIGURES).to_pylist()
        lists = {name: [tuple(row.values()) for row in read_only.query(views, query).to_pylist()] for name, query in LISTS.items()}
        checks = catalog.run_checks(views)
    empty = store.local_root is not None and not Path(store.local_root).exists()
    report = None if empty else doctor.examine(lake, settings=settings)
    kinds = sorted({finding.kind for finding in report.findings}) if report else []
    counts = {kind: sum(finding.kind == kind for finding in report.findings) for kind in kinds} if report else {}
    return Facts(
        settings,
        policy,
        bundle,
        store.uri,
        code_version(),
        figures,
        lists,
        checks,
        tuple(f"{kind}: {count}" for kind, count in counts.items()),
        len(holds.read(store)),
        len(list(erased.receipts(store))),
        str(folder_of(lake, settings)),
    )
