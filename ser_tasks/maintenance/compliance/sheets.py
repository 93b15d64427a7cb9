"""The sheets: which facts each states, beside the provision that asks for them. SHEETS lists them."""

from collections.abc import Callable

from ser_tasks.html_page import markdown_text
from ser_tasks.maintenance.compliance.facts import Facts
from ser_tasks.maintenance.compliance.sheet import Row, Sheet, deployer, setting, to_write
from ser_tasks.maintenance.compliance.values import (
    accuracy,
    agents,
    categories_of_data,
    extent,
    groups,
    health,
    input_data,
    intended,
    interpretation,
    joined,
    kept_tables,
    listed,
    logs,
    model_facts,
    notice,
    policy_in_force,
    processing,
    prohibited,
    recalls,
    rights_of_callers,
    robustness,
    security,
    training_data,
)
from ser_tasks.maintenance.erasure import NOT_REACHED


def dpia(facts: Facts) -> Sheet:
    """Facts for a data protection impact assessment."""
    return Sheet(
        "Facts for a data protection impact assessment",
        "For the assessment of Art. 35 GDPR. A deployer of a high-risk AI system uses the provider's information for it "
        "(AI Act, Art. 26(9)); "
        "where Art. 27 AI Act asks for a fundamental rights impact assessment, that one complements it (Art. 27(4)).",
        {
            "Description of the processing": [
                Row("Controller", deployer(facts, "controller"), "GDPR Art. 4(7), 26"),
                Row("Data protection officer, whose advice is sought", deployer(facts, "privacy_officer"), "GDPR Art. 35(2), 37-39"),
                Row("Purposes", deployer(facts, "purpose"), "GDPR Art. 5(1)(b), 35(7)(a)"),
                Row("What is done", processing(facts), "GDPR Art. 35(7)(a); AI Act Art. 3(39)"),
                Row("Whose emotion is inferred", policy_in_force(facts), "AI Act Art. 5(1)(f), Annex III point 1(c)"),
                Row("Extent", extent(facts), "GDPR Art. 35(7)(a)"),
                Row("Outcomes", listed(facts, "outcomes", "recordings"), "GDPR Art. 35(7)(a)"),
                Row("Roles whose emotion the lake has", listed(facts, "roles", "calls"), "AI Act Art. 5(1)(f)"),
                Row("Retention", "See the retention schedule, `retention.md`.", "GDPR Art. 5(1)(e)"),
            ],
            "Necessity and proportionality": [
                Row("Legal basis", deployer(facts, "legal_basis"), "GDPR Art. 6"),
                Row("Special categories", deployer(facts, "special_categories"), "GDPR Art. 9"),
                Row("Necessity", to_write("why the purposes cannot be reached without inferring emotion"), "GDPR Art. 35(7)(b), 5(1)(c)"),
                Row("Callers are informed", notice(facts), "AI Act Art. 50(3); GDPR Art. 13, 14"),
                Row("Text of the notice", deployer(facts, "notice"), "AI Act Art. 50(3), 50(5); GDPR Art. 12-14"),
                Row("Rights of callers", rights_of_callers(), "GDPR Art. 15-21"),
                Row("Who answers them", deployer(facts, "objections"), "GDPR Art. 12(2), 12(3)"),
                Row(
                    "Automated decisions",
                    "The software makes none: it writes tables and pages. "
                    + to_write("whether anybody decides about a person by them, and how that is prevented"),
                    "GDPR Art. 22; AI Act Art. 26(11), 86",
                ),
                Row("Processors and recipients", deployer(facts, "recipients"), "GDPR Art. 28, 30(1)(d)"),
                Row("Transfers", deployer(facts, "transfers"), "GDPR Art. 44-49"),
                Row("Views of callers or their representatives", to_write("what they said, or why they were not asked"), "GDPR Art. 35(9)"),
            ],
            "Risks": [
                Row("A label is wrong", accuracy(facts), "GDPR Art. 5(1)(d), 35(7)(c)"),
                Row(
                    "Some groups are judged worse than others",
                    groups(facts),
                    "GDPR Art. 5(1)(a), 35(7)(c)",
                ),
                Row("People at work are scored", agents(facts), "AI Act Art. 5(1)(f); GDPR Art. 88"),
                Row(
                    "Callers are identified",
                    "Ids are "
                    + ("HMAC-SHA256 pseudonyms" if facts.settings.pseudonym_key else "left out (SER_PSEUDONYM_KEY is not set)")
                    + "; phone numbers and ids in keys are masked. Pseudonyms are personal data for whoever has the key or the recordings.",
                    "GDPR Art. 4(5), 25, 32(1)(a)",
                ),
                Row("Other risks", to_write("each risk to callers and workers, with likelihood and severity"), "GDPR Art. 35(7)(c)"),
            ],
            "Measures": [*security(facts), *health(facts)],
            "Result": [
                Row("Remaining risk", to_write("its assessment, and whether the authority is consulted first"), "GDPR Art. 35(7)(d), 36"),
                Row(
                    "Review",
                    to_write("when it is reviewed: at least where the risk changes, as by another model or policy"),
                    "GDPR Art. 35(11)",
                ),
            ],
        },
    )


