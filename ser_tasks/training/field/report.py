"""The report of the field: Parquet rows, Markdown with charts, HTML, and the page ``deploy/docs/FIELD.md``."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from ser_tasks.html_page import CHART_CONFIG, html_page, markdown_table, svg_of
from ser_tasks.training.field.costs import cpu_s, fitting_s, folds_of_sizes
from ser_tasks.training.field.rows import MARKS, MUSEUM, ROWS, FieldRow
from ser_tasks.training.field.table import FAIR

BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#767676"
NINETIES = 0.9
READING = (
    "Leaky twin: the paper's own protocol: random clips; scaling, selection, oversampling and augmentation before the split; a network's "
    "best epoch on the tested clips. Honest: whole speakers are tested, everything is fitted inside the training fold, and a network's "
    "epoch is chosen on speakers held out of it. Flattery: leaky less honest. A twin tests a fifth of the clips five times over, of "
    "networks once."
)

CUT = (
    "To run the whole table on two cores within 3 hours, each system takes so many clips of a corpus, drawn evenly over its speakers and "
    "emotions; networks train for so many epochs on pieces of 2 s at most, their twin tests one random fifth, and costly ones test no "
    "further speakers than are needed for an interval. Both columns of a system are of the same clips."
)

ACTED_WORDS = (
    "Acted sentences carry no emotion in their words: actors say the same ones with every emotion. So the text branch of MDRE, whose words "
    "come from labels or from a transcript beside the recording, has nothing to learn from them but which sentence was recorded with which "
    "emotion how often."
)
MDRE = ("mdre_text", "mdre_audio", "mdre")
"""Its text alone, its audio alone, and both."""


def write_field_report(table: pd.DataFrame, rows: pd.DataFrame, chosen: list[FieldRow], missing: dict[str, str], out: Path) -> None:
    """Writes ``field.parquet`` (the table), ``rows.parquet`` (tested clips), ``field.md``, ``field.html`` and ``field.svg``."""
    out.mkdir(parents=True, exist_ok=True)
    table.to_parquet(out / "field.parquet", index=False)
    rows.to_parquet(out / "rows.parquet", compression="zstd", index=False)
    text, pictures = f"# The field, run again\n\n{field_markdown(table, chosen, missing)}\n", {}
    if table["flattery"].notna().any():
        svg = svg_of(field_chart(table))
        (out / "field.svg").write_text(svg, encoding="utf-8")
        text, pictures = f"{text}\n![published, leaky and honest](field.svg)\n", {"field.svg": svg.encode()}
    (out / "field.md").write_text(text, encoding="utf-8")
    (out / "field.html").write_text(html_page("The field, run again", text, pictures), encoding="utf-8")


def field_markdown(table: pd.DataFrame, chosen: list[FieldRow], missing: dict[str, str]) -> str:
    """The finding and the tables as Markdown. ``missing`` says why systems were not run, by name."""
    header = [
        "row",
        "as the brief says",
        "as the paper says",
        "published",
        "checked",
        "system here",
        "leaky twin, UA",
        "honest, UA (95 % over speakers)",
        "flattery, points",
        "what leaked",
        "parameters",
        "audio-hours/hour, one core",
    ]
    lines = [line for row in chosen for line in _lines_of(row, table, missing)]
    marks = "; ".join(f"*{mark}*: {meaning}" for mark, meaning in MARKS.items())
    sections = [
        _wrapped(finding(table)),
        _wrapped(_corpora(table)),
        _wrapped(f"{READING} Checked: {marks}."),
        markdown_table(header, lines),
        f"## What words add\n\n{words_section(table)}",
        f"## What was cut\n\n{_wrapped(CUT)}\n\n{_wrapped(time_taken(table))}\n\n{_cuts()}",
        "## Twins that miss the published figure\n\n" + _unfair(table),
        "## More claims of the kind, not run\n\n" + markdown_table(["claim", "what was done", "checked"], MUSEUM),
    ]
    return "\n\n".join(sections)


def finding(table: pd.DataFrame) -> str:
    """How much of the leaky figures, and of published ones of 90 % and more, is leak."""
    both = table.dropna(subset=["flattery"]).drop_duplicates(["system", "corpus"])
    if both.empty:
        return "Nothing is measured yet."
    text = [
        f"Over {len(both)} pairs of system and corpus, the leaky protocol is better than the honest one by "
        f"{100 * both['flattery'].mean():.0f} points of UA in the mean (from {100 * both['flattery'].min():.0f} "
        f"to {100 * both['flattery'].max():.0f})."
    ]
    own = both[both["leaky_wa"] >= NINETIES]
    if len(own):
        twin, new = (100 * own[name].mean() for name in ("leaky_wa", "honest_wa"))
        reach = "reaches" if len(own) == 1 else "reach"
        text.append(
            f"{len(own)} of our own twins {reach} {100 * NINETIES:.0f} % and more ({twin:.1f} % in the mean); on new speakers the same "
            f"systems have {new:.1f} % (WA)."
        )
    published = table.dropna(subset=["flattery", "published"])
    text += [
        _share_of_leak(chosen, what)
        for chosen, what in (
            (published[published["published"] >= NINETIES], f"Where {100 * NINETIES:.0f} % and more are published"),
            (published, "Over all published figures of a corpus that is here"),
        )
        if len(chosen)
    ]
    own = both.dropna(subset=["speaker_statistics_ua"])
    if len(own):
        text.append(
            "To standardise tested speakers by their own clips, which a call center has only after many calls, is worth "
            f"{100 * (own['speaker_statistics_ua'] - own['honest_ua']).mean():+.0f} points by itself."
        )
    return " ".join(text)


def _share_of_leak(published: pd.DataFrame, what: str) -> str:
    """What the papers publish, what the twins have, and what is left on new speakers; and how much of the difference the leak is."""
    paper, twin, new = (100 * published[name].mean() for name in ("published", "leaky_wa", "honest_wa"))
    pairs = "1 pair" if len(published) == 1 else f"{len(published)} pairs"
    leak = f"{twin - new:.0f} of these {paper - new:.0f} points ({100 * (twin - new) / (paper - new):.0f} %) are leak, as our twins have it"
    return (
        f"{what} ({pairs}), papers say {paper:.1f} % in the mean, our twins reach {twin:.1f} %, and on new speakers it is "
        f"{new:.1f} % (WA): {leak if paper > new else 'no point is missing'}; what the twins lack is explained below."
    )


def _corpora(table: pd.DataFrame) -> str:
    """What was measured on, and how much of the field was."""
    runnable = {(row.name, system.name) for row in ROWS.values() if not row.waits for system in row.systems}
    sizes = table.groupby("corpus").agg({"clips": "max", "speakers": "max", "emotions": "max", "system": "size"}).to_dict("index")
    named = [
        f"{name} ({size['emotions']} emotions; {size['clips']} clips and {size['speakers']} speakers at most; {size['system']} of "
        f"{len(runnable)} systems)"
        for name, size in sizes.items()
    ]
    return (
        f"Measured: {table['row'].nunique()} of {len(ROWS)} rows, on {', '.join(named) or 'no corpus'}. Emotions are the corpus's own, "
        "EMO-DB's boredom among them, which the product's taxonomy lacks."
    )


def time_taken(table: pd.DataFrame) -> str:
    """What the whole table takes by the estimate that ``ser field`` prints, and how far that estimate is off what was measured."""
    if table.empty:
        return "Nothing is measured yet."
    largest = table.groupby("corpus")[["speakers", "emotions", "clips"]].max().astype(int)
    folds = folds_of_sizes({str(corpus): {str(name): int(size) for name, size in each.items()} for corpus, each in largest.iterrows()})
    measured = table.drop_duplicates(["system", "corpus"])
    pairs = set(zip(measured["system"], measured["corpus"], strict=True))
    estimated_s = fitting_s([fold for fold in folds if (fold.system.name, fold.corpus) in pairs])
    whole_min = cpu_s(folds) / 60
    return (
        f"By the estimate that `ser field` prints before it starts, the whole table of {', '.join(map(str, largest.index))} takes "
        f"{whole_min:.0f} minutes of one core from nothing, features counted: {whole_min / 2:.0f} on two. Measured were the folds of "
        f"{len(pairs)} pairs of system and corpus: {measured['cpu_s'].sum() / 60:.0f} minutes of CPU time, features not counted, where the "
        f"estimate says {estimated_s / 60:.0f}."
    )


def words_section(table: pd.DataFrame) -> str:
    """What words of acted sentences add to MDRE, by its rows on speakers that nothing was fitted to: both branches, and each alone."""
    lines: list[list[str]] = []
    without: list[str] = []
    with_gain: list[str] = []
    for corpus, of_corpus in table[table["row"] == "mdre"].groupby("corpus", sort=False):
        by_system = of_corpus.set_index("system").to_dict("index")
        if not all(name in by_system and pd.notna(by_system[name]["honest_ua"]) for name in MDRE):
            continue
        text, audio, both = (by_system[name] for name in MDRE)
        gain = f"{100 * (both['honest_ua'] - audio['honest_ua']):+.0f}"
        (with_gain if both["honest_ua"] > audio["honest_high"] else without).append(f"{corpus} ({gain} points of UA)")
        lines.append([str(corpus), _share(1 / text["emotions"]), *map(_honest, (text, audio, both)), gain, _share(text["leaky_ua"])])
    if not lines:
        return _wrapped(f"{ACTED_WORDS} How much the text branch adds is not measured yet.")
    words = ACTED_WORDS
    if without:
        words += (
            f" Both branches together are not above the interval of the audio alone on {', '.join(without)}: the text adds nothing there."
        )
    if with_gain:
        words += f" They are above it on {', '.join(with_gain)}, where sentences and emotions do not come evenly."
    columns = ["corpus", "chance", "text alone, UA", "audio alone, UA", "both, UA", "the text adds, points", "text alone, random clips, UA"]
    return f"{_wrapped(words)}\n\n{markdown_table(columns, lines)}"


def _honest(line: Mapping[Any, Any]) -> str:
    return f"{_share(line['honest_ua'])} ({_share(line['honest_low'])} to {_share(line['honest_high'])})"


def _cuts() -> str:
    """What was cut, and of which systems."""
    systems: dict[str, dict[str, None]] = {}
    for row in ROWS.values():
        for system in row.systems:
            if not row.waits:
                systems.setdefault(system.cuts, {})[f"`{system.name}`"] = None
    return markdown_table(["cut to", "systems"], [[cuts, ", ".join(names)] for cuts, names in systems.items()])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 138, break_long_words=False, break_on_hyphens=False)


def field_chart(table: pd.DataFrame) -> alt.FacetChart:
    """For each system and corpus: the honest UA with its interval, the leaky twin, and the published figure where there is one."""
    shown = table.dropna(subset=["flattery"]).assign(name=lambda each: each["row"] + ": " + each["system"])
    names = {"honest_ua": "honest", "leaky_ua": "leaky twin", "published": "published"}
    points = shown.melt(["name", "corpus", "honest_low", "honest_high"], list(names), "what", "share").dropna(subset=["share"])
    points = points.assign(what=points["what"].map(names))
    y = alt.Y("name:N", axis=alt.Axis(title=None, labelLimit=420), sort=list(dict.fromkeys(shown["name"])))
    x = alt.X("share:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", title="UA (published: as the paper measures)"))
    colour = alt.Color("what:N", scale=alt.Scale(domain=list(names.values()), range=[BLUE, ORANGE, GREY]))
    base = alt.Chart()
    interval = base.transform_filter("datum.what == 'honest'").mark_rule(color=BLUE).encode(y=y, x="honest_low:Q", x2="honest_high:Q")
    chart: alt.FacetChart = (
        alt.layer(interval, base.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, color=colour))
        .properties(width=300, height=alt.Step(18))
        .facet(data=points, column=alt.Column("corpus:N", title=None))
        .properties(padding=CHART_CONFIG["padding"] | {"left": 70})  # names of 45 letters
    )
    return chart


def _lines_of(row: FieldRow, table: pd.DataFrame, missing: dict[str, str]) -> list[list[str]]:
    facts = [f"`{row.name}` ({row.number})", row.brief, row.paper, row.published, row.mark]
    if not row.systems:
        return [[*facts, row.waits, "–", "–", "–", row.leaks or "–", "–", "–"]]
    lines = []
    for system in row.systems:
        measured = table[(table["row"] == row.name) & (table["system"] == system.name)]
        name = f"`{system.name}`"
        if measured.empty:
            lines.append(
                [*facts, f"{name}: {row.waits or missing.get(system.name, 'not measured yet')}", "–", "–", "–", row.leaks, "–", "–"]
            )
        else:
            lines.append([*facts, name, *_figures(measured), row.leaks, *_cost(measured)])
        facts = [f"`{row.name}`", "", "", "", ""]
    return lines


def _figures(measured: pd.DataFrame) -> list[str]:
    by_corpus = measured.to_dict("records")
    leaky = [f"{line['corpus']} {_share(line['leaky_ua'])}" for line in by_corpus]
    honest = [f"{line['corpus']} {_honest(line)}" for line in by_corpus]
    own = [
        f"; by own statistics {line['corpus']} {_share(line['speaker_statistics_ua'])}"
        for line in by_corpus
        if pd.notna(line["speaker_statistics_ua"])
    ]
    flattery = [f"{line['corpus']} {100 * line['flattery']:+.0f}" for line in by_corpus if pd.notna(line["flattery"])]
    return [", ".join(leaky), ", ".join(honest) + "".join(own), ", ".join(flattery)]


def _cost(measured: pd.DataFrame) -> list[str]:
    parameters, speed = measured["parameters"].iloc[0], measured["audio_h_per_h"].iloc[0]
    return ["–" if pd.isna(parameters) else f"{parameters:,}", f"{speed:,.0f}"]


def _unfair(table: pd.DataFrame) -> str:
    """Each published figure beside its twin, and the reason of those that are further apart than 5 points."""
    compared = table.dropna(subset=["published"])
    compared = compared[compared["leaky_ua"].notna()]
    if compared.empty:
        return "No published figure is of a corpus that was measured."
    lines = [
        [
            f"`{line['row']}`",
            f"`{line['system']}`",
            line["corpus"],
            f"{line['published']:.1%}",
            f"{line['leaky_' + line['published_metric']]:.1%}",
            line["why_not"] if isinstance(line["why_not"], str) else f"within {100 * FAIR:.0f} points",
        ]
        for line in compared.to_dict("records")
    ]
    return markdown_table(["row", "system", "corpus", "published", "leaky twin", "why not"], lines)


def _share(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}".lstrip("0") if value < 1 else f"{value:.2f}"


__all__ = ["ROWS", "field_chart", "field_markdown", "finding", "write_field_report"]
