"""Licences say what a company may do."""

import re
from pathlib import Path

import pytest

from ser_tasks.datasets import DATASETS
from ser_tasks.datasets.credits import CREDITS, licence_of_weights
from ser_tasks.licences import UNKNOWN, forbidden_use, permits_commercial_use


@pytest.mark.parametrize(
    ("corpora", "permitted"),
    [
        (["emodb"], True),
        (["emodb", "SUBESCO"], True),
        (["emodb", "emozionalmente", "mesd", "banglaser", "emns", "subesco"], True),
        (["emodb", "emogator"], True),
        (["emodb", "emospeech_india"], False),
        (["emodb", "turev"], False),
        (["emodb", "nemo"], False),
        (["ravdess"], False),
        (["crema_d"], False),
        (["mine"], False),
    ],
)
def test_weights_are_for_companies_where_all_their_data_is(corpora, permitted):
    licence = licence_of_weights(corpora)
    assert permits_commercial_use(licence) is permitted
    said = forbidden_use("some", licence)
    assert (said is None) is permitted
    if said:
        assert "\n" not in said and "some" in said and ("unknown" if licence == UNKNOWN else licence) in said


@pytest.mark.parametrize("name", DATASETS)
def test_every_corpus_has_a_credit_and_stands_in_the_docs_beside_its_licence(name):
    text = (Path(__file__).parents[2] / "deploy/docs/MODEL.md").read_text()
    table = text[text.index("`--data` takes these corpora") : text.index("The layouts of RML")].splitlines()
    word = CREDITS[name].title.split()[0].rstrip(",")
    (row,) = [line for line in table if line.startswith("|") and word in re.findall(r"[\w-]+", line)]
    licence = CREDITS[name].licence
    assert permits_commercial_use(licence) == ("a company may train" in row)
    assert licence in row or licence.startswith("for ") and "by agreement" in row or licence == UNKNOWN and "not stated" in row
