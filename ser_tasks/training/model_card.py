"""The texts of a bundle, ``MODEL_CARD.md`` and ``LICENSE``, generated from its scores and training data."""

from typing import Any, TypeAlias

from ser_tasks.datasets.credits import CREDITS
from ser_tasks.evaluation.compare_bundles import Comparison
from ser_tasks.evaluation.metrics import ECE_BINS
from ser_tasks.html_page import markdown_table
from ser_tasks.inference.bundle import ALL_UNSURE, Bundle
from ser_tasks.inference.fusion import FIGURES
from ser_tasks.licences import UNKNOWN, permits_commercial_use
from ser_tasks.models import MODELS
from ser_tasks.training.calibrate import CAUTION, FOREIGN_SET_THRESHOLD, FOREIGN_TEMPERATURE
from ser_tasks.training.cross_validation import LINE_NEUTRAL
from ser_tasks.training.pooled_states import COPY_SNR_DB
from ser_tasks.training.trainer import is_pooled

Scores: TypeAlias = dict[str, dict[str, Any]]
"""Metrics by name of the clips they are computed on."""

LICENCE_URLS = {
    "CC0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC BY-NC-SA 4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
}

MORE_PEOPLE = ("emozionalmente", "subesco", "banglaser", "mesd", "emns")
"""Corpora that a company may train on, and that can be downloaded; the largest first."""


def model_card(bundle: Bundle) -> str:
    """The card, in Markdown, of a bundle that ``train_bundle`` made, from its ``scores`` and ``training_data``."""
    test = bundle.scores["test"]
    emotions = ", ".join(bundle.labels)
    corpora = [[entry["corpus"], entry["licence"], _sides(entry["clips"])] for entry in bundle.training_data]
    recalls = ", ".join(f"{label} {recall:.2f}" for label, recall in test["all"]["recall"].items())
    return f"""# {bundle.name}, version {bundle.version}

Classifies a segment of telephone speech (about 1 to 6 s, one speaker): probabilities of {emotions}.
Model `{bundle.model}` on feature set `{bundle.feature_set_id}` ({_params(bundle)}).
{_length(bundle)} To train it again, from folders of the corpora below:

    {_command(bundle)}
{_better(bundle)}
## What it must not be used for

- **People at work or in education in the EU.** Inferring their emotions is prohibited (AI Act, Regulation (EU) 2024/1689,
  Art. 5(1)(f)), except for medical or safety reasons: do not score agents.
- **Decisions about a person.** A segment's label is often wrong (see the error rates below), and speech is not proof of a feeling.
- **Commercial use**: the licence below {"permits" if permits_commercial_use(bundle.licence) else "does not permit"} it.

Callers in the EU must be informed that emotion recognition is in use (Art. 50(3)).

## Data

{markdown_table(["corpus", "licence", "clips: train, calibration, test"], corpora)}

{_about_the_data(bundle)}
Clips were trimmed of silence and brought to 8 kHz, -26 dBFS and G.711 mu-law. {_augmentation(bundle)}
`ser evaluate` measures the effect of telephone lines on the scores.
{_origin(bundle)}
{_split(bundle)}

## Scores on unseen speakers

UA: mean recall of the emotions (chance {1 / len(bundle.labels):.2f}; in brackets the 95 % interval over speakers), WA: accuracy, ECE:
expected calibration error in {ECE_BINS} bins, coverage: share of segments that are not unsure, error when covered: share of wrong labels
among these.

{_table(test)}

Recall by emotion: {recalls}.
{_unseen_corpora(bundle)}{_robustness(bundle)}
## Calibration

{_calibration(bundle)}

## Licence

{bundle.licence}, which follows from the data: see `LICENSE`.
"""


