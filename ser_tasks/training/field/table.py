"""The field's table from the rows of tested clips: one row a row of the field, system and corpus."""

from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.evaluation.metrics import ua, wa
from ser_tasks.training.field.protocols import LEAKY
from ser_tasks.training.field.rows import ROWS, FieldRow, Published

RESAMPLES = 1000
"""Of the speakers, for the 95 % interval (percentile bootstrap)."""
METRICS = ("ua", "wa", "precision", "f1")
UNTESTED = "how much each of these takes was not tested"
FAIR = 0.05
"""A twin within this of the published figure needs no reason."""
COLUMNS = {
    "row": "string",
    "system": "string",
    "corpus": "string",
    "emotions": "Int64",
    "clips": "Int64",
    "speakers": "Int64",
    "published": "float64",
    "published_metric": "string",
    "leaky_ua": "float64",
    "leaky_wa": "float64",
    "leaky_precision": "float64",
    "leaky_f1": "float64",
    "honest_ua": "float64",
    "honest_low": "float64",
    "honest_high": "float64",
    "honest_wa": "float64",
    "honest_precision": "float64",
    "honest_f1": "float64",
    "flattery": "float64",
    "speaker_statistics_ua": "float64",
    "why_not": "string",
    "parameters": "Int64",
    "audio_h_per_h": "float64",
    "cpu_s": "float64",
}
"""Of the table. UA, which is the mean recall, WA, the mean precision over emotions and weighted F1 are 0 to 1; ``honest_low`` and
``honest_high`` are the 95 % interval of the honest UA over speakers; ``flattery`` is the leaky UA less the honest; ``audio_h_per_h`` is
audio-hours per CPU hour of one core; ``cpu_s`` is the CPU time of all folds, without features."""


def field_table(rows: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """The table from rows of tested clips (``rows.parquet``) and the cost of each system (system, parameters, audio_h_per_h)."""
    cost = costs.set_index("system")
    lines = []
    for keys, group in rows.groupby(["row", "system", "corpus"], sort=False):
        name, system, corpus = map(str, keys)
        row = ROWS[name]
        line: dict[str, Any] = {"row": name, "system": system, "corpus": corpus} | _scores(group)
        line |= {column: cost.at[system, column] for column in ("parameters", "audio_h_per_h")}
        line["cpu_s"] = float(group.groupby(["protocol", "fold"])["fold_cpu_s"].first().sum())
        published = published_of(row, system, corpus)
        line |= {"published": published.figure, "published_metric": published.metric} if published else {}
        lines.append(line | {"why_not": why_not(row, published, line)})
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype(COLUMNS)


def _scores(group: pd.DataFrame) -> dict[str, float | int | None]:
    honest, own = (group[group["protocol"] == name] for name in ("honest", "speaker_statistics"))
    leaky = group[group["protocol"].isin(LEAKY)]
    one = honest if len(honest) else group
    scores: dict[str, float | int | None] = {
        "emotions": int(one["emotion"].nunique()),
        "clips": int(one["file"].nunique()),
        "speakers": int(one["speaker"].nunique()),
    }
    if len(leaky):
        scores |= {f"leaky_{name}": score(leaky, name) for name in METRICS}
    if len(honest):
        low, high = speaker_interval(honest)
        scores |= {f"honest_{name}": score(honest, name) for name in METRICS} | {"honest_low": low, "honest_high": high}
    if len(leaky) and len(honest):
        scores["flattery"] = score(leaky, "ua") - score(honest, "ua")
    if len(own):
        scores["speaker_statistics_ua"] = score(own, "ua")
    return scores


def score(rows: pd.DataFrame, metric: str) -> float:
    """A metric of ``METRICS``, of rows of tested clips, of all folds together. An emotion that was never predicted has precision 0."""
    truth, predicted = rows["emotion"].to_numpy(str), rows["predicted"].to_numpy(str)
    if metric in ("ua", "wa"):
        return (ua if metric == "ua" else wa)(truth, predicted)
    from sklearn.metrics import f1_score, precision_score

    if metric == "f1":
        return float(f1_score(truth, predicted, average="weighted", zero_division=0))
    return float(precision_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))


def speaker_interval(rows: pd.DataFrame, seed: int = 0) -> tuple[float, float]:
    """95 % interval of UA over resampled speakers, whose clips are not independent."""
    speakers, emotions = pd.factorize(rows["speaker"])[0], pd.factorize(rows["emotion"])[0]
    shape = (speakers.max() + 1, emotions.max() + 1)
    total, right = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (speakers, emotions), 1)
    np.add.at(right, (speakers, emotions), (rows["emotion"] == rows["predicted"]).to_numpy(float))
    drawn = np.random.default_rng(seed).integers(shape[0], size=(RESAMPLES, shape[0]))
    clips = total[drawn].sum(axis=1)
    recall = np.divide(right[drawn].sum(axis=1), clips, out=np.full_like(clips, np.nan), where=clips > 0)
    low, high = np.percentile(np.nanmean(recall, axis=1), [2.5, 97.5])
    return float(low), float(high)


def published_of(row: FieldRow, system: str, corpus: str) -> Published | None:
    """The row's published figure of that system on that corpus."""
    numbers = [number for number, each in enumerate(row.systems) if each.name == system]
    return next((figure for figure in row.figures if figure.corpus == corpus and figure.system in numbers), None)


def why_not(row: FieldRow, published: Published | None, line: dict[str, Any]) -> str | None:
    """Why the leaky twin is more than 5 points off the published figure; None where it is not."""
    twin = line.get(f"leaky_{published.metric}") if published else None
    if published is None or twin is None or np.isnan(twin) or abs(twin - published.figure) <= FAIR:
        return None
    gap = f"{100 * (twin - published.figure):+.0f} points"
    if twin > published.figure:
        return f"{gap}: better than published, although it is {row.differs}"
    return f"{gap}: {row.differs}; {row.evidence or UNTESTED}"
