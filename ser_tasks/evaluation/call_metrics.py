"""Composed calls against what the night made of them: every figure follows from two tables, of calls and of scored segments.

The columns that are measured are ``MEASURED``: ``found_anger`` ranks calls and ``found_anger_s`` counts seconds. They are ``call_anger``
and ``anger_seconds`` where the lake has these; older ones take their place otherwise, and the report says which.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score

from ser_tasks.evaluation.composed import STEADY_SHARE
from ser_tasks.evaluation.metrics import auc, ua

BASE_RATES = (0.05, 0.1, 0.25)
"""Shares of calls with anger under which calls are ranked."""
README_RATE = 0.1
TOP = 0.1
"""Share of the calls at the top of the ranking."""
FIFTHS = 5
STEADY_KINDS = ("none", "throughout")
"""Kinds whose calls do not change."""
RESAMPLES = 200
"""Of the customers, for the 95 % intervals (percentile bootstrap)."""
LEAST_OVERLAP = 0.5
"""Share of a segment in which the customer must speak for it to have a true emotion."""
SEGMENT_COLUMNS = ("call_id", "start_s", "end_s", "p_anger", "emotion", "unsure")
LENGTH_COLUMNS = ("found_anger", "found_anger_per_s", "peak_anger", "mean_p_anger", "share_anger")
"""Columns that should not depend on a call's length, where its share of anger is the same. ``found_anger_per_s`` is found_anger_s by the
seconds of scored speech."""


def segments_with_truth(segments: pd.DataFrame, turns: pd.DataFrame) -> pd.DataFrame:
    """The scored segments of customers, with ``true_emotion``: that of the clips which fill most of each; null where nobody speaks.

    ``segments`` has ``SEGMENT_COLUMNS`` at least, ``turns`` is as of ``composed.turn_table``.
    """
    customers = {str(call_id): group for call_id, group in turns[turns["role"] == "customer"].groupby("call_id")}
    parts = [
        group.assign(true_emotion=_true_emotions(group, customers[str(call_id)]))
        for call_id, group in segments.groupby("call_id")
        if str(call_id) in customers
    ]
    return pd.concat(parts, ignore_index=True) if parts else segments.assign(true_emotion=pd.Series(dtype=object))


def _true_emotions(segments: pd.DataFrame, turns: pd.DataFrame) -> pd.Series:
    start_s, end_s = segments["start_s"].to_numpy()[:, None], segments["end_s"].to_numpy()[:, None]
    overlap_s = np.clip(np.minimum(end_s, turns["end_s"].to_numpy()) - np.maximum(start_s, turns["start_s"].to_numpy()), 0, None)
    emotions = sorted(turns["emotion"].unique())
    by_emotion_s = np.stack([overlap_s[:, turns["emotion"] == emotion].sum(axis=1) for emotion in emotions], axis=1)
    enough = by_emotion_s.sum(axis=1) >= LEAST_OVERLAP * (end_s - start_s)[:, 0]
    named = [emotions[best] if told else None for best, told in zip(by_emotion_s.argmax(axis=1), enough, strict=True)]
    return pd.Series(named, segments.index, dtype=object)


def calls_with_scores(truth: pd.DataFrame, scored: pd.DataFrame, segments: pd.DataFrame) -> pd.DataFrame:
    """One row a composed call: its truth, what the lake's ``call_emotions`` has of it, and the columns that are measured.

    ``truth`` is as of ``composed.call_table``. Columns of ``scored`` that the truth has, too, get the ending ``_found``.
    """
    calls = truth.merge(scored, on="call_id", how="left", suffixes=("", "_found"), validate="one_to_one")
    seconds = segments["end_s"] - segments["start_s"]
    expected_s = (segments["p_anger"] * seconds).groupby(segments["call_id"]).sum()
    ranking, counting = measured_columns(calls)
    calls["found_anger"] = calls[ranking].astype(float)
    summed_s = calls["call_id"].map(expected_s)
    calls["found_anger_s"] = calls[counting].astype(float) if counting in calls else summed_s
    calls.loc[calls["scored_speech_s"].isna(), ["found_anger", "found_anger_s"]] = np.nan
    calls["found_anger_per_s"] = calls["found_anger_s"] / calls["scored_speech_s"].where(calls["scored_speech_s"] > 0)
    return calls


def measured_columns(calls: pd.DataFrame) -> tuple[str, str]:
    """Names of what ranks calls and of what counts seconds of anger."""
    ranking = "call_anger" if "call_anger" in calls and calls["call_anger"].notna().any() else "peak_anger"
    new = "anger_seconds" in calls and calls["anger_seconds"].notna().any()
    return ranking, "anger_seconds" if new else "sum of p_anger x seconds"


def measure_calls(calls: pd.DataFrame, segments: pd.DataFrame, heard_corpora: Sequence[str]) -> dict[str, Any]:
    """Every figure of the report. ``calls`` and ``segments`` are those of the two functions above.

    ``heard_corpora``: those of which the model was trained on other people.
    """
    ranking, counting = measured_columns(calls)
    heard = calls["corpus"].isin(heard_corpora)
    groups = {"all": pd.Series(True, calls.index)}
    groups |= {"unheard people of known corpora": heard, "unheard corpora": ~heard}
    corpora = sorted(calls["corpus"].unique())
    groups |= {f"corpus {name}": calls["corpus"] == name for name in corpora if len(corpora) > 1}
    chosen = {name: calls[member] for name, member in groups.items() if member.any()}
    return {
        "ranked_by": ranking,
        "seconds_by": counting,
        "calls": len(calls),
        "customers": int(calls["customer"].nunique()),
        "audio_hours": float(calls["duration_s"].sum() / 3600),
        "not_scored": int(calls["found_anger"].isna().sum()),
        "groups": {name: _group(own, segments[segments["call_id"].isin(own["call_id"])]) for name, own in chosen.items()},
        "by_length": _by_length(calls),
        "length_differences": _length_differences(calls),
    }


def _group(calls: pd.DataFrame, segments: pd.DataFrame) -> dict[str, Any]:
    scored = calls[calls["found_anger"].notna()]
    return {
        "calls": len(calls),
        "with_anger": int(calls["has_anger"].sum()),
        "customers": int(calls["customer"].nunique()),
        "ranking": _ranking(scored),
        "anger_seconds": _seconds(scored),
        "steady": _steady(calls),
        "rising": _rising(calls),
        "moment_is_anger": _moment_is_anger(scored, segments),
        "segments": _segments(segments),
    }


def _ranking(calls: pd.DataFrame) -> dict[str, Any] | None:
    """AUC, and average precision and precision in the top tenth by base rate; None without calls of both kinds.

    Calls are weighted so that those with anger have the share of the base rate: what resampling one pool tends to. Intervals are over
    resampled customers, because calls of one customer are not independent.
    """
    angry, score = calls["has_anger"].to_numpy(bool), calls["found_anger"].to_numpy(np.float64)
    if angry.all() or not angry.any():
        return None
    members = [group.to_numpy() for _, group in pd.Series(range(len(calls))).groupby(calls["customer"].to_numpy())]

    def interval(figure: Callable[..., float | None]) -> list[float] | None:
        rng, values = np.random.default_rng(0), []
        for _ in range(RESAMPLES if len(members) > 1 else 0):
            drawn = np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))])
            if 0 < angry[drawn].sum() < len(drawn):
                values.append(figure(angry[drawn], score[drawn]))
        return [float(value) for value in np.percentile(np.array(values, np.float64), [2.5, 97.5])] if values else None

    at = {}
    for rate in BASE_RATES:
        precision = functools.partial(precision_at_top, rate=rate)
        at[f"{rate:g}"] = {
            "average_precision": float(average_precision_score(angry, score, sample_weight=rate_weights(angry, rate))),
            "precision_at_top": precision(angry, score),
            "precision_at_top_95": interval(precision) if rate == README_RATE else None,
        }
    mean = float(np.average(score, weights=rate_weights(angry, README_RATE)))
    return {"auc": auc(angry, score), "auc_95": interval(auc), "at_base_rate": at, "mean_at_10_percent": mean}


def rate_weights(positive: ArrayLike, rate: float) -> NDArray[np.float64]:
    """Weights (n,), adding up to 1, under which positives have the share ``rate``."""
    positive = np.asarray(positive, bool)
    weights: NDArray[np.float64] = np.where(positive, rate / positive.sum(), (1 - rate) / (~positive).sum())
    return weights


def precision_at_top(positive: ArrayLike, score: ArrayLike, rate: float, top: float = TOP) -> float:
    """Share of positives in the ``top`` share with the highest scores, where positives have the share ``rate``. Ties count in part."""
    weights = rate_weights(positive, rate)
    _, group = np.unique(-np.asarray(score), return_inverse=True)
    in_all, in_positives = np.bincount(group, weights), np.bincount(group, weights * np.asarray(positive, bool))
    inside = np.clip((top - (np.cumsum(in_all) - in_all)) / in_all, 0, 1)
    return float((in_positives * inside).sum() / top)


def _seconds(calls: pd.DataFrame) -> dict[str, float | None]:
    """Errors of the seconds of anger, found minus true."""
    error_s = calls["found_anger_s"] - calls["anger_s"]
    angry = calls["has_anger"]
    return {
        "mean_absolute_error_s": _mean(error_s.abs()),
        "median_absolute_error_s": _number(error_s.abs().median()),
        "mean_error_with_anger_s": _mean(error_s[angry]),
        "mean_error_without_s": _mean(error_s[~angry]),
        "true_mean_with_anger_s": _mean(calls.loc[angry, "anger_s"]),
        "correlation": _number(calls["found_anger_s"].corr(calls["anger_s"])) if len(calls) > 2 else None,
    }


def _steady(calls: pd.DataFrame) -> dict[str, Any]:
    """What calls without change are said to do; calls of which nothing is said, as they are too short, do not count."""
    steady = calls[calls["kind"].isin(STEADY_KINDS) & calls["escalated"].notna()]
    return {"calls": len(steady), "escalated": _mean(steady["escalated"]), "deescalated": _mean(steady["deescalated"])}


def _rising(calls: pd.DataFrame) -> dict[str, Any]:
    rising = calls[(calls["kind"] == "rising") & calls["escalated"].notna()]
    found = rising[rising["escalated"].astype(bool)]
    error_s = found["onset_s_found"].astype(float) - found["onset_s"]
    return {
        "calls": len(rising),
        "escalated": _mean(rising["escalated"]),
        "onset_median_error_s": _number(error_s.median()),
        "onset_median_absolute_error_s": _number(error_s.abs().median()),
        "onset_median_absolute_error_share": _number((error_s.abs() / found["duration_s"]).median()),
    }


def _moment_is_anger(calls: pd.DataFrame, segments: pd.DataFrame) -> float | None:
    """Among calls with anger, the share of which the moment that the lake names as the angriest is one of anger."""
    named = "call_anger_at_s" if "call_anger_at_s" in calls and calls["call_anger_at_s"].notna().any() else "peak_anger_at_s"
    moments = calls.loc[calls["has_anger"], ["call_id", named]].rename(columns={named: "start_s"})
    return _mean(moments.merge(segments, on=["call_id", "start_s"])["true_emotion"] == "anger")


def _segments(segments: pd.DataFrame) -> dict[str, Any]:
    """Coverage and errors of segments with a true emotion."""
    told = segments[segments["true_emotion"].notna() & segments["unsure"].notna()]
    sure = told[~told["unsure"].astype(bool)]
    anger = "anger_score" if "anger_score" in told and told["anger_score"].notna().any() else "p_anger"
    return {
        "segments": len(told),
        "without_a_voice": _mean(segments["true_emotion"].isna()),
        "coverage": _mean(~told["unsure"].astype(bool)),
        "wrong_where_sure": _mean(sure["emotion"] != sure["true_emotion"]),
        "set_coverage": _set_coverage(told),
        **_sets(told),
        "ua": ua(told["true_emotion"], told["emotion"]) if len(told) else None,
        "auc_anger": auc(told["true_emotion"] == "anger", told[anger]) if len(told) and told[anger].notna().all() else None,
    }


def _sets(segments: pd.DataFrame) -> dict[str, float | None]:
    """The share of sure segments whose set lacks the truth, of segments with one emotion in their set, and of these with a wrong one."""
    inside = _inside(segments)
    if inside is None:
        return dict.fromkeys(("missed_where_sure", "one_emotion", "wrong_of_one"))
    one = ~segments["emotion_set"].fillna("").isin([""]) & ~segments["emotion_set"].fillna("").str.contains(",")
    sure = ~segments["unsure"].astype(bool)
    return {"missed_where_sure": _mean(~inside[sure]), "one_emotion": _mean(one), "wrong_of_one": _mean(~inside[one])}


def _set_coverage(segments: pd.DataFrame) -> dict[str, float | None] | None:
    """Share of segments whose set has their true emotion, in all and by emotion; None with models without sets."""
    inside = _inside(segments)
    if inside is None:
        return None
    groups = {str(name): own for name, own in inside.groupby(segments["true_emotion"])}
    return {"all": _mean(inside)} | {name: _mean(own) for name, own in groups.items()}


def _inside(segments: pd.DataFrame) -> pd.Series | None:
    """Whether each segment's set has its true emotion; None with models without sets."""
    if "emotion_set" not in segments or segments["emotion_set"].isna().all():
        return None
    pairs = zip(segments["true_emotion"], segments["emotion_set"].fillna(""), strict=True)
    return pd.Series([emotion in emotions.split(",") for emotion, emotions in pairs], segments.index, dtype=bool)


