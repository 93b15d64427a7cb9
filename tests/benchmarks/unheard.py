"""What a bundle makes of a corpus that it never heard, clip by clip: how far estimated base rates miss, and which calls escalate.

python -m tests.benchmarks.unheard base-rates emotion/ravdess default
python -m tests.benchmarks.unheard escalations emotion/ravdess default 1200

Clips are coded as mu-law, and standardised by the statistics of 200 of them, 80 % neutral. A call is composed as in `ser evaluate --calls`,
one segment a clip, without noise and without its audio being made.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from ser_tasks.datasets import read_corpora
from ser_tasks.datasets.telephone import LONGEST_S, mu_law, read_trimmed
from ser_tasks.evaluation.composed import ComposedCall, compose, people_of
from ser_tasks.features import features_of
from ser_tasks.inference.base_rates import most_likely
from ser_tasks.inference.bundle import Bundle, load_bundle
from ser_tasks.inference.scorer import FRAMES_PER_BATCH, Scorer, choose_device
from ser_tasks.pipeline.aggregate import onset_s
from ser_tasks.pipeline.escalation import change_of
from ser_tasks.schemas import SAMPLING_RATE_HZ

LINE_CLIPS, LINE_NEUTRAL = 200, 0.8
CALLERS, OF_A_CALLER, DRAWS = 12, 20, 40
CLIPS_AT_ONCE = 64


def pooled_of(files: list[str], bundle: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features (clips, features), and the clips' seconds."""
    scorer = Scorer(bundle, choose_device("cpu"), FRAMES_PER_BATCH["cpu"])
    pooled, seconds = [], []
    for first in range(0, len(files), CLIPS_AT_ONCE):
        clips = [mu_law(read_trimmed(file)[: int(LONGEST_S * SAMPLING_RATE_HZ)]) for file in files[first : first + CLIPS_AT_ONCE]]
        pooled.append(scorer.pool(*features_of(bundle.feature_set, bundle.feature_params, clips, SAMPLING_RATE_HZ)))
        seconds += [len(clip) / SAMPLING_RATE_HZ for clip in clips]
    return np.concatenate(pooled), np.array(seconds)


def scored_clips(corpus: str, model: str) -> tuple[pd.DataFrame, Bundle]:
    """The corpus' clips of the model's emotions, with ``even`` (probabilities at equal base rates) and ``seconds``."""
    bundle, clips = load_bundle(model), read_corpora([Path(corpus)])[0].clips
    clips = clips[clips["emotion"].isin(bundle.labels)].reset_index(drop=True)
    pooled, seconds = pooled_of(list(clips["file"]), bundle)
    rng, neutral = np.random.default_rng(0), (clips["emotion"] == "neutral").to_numpy()
    counts = {True: int(LINE_CLIPS * LINE_NEUTRAL), False: LINE_CLIPS - int(LINE_CLIPS * LINE_NEUTRAL)}
    line = np.concatenate(
        [rng.choice(own := np.flatnonzero(neutral == kind), min(len(own), count), False) for kind, count in counts.items()]
    )
    standardised = (pooled - pooled[line].mean(axis=0)) / np.maximum(pooled[line].std(axis=0), 1e-4)
    return clips.assign(even=list(bundle.at_equal_rates(standardised)), seconds=seconds), bundle


def base_rates(corpus: str, model: str) -> None:
    """How far EM misses the shares of 240 segments of 12 callers, at 60, 80 and 95 % neutral."""
    clips, bundle = scored_clips(corpus, model)
    rng, missed = np.random.default_rng(0), []
    people = [group for _, group in clips.groupby("speaker")]
    for share in (0.6, 0.8, 0.95):
        wanted = [share if label == "neutral" else (1 - share) / (len(bundle.labels) - 1) for label in bundle.labels]
        errors = []
        for _ in range(DRAWS):
            drawn = []
            for number in rng.choice(len(people), CALLERS, replace=len(people) < CALLERS):
                counts = zip(bundle.labels, rng.multinomial(OF_A_CALLER, wanted), strict=True)
                own = [(people[number][people[number]["emotion"] == label], count) for label, count in counts]
                drawn += [group.sample(count, replace=True, random_state=int(rng.integers(2**31))) for group, count in own if len(group)]
            sample = pd.concat(drawn)
            true = [(sample["emotion"] == label).mean() for label in bundle.labels]
            errors.append(most_likely(np.stack(list(sample["even"]))) - true)
        missed += errors
        print(f"{share:.0%} neutral, found minus true:", _of(bundle, np.mean(errors, axis=0)))
    print("95 % miss by less than:", _of(bundle, np.quantile(np.abs(missed), 0.95, axis=0)))


def escalations(corpus: str, model: str, number: str) -> None:
    """How many composed calls escalate and de-escalate, by kind and by thirds of their length, and how far the onset is off."""
    clips, bundle = scored_clips(corpus, model)
    anger = dict(zip(clips["file"], (even[bundle.labels.index("anger")] for even in clips["even"]), strict=True))
    calls = compose(people_of(clips), dict(zip(clips["file"], clips["seconds"], strict=True)), int(number), seed=0)
    rows = pd.DataFrame([_judged(call, anger) for call in calls])
    rows["kind"] = rows["kind"].replace({"none": "without change", "throughout": "without change"})
    for kind, own in rows.groupby("kind"):
        thirds = own.groupby(pd.qcut(own["segments"], 3))[["escalated", "deescalated"]].mean()
        print(f"{kind}: {len(own)} calls, escalated {own['escalated'].mean():.3f}, the opposite {own['deescalated'].mean():.3f}")
        for segments, each in thirds.iterrows():
            print(f"  {segments} segments: {each['escalated']:.3f}, {each['deescalated']:.3f}")
    found = rows[(rows["kind"] == "rising") & rows["escalated"]]
    print(f"onset: median error {found['onset_error_s'].median():.0f} s, absolute {found['onset_error_s'].abs().median():.0f} s")


def _judged(call: ComposedCall, anger: dict[str, float]) -> dict[str, object]:
    own = [turn for turn in call.turns if turn.role == "customer"]
    value, start_s, end_s = (np.array(each) for each in zip(*((anger[turn.clip], turn.start_s, turn.end_s) for turn in own), strict=True))
    change, onset = change_of(value, start_s), call.facts()["onset_s"]
    found_s = onset_s(value, start_s, end_s) if change and change.escalated and onset is not None else None
    return {
        "kind": call.kind,
        "segments": len(own),
        "escalated": bool(change and change.escalated),
        "deescalated": bool(change and change.deescalated),
        "onset_error_s": None if found_s is None else found_s - onset,
    }


def _of(bundle: Bundle, values: np.ndarray) -> str:
    return ", ".join(f"{label} {value:.3f}" for label, value in zip(bundle.labels, values, strict=True))


if __name__ == "__main__":
    {"base-rates": base_rates, "escalations": escalations}[sys.argv[1]](*sys.argv[2:])
