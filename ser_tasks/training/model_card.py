"""The texts that go with a bundle: ``MODEL_CARD.md`` and ``LICENSE``, written from what the bundle says and measured."""

from ser_tasks.datasets.credits import CREDITS, UNKNOWN
from ser_tasks.html_page import markdown_table
from ser_tasks.inference.bundle import ALL_UNSURE, Bundle
from ser_tasks.models import MODELS

ADDRESS_OF_LICENCE = {
    "CC0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC BY-NC-SA 4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
}


def model_card(bundle: Bundle) -> str:
    """The card, in Markdown, of a bundle that ``train`` made: its ``scores`` tell how."""
    test = bundle.scores["test"]
    emotions = ", ".join(bundle.labels)
    corpora = [[told["corpus"], told["licence"], _sides(told["clips"])] for told in bundle.training_data]
    recalls = ", ".join(f"{label} {recall:.2f}" for label, recall in test["all"]["recall"].items())
    return f"""# {bundle.name}, version {bundle.version}

Scores a segment of telephone speech (about 1 to 6 s, one speaker) with the probabilities of {emotions}.
Model `{bundle.model}` on feature set `{bundle.feature_set_id}` ({_params(bundle)}).
Trained for {bundle.scores["epochs"]} epochs with seed {bundle.scores["seed"]}; made anew, from folders of the corpora below, by

    {_command(bundle)}

## What it must not be used for

- **People at work or in education in the EU.** Inferring their emotions is prohibited (AI Act, Regulation (EU) 2024/1689,
  Art. 5(1)(f)), but for medical or safety reasons: do not score agents.
- Decisions about a person. A segment's label is often wrong (below), and a voice is not a feeling.
- Commercial use, where the licence below says so.
- Callers in the EU must be told that emotion recognition is at work (Art. 50(3)).

## Data

{markdown_table(["corpus", "licence", "clips: train, calibration, test"], corpora)}

{_about_the_data(bundle)}
It was trimmed and brought to 8 kHz, -26 dBFS and G.711 mu-law; training clips also at other speeds and levels, with pauses,
through other codecs, from across a room, with lost packets, noise and babble. A corpus's emotions were heard equally often.
`ser evaluate` measures what the line does to the scores.
{_origin(bundle)}
{_split(bundle)}

## Scores on speakers it had not heard

UA: mean recall of the emotions (chance {1 / len(bundle.labels):.2f}; in brackets the 95 % interval over speakers), WA: share right, ECE:
expected calibration error in 15 bins, coverage: share of segments that are not unsure, error when covered: share wrong among these.

{_table(test)}

Recall by emotion: {recalls}.
{_foreign(bundle)}{_robustness(bundle)}
## Calibration

{_calibration(bundle)}

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
{_origin(bundle)}
The makers of the corpora do not endorse these weights. They come without any warranty.
"""


def _origin(bundle: Bundle) -> str:
    origin = getattr(MODELS[bundle.model], "ORIGIN", None)
    return f"\n{origin}\n" if origin else ""


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
        return f"which leaves every segment unsure: no lower one had at most {bundle.target_error:.0%} wrong labels from it on"
    return f"the lowest with at most {bundle.target_error:.0%} wrong labels from it on in 90 % of resamples of the speakers"


def _sides(clips: dict[str, int]) -> str:
    return ", ".join(str(clips[side]) for side in ("train", "calibration", "test"))


def _params(bundle: Bundle) -> str:
    return ", ".join(f"{name} {value}" for name, value in bundle.feature_params.items())


def _command(bundle: Bundle) -> str:
    scores, data = bundle.scores, " ".join(f"--data {told['corpus']}/" for told in bundle.training_data)
    options = f"--labels {','.join(bundle.labels)} --epochs {scores['epochs']} --folds {scores['folds']} --seed {scores['seed']}"
    return f"ser train --model {bundle.model} {data} {options} --out {bundle.name}"


def _split(bundle: Bundle) -> str:
    if folds := bundle.scores["folds"]:
        return (
            f"Scores are of a {folds}-fold cross-validation: each fold's model was trained and calibrated without the speakers it was\n"
            "tested on. The weights here were then trained on all of them, in the same way:\n\n"
            + "\n".join(f"- {told['corpus']}: {', '.join(told['speakers']['train'])}" for told in bundle.training_data)
        )
    speakers = [
        f"- {told['corpus']}, {side}: {', '.join(told['speakers'][side]) or 'none'}"
        for told in bundle.training_data
        for side in ("train", "calibration", "test")
    ]
    return "Every speaker is on one side only:\n\n" + "\n".join(speakers)


def _table(scores: dict[str, dict]) -> str:
    header = ["corpus", "segments", "UA", "WA", "ECE", "coverage", "error when covered"]
    return markdown_table(header, [_score_row(corpus, row) for corpus, row in scores.items()])


def _foreign(bundle: Bundle) -> str:
    if not (scores := bundle.scores.get("unheard_corpora")):
        return ""
    return f"""
## On corpora, languages and rooms it had not heard

Each corpus scored by a model that was trained on the others alone. Expect this, not the table above, of another language or line.

{_table(scores)}
"""


def _robustness(bundle: Bundle) -> str:
    if not (scores := bundle.scores.get("robustness")):
        return ""
    rows = [[name, f"{row['ua']:.2f}", f"{row['labels_flipped']:.0%}"] for name, row in scores.items()]
    return f"""
## On the line

What codecs, lost packets, gain, noise and babble do to the scores on unheard speakers.

{markdown_table(["condition", "UA", "labels that flip"], rows)}
"""


def _calibration(bundle: Bundle) -> str:
    folds = "on what the folds' models gave for speakers, and half as much for corpora, that they had not heard"
    who = folds if bundle.scores["folds"] else "on the calibration speakers alone"
    both = ", of each of both" if bundle.scores["folds"] and bundle.scores.get("unheard_corpora") else ""
    return (
        f"Set {who}, weighing each one's emotions the same: logits are divided by {bundle.temperature:.3f},\n"
        f"and a segment is unsure where its highest probability is below {bundle.unsure_below:.3f}, {_threshold_is(bundle)}{both}.\n"
        f"On the same clips, with that:\n\n{_table(bundle.scores['calibration'])}"
    )


def _score_row(corpus: str, row: dict) -> list[str]:
    error = "none covered" if row["error_covered"] is None else f"{row['error_covered']:.2f}"
    interval = " ({:.2f} to {:.2f})".format(*row["ua_interval_95"]) if row.get("ua_interval_95") else ""
    scores = [f"{row['ua']:.2f}{interval}", f"{row['wa']:.2f}", f"{row['ece']:.2f}", f"{row['coverage']:.2f}"]
    return [corpus, str(row["segments"]), *scores, error]
