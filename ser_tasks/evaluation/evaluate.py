"""Evaluation of a bundle on labelled corpora: one row a clip and condition, and metrics computed from the rows alone."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ser_tasks.datasets import RATINGS, Corpus, read_corpora, speaker_ids
from ser_tasks.datasets.conditions import CONDITIONS, REFERENCE, ConditionContext
from ser_tasks.datasets.leaks import named_corpus, person_of
from ser_tasks.datasets.telephone import LONGEST_S, read_trimmed
from ser_tasks.evaluation.metrics import LOW_AROUSAL, auc, brier, ccc, ece, one_against_rest, risk_coverage, ua, wa
from ser_tasks.evaluation.plan import Plan
from ser_tasks.evaluation.texts import text_of
from ser_tasks.features import feature_set, features_of
from ser_tasks.features.words import place_words
from ser_tasks.inference.bundle import DIGEST_HEX_DIGITS, Bundle, load_bundle
from ser_tasks.inference.line_profile import Line, Standards
from ser_tasks.inference.line_statistics import Sample, line_of_sample
from ser_tasks.inference.scorer import ScorerSpec, scorer_of
from ser_tasks.inference.scores import AROUSED, at_equal_rates
from ser_tasks.progress import TerminalProgress, map_parallel
from ser_tasks.schemas import SAMPLING_RATE_HZ

BABBLE_VOICES = 5
"""Other speakers' clips in babble, at most."""
CLIPS_PER_TASK = 64
"""Clips that a worker process scores at once."""
NAMES_SHOWN = 5
"""Names of speakers in a message."""
RESAMPLES = 1000
"""Of the speakers, for the 95 % intervals (percentile bootstrap)."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics, and the rows they are computed from."""

    rows: pd.DataFrame
    """One row a clip and condition: corpus, file, speaker, gender, language, emotion, condition, predicted, confidence, unsure,
    p_<label> for each label of the model, and its calibration (temperature, unsure_below); after a cross-validation also fold and split,
    and where people rated arousal, valence or dominance, these and <rating>_predicted."""
    metrics: dict[str, Any]


@dataclass(frozen=True)
class ClipToScore:
    """A clip, and what is mixed with it."""

    file: str
    """Name as ``datasets.clip`` reads it."""
    digest: str
    """Hash of its samples: the seed of what is random about its conditions."""
    babble: list[str]
    """Clips of other speakers."""
    text: str | None = None
    """What is said in it, where its corpus states that, for models that read words."""
    line: int = -1
    """Row of the scorer's ``lines`` by which it is standardised; -1: none."""


@dataclass(frozen=True)
class ClipsOfModel:
    """The clips that a bundle is evaluated on, and those that are left out."""

    corpora: list[Corpus]
    all_clips: pd.DataFrame
    known: pd.Series
    """Of ``all_clips``: whether the emotion is a label of the model."""
    in_training: pd.Series
    """Of ``all_clips``: whether its speaker, or a clip of the same samples, was in the model's training or calibration."""
    allow_leak: bool

    @property
    def usable(self) -> pd.Series:
        """Of ``all_clips``: whether it may be used, whatever its emotion."""
        return ~self.in_training | self.allow_leak

    @property
    def clips(self) -> pd.DataFrame:
        """Those to score."""
        return self.all_clips[self.known & self.usable].reset_index(drop=True)

    def summary(self) -> dict[str, Any]:
        """What was read and left out, for the report."""
        known, in_training = self.known, self.in_training
        names = speaker_ids(self.all_clips)
        return {
            "data": [corpus.summary() for corpus in self.corpora],
            "left_out_emotions": self.all_clips["emotion"][~known].value_counts().to_dict(),
            "left_out_clips_of_training_speakers": 0 if self.allow_leak else int((known & in_training).sum()),
            "leaked_speakers": sorted(set(names[known & in_training])) if self.allow_leak else [],
        }