def on_top_card(bundle: Bundle, comparison: Comparison, entries: list[dict[str, Any]], card_below: str) -> str:
    """The card of a bundle that ``train_on_top`` made from another, whose card follows."""
    data = [[entry["corpus"], entry["licence"], str(entry["clips"]["train"]), str(len(entry["speakers"]["train"]))] for entry in entries]
    (old, new), (low, high) = (comparison.old, comparison.new), comparison.gain_interval_95
    figures = [
        ["UA", f"{old.ua:.3f}", f"{new.ua:.3f}"],
        ["mean -log p of the truth", f"{old.log_loss:.3f}", f"{new.log_loss:.3f}"],
    ]
    if old.auc_anger is not None and new.auc_anger is not None:
        figures.append(["AUC of anger", f"{old.auc_anger:.3f}", f"{new.auc_anger:.3f}"])
    folders = " ".join(f"--data {entry['corpus']}/" for entry in entries)
    return f"""# {bundle.name}, version {bundle.version}

The heads of {comparison.old_id}, fitted further to labels of other clips. To train it again:

    ser train --on {comparison.old_id.partition("-")[0]} {folders} --name {bundle.name} --out {bundle.name}

{markdown_table(["labels", "licence", "clips", "callers"], data)}

On {comparison.clips} clips of {comparison.callers} callers, each scored by heads that were fitted without its caller, and standardised
by the clips of the other callers:

{markdown_table(["", comparison.old_id, "this bundle"], figures)}

The gain of UA is {new.ua - old.ua:+.3f} (95 % interval {low:+.3f} to {high:+.3f}); {comparison.callers_gaining} callers gain and
{comparison.callers_losing} lose. They are of the labels' own kind: on other lines, the scores may be lower than those of the bundle below.
Encoder, calibration, sets and base rates are that bundle's, and so are the statistics that stand in for a line's where there is no
profile.

Licence of the weights: {bundle.licence}. The labels' own licence and what callers consented to are for those who trained it to check.

## The bundle below

What follows is its card, word for word; scores and data in it are of the weights as they were before.

{card_below}"""


def fusion_card(bundle: Bundle, comparison: Comparison, card_below: str) -> str:
    """The card of a bundle that ``fuse`` made of another, whose card follows."""
    assert bundle.fusion is not None
    fusion, (low, high) = bundle.fusion, comparison.gain_interval_95
    weights = [
        [FIGURES[name][0].replace("_", "-"), f"`{name}`", f"{weight.coefficient:+.3f}", f"{weight.mean:.3g}", f"{weight.deviation:.3g}"]
        for name, weight in fusion.weights.items()
    ]
    parts = [[part.replace("_", "-"), f"{weight:.2f}"] for part, weight in fusion.parts.items()]
    aucs = [[parts.replace("_", "-"), f"{value:.3f}"] for parts, value in fusion.scores["auc_anger"].items()]
    return f"""# {bundle.name}, version {bundle.version}

A late fusion of the voice of {fusion.voice}, turn-taking and the customer's words: the column `call_anger_fused`. All other columns are
that bundle's. To fit it again:

    ser fuse --lake LAKE --on {fusion.voice.partition("-")[0]} --name {bundle.name} --out {bundle.name}

Fitted to {fusion.calls} calls of {fusion.callers} callers that reviewers judged, {fusion.angry} of them with anger.

{markdown_table(["part", "weight"], parts)}

The weight of a part is the standard deviation of what it adds to the log-odds over these calls, as a share of the three's sum. A figure
that a call lacks adds nothing; a call without turn-taking and words keeps the voice's `call_anger`.

On {comparison.clips} calls of {comparison.callers} callers, each scored by a regression that was fitted without its caller, the voice
alone, fitted to the same labels, has UA {comparison.old.ua:.3f}, and the fusion {comparison.new.ua:.3f}: a gain of
{comparison.new.ua - comparison.old.ua:+.3f} (95 % interval {low:+.3f} to {high:+.3f}); {comparison.callers_gaining} callers gain and
{comparison.callers_losing} lose.

{markdown_table(["parts", "AUC of anger"], aucs)}

These calls were chosen for review, and reviewers may have read the words: other calls may differ.

{markdown_table(["part", "figure", "log-odds a deviation", "mean", "deviation"], weights)}

Licence of the weights: {bundle.licence}. What callers consented to is for those who fitted it to check.

## The bundle below

What follows is its card, word for word.

{card_below}"""


