"""A sheet: sections of rows, each with what it is about, what is known, and the law that asks for it. No field can be empty."""

from dataclasses import dataclass

from ser_tasks.html_page import markdown_table, markdown_text
from ser_tasks.maintenance.compliance.facts import Facts
from ser_tasks.settings import Deployer

NOT_ADVICE = (
    "**Not legal advice.** This sheet states facts of this installation and which provision asks for them. Whether they satisfy the law is "
    "for the deployer and their counsel to decide, as are the dates from which provisions apply (AI Act, Art. 113) and later amendments."
)
LAWS = (
    "AI Act: Regulation (EU) 2024/1689. GDPR: Regulation (EU) 2016/679. A field that begins with **To write** is for "
    "the deployer; one that "
    "begins with **Not stated** is filled by the setting it names."
)


@dataclass(frozen=True)
class Row:
    """One field. Raises ValueError where anything of it is empty."""

    about: str
    known: str
    """Markdown."""
    law: str

    def __post_init__(self) -> None:
        if not all(text.strip() for text in (self.about, self.known, self.law)):
            raise ValueError(f"A field of a sheet is empty: {self}")


@dataclass(frozen=True)
class Sheet:
    """A sheet, and its Markdown."""

    title: str
    purpose: str
    """What it is for, with the law."""
    sections: dict[str, list[Row]]

    def markdown(self, facts: Facts) -> str:
        """The sheet as Markdown."""
        latest = facts.figures["scored_at"]
        of = f"{markdown_text(facts.lake)}, " + (f"with calls scored up to {latest:%Y-%m-%d %H:%M} UTC" if latest else "without calls yet")
        bundle = f"{facts.bundle.name}, version {facts.bundle.version}"
        lines = [
            f"# {self.title}",
            self.purpose,
            NOT_ADVICE,
            f"Of the lake {of}; bundle {bundle}; policy {facts.policy.name}; ser-nightly {facts.code_version}. {LAWS}",
        ]
        for heading, rows in self.sections.items():
            lines += [f"## {heading}", markdown_table(["what", "known", "law"], [[row.about, row.known, row.law] for row in rows])]
        return "\n\n".join(lines) + "\n"


def to_write(what: str) -> str:
    """A field that only the deployer can fill."""
    return f"**To write** by the deployer: {what}."


def setting(value: object, name: str, unit: str = "") -> str:
    """The value of a setting, or that it is not stated."""
    return f"**Not stated**: set {name}" if value in (None, "", {}, ()) else f"{markdown_text(value)}{unit} ({name})"


def deployer(facts: Facts, field: str) -> str:
    """What SER_DEPLOYER says, or what to write there."""
    value = getattr(facts.settings.deployer, field)
    if value and any(each.isprintable() and not each.isspace() for each in value):
        return markdown_text(value)
    return f'**Not stated**: set "{field}" in SER_DEPLOYER: {Deployer.model_fields[field].description}.'