def evaluate(
    model: str,
    data: list[Path],
    plan: Plan | None = None,
    *,
    robustness: bool = True,
    unheard_only: bool = False,
    adapt: bool = False,
) -> Evaluation:
    """Scores a bundle (a shipped one's name, a folder or ``s3://...``) on the clips of the corpora in ``data``.

    Every clip is brought to telephone quality: 8 kHz, trimmed of silence, -26 dBFS, mu-law; with ``robustness`` it is also scored under
    all other ``CONDITIONS``. With ``adapt``, each corpus is standardised as a line of calls is: by its own clips at telephone quality,
    without their labels. Raises ValueError where the model takes no line profile, and what ``clips_of_model`` raises.
    """
    plan = plan or Plan()
    bundle = load_bundle(model)
    if adapt and not bundle.takes_lines:
        raise ValueError(f"The model {bundle.model_id} takes no line profile: leave --adapt out, or choose another --model.")
    chosen = clips_of_model(bundle, data, plan.allow_leak, unheard_only)
    clips = chosen.clips
    conditions = list(CONDITIONS) if robustness else [REFERENCE]
    scorer = ClipScorer(model, bundle.model_id, plan.device, conditions, plan.seed)
    lines = corpus_lines(chosen.all_clips[chosen.usable].reset_index(drop=True), scorer, plan) if adapt else []
    probabilities = _score(clips, scorer.on_lines(lines), plan)
    rows = pd.concat(
        [
            rows_of(clips, probabilities[:, index], name, bundle.labels, bundle.temperature, bundle.unsure_below)
            for index, name in enumerate(conditions)
        ],
        ignore_index=True,
    )
    metrics = {"model": bundle.model_id} | measure(rows, bundle.labels, bundle.target_error) | chosen.summary()
    if adapt:
        facts = ("segments", "callers", "refused")
        metrics["adapted"] = {line.name: {fact: getattr(line, fact) for fact in facts} for line in lines}
    return Evaluation(rows, metrics)


def clips_of_model(bundle: Bundle, data: list[Path], allow_leak: bool, unheard_only: bool) -> ClipsOfModel:
    """The clips in ``data`` that a bundle can be evaluated on.

    Clips of emotions that are no label of the model are left out. If the model was trained or calibrated on some of the speakers, or on
    samples identical to a clip's, ``unheard_only`` leaves these clips out, ``allow_leak`` keeps them, and otherwise ValueError names
    them. Raises ValueError where no clip is left.
    """
    corpora = read_corpora(data)
    all_clips = pd.concat([corpus.clips for corpus in corpora], ignore_index=True)
    known = all_clips["emotion"].isin(bundle.labels)
    in_training = used_in_training(all_clips, bundle)
    if (known & in_training).any() and not (allow_leak or unheard_only):
        raise ValueError(
            f"The split leaks. {bundle.model_id} was trained or calibrated on {_speakers_in_words(all_clips[known & in_training])}: give "
            "other clips, or --unheard-only to leave these out, or --allow-leak to keep them (the report's title will say so)."
        )
    chosen = ClipsOfModel(corpora, all_clips, known, in_training, allow_leak)
    if chosen.clips.empty:
        raise ValueError(
            f"No clip is left to score of {len(all_clips)}: {int((~known).sum())} have an emotion that is no label of {bundle.model_id} "
            f"(it knows {', '.join(bundle.labels)}), {int((known & in_training).sum())} are of speakers it was trained on "
            "(--allow-leak keeps those)."
        )
    return chosen


def corpus_lines(clips: pd.DataFrame, scorer: "ClipScorer", plan: Plan) -> list[Line]:
    """A line for each corpus: statistics of its clips under the reference condition. Their emotions are not used."""
    batches = _batches(clips_to_score(clips, [[]] * len(clips)))
    with TerminalProgress() as progress:
        pooled = map_parallel(scorer.pool, batches, plan.workers if plan.device == "cpu" else 1, progress, "adapting to clips")
    features, seconds, clip = (np.concatenate(each) for each in zip(*pooled, strict=True))
    clip += np.repeat(np.arange(len(batches)) * CLIPS_PER_TASK, [len(each.clip) for each in pooled])
    sample = Sample(features, clip, pd.factorize(person_of(clips))[0][clip], seconds)
    corpus = clips["corpus"].to_numpy()[clip]
    return [line_of_sample(name, sample.of(corpus == name)) for name in sorted(set(corpus))]


