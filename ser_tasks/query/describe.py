"""What a view answers and what its columns mean, from the comments in ``sql/`` and the schemas."""

import difflib
from typing import NamedTuple

import duckdb
import pyarrow as pa

from ser_tasks.lake import sql_views
from ser_tasks.query import data_dictionary


class Description(NamedTuple):
    heading: list[str]
    """The view's name and file, then the lines of its comment: question, grain, units, remarks."""
    columns: pa.Table
    """Each column's name, type, unit and meaning."""


def listing() -> pa.Table:
    """Every view by folder, marts first, with the question it answers."""
    views = sorted(sql_views.all_views(), key=lambda view: (view.name != "calls", view.folder != "marts"))
    rows = [{"view": view.name, "kind": view.folder, "question it answers": view.question} for view in views]
    rows[1:1] = [
        {"view": sql_views.CALLED[view.name], "kind": view.folder, "question it answers": view.question}
        for view in sql_views.called_views()
    ]
    return pa.Table.from_pylist(rows)


def describe(connection: duckdb.DuckDBPyConnection, name: str) -> Description:
    """The description of the view of this name, in any case. Raises ValueError, which suggests similar names, where there is none."""
    views = {view.name: view for view in [*sql_views.all_views(), *sql_views.called_views()]}
    view = views.get(name.lower().partition("(")[0])
    if view is None:
        raise ValueError(f"There is no view {name!r}. {suggestions(name, [view.name for view in sql_views.all_views()])}\\d lists all.")
    known, described = sql_views.meanings(view), connection.sql(f"FROM {sql_views.rows_of(view)}")
    columns = [
        {"column": column, "type": str(type_), "unit": data_dictionary.unit(column, str(type_)), "meaning": known.get(column)}
        for column, type_ in zip(described.columns, described.types, strict=True)
    ]
    return Description([f"{view.name}    sql/{view.folder}/{view.name}.sql", *view.comment], pa.Table.from_pylist(columns))


def suggestions(name: str, names: list[str]) -> str:
    """A sentence, such as "Did you mean runs? ", with the names that are spelt like a name or contain it; empty where none is."""
    similar = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    similar += [other for other in names if name.lower() in other and other not in similar][:3]
    return f"Did you mean {', '.join(similar)}? " if similar else ""
