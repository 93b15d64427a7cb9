"""What a view answers and what its columns mean, for a person at a prompt: from the comments of ``sql/`` and the schemas."""

import difflib
from typing import NamedTuple

import duckdb
import pyarrow as pa

from ser_tasks.lake import sql_views
from ser_tasks.query import data_dictionary


class Description(NamedTuple):
    heading: list[str]
    """Name and file, question, grain, units, remarks: the comment lines at the head of its file."""
    columns: pa.Table
    """Each column's name, type, unit and meaning."""


def listing() -> pa.Table:
    """Every view by folder, marts first, with the question it answers."""
    views = sorted(sql_views.all_views(), key=lambda view: view.folder != "marts")
    rows = [{"view": view.name, "kind": view.folder, "question it answers": view.question} for view in views]
    return pa.Table.from_pylist(rows)


def describe(connection: duckdb.DuckDBPyConnection, name: str) -> Description:
    """The description of a view, by its name in any case. Raises ValueError, which names near ones, where there is none such."""
    view = {view.name: view for view in sql_views.all_views()}.get(name.lower())
    if view is None:
        raise ValueError(f"There is no view {name!r}. {near(name, [view.name for view in sql_views.all_views()])}\\d lists all.")
    known, described = sql_views.meanings(view), connection.table(view.name)
    columns = [
        {"column": column, "type": str(type_), "unit": data_dictionary.unit(column, str(type_)), "meaning": known.get(column)}
        for column, type_ in zip(described.columns, described.types, strict=True)
    ]
    return Description([f"{view.name}    sql/{view.folder}/{view.name}.sql", *view.comment], pa.Table.from_pylist(columns))


def near(name: str, names: list[str]) -> str:
    """A sentence that names what is spelt like it; empty where nothing is."""
    found = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    found += [each for each in names if name.lower() in each and each not in found][:3]
    return f"Did you mean {', '.join(found)}? " if found else ""