def _by_length(calls: pd.DataFrame) -> list[dict[str, Any]]:
    """Calls without change, by fifths of their length."""
    steady = calls[calls["kind"].isin(STEADY_KINDS)]
    rows = []
    for fifth in fifths(steady["duration_s"]):
        own = steady.loc[fifth]
        rows.append({"minutes": [float(own["duration_s"].min() / 60), float(own["duration_s"].max() / 60)]} | _steady(own))
    return rows


def _length_differences(calls: pd.DataFrame) -> dict[str, Any]:
    """Mean of the longest fifth minus that of the shortest, of calls of one share of anger: none, or STEADY_SHARE throughout."""
    answer: dict[str, dict[str, Any]] = {}
    for kind, share in zip(STEADY_KINDS, (0.0, STEADY_SHARE), strict=True):
        own = calls[(calls["kind"] == kind) & calls["found_anger"].notna()]
        parts = fifths(own["duration_s"])
        if len(parts) < FIFTHS:
            continue
        shortest, longest = own.loc[parts[0]], own.loc[parts[-1]]
        columns = [column for column in LENGTH_COLUMNS if column in own]
        ends = {column: _ends(shortest[column].astype(float), longest[column].astype(float)) for column in columns}
        answer[f"{share:g}"] = ends | {"calls": [len(shortest), len(longest)]}
    return answer


def _ends(shortest: pd.Series, longest: pd.Series) -> dict[str, Any]:
    """Both means, and the 95 % interval of their difference (Welch's standard error), where both have two calls."""
    margin = 1.96 * float(np.sqrt(shortest.var() / len(shortest) + longest.var() / len(longest)))
    difference = longest.mean() - shortest.mean()
    interval = None if np.isnan(margin) else [float(difference - margin), float(difference + margin)]
    return {"shortest": _mean(shortest), "longest": _mean(longest), "difference_95": interval}


def fifths(values: pd.Series) -> list[pd.Index]:
    """The labels of the values in each fifth, by size; nothing where there are fewer than five."""
    if len(values) < FIFTHS:
        return []
    return [pd.Index(part) for part in np.array_split(values.sort_values(kind="stable").index.to_numpy(), FIFTHS)]


def _mean(values: pd.Series) -> float | None:
    return float(values.astype(float).mean()) if len(values) else None


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
