"""The facts of a sheet's fields, in words. None is empty: what is not known says which setting or command gives it, or what to write."""

from typing import Any

from ser_tasks.html_page import markdown_text
from ser_tasks.maintenance.compliance.facts import Facts
from ser_tasks.maintenance.compliance.sheet import Row, setting, to_write
from ser_tasks.maintenance.retention import KEPT


def processing(facts: Facts) -> str:
    """What is done with recordings."""
    return (
        "Recordings of calls are read at night from a store; speech is found, and for the roles that the policy allows a model gives "
        f"each stretch of 1 to 6 s probabilities of {', '.join(facts.bundle.labels)}. Tables of segments and calls are written, from which "
        "figures, alerts, reports and a dashboard are made. "
        + (VOICES_COMPARED if facts.policy.splits_mono else "No voice print is computed, and nobody is identified by their voice.")
    )


VOICES_COMPARED = (
    "On mono recordings the voices within one call are compared with each other, in the memory of one process, to leave out the agent's; "
    "nothing of them is stored or compared across calls: there is no voice print, and nobody is identified by their voice."
)


def policy_in_force(facts: Facts) -> str:
    """Whose emotion the policy allows, and what is prohibited."""
    text = f"Policy `{facts.policy.name}`: {', '.join(facts.policy.roles)}. {facts.policy.meaning}"
    if "agent" in facts.policy.roles or "unknown" in facts.policy.roles:
        text += (
            " **It scores agents or people who may be agents: at work in the EU that is prohibited, but for medical or safety reasons.**"
        )
    elif "mixed" in facts.policy.roles:
        text += " **An agent may be audible on a mixed channel: use it only where none is.**"
    if facts.policy.splits_mono:
        text += (
            " **On mono recordings some of what is scored as the customer's is an agent's all the same** (deploy/docs/DIARIZATION.md "
            "states the share on a test set): inferring emotion at work is prohibited in the EU, whether it is meant or not."
        )
    if not facts.policy.notice_required:
        text += " Calls of which it is unknown whether notice was given are scored; `customers_with_notice` withholds them."
    return text


def agents(facts: Facts) -> str:
    """What keeps agents from being scored and watched."""
    scored = sum(count for role, count in facts.lists["roles"] if role in ("agent", "unknown"))
    offences = facts.checks["emotion_against_policy"]
    return (
        f"{policy_in_force(facts)} Calls in the lake with emotion of an agent or an unknown role: {scored}; rows "
        f"against their policy: {offences}. "
        f"Figures by agent have no emotion and at least {facts.settings.min_calls_by_agent} calls (SER_MIN_CALLS_BY_AGENT); "
        "the dashboard and alerts know no agents. `ser sql` reads rows of single calls: give it to few."
    )


def extent(facts: Facts) -> str:
    """How many calls, over which days."""
    figures = facts.figures
    if not figures["calls"]:
        return "The lake has no calls yet: make the sheet again after the first nights."
    days = f"{figures['first_day'] or 'unknown'} to {figures['last_day'] or 'unknown'}"
    return (
        f"{figures['calls']:,} calls of {days}, {figures['audio_h']:,.1f} h of audio, {figures['customers']:,} callers' and "
        f"{figures['agents']:,} agents' pseudonyms."
    )


def notice(facts: Facts) -> str:
    """In how many calls notice was given."""
    figures = facts.figures
    return (
        f"Calls with notice: {figures['informed']:,}; without: {figures['not_informed']:,} (never scored); unknown: "
        f"{figures['notice_unknown']:,}. Offences found by the check emotion_without_notice: {facts.checks['emotion_without_notice']}."
    )


def rights_of_callers() -> str:
    """Which command serves which right."""
    return (
        "Access: `ser pseudonym`, then `ser sql`, and `ser access` for who saw or heard a call. Erasure: `ser erase`, "
        "with a signed receipt. "
        "Restriction: `ser hold`. Objection and withdrawal: `notice_given` false in the sidecar withholds a call and "
        "takes its emotion away. "
        "Rectification: a corrected sidecar makes a new version."
    )


def intended() -> str:
    """The intended purpose."""
    return (
        "To estimate, in figures over many calls, in which queues and periods callers sound angry, happy, sad or "
        "neutral, and to find calls "
        "that a person then judges."
    )