def instructions(facts: Facts) -> Sheet:
    """Instructions for deployers."""
    bundle = facts.bundle
    return Sheet(
        "Instructions for deployers",
        "The information of Art. 13(3) AI Act for those who use the system, and what Art. 26 asks of them. Emotion "
        "recognition, where it is "
        "permitted, is listed as high-risk (Art. 6(2), Annex III point 1(c)). Who puts it into service under their own "
        "name, also for their "
        "own use, is its provider (Art. 3(3), 3(11)).",
        {
            "The system": [
                Row("Provider", deployer(facts, "controller"), "AI Act Art. 13(3)(a), 16(b)"),
                Row("Intended purpose", intended(), "AI Act Art. 13(3)(b)(i), 3(12)"),
                Row("Purpose here", deployer(facts, "purpose"), "AI Act Art. 26(1)"),
                Row("Not to be used", prohibited(), "AI Act Art. 5(1)(f), 13(3)(b)(iii)"),
                Row("Policy in force", policy_in_force(facts), "AI Act Art. 5(1)(f)"),
                Row("Model", model_facts(facts), "AI Act Art. 13(3)(b)"),
                Row("Accuracy", accuracy(facts), "AI Act Art. 13(3)(b)(ii), 15(3)"),
                Row("By emotion", recalls(facts), "AI Act Art. 13(3)(b)(ii)"),
                Row("Robustness", robustness(facts), "AI Act Art. 13(3)(b)(ii), 15(4)"),
                Row("Groups of persons", groups(facts), "AI Act Art. 13(3)(b)(v)"),
                Row("Training data", training_data(facts), "AI Act Art. 13(3)(b)(vi), 10"),
                Row("To interpret the output", interpretation(facts), "AI Act Art. 13(3)(b)(iv), 13(3)(b)(vii), 13(3)(d)"),
                Row(
                    "Changes",
                    "A new bundle or policy makes new rows under another version; rows name their version.",
                    "AI Act Art. 13(3)(c)",
                ),
                Row(
                    "Resources, lifetime and maintenance",
                    "Runs on CPU or a GPU (`ser bench` measures it). "
                    + to_write("the expected lifetime, and who updates software and bundle, how often"),
                    "AI Act Art. 13(3)(e)",
                ),
                Row("Logs", logs(facts), "AI Act Art. 12, 13(3)(f)"),
                Row(
                    "Licence of the weights",
                    markdown_text(bundle.licence) or to_write("the licence of this bundle"),
                    "AI Act Art. 13(3)(b)",
                ),
            ],
            "What the deployer does": [
                Row("Oversight", deployer(facts, "oversight"), "AI Act Art. 14, 26(2), 4"),
                Row("Input data", input_data(facts), "AI Act Art. 26(4), 13(3)(b)(vi)"),
                Row(
                    "Monitoring",
                    "Night's report, alert rules, drift and checks (OPERATIONS.md). "
                    + to_write("who reads them, and who stops the system and informs the provider of a risk or serious incident"),
                    "AI Act Art. 26(5), 72, 73",
                ),
                Row(
                    "Keeping logs",
                    f"At least six months. Access log: {setting(facts.settings.keep_access_days, 'SER_KEEP_ACCESS_DAYS', ' days')}. "
                    "`runs` and `outcomes` are not deleted by age with call_emotions.",
                    "AI Act Art. 26(6), 19",
                ),
                Row("Workers are informed", deployer(facts, "workers"), "AI Act Art. 26(7)"),
                Row("Callers are informed", notice(facts), "AI Act Art. 50(3), 26(11)"),
                Row("Impact assessment", "Facts: `dpia.md`. " + to_write("the assessment itself"), "AI Act Art. 26(9), 27; GDPR Art. 35"),
                Row(
                    "Registration",
                    to_write("whether the deployer is a public authority that registers its use, and the provider's registration"),
                    "AI Act Art. 26(8), 49",
                ),
            ],
            "State of this installation": health(facts),
        },
    )


