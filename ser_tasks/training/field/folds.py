"""One fold of one system on one corpus: what is trained on what, and the rows of the tested clips."""

import functools
import hashlib
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import Progress
from sklearn.preprocessing import StandardScaler

from ser_tasks.datasets import emotions_of, read_corpora, refuse_leaks, speaker_ids
from ser_tasks.datasets.leaks import named_corpus
from ser_tasks.evaluation.plan import Plan
from ser_tasks.models import MODELS, encoder_of, needs_encoder
from ser_tasks.schemas import EMOTIONS
from ser_tasks.scratch import atomic_write
from ser_tasks.training.baselines import PREPARATIONS, fitted, functionals_for, make_baseline
from ser_tasks.training.field.network import NetworkExamples, NetworkSides, network_predictions
from ser_tasks.training.field.protocols import PROTOCOLS, Protocol, honest_folds, random_folds
from ser_tasks.training.field.rows import System
from ser_tasks.training.recipe import Recipe, recipe_of
from ser_tasks.training.trainer import ModelSpec, is_pooled, learn, logits_of_states, prepare

VERSION = 3
"""Version of the protocols: raise it with every change of what is computed, so that no folds of before are taken."""
SMALLEST_STD = 1e-6
NETWORK_PROTOCOLS = ("leaky", "honest")
BEYOND_TAXONOMY = {"boredom": "boredom", "bored": "boredom"}
"""Emotions that the field tells apart and the product's taxonomy lacks, by label: EMO-DB has seven with it, as papers count."""


@dataclass(frozen=True)
class FoldWork:
    """One fold, as it is sent to a worker process."""

    system: System
    protocol: str
    """Name in ``PROTOCOLS``."""
    number: int
    clips: pd.DataFrame
    """All clips of the corpus; with their side in a protocol by speaker."""
    folder: Path
    plan: Plan

    @functools.cached_property
    def file(self) -> Path:
        """The fold's rows. A fold is done when this file exists."""
        sides = list(self.clips["side"]) if "side" in self.clips else None
        clips = list(zip(self.clips["digest"], self.clips["speaker"], self.clips["emotion"], strict=True))
        content: tuple[object, ...] = (VERSION, self.system, self.protocol, self.number, self.plan.seed, sides, clips)
        if needs_encoder(self.system.learner):
            content += (encoder_of(self.system.learner)["sha256"],)
        key = hashlib.sha256(repr(content).encode()).hexdigest()
        name = f"{self.system.name} {self.clips['corpus'].iloc[0]} {self.protocol} {self.number + 1}"
        return self.folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}-{key[:12]}.parquet"


@dataclass(frozen=True)
class Tested:
    """The tested examples of a fold."""

    clip: np.ndarray
    """Int64 ``(n,)``: index of the clip; -1 of one that was made up between others."""
    truth: np.ndarray
    """Class of each, as predicted."""
    predicted: np.ndarray
    scoring_s: float
    """CPU seconds to score one example from its features; NaN where not measured."""
    copy: np.ndarray | None = None
    """Number of the augmented copy of each; None where all are the clips themselves."""


def field_corpora(data: list[Path]) -> dict[str, pd.DataFrame]:
    """The clips of each corpus in ``data``, by its name. Folders that hold parts of one corpus (EMO-DB in two) are one, as their speakers'
    names say. Emotions are the taxonomy's and ``BEYOND_TAXONOMY``. Names that differ in case or surrounding spaces are one speaker."""
    clips = pd.concat([corpus.clips for corpus in read_corpora(data, BEYOND_TAXONOMY)], ignore_index=True)
    spelling: dict[tuple[str, str], str] = {}
    names = [named_corpus(speaker) or corpus for speaker, corpus in zip(clips["speaker"], clips["corpus"], strict=True)]
    keys = [(name, speaker.strip().casefold()) for name, speaker in zip(names, clips["speaker"], strict=True)]
    speakers = [spelling.setdefault(key, speaker) for key, speaker in zip(keys, clips["speaker"], strict=True)]
    clips = clips.assign(corpus=names, speaker=speakers).drop_duplicates(["corpus", "speaker", "digest"])
    return {str(name): of_corpus.reset_index(drop=True) for name, of_corpus in clips.groupby("corpus", sort=True)}


def folds_of_system(system: System, protocol: str, clips: pd.DataFrame, folder: Path, plan: Plan) -> list[FoldWork]:
    """The folds of a system on a corpus, or on as many of its clips as the system takes.

    Raises ``ValueError`` where a protocol by speaker would share a speaker between its sides.
    """
    clips = drawn_evenly(clips, system.clips)
    if PROTOCOLS[protocol].by_speaker:
        sides = enough(list(honest_folds(clips, plan.seed).values()), clips, system.tested)
        return [FoldWork(system, protocol, number, clips.assign(side=side), folder, plan) for number, side in enumerate(sides)]
    folds = 1 if system.is_network else len(random_folds(_truth(clips), plan.seed))
    return [FoldWork(system, protocol, number, clips, folder, plan) for number in range(folds)]