def prohibited() -> str:
    """What it must not be used for."""
    return (
        "To infer emotions of people at work or in education (but for medical or safety reasons); to decide or help to decide about a "
        "person; as proof of what somebody felt; to rate agents."
    )


def model_facts(facts: Facts) -> str:
    """The bundle."""
    bundle = facts.bundle
    return (
        f"Bundle `{bundle.name}`, version {bundle.version}: model `{bundle.model}` on features `{bundle.feature_set_id}`, labels "
        f"{', '.join(bundle.labels)}. A segment is unsure below a confidence of {bundle.unsure_below:.2f}."
    )


def accuracy(facts: Facts) -> str:
    """Scores on unseen speakers and corpora."""
    scores = facts.bundle.scores
    parts = [
        scores_in_words("Unseen speakers", scores.get("test", {})),
        scores_in_words("unseen corpora", scores.get("unheard_corpora", {})),
    ]
    stated = "; ".join(part for part in parts if part)
    if not stated:
        return "**Not stated**: the bundle has no scores; a bundle of `ser train` has, and `ser evaluate` measures them on labelled calls."
    return f"{stated}. Acted or other speech than these calls': " + to_write("what `ser evaluate` measured on labelled calls of this site")


def scores_in_words(where: str, scores: dict[str, Any]) -> str:
    """One set of scores of a bundle; empty where it has none."""
    every = scores.get("all", {})
    if "ua" not in every:
        return ""
    text = f"{where}: UA (mean recall) {every['ua']:.2f}"
    if interval := every.get("ua_interval_95"):
        text += f" ({interval[0]:.2f} to {interval[1]:.2f})"
    if "error_covered" in every and every["error_covered"] is not None:
        text += f", wrong among sure labels {every['error_covered']:.0%}"
    return text


def recalls(facts: Facts) -> str:
    """Recall by emotion."""
    recall = facts.bundle.scores.get("test", {}).get("all", {}).get("recall", {})
    stated = ", ".join(f"{markdown_text(label)} {value:.2f}" for label, value in recall.items() if value is not None)
    return f"Recall: {stated}." if stated else "**Not stated**: the bundle has no recalls; a bundle of `ser train` has."


def robustness(facts: Facts) -> str:
    """Scores under line conditions."""
    conditions = facts.bundle.scores.get("robustness", {})
    stated = ", ".join(f"{markdown_text(name)} {each['ua']:.2f}" for name, each in conditions.items() if "ua" in each)
    if not stated:
        return "**Not stated**: the bundle has no scores under line conditions; `ser evaluate` measures them."
    return f"UA under line conditions: {stated}."


def groups(facts: Facts) -> str:
    """Scores by corpus, and what was not measured."""
    corpora = {name: each for name, each in facts.bundle.scores.get("test", {}).items() if name != "all" and "ua" in each}
    stated = ", ".join(f"{markdown_text(name)} {each['ua']:.2f}" for name, each in corpora.items())
    text = f"UA by corpus, and so by language: {stated}. " if stated else ""
    return (
        f"{text}Languages of the calls: {listed(facts, 'languages', 'calls')} Not measured by age, sex, accent, illness or disability: "
        + to_write("what is known of the callers, and a measurement on labelled calls of each group")
    )


def training_data(facts: Facts) -> str:
    """Corpora and licences."""
    corpora = [
        f"{markdown_text(each.get('corpus', 'unnamed')) or 'unnamed'} ({markdown_text(each.get('licence', '')) or 'licence not stated'})"
        for each in facts.bundle.training_data
    ]
    if not corpora:
        return "**Not stated**: the bundle names no training data; a bundle of `ser train` does."
    return f"{', '.join(corpora)}. No call of this site was used. Details: the bundle's MODEL_CARD.md."


def interpretation(facts: Facts) -> str:
    """How to read the output."""
    share = facts.figures["share_unsure"]
    seen = f" Here {share:.0%} of scored speech is unsure, on average over calls." if share is not None else ""
    return (
        "Read shares over many calls with their 95 % intervals and compare periods, never single persons; a person listens before anything "
        f"follows from a call.{seen} The dashboard links every figure to its calls and its SQL."
    )


