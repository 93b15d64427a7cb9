"""The source of each figure: its SQL as a page, and its rows as CSV."""

import pyarrow as pa
from fastapi import APIRouter, HTTPException, Request, Response

from ser_tasks.dashboard.overview import values_of
from ser_tasks.dashboard.pages import BYTE_ORDER_MARK, TheFilters, log_access, page
from ser_tasks.dashboard.queries import QUERIES, Query
from ser_tasks.lake import sql_views
from ser_tasks.query import formats

router = APIRouter()


@router.get("/sql/{name}")
def sql(request: Request, name: str, filters: TheFilters) -> Response:
    """The statement of a query with literal values, or a view; and the views that it reads."""
    views = {view.name: view for view in sql_views.all_views()}
    if name in QUERIES:
        query = QUERIES[name]
        statement = query.with_values(values_of(request.state.snapshot, request.state.viewer, filters))
        read = query.views()
    elif name in views:
        statement, read = f"FROM {name} LIMIT 20", [views[name]]
        query = Query(views[name].question, statement)
    else:
        raise HTTPException(404, "There is no such query or view.")
    files = [{"view": view, "path": f"sql/{view.folder}/{view.name}.sql", "text": view.sql} for view in read]
    return page(request, "sql.html", filters=filters, name=name, query=query, statement=statement, files=files)


@router.get("/csv/{name}")
def csv(request: Request, name: str, filters: TheFilters) -> Response:
    """The rows of a query, for a spreadsheet."""
    if name not in QUERIES:
        raise HTTPException(404, "There is no such table.")
    snapshot, viewer, query = request.state.snapshot, request.state.viewer, QUERIES[name]
    log_access(request, "figures_csv", detail=f"{name} {filters.query()}")
    values = values_of(snapshot, viewer, filters)
    rows = snapshot.query(viewer, query.sql, {name: values[name] for name in query.parameters})
    text = formats.render(_spreadsheet_safe(rows), "csv")
    assert isinstance(text, str)  # only Parquet is bytes
    headers = {"Content-Disposition": f'attachment; filename="{name}_{filters.first}_{filters.last}.csv"'}
    return Response(BYTE_ORDER_MARK + text + "\n", media_type="text/csv; charset=utf-8", headers=headers)


def _spreadsheet_safe(rows: pa.Table) -> pa.Table:
    for place, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            safe = [formats.spreadsheet_safe(value) for value in rows.column(place).to_pylist()]
            rows = rows.set_column(place, field, pa.array(safe, field.type))
    return rows