def measure(rows: pd.DataFrame, labels: Sequence[str], target_error: float) -> dict[str, Any]:
    """Every metric of the report, from the rows of ``evaluate``. All but ``robustness`` are of the reference condition."""
    labels = list(labels)
    reference = rows[rows["condition"] == REFERENCE]
    truth, given = _truth(reference, labels), _given(reference, labels)
    predicted = given.argmax(axis=1)
    present = sorted(set(truth.tolist()))
    precision, recall, f1, count = precision_recall_fscore_support(truth, predicted, labels=range(len(labels)), zero_division=0)
    sure = ~reference["unsure"].to_numpy()
    mse = brier(truth, given)
    anger, arousal = _ranking(reference["emotion"], given, labels)
    areas, precisions = one_against_rest(truth, given)
    return {
        "labels": labels,
        "n": len(truth),
        "speakers": int(speaker_ids(reference).nunique()),
        "ua": ua(truth, predicted),
        "wa": wa(truth, predicted),
        "macro_f1": float(f1[present].mean()),
        "weighted_f1": float(np.average(f1, weights=count)),
        "ece": ece(truth, given),
        "ece_before_calibration": ece(truth, _uncalibrated(given, reference["temperature"].to_numpy()[:, None])),
        "mse": mse,
        "rmse": mse**0.5,
        "auc_anger": anger,
        "auc_arousal": arousal,
        "auc_one_against_rest": _mean(areas),
        "average_precision": _mean(precisions),
        "unsure_below": float(reference["unsure_below"].mean()),
        "target_error": target_error,
        "coverage": float(sure.mean()),
        "error_covered": float((predicted != truth)[sure].mean()) if sure.any() else None,
        "area_under_risk_coverage": float(risk_coverage(truth, given)[1].mean()),
        "intervals_95": _intervals(reference, truth, given, seed=0),
        "per_class": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "auc": areas[i],
                "average_precision": precisions[i],
                "n": int(count[i]),
            }
            for i, label in enumerate(labels)
        },
        "confusion": confusion_matrix(truth, predicted, labels=range(len(labels))).tolist(),
        "by": {name: _by(reference, name, truth, given, labels) for name in ("corpus", "gender", "language")},
        "robustness": {name: _against_reference(group, reference, labels) for name, group in rows.groupby("condition", sort=False)},
        "ratings": _ratings(reference),
    }


def rows_of(
    clips: pd.DataFrame, probabilities: np.ndarray, condition: str, labels: Sequence[str], temperature: float, unsure_below: float
) -> pd.DataFrame:
    """Rows of clips under one condition, from probabilities ``(clips, labels)``."""
    rows = clips[["corpus", "file", "speaker", "gender", "language", "emotion"]].copy()
    rows["file"] = rows["file"].map(lambda file: file.rpartition("/")[2])
    confidence = probabilities.max(axis=1)
    rows["condition"] = condition
    rows["predicted"] = np.array(labels)[probabilities.argmax(axis=1)]
    rows["confidence"], rows["unsure"] = confidence, confidence < unsure_below
    rows["temperature"], rows["unsure_below"] = temperature, unsure_below
    return rows.assign(**{f"p_{label}": probabilities[:, index] for index, label in enumerate(labels)})


def _speakers_in_words(clips: pd.DataFrame) -> str:
    """Number of the clips and of their speakers, and the first speakers' names."""
    names = sorted(set(speaker_ids(clips)))
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f"{len(clips)} of these clips, of {len(names)} speakers ({', '.join(names[:NAMES_SHOWN])}{more})"


def used_in_training(clips: pd.DataFrame, bundle: Bundle) -> pd.Series:
    """Whether a clip's speaker, or a clip of the same samples, was on the training or calibration side of the bundle's own data.

    Names that begin with their corpus (``ravdess_01``) are recognised in a folder of any name.
    """
    speakers = [
        (corpus["corpus"], speaker)
        for corpus in bundle.training_data
        for side in ("train", "calibration")
        for speaker in corpus["speakers"][side]
    ]
    by_name = person_of(clips).isin(set(person_of(pd.DataFrame(speakers, columns=["corpus", "speaker"], dtype=object))))
    return by_name | clips["digest"].str[:DIGEST_HEX_DIGITS].isin(bundle.training_clips)