def annex_iv(facts: Facts) -> Sheet:
    """Skeleton of the technical documentation."""
    return Sheet(
        "Technical documentation: skeleton after Annex IV",
        "The points of Annex IV to the AI Act, for the technical documentation of Art. 11(1) that the provider of a "
        "high-risk system draws up "
        "before it is put into service, and keeps for ten years (Art. 18).",
        {
            "1. General description": [
                Row("Intended purpose, provider, version", f"{intended()} ser-nightly {facts.code_version}.", "Annex IV point 1(a)"),
                Row("Name of the provider", deployer(facts, "controller"), "Annex IV point 1(a)"),
                Row("Interaction with other systems", "Object store, Prefect, DuckDB, mail and webhook: README.md.", "Annex IV point 1(b)"),
                Row("Versions of software", "deploy/constraints.txt; every row has code_version and model.", "Annex IV point 1(c)"),
                Row("Forms in which it is supplied", "Python package, container image, systemd units: deploy/.", "Annex IV point 1(d)"),
                Row("Hardware", to_write("the machines that it runs on; `ser bench` describes them"), "Annex IV point 1(e)"),
                Row("Illustrations of products", "None: it is no component of a product.", "Annex IV point 1(f)"),
                Row("User interface", "The dashboard (OPERATIONS.md, The dashboard) and the command `ser`.", "Annex IV point 1(g)"),
                Row("Instructions for use", "`instructions.md`, OPERATIONS.md, sql/ANALYSTS.md.", "Annex IV point 1(h)"),
            ],
            "2. Elements and development": [
                Row("Methods, third-party tools", f"{model_facts(facts)} Made by `ser train`.", "Annex IV point 2(a)"),
                Row("Design and its choices", "deploy/docs/decisions.md; bundle card.", "Annex IV point 2(b)"),
                Row("Architecture and resources", ".github/CONTRIBUTING.md (layout), deploy/GROWTH.md (figures).", "Annex IV point 2(c)"),
                Row("Data", training_data(facts), "Annex IV point 2(d), Art. 10"),
                Row("Human oversight", deployer(facts, "oversight"), "Annex IV point 2(e), Art. 14"),
                Row(
                    "Pre-determined changes",
                    "None: the model does not learn from calls. " + to_write("planned changes of bundle or policy"),
                    "Annex IV point 2(f)",
                ),
                Row("Validation and testing", f"{accuracy(facts)} {recalls(facts)} {robustness(facts)}", "Annex IV point 2(g)"),
                Row(
                    "Test logs and reports", to_write("dated and signed reports of `ser evaluate` and of the tests"), "Annex IV point 2(g)"
                ),
                Row("Cybersecurity", joined(security(facts)), "Annex IV point 2(h), Art. 15"),
            ],
            "3. Monitoring, functioning and control": [
                Row("Capabilities and limitations", accuracy(facts), "Annex IV point 3"),
                Row("Accuracy for groups of persons", groups(facts), "Annex IV point 3"),
                Row("Foreseeable unintended outcomes", prohibited(), "Annex IV point 3"),
                Row("Input data", input_data(facts), "Annex IV point 3"),
                Row("Oversight measures", interpretation(facts), "Annex IV point 3, Art. 14"),
                *health(facts),
            ],
            "4. to 9.": [
                Row(
                    "Why these metrics",
                    "UA, the mean recall, weighs each emotion alike, however rare; ECE shows whether confidences may be "
                    "believed; intervals are "
                    "over speakers. " + to_write("whether they fit the purpose here"),
                    "Annex IV point 4",
                ),
                Row(
                    "Risk management system",
                    to_write("the system of Art. 9: known risks, measures, what remains"),
                    "Annex IV point 5, Art. 9",
                ),
                Row("Changes over the lifecycle", "deploy/docs/CHANGELOG.md, and the versions below.", "Annex IV point 6"),
                Row("Versions in the lake", listed(facts, "versions", "recordings"), "Annex IV point 6"),
                Row(
                    "Harmonised standards",
                    to_write("standards applied in full or part, or how Art. 8-15 are met without"),
                    "Annex IV point 7",
                ),
                Row("Declaration of conformity", to_write("a copy of the EU declaration"), "Annex IV point 8, Art. 43, 47"),
                Row("Post-market monitoring", to_write("the plan; reports, alerts and drift give figures"), "Annex IV point 9, Art. 72"),
            ],
        },
    )


