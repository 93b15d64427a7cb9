"""The opt-out list: forms that are read, and lists that can't be, which stop the night without naming anybody."""

import pytest

from ser_tasks.calls.metadata import pseudonym
from ser_tasks.calls.opt_out import read
from ser_tasks.settings import Settings

KEYED = Settings(pseudonym_key="a key of the tests")


def listed(tmp_path, text: str | bytes, name: str = "list.txt", settings: Settings = KEYED):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(settings.model_copy(update={"opt_out": str(path)}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "# who opted out\n\n  c-4711  \nc-2 # moved\n"),
        ("list.txt", '\ufeffc-1\r\n"c-4711"\r\n'),
        ("list", "c-4711"),
        ("list.csv", "customer_id\nc-4711\n"),
        ("list.csv", "since;Customer ID;why\n2026-01-01;c-4711;asked\n"),
        ("list.csv", '# exported\ncustomerId,since\n"c-4711",2026-01-01\n'),
        ("list.txt", pseudonym("customer", "c-4711", KEYED)),
        ("list.csv", f"customer_pseudonym,since\n{pseudonym('customer', 'c-4711', KEYED)},2026\n"),
    ],
)
def test_a_listed_customer_is_found(tmp_path, name, text):
    found = listed(tmp_path, text, name)
    assert found.includes("c-4711", KEYED)
    assert not any(found.includes(other, KEYED) for other in ("c-47", "C-4711x", "", None, "#", "asked"))
    assert "c-4711" not in repr(found)


def test_without_a_key_raw_ids_are_found_and_pseudonyms_refused(tmp_path):
    found = listed(tmp_path, "c-4711\nZo\u00eb", settings=Settings())
    assert found.includes("c-4711", Settings()) and found.includes("Zoe\u0308", Settings()) and "c-4711" not in repr(found)
    with pytest.raises(ValueError, match="SER_PSEUDONYM_KEY is not set"):
        listed(tmp_path, pseudonym("customer", "c-4711", KEYED), settings=Settings())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "c-4711,2026-01-01\n"),
        ("list.txt", "c-4711".encode("utf-16")),
        ("list.csv", "c-4711,2026-01-01\nc-4712,2026-01-01\n"),
        ("list.csv", "customer_id,since\nc-4711\n"),
        ("list.csv", 'customer_id,since\n"c-4711,2026\n'),
    ],
)
def test_a_list_that_cannot_be_read_raises_and_names_nobody(tmp_path, name, text):
    with pytest.raises(ValueError, match="nothing is scored") as error:
        listed(tmp_path, text, name)
    assert "4711" not in str(error.value)


def test_a_list_that_is_missing_or_a_folder_raises(tmp_path):
    for where in (str(tmp_path / "none.txt"), str(tmp_path), "s3://bucket"):
        with pytest.raises(ValueError, match="SER_OPT_OUT"):
            read(KEYED.model_copy(update={"opt_out": where}))
    assert read(KEYED).people == frozenset()


def test_a_list_on_s3(s3):
    bucket = s3.bucket("lists")
    s3.client.put_object(Bucket=bucket, Key="legal/opt-out.txt", Body=b"c-4711\n")
    assert read(KEYED.model_copy(update={"opt_out": f"s3://{bucket}/legal/opt-out.txt"})).includes("c-4711", KEYED)
    with pytest.raises(ValueError, match="SER_OPT_OUT"):
        read(KEYED.model_copy(update={"opt_out": f"s3://{bucket}/legal/none.txt"}))