def input_data(facts: Facts) -> str:
    """What is read, and what is assumed."""
    roles = ", ".join(f"{channel}: {role}" for channel, role in sorted(facts.settings.channel_roles.items()))
    default = f"default roles {markdown_text(roles)} (SER_CHANNEL_ROLES)" if roles else "no default roles (SER_CHANNEL_ROLES)"
    return (
        f"Call recordings, analysed at 8 kHz; who is on which channel, and whether notice was given, from sidecar or file name; {default}. "
        "A channel of unknown role counts as an agent's. " + to_write("why these calls represent those that the purpose is about")
    )


def logs(facts: Facts) -> str:
    """What is recorded, and where."""
    return (
        "Each night is a row of `runs`, each recording one of `outcomes` with reason, model, policy and code version; deletions in "
        f"`deletions`; accesses of calls in the access log ({markdown_text(facts.access_log)}), listed by `ser access`."
    )


def security(facts: Facts) -> list[Row]:
    """Measures of security, one field each."""
    settings = facts.settings
    key = "set" if settings.pseudonym_key else "**Not stated**: set SER_PSEUDONYM_KEY; without it ids are left out"
    sign_in = (
        f"by a proxy; {len(settings.dashboard_groups)} groups in SER_DASHBOARD_GROUPS"
        if settings.dashboard_secret
        else "none: the dashboard answers its own machine only (SER_DASHBOARD_SECRET is not set)"
    )
    return [
        Row("Pseudonyms", f"HMAC-SHA256 under SER_PSEUDONYM_KEY: {key}.", "GDPR Art. 25, 32(1)(a)"),
        Row("Sign-in and rights by queue", f"{sign_in[0].upper()}{sign_in[1:]}.", "GDPR Art. 5(1)(f), 32"),
        Row(
            "Accesses are logged",
            f"Listening, pages of single calls and CSVs; refused where the log cannot be written. {markdown_text(facts.access_log)}.",
            "GDPR Art. 5(2), 32; AI Act Art. 12",
        ),
        Row(
            "Encryption and backups",
            to_write("of the stores at rest and in transit, and how a loss is recovered"),
            "GDPR Art. 32(1)(a)-(c)",
        ),
        Row("Breaches", to_write("who notices, decides and notifies within 72 hours"), "GDPR Art. 33, 34"),
    ]


def health(facts: Facts) -> list[Row]:
    """Checks and doctor."""
    bad = {name: rows for name, rows in facts.checks.items() if rows}
    checks = ", ".join(f"{name}: {rows} rows" for name, rows in sorted(bad.items())) or f"All {len(facts.checks)} checks pass"
    doctor = ", ".join(facts.findings) or "Nothing found"
    return [
        Row("Checks of the tables", f"{checks}.", "AI Act Art. 15, 26(5); GDPR Art. 32(1)(d)"),
        Row("The doctor", f"{doctor}.", "AI Act Art. 15, 26(5); GDPR Art. 32(1)(d)"),
    ]


def kept_tables(facts: Facts, table: str) -> str:
    """How long a table is kept."""
    kept: str | tuple[str, ...] = KEPT.get(table, f"keep_{table}_days")
    names = [name for name in ([kept] if isinstance(kept, str) else kept) if name in type(facts.settings).model_fields]
    if not names:
        return "No setting deletes it by age. " + to_write("until when it is needed, and who deletes it")
    return "; ".join(setting(getattr(facts.settings, name), f"SER_{name.upper()}", " days") for name in names) + "."


def categories_of_data() -> str:
    """Categories of data."""
    return (
        "Of callers: times of speech, loudness, probabilities of emotions, pseudonym, queue, language, whether notice "
        "was given. Of agents: "
        "times of speech, loudness, interruptions, pseudonym. Of viewers: name, what they accessed and when. Recordings "
        "stay in their store."
    )


def listed(facts: Facts, name: str, unit: str) -> str:
    """The rows of a list."""
    rows = [f"{markdown_text(label) or 'unnamed'} {figure}" for label, figure in facts.lists[name]]
    return f"{', '.join(rows)} ({unit})." if rows else "None yet."


def joined(rows: list[Row]) -> str:
    """Several fields as one."""
    return " ".join(f"{row.about}: {row.known}" for row in rows)