def licence_notice(bundle: Bundle) -> str:
    """The licence notice of the weights, with the authors of the training data."""
    if bundle.licence == UNKNOWN:
        terms = "The licence of these weights is unknown because that of some training data is: ask its owners before use."
    else:
        terms = f"These weights are licensed under {bundle.licence}: {LICENCE_URLS[bundle.licence]}"
    credits = []
    for entry in bundle.training_data:
        credit = CREDITS.get(entry["corpus"].lower())
        if credit:
            credits.append(f"- {credit.title}\n  by {credit.authors}. {credit.source}. {credit.licence}.")
        else:
            credits.append(f"- {entry['corpus']}, licence {entry['licence']}.")
    return f"""Model weights {bundle.name}, version {bundle.version}

{terms}

They were trained on, and so are adapted from, these corpora.
Changes: trimmed, brought to telephone quality, converted to features, and used for training.

{chr(10).join(credits)}
{_origin(bundle)}
The authors of the corpora do not endorse these weights, which come without any warranty.
"""


def _origin(bundle: Bundle) -> str:
    origin = MODELS[bundle.model].ORIGIN
    return f"\n{origin}\n" if origin else ""


def _length(bundle: Bundle) -> str:
    seed = bundle.scores["seed"]
    if is_pooled(bundle.model):
        return f"Fitted at once, by logistic regression on the states of a frozen encoder, with seed {seed} of the noisy copies."
    return f"Trained for {bundle.scores['epochs']} epochs with seed {seed}."


def _augmentation(bundle: Bundle) -> str:
    voices = bundle.scores.get("voices", 0)
    in_voices = f"\n{voices} further copies of each are in other voices: speed, pitch and formants shifted." if voices else ""
    if not is_pooled(bundle.model):
        by_line = (
            "\nEach was standardised by the statistics of its corpus with 25 or 80 % of neutral speech, by turns." if bundle.by_line else ""
        )
        return (
            "Training clips were augmented: speed, level, pauses,\n"
            "other codecs, reverberation, packet loss, noise and babble. The emotions of a corpus were sampled equally often."
            f"{by_line}{in_voices}"
        )
    low, high = COPY_SNR_DB
    copies = bundle.scores.get("copies", 0)
    noisy = (
        f"Beside each clip as it is, {copies} copies of it were\ntrained on, in noise and in babble by turns, at {low:g} to {high:g} dB; "
        "the voices of the babble are the speaker's own, at other speeds."
        if copies
        else "There were no augmented copies."
    )
    return f"{noisy}{in_voices}\nNo other augmentation was used. The emotions of a corpus have equal weights."


def _about_the_data(bundle: Bundle) -> str:
    if all(entry["corpus"].lower() in CREDITS for entry in bundle.training_data):
        shared = any(entry.get("shared_sentences", 1) for entry in bundle.training_data)
        sentences = "the same on all sides" if shared else "different on each side"
        return (
            f"All of it is acted speech from a studio, in sentences that are {sentences}. **Acted speech is not phone speech**:\n"
            "emotions are weaker on the phone. No calls were used: expect lower scores on them."
        )
    return "If the clips are acted or not from a telephone, expect lower scores on calls."


def _threshold_rule(bundle: Bundle) -> str:
    if bundle.unsure_below == ALL_UNSURE:
        return f"with which every segment is unsure: no lower threshold kept the error at or below {bundle.target_error:.0%}"
    return f"the lowest threshold that kept the error at or below {bundle.target_error:.0%} in 90 % of bootstrap resamples of the speakers"


def _sides(clips: dict[str, int]) -> str:
    return ", ".join(str(clips[side]) for side in ("train", "calibration", "test"))


def _params(bundle: Bundle) -> str:
    return ", ".join(f"{name} {value}" for name, value in bundle.feature_params.items())


