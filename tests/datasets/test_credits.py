"""Licences say what a company may do."""

import pytest

from ser_tasks.datasets.credits import UNKNOWN, forbidden_use, licence_of_weights, permits_commercial_use


@pytest.mark.parametrize(
    ("corpora", "permitted"),
    [
        (["emodb"], True),
        (["emodb", "SUBESCO"], True),
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
