"""EMO-DB: ``wav/03a01Fa.wav``, speaker, text, emotion (a German initial) and version (Burkhardt et al., 2005)."""

import re

from ser_tasks.datasets.corpus import Layout

LABELS = {"W": "anger", "L": "boredom", "E": "disgust", "A": "anxiety", "F": "happiness", "T": "sadness", "N": "neutral"}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
"""By their code in the file names."""
MALE = {"03", "10", "11", "12", "15"}


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    gender = "male" if name["speaker"] in MALE else "female"
    words = {"sentence": name["sentence"], "text": SENTENCES.get(name["sentence"])}
    return {"speaker": name["speaker"], "gender": gender, "label": LABELS[name["label"]]} | words


EMODB = Layout("emodb", "de", r"(?P<speaker>03|08|09|1[0-6])(?P<sentence>[ab]\d\d)(?P<label>[WLEAFTN])[a-z]", _facts)