def _command(bundle: Bundle) -> str:
    scores, data = bundle.scores, " ".join(f"--data {entry['corpus']}/" for entry in bundle.training_data)
    options = f"--labels {','.join(bundle.labels)} --epochs {scores['epochs']} --folds {scores['folds']} --seed {scores['seed']}"
    if bundle.by_line:
        options += " --by-line"
    if voices := scores.get("voices"):
        options += f" --voices {voices}"
    if bundle.priors:
        options += " --priors " + ",".join(f"{label}={share:g}" for label, share in bundle.priors.items())
    return f"ser train --model {bundle.model} {data} {options} --name {bundle.name} --out {bundle.name}"


def _better(bundle: Bundle) -> str:
    """How to train a model of the same kind on more people, where a company may use this one."""
    trained = {entry["corpus"] for entry in bundle.training_data}
    if not (is_pooled(bundle.model) and permits_commercial_use(bundle.licence)) or MORE_PEOPLE[0] in trained:
        return ""
    more = " ".join(f"--data {name}/" for name in MORE_PEOPLE)
    command = _command(bundle).replace(" --labels", f" {more} --labels")
    command = command.replace(f"--name {bundle.name} --out {bundle.name}", "--name mine --out mine")
    titles = [CREDITS[name].title.partition(",")[0] for name in MORE_PEOPLE]
    return f"""
It knows the voices of few people. Who downloads {", ".join(titles[:-1])} and {titles[-1]}
({CREDITS[MORE_PEOPLE[0]].licence}: commercial use is permitted) trains one on more. That is not measured, as they were not at hand; the
card that it writes says how good it is:

    {command}
"""


def _split(bundle: Bundle) -> str:
    if folds := bundle.scores["folds"]:
        return (
            f"Scores are from a {folds}-fold cross-validation: each fold's model was trained and calibrated without the speakers it was\n"
            "tested on. These weights were then trained in the same way on all speakers:\n\n"
            + "\n".join(f"- {entry['corpus']}: {', '.join(entry['speakers']['train'])}" for entry in bundle.training_data)
        )
    speakers = [
        f"- {entry['corpus']}, {side}: {', '.join(entry['speakers'][side]) or 'none'}"
        for entry in bundle.training_data
        for side in ("train", "calibration", "test")
    ]
    return "Every speaker is on one side only:\n\n" + "\n".join(speakers)


def _table(scores: Scores) -> str:
    header = ["corpus", "segments", "UA", "WA", "ECE", "coverage", "error when covered"]
    return markdown_table(header, [_score_row(name, row) for name, row in scores.items()])


def _unseen_corpora(bundle: Bundle) -> str:
    parts: list[str] = []
    what, neutral = "Features" if bundle.by_line else "States", f"{LINE_NEUTRAL:.0%}"
    if scores := bundle.scores.get("test_on_line"):
        parts.append(f"""
## Scores on unseen speakers, by their line

{what} are standardised by those of the training side's clips of the same corpus, {neutral} of them neutral, as calls are by the
other calls of their line (`ser adapt`).

{_table(scores)}
""")
    if scores := bundle.scores.get("unheard_corpora"):
        parts.append(f"""
## Scores on unseen corpora

Each corpus is scored by a model that was trained on the other corpora only. For another language or line, expect these scores rather
than those above.

{_table(scores)}
""")
    if scores := bundle.scores.get("unheard_corpora_on_line"):
        parts.append(f"""
The same, with {what.lower()} standardised by those of the corpus itself, weighted so that {neutral} are neutral, as after `ser adapt`:

{_table(scores)}
""")
    return "".join(parts)


def _robustness(bundle: Bundle) -> str:
    if not (scores := bundle.scores.get("robustness")):
        return ""
    rows = [
        [name, f"{row['ua']:.2f}", f"{row['labels_flipped']:.0%}", f"{row['auc_anger']:.3f}" if "auc_anger" in row else ""]
        for name, row in scores.items()
    ]
    return f"""
## Robustness

Scores on unseen speakers under codecs, packet loss, gain, noise and babble.

{markdown_table(["condition", "UA", "changed labels", "AUC of anger"], rows)}
"""