def retention(facts: Facts) -> Sheet:
    """The retention schedule."""
    settings, oldest = facts.settings, dict(facts.lists["oldest"])

    def row(what: str, table: str, rule: str) -> Row:
        day = oldest.get(table)
        return Row(what, f"{rule} Oldest day: {day or 'none yet'}.", "GDPR Art. 5(1)(e), 30(1)(f)")

    law = "GDPR Art. 5(1)(e), 30(1)(f)"
    return Sheet(
        "Retention schedule",
        "How long each kind of data is kept (GDPR Art. 5(1)(e), 13(2)(a), 30(1)(f)), and what deletes it. `ser "
        "retention --delete` applies it.",
        {
            "In the lake": [
                row("`segments`: emotion of each stretch of speech", "segments", kept_tables(facts, "segments")),
                row("`call_emotions`: emotion and facts of each call", "call_emotions", kept_tables(facts, "call_emotions")),
                Row(
                    "`reviews`: what reviewers heard, with notes in free text and their names; `review_samples`",
                    f"{kept_tables(facts, 'reviews')} By the day of their call.",
                    law,
                ),
                Row("`reports/`, `alerts`", f"{kept_tables(facts, 'reports')} By the day of their night.", law),
                row("`recordings`: the manifest", "recordings", kept_tables(facts, "recordings")),
                row("`outcomes`: what happened to each recording", "outcomes", kept_tables(facts, "outcomes")),
                Row("`runs`: the nights", kept_tables(facts, "runs"), law),
                Row("`quarantine/`: broken parts, moved aside", kept_tables(facts, "quarantine"), law),
                Row(
                    "`deletions`, `erasures/`, `holds/`",
                    "Kept: they show what was deleted, and keep it from coming back.",
                    "GDPR Art. 5(2)",
                ),
                Row("Frame features", "Private scratch, for the length of a chunk; those of a killed run go with the next.", law),
            ],
            "Beside the lake": [
                Row("Recordings and sidecars", deployer(facts, "recordings"), law),
                Row(
                    "Access log",
                    f"{setting(settings.keep_access_days, 'SER_KEEP_ACCESS_DAYS', ' days')}. In {markdown_text(facts.access_log)}.",
                    "GDPR Art. 5(1)(e), 5(2), 32",
                ),
                Row("Prefect's runs, logs and artifacts", to_write("the server's own retention (OPERATIONS.md, Retention)"), law),
                Row("Backups, mails, exports", to_write("how long each is kept"), law),
            ],
            "Deletion": [
                Row("Days deleted so far", listed(facts, "deletions", "days"), "GDPR Art. 5(2)"),
                Row("Legal holds", f"{facts.holds} in force (`ser hold`).", "GDPR Art. 17(3)(e), 18"),
                Row("Erasures", f"{facts.erasures} signed receipts (`ser erase`).", "GDPR Art. 17, 19"),
                Row("What an erasure does not reach", "; ".join(NOT_REACHED) + ".", "GDPR Art. 17, 19"),
            ],
        },
    )


def record(facts: Facts) -> Sheet:
    """Facts for the record of processing."""
    return Sheet(
        "Facts for the record of processing activities",
        "The points of Art. 30(1) GDPR, for the controller's record.",
        {
            "Record": [
                Row("Controller", deployer(facts, "controller"), "GDPR Art. 30(1)(a)"),
                Row("Data protection officer", deployer(facts, "privacy_officer"), "GDPR Art. 30(1)(a)"),
                Row("Purposes", deployer(facts, "purpose"), "GDPR Art. 30(1)(b)"),
                Row(
                    "Data subjects",
                    f"Callers ({facts.figures['customers']} pseudonyms) and agents ({facts.figures['agents']}).",
                    "GDPR Art. 30(1)(c)",
                ),
                Row("Data", categories_of_data(), "GDPR Art. 30(1)(c)"),
                Row("Special categories", deployer(facts, "special_categories"), "GDPR Art. 9, 30(1)(c)"),
                Row("Recipients", deployer(facts, "recipients"), "GDPR Art. 30(1)(d), 28"),
                Row("Transfers", deployer(facts, "transfers"), "GDPR Art. 30(1)(e)"),
                Row("Time limits", "`retention.md`.", "GDPR Art. 30(1)(f)"),
                Row("Security measures", joined(security(facts)), "GDPR Art. 30(1)(g), 32(1)"),
            ]
        },
    )


SHEETS: dict[str, Callable[[Facts], Sheet]] = {
    "dpia": dpia,
    "instructions": instructions,
    "annex-iv": annex_iv,
    "retention": retention,
    "record-of-processing": record,
}
"""The sheets by the name of their files."""