def corpora_heard(clips: pd.DataFrame, bundle: Bundle) -> list[str]:
    """Names of those of the clips' corpora of which the bundle was trained on some people. A folder's name does not count where the
    speakers' names say what the corpus is (``ravdess_01``)."""
    trained = {str(corpus["corpus"]).lower() for corpus in bundle.training_data}
    origin = [named_corpus(speaker) or corpus.lower() for speaker, corpus in zip(clips["speaker"], clips["corpus"], strict=True)]
    return sorted(set(clips["corpus"][[name in trained for name in origin]]))


def _score(clips: pd.DataFrame, scorer: "ClipScorer", plan: Plan) -> np.ndarray:
    """Probabilities (clips, conditions, labels)."""
    return score_clips(scorer.placed(clips, clips_to_score(clips, babblers(clips, plan.seed))), scorer, plan)


def score_clips(clips: list[ClipToScore], scorer: "ClipScorer", plan: Plan) -> np.ndarray:
    """Probabilities (clips, conditions, labels), with a progress bar."""
    batches = _batches(clips)
    with TerminalProgress() as progress:
        scores = map_parallel(scorer, batches, plan.workers if plan.device == "cpu" else 1, progress, "scoring clips")
    return np.concatenate(scores)


def _batches(clips: list[ClipToScore]) -> list[list[ClipToScore]]:
    return [clips[start : start + CLIPS_PER_TASK] for start in range(0, len(clips), CLIPS_PER_TASK)]


def clips_to_score(clips: pd.DataFrame, babble: Sequence[list[str]]) -> list[ClipToScore]:
    """The clips in their order, each with its files of babble."""
    texts = clips["text"].tolist() if "text" in clips else [None] * len(clips)
    columns = zip(clips["file"].tolist(), clips["digest"].tolist(), babble, texts, strict=True)
    return [ClipToScore(file, digest, files, text) for file, digest, files, text in columns]


def babblers(clips: pd.DataFrame, seed: int) -> list[list[str]]:
    """For each clip, files of some clips by other speakers, drawn with the clip's own digest as seed."""
    ordered = clips.sort_values("digest")
    files, speakers = ordered["file"].to_numpy(), speaker_ids(ordered).to_numpy()
    chosen = []
    for digest, speaker in zip(clips["digest"], speaker_ids(clips), strict=True):
        candidates = files[speakers != speaker]
        rng = clip_rng(digest, "babble", seed)
        chosen.append(rng.choice(candidates, min(BABBLE_VOICES, len(candidates)), replace=False).tolist())
    return chosen


class Pooled(NamedTuple):
    """Pooled features of some clips' pieces."""

    features: np.ndarray
    """(pieces, features)"""
    seconds: np.ndarray
    """(pieces,)"""
    clip: np.ndarray
    """(pieces,): number of the clip."""