def _calibration(bundle: Bundle) -> str:
    if bundle.scores.get("unheard_corpora"):
        source = "on clips of unseen corpora from the cross-validation"
    elif bundle.scores["folds"]:
        source = (
            f"on clips of unseen speakers from the cross-validation, and then {CAUTION:g} times flatter or more: the temperature\n"
            f"of a model on pooled states is {FOREIGN_TEMPERATURE:g} at least, as on unseen corpora of others"
        )
    else:
        source = "on the calibration speakers only"
    each = ",\nboth for unseen speakers and for unseen corpora" if bundle.scores.get("unheard_corpora") else ""
    return (
        f"Fitted {source},\nwith equal weights for all emotions of a speaker. Logits are divided by {bundle.temperature:.3f}.\n"
        f"A segment is unsure if its highest probability is below {bundle.unsure_below:.3f},\n"
        f"{_threshold_rule(bundle)}{each}.\n{_more_calibration(bundle)}{_sets(bundle)}"
        f"Scores on the same clips after calibration:\n\n{_table(_unseen(bundle.scores['calibration']))}"
    )


def _more_calibration(bundle: Bundle) -> str:
    lines = []
    for name, what in (("anger", "anger_score"), ("arousal", "arousal_score"), ("call_anger", "call_anger, on made-up calls")):
        if found := bundle.calibrations.get(name):
            lines.append(f"- {what}: expit({found.slope:.3f} logit {found.intercept:+.3f}), AUC {found.auc:.3f} on these clips")
    if bundle.set_thresholds and bundle.set_coverage:
        lowest = max(bundle.set_thresholds.values())
        if bundle.scores.get("unheard_corpora"):
            source = "the lowest\n  that an unseen corpus from the cross-validation asks for"
        elif lowest < FOREIGN_SET_THRESHOLD:
            source = "what the\n  worst condition of unseen speakers asks for"
        else:
            source = "what\n  corpora unlike the training data were measured to ask for, and less than unseen speakers here do"
        lines.append(
            f"- emotion_set: the emotions of a probability of {lowest:.3f} or more, at equal base rates: {source}.\n"
            f"  Stated coverage: of speech unlike the training data, the set holds the true emotion in {bundle.set_coverage:.0%} of\n"
            "  segments, all emotions alike; of speech like it, in more (below). Of one emotion it may be less, and where the\n"
            "  model is no better than chance (see deploy/docs/MODEL.md)"
        )
    if bundle.priors:
        shares = ", ".join(f"{label} {share:g}" for label, share in bundle.priors.items())
        lines.append(
            f"- base rates: {shares}, an assumption about calls that `SER_PRIORS` replaces; all scores of this card are at equal rates"
        )
    return "\n" + "\n".join(lines) + "\n\n" if lines else ""


def _sets(bundle: Bundle) -> str:
    if not (measured := bundle.scores.get("sets")):
        return ""
    names = ("coverage", "one_emotion", "one_wrong", "sure", "sure_missed")
    rows = [
        [name.replace("unheard", "unseen"), *("none" if row[each] is None else f"{row[each]:.2f}" for each in names)]
        for name, row in measured.items()
    ]
    header = ["sets, by their line", "hold the truth", "one emotion", "wrong of these", "say something", "lack the truth of these"]
    others = "; each unseen corpus by the threshold of the others" if len(measured) > 1 else ""
    return f"Sets on these clips{others}:\n\n{markdown_table(header, rows)}\n\n"


def _unseen(scores: Scores) -> Scores:
    """The scores with their keys, which bundles store, in the card's words."""
    return {name.replace("unheard", "unseen"): row for name, row in scores.items()}


def _score_row(name: str, row: dict[str, Any]) -> list[str]:
    error = "none covered" if row["error_covered"] is None else f"{row['error_covered']:.2f}"
    interval = " ({:.2f} to {:.2f})".format(*row["ua_interval_95"]) if row.get("ua_interval_95") else ""
    scores = [f"{row['ua']:.2f}{interval}", f"{row['wa']:.2f}", f"{row['ece']:.2f}", f"{row['coverage']:.2f}"]
    return [name, str(row["segments"]), *scores, error]
