"""The texts that go with a bundle: ``MODEL_CARD.md`` and ``LICENSE``, written from what the bundle says and measured."""

from ser_tasks.bundle import ALL_UNSURE, Bundle
from ser_tasks.datasets.credits import CREDITS, UNKNOWN

ADDRESS_OF_LICENCE = {
    "CC0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC BY-NC-SA 4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
}


def model_card(bundle: Bundle) -> str:
    """The card, in Markdown. ``bundle.scores`` must hold ``test`` and ``calibration``."""
    test, calibration = bundle.scores["test"], bundle.scores["calibration"]
    emotions = ", ".join(bundle.labels)
    corpora = [f"| {told['corpus']} | {told['licence']} | {_sides(told['clips'])} |" for told in bundle.training_data]
    speakers = [
        f"- {told['corpus']}, {side}: {', '.join(told['speakers'][side]) or 'none'}"
        for told in bundle.training_data
        for side in ("train", "calibration", "test")
    ]
    recalls = ", ".join(f"{label} {recall:.2f}" for label, recall in test["all"]["recall"].items())
    return f"""# {bundle.name}, version {bundle.version}

Scores a segment of telephone speech (about 1 to 6 s, one speaker) with the probabilities of {emotions}.
Model `{bundle.model}` on feature set `{bundle.feature_set_id}` ({_params(bundle)}).
Trained for {bundle.scores["epochs"]} epochs with seed {bundle.scores["seed"]}.

## What it must not be used for

- **People at work or in education in the EU.** Inferring their emotions is prohibited (AI Act, Regulation (EU) 2024/1689,
  Art. 5(1)(f)), but for medical or safety reasons: do not score agents.
- Decisions about a person. A segment's label is often wrong (below), and a voice is not a feeling.
- Commercial use, where the licence below says so.
- Callers in the EU must be told that emotion recognition is at work (Art. 50(3)).

## Data

| corpus | licence | clips: train, calibration, test |
|---|---|---|
{chr(10).join(corpora)}

{_about_the_data(bundle)}
It was trimmed and brought to 8 kHz, -26 dBFS and G.711 mu-law; training clips also at other speeds and levels, with pauses,
through other codecs, with lost packets, noise and babble. Every speaker's emotion weighed the same.
`ser evaluate` measures what the line does to the scores.

Every speaker is on one side only:

{chr(10).join(speakers)}

## Scores on the test speakers

UA: mean recall of the emotions (chance {1 / len(bundle.labels):.2f}), WA: share right, ECE: expected calibration error in 15 bins,
coverage: share of segments that are not unsure, error when covered: share of wrong labels among these.

| corpus | segments | UA | WA | ECE | coverage | error when covered |
|---|---|---|---|---|---|---|
{chr(10).join(_score_row(corpus, row) for corpus, row in test.items())}

Recall by emotion: {recalls}.

## Calibration

Set on the calibration speakers alone, weighing each one's emotions the same: logits are divided by {bundle.temperature:.3f}, and
a segment is unsure where its highest probability is below {bundle.unsure_below:.3f}, {_threshold_is(bundle)}.

| corpus | segments | UA | WA | ECE | coverage | error when covered |
|---|---|---|---|---|---|---|
{chr(10).join(_score_row(corpus, row) for corpus, row in calibration.items())}

## Licence

{bundle.licence}, which follows from the data: see `LICENSE`.
"""


def licence_notice(bundle: Bundle) -> str:
    """The notice that the weights carry: their licence and the makers of the data."""
    if bundle.licence == UNKNOWN:
        terms = "The licence of these weights is not known, since that of some training data is not: ask its owners before use."
    else:
        terms = f"These weights are licensed under {bundle.licence}: {ADDRESS_OF_LICENCE[bundle.licence]}"
    credits = []
    for told in bundle.training_data:
        credit = CREDITS.get(told["corpus"].lower())
        if credit:
            credits.append(f"- {credit.title}\n  by {credit.authors}. {credit.source}. {credit.licence}.")
        else:
            credits.append(f"- {told['corpus']}, licence {told['licence']}.")
    return f"""Model weights {bundle.name}, version {bundle.version}

{terms}

They were trained on, and so are adapted from, these corpora.
Changes: trimmed, brought to telephone quality, turned into features, and learnt from.

{chr(10).join(credits)}

The makers of the corpora do not endorse these weights. They come without any warranty.
"""


def _about_the_data(bundle: Bundle) -> str:
    if all(told["corpus"].lower() in CREDITS for told in bundle.training_data):
        shared = any(told.get("shared_sentences", 1) for told in bundle.training_data)
        sentences = "the same on all sides" if shared else "different on each side"
        return (
            f"All of it is speech acted in a studio, in sentences that are {sentences}. **Acted speech is not phone speech**:\n"
            "people on the phone show less. Expect lower scores on calls: none was used."
        )
    return "Where the clips are acted, or not from a telephone, expect lower scores on calls."


def _threshold_is(bundle: Bundle) -> str:
    if bundle.unsure_below == ALL_UNSURE:
        return f"which leaves every segment unsure: no lower threshold had at most {bundle.target_error:.0%} wrong labels from it on"
    return f"the lowest threshold with at most {bundle.target_error:.0%} wrong labels from it on"


def _sides(clips: dict[str, int]) -> str:
    return ", ".join(str(clips[side]) for side in ("train", "calibration", "test"))


def _params(bundle: Bundle) -> str:
    return ", ".join(f"{name} {value}" for name, value in bundle.feature_params.items())


def _score_row(corpus: str, row: dict) -> str:
    error = "none covered" if row["error_covered"] is None else f"{row['error_covered']:.2f}"
    return f"| {corpus} | {row['segments']} | {row['ua']:.2f} | {row['wa']:.2f} | {row['ece']:.2f} | {row['coverage']:.2f} | {error} |"