@dataclass(frozen=True)
class ClipScorer:
    """Scores clips under conditions with a bundle; picklable, so that worker processes can call it."""

    model: str
    """A shipped bundle's name, a folder or ``s3://...``."""
    model_id: str
    device: str
    conditions: list[str]
    """Names in ``CONDITIONS``."""
    seed: int
    lines: tuple[Line, ...] = ()
    """With statistics: what a clip's ``line`` counts."""

    def on_lines(self, lines: Sequence[Line]) -> "ClipScorer":
        """The scorer that standardises by those of the lines that have statistics."""
        return replace(self, lines=tuple(line for line in lines if line.refused is None))

    def placed(self, clips: pd.DataFrame, to_score: list[ClipToScore]) -> list[ClipToScore]:
        """The clips, each on the line of its corpus, if that has one."""
        rows = {line.name: row for row, line in enumerate(self.lines)}
        return [replace(clip, line=rows.get(corpus, -1)) for clip, corpus in zip(to_score, clips["corpus"], strict=True)]

    def __call__(self, clips: list[ClipToScore]) -> np.ndarray:
        """Probabilities (clips, conditions, labels) at equal base rates; of a clip longer than 6 s, the mean over its pieces."""
        scorer = scorer_of(ScorerSpec(self.model, self.model_id, self.device))
        pieces = self._signals(clips, self.conditions)
        counts = np.array([len(of_signal) for of_signal in pieces])
        frames, lengths = self._frames(pieces, clips)
        line = np.repeat(np.repeat([clip.line for clip in clips], len(self.conditions)), counts)
        probabilities, _ = scorer.score_on_lines(frames, lengths, self._standards(line))
        probabilities = at_equal_rates(probabilities, scorer.bundle.priors, scorer.bundle.labels)
        means = np.add.reduceat(probabilities, np.cumsum(counts) - counts) / counts[:, None]
        scores: np.ndarray = means.reshape(len(clips), len(self.conditions), -1)
        return scores

    def pool(self, clips: list[ClipToScore]) -> Pooled:
        """Pooled features of the clips' pieces under the reference condition."""
        pieces = self._signals(clips, [REFERENCE])
        features = scorer_of(ScorerSpec(self.model, self.model_id, self.device)).pool(*self._frames(pieces, clips))
        seconds = [len(piece) / SAMPLING_RATE_HZ for of_clip in pieces for piece in of_clip]
        return Pooled(features, np.array(seconds), np.repeat(np.arange(len(clips)), [len(of_clip) for of_clip in pieces]))

    def _signals(self, clips: list[ClipToScore], conditions: list[str]) -> list[list[np.ndarray]]:
        """The pieces of each clip under each condition."""
        read = functools.lru_cache(maxsize=256)(read_trimmed)
        pieces = []
        for clip in clips:
            babble = [read(other) for other in clip.babble]
            for name in conditions:
                signal = CONDITIONS[name](read(clip.file), ConditionContext(clip_rng(clip.digest, name, self.seed), babble))
                pieces.append(_pieces(signal))
        return pieces

    def _frames(self, pieces: list[list[np.ndarray]], clips: list[ClipToScore]) -> tuple[np.ndarray, np.ndarray]:
        """Features of all pieces, and the frames of each. The words of a clip are spread over its pieces."""
        bundle = scorer_of(ScorerSpec(self.model, self.model_id, self.device)).bundle
        segments = [piece for of_signal in pieces for piece in of_signal]
        frames, lengths = features_of(bundle.feature_set, bundle.feature_params, segments, SAMPLING_RATE_HZ)
        if feature_set(bundle.feature_set).words:
            texts = [text_of(clip.file, clip.text) for clip in clips for _ in range(len(pieces) // len(clips))]
            parts = [np.array_split(text.split(), len(of_signal)) for text, of_signal in zip(texts, pieces, strict=True)]
            place_words(frames, lengths, [" ".join(part) for of_signal in parts for part in of_signal])
        return frames, lengths

    def _standards(self, line: np.ndarray) -> Standards | None:
        """By what pieces on these lines (pieces,) are standardised."""
        if not self.lines:
            return None
        mean, deviation = (np.array([getattr(each, name) for each in self.lines], np.float32) for name in ("mean", "deviation"))
        return Standards(line.astype(np.int64), mean, deviation)


def _pieces(signal: np.ndarray) -> list[np.ndarray]:
    return np.array_split(signal, max(1, -(-len(signal) // int(LONGEST_S * SAMPLING_RATE_HZ))))


def clip_rng(digest: str, purpose: str, seed: int) -> np.random.Generator:
    """Random numbers of a clip for one purpose: they depend on no other clip."""
    return np.random.default_rng([seed, int(digest[:16], 16), *purpose.encode()])


def _truth(rows: pd.DataFrame, labels: list[str]) -> np.ndarray:
    return rows["emotion"].map(labels.index).to_numpy(np.int64)


def _given(rows: pd.DataFrame, labels: list[str]) -> np.ndarray:
    return rows[[f"p_{label}" for label in labels]].to_numpy(np.float64)


def _uncalibrated(probabilities: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """The probabilities at temperature 1: logits are ``temperature * log p`` up to a constant."""
    logits = temperature * np.log(np.maximum(probabilities, 1e-30))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return softmax


def _intervals(rows: pd.DataFrame, truth: np.ndarray, given: np.ndarray, seed: int) -> dict[str, list[float]] | None:
    """95 % intervals of UA, WA and ECE over resampled speakers; None where there is one speaker.

    Speakers are resampled, not clips, because clips of one speaker are not independent.
    """
    speakers = [group.to_numpy() for _, group in pd.Series(range(len(rows))).groupby(speaker_ids(rows).to_numpy())]
    if len(speakers) < 2:
        return None
    rng, resampled = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([speakers[index] for index in rng.integers(len(speakers), size=len(speakers))])
        true, probabilities = truth[drawn], given[drawn]
        predicted = probabilities.argmax(axis=1)
        resampled.append((ua(true, predicted), wa(true, predicted), ece(true, probabilities)))
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return {name: [float(low[index]), float(high[index])] for index, name in enumerate(("ua", "wa", "ece"))}


def _by(rows: pd.DataFrame, column: str, truth: np.ndarray, given: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """UA, WA, ECE, AUC and clips of each group, and the gap between the best UA and the worst.

    ``ua_among_its_emotions`` restricts the prediction to the emotions that the group has, as published results on a corpus do.
    """
    names = rows[column].fillna("unknown").to_numpy()
    groups: dict[str, dict[str, Any]] = {}
    for name in sorted(set(names)):
        chosen = names == name
        predicted = given[chosen].argmax(axis=1)
        among = np.unique(truth[chosen])
        predicted_among = among[given[chosen][:, among].argmax(axis=1)]
        anger, arousal = _ranking(rows["emotion"][chosen], given[chosen], labels)
        groups[name] = {
            "ua": ua(truth[chosen], predicted),
            "ua_among_its_emotions": ua(truth[chosen], predicted_among),
            "wa": wa(truth[chosen], predicted),
            "ece": ece(truth[chosen], given[chosen]),
            "auc_anger": anger,
            "auc_arousal": arousal,
            "emotions": len(among),
            "n": int(chosen.sum()),
        }
    scores = [group["ua"] for group in groups.values()]
    return {"groups": groups, "ua_gap": max(scores) - min(scores)}


def _ratings(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """CCC, MSE and RMSE of predicted ratings of arousal, valence and dominance, of the clips that people rated; empty without such."""
    scores = {}
    for name in RATINGS:
        if f"{name}_predicted" in rows and len(rated := rows[[name, f"{name}_predicted"]].dropna().astype(float)):
            truth, predicted = rated[name].to_numpy(), rated[f"{name}_predicted"].to_numpy()
            error = float(np.mean((truth - predicted) ** 2))
            scores[name] = {"ccc": ccc(truth, predicted), "mse": error, "rmse": error**0.5, "n": len(rated)}
    return scores


def _mean(values: list[float | None]) -> float | None:
    """Mean of the figures that there are."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _ranking(emotions: pd.Series, given: np.ndarray, labels: list[str]) -> tuple[float | None, float | None]:
    """AUC of anger against all other emotions, and of high against low arousal; None where the model or the clips have but one of the two.

    The score of arousal is the probability of the emotions of high arousal.
    """
    anger = auc(emotions == "anger", given[:, labels.index("anger")]) if "anger" in labels else None
    high = [index for index, label in enumerate(labels) if label in AROUSED]
    clear = emotions.isin(AROUSED + LOW_AROUSAL).to_numpy()
    if not high or not clear.any():
        return anger, None
    return anger, auc(emotions[clear].isin(AROUSED), given[clear][:, high].sum(axis=1))


def _against_reference(rows: pd.DataFrame, reference: pd.DataFrame, labels: list[str]) -> dict[str, float]:
    truth, predicted = _truth(rows, labels), _given(rows, labels).argmax(axis=1)
    flipped = rows["predicted"].to_numpy() != reference["predicted"].to_numpy()
    return {"ua": ua(truth, predicted), "wa": wa(truth, predicted), "labels_flipped": float(flipped.mean())}