def drawn_evenly(clips: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most that many clips, by turns of each speaker's each emotion, in the order given. What is drawn depends on the clips alone, and
    fewer are among those of more."""
    if len(clips) <= most:
        return clips
    ordered = clips.sort_values("digest", kind="stable")
    turn = ordered.groupby(["speaker", "emotion"], sort=False).cumcount()
    chosen = turn.sort_values(kind="stable").index[:most]
    return clips.loc[sorted(chosen)].reset_index(drop=True)


def enough(sides: list[pd.Series], clips: pd.DataFrame, tested: int | None) -> list[pd.Series]:
    """The first folds that test that many speakers together; all, where None is given."""
    if tested is None:
        return sides
    speakers = np.cumsum([speaker_ids(clips)[(side == "test").to_numpy()].nunique() for side in sides])
    return sides[: int(np.searchsorted(speakers, tested)) + 1]


def run_fold(work: FoldWork) -> None:
    """Trains and tests one fold and writes its rows, in a worker process. Raises ``ValueError`` where a fold by speaker leaks."""
    if PROTOCOLS[work.protocol].by_speaker:
        refuse_leaks(work.clips)
    train_and_test = _by_classifier
    if work.system.is_network:
        train_and_test = _by_states if is_pooled(work.system.learner) else _by_network
    started = time.process_time()
    tested = train_and_test(work)
    labels, real = np.array(emotions_of(work.clips)), tested.clip >= 0
    clips = work.clips.iloc[np.maximum(tested.clip, 0)]
    rows = pd.DataFrame(
        {
            "system": work.system.name,
            "corpus": clips["corpus"].to_numpy(),
            "protocol": work.protocol,
            "fold": work.number + 1,
            "file": clips["file"].str.rpartition("/")[2].where(real, None).to_numpy(),
            "copy": 0 if tested.copy is None else tested.copy,
            "speaker": clips["speaker"].where(real, None).to_numpy(),
            "emotion": labels[tested.truth],
            "predicted": labels[tested.predicted],
            "scoring_s": tested.scoring_s,
            "fold_cpu_s": time.process_time() - started,
        }
    )
    work.folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(work.file) as temporary:
        rows.to_parquet(temporary, index=False)


def prepare_features(system: System, clips: pd.DataFrame, plan: Plan, progress: Progress) -> None:
    """Computes what the folds read, with all workers, and keeps it in ``plan.cache``."""
    if system.is_network:
        prepare(clips, spec_for(system, clips), plan, progress)
    else:
        functionals_for(clips, system.learner, plan, progress)


def _by_classifier(work: FoldWork) -> Tested:
    clips, protocol, seed = work.clips, PROTOCOLS[work.protocol], work.plan.seed
    with Progress(disable=True) as silent:
        x = np.nan_to_num(functionals_for(clips, work.system.learner, replace(work.plan, workers=1), silent), posinf=0.0, neginf=0.0)
    x, truth = x.astype(np.float64), _truth(clips)
    if protocol.speaker_statistics:
        x = _by_own_statistics(x, speaker_ids(clips).to_numpy())
    name, _, *preparation = work.system.learner.split(":")
    if protocol.by_speaker:
        train, test = (np.flatnonzero(clips["side"].isin(sides)) for sides in (("train", "calibration"), ("test",)))
        classifier = make_baseline(name, seed, "".join(preparation), speaker_ids(clips).to_numpy()[train])
        origin = np.arange(len(x))
    else:
        x, truth, origin = _prepared_before_the_split(x, truth, preparation, seed)
        train, test = random_folds(truth, seed)[work.number]
        classifier = make_baseline(name, seed)
    fitted(classifier, x[train], truth[train], work.system.name, emotions_of(clips))
    x_test = x[test]
    started = time.process_time()
    predicted = classifier.predict(x_test)
    return Tested(origin[test], truth[test], predicted, (time.process_time() - started) / len(x_test))


def _prepared_before_the_split(
    x: np.ndarray, truth: np.ndarray, preparation: list[str], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Functionals after scaling and the preparations, all fitted to all clips; classes; and for each its clip, -1 of one that was made up.

    Made-up clips stand behind the given ones. Preparations that compare features by inner folds get folds of single clips.
    """
    origin = np.arange(len(x))
    x = StandardScaler().fit_transform(x)
    for name in preparation:
        for step in PREPARATIONS[name](seed, np.arange(len(x))):
            if hasattr(step, "fit_resample"):
                x, truth = step.fit_resample(x, truth)
                origin = np.r_[origin, np.full(len(x) - len(origin), -1)]
            else:
                x = step.fit(x, truth).transform(x)
    return x, truth, origin


def _by_network(work: FoldWork) -> Tested:
    clips, protocol, spec = work.clips, PROTOCOLS[work.protocol], spec_for(work.system, work.clips)
    with Progress(disable=True) as silent:
        pool = prepare(clips, spec, replace(work.plan, workers=1), silent)
    copies = spec.recipe.copies + 1
    clip, copy = np.tile(np.arange(len(clips)), copies), np.repeat(np.arange(copies), len(clips))
    examples = NetworkExamples(pool, clip, copy, _truth(clips)[clip])
    sides = _network_sides(examples, clips, protocol, work)
    predicted = network_predictions(work.system.learner, spec.recipe, examples, sides, len(spec.labels), work.plan.seed)
    return Tested(clip[sides.test], examples.truth[sides.test], predicted, float("nan"), copy[sides.test])


def _network_sides(examples: NetworkExamples, clips: pd.DataFrame, protocol: Protocol, work: FoldWork) -> NetworkSides:
    if not protocol.by_speaker:
        train, test = random_folds(examples.truth, work.plan.seed)[work.number]
        return NetworkSides(train, np.arange(len(examples.truth)), test, test)
    side = clips["side"].to_numpy()[examples.clip]
    train, watched, test = ((side == name) & ((examples.copy == 0) | (name == "train")) for name in ("train", "calibration", "test"))
    held_out = np.flatnonzero(watched if watched.any() else train)  # a corpus of two speakers has none to hold out
    return NetworkSides(np.flatnonzero(train), np.flatnonzero(train), held_out, np.flatnonzero(test))


def _by_states(work: FoldWork) -> Tested:
    """A regression on pooled states of a frozen encoder. It has no epochs, and its states are standardised by the training side."""
    clips, spec = work.clips, spec_for(work.system, work.clips)
    if not PROTOCOLS[work.protocol].by_speaker:
        train, test = random_folds(_truth(clips), work.plan.seed)[work.number]
        side = np.full(len(clips), "train", dtype=object)
        side[test] = "test"
        clips = clips.assign(side=side)
    with Progress(disable=True) as silent:
        pool = prepare(clips, spec, replace(work.plan, workers=1), silent)
    names = {emotion: name for name, emotion in stand_ins(clips).items()}
    bundle, _ = learn(clips.assign(emotion=clips["emotion"].map(names)), pool, spec, work.plan)
    test = np.flatnonzero((clips["side"] == "test").to_numpy())
    assert pool.states is not None
    of_output = np.array([emotions_of(clips).index(stand_ins(clips)[label]) for label in bundle.labels])
    predicted = of_output[logits_of_states(bundle, pool.states[0, test]).argmax(axis=1)]
    return Tested(test, _truth(clips)[test], predicted, float("nan"))


def spec_for(system: System, clips: pd.DataFrame) -> ModelSpec:
    """The specification of a network, for all emotions of the clips; those beyond the taxonomy by their stand-ins."""
    return ModelSpec(system.learner, tuple(stand_ins(clips)), recipe_for(system), system.learner)


def stand_ins(clips: pd.DataFrame) -> dict[str, str]:
    """The clips' emotions by the name that a specification takes for each: its own, or of one beyond the taxonomy an unused one.

    Raises ``ValueError`` where there are more emotions than the taxonomy has names.
    """
    emotions = emotions_of(clips)
    if len(emotions) > len(EMOTIONS):
        raise ValueError(f"{clips['corpus'].iloc[0]} has {len(emotions)} emotions: networks are trained on {len(EMOTIONS)} at most.")
    unused = iter([emotion for emotion in EMOTIONS if emotion not in emotions])
    return {emotion if emotion in EMOTIONS else next(unused): emotion for emotion in emotions}


def recipe_for(system: System) -> Recipe:
    """The recipe of a network, with the row's copies and epochs."""
    assert system.learner in MODELS
    return replace(recipe_of(system.learner, epochs=system.epochs), copies=system.copies)


def _truth(clips: pd.DataFrame) -> np.ndarray:
    classes: np.ndarray = clips["emotion"].map(emotions_of(clips).index).to_numpy(np.int64)
    return classes


def _by_own_statistics(x: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    standardised = np.empty_like(x)
    for speaker in np.unique(speakers):
        own = x[speakers == speaker]
        standardised[speakers == speaker] = (own - own.mean(axis=0)) / np.maximum(own.std(axis=0), SMALLEST_STD)
    return standardised
