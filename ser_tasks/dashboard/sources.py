"""Where a figure comes from: its SQL on a page, and its rows as CSV."""

import pyarrow as pa
from fastapi import APIRouter, HTTPException, Request, Response

from ser_tasks.dashboard.overview import values_of
from ser_tasks.dashboard.pages import TheFilters, page
from ser_tasks.dashboard.queries import QUESTIONS, Question
from ser_tasks.lake import sql_views
from ser_tasks.query import formats

router = APIRouter()


@router.get("/sql/{name}")
def sql(request: Request, name: str, filters: TheFilters) -> Response:
    """The statement of a question with the filters' values written in, or a view; and the views that it reads."""
    views = {view.name: view for view in sql_views.all_views()}
    if name in QUESTIONS:
        question = QUESTIONS[name]
        statement = question.with_values(values_of(request.state.snapshot, request.state.viewer, filters))
        read = question.views()
    elif name in views:
        statement, read = f"FROM {name} LIMIT 20", [views[name]]
        question = Question(views[name].question, statement)
    else:
        raise HTTPException(404, "There is no such question or view.")
    files = [{"view": view, "path": f"sql/{view.folder}/{view.name}.sql", "text": view.sql} for view in read]
    return page(request, "sql.html", filters=filters, name=name, question=question, statement=statement, files=files)


@router.get("/csv/{name}")
def csv(request: Request, name: str, filters: TheFilters) -> Response:
    """A question's rows, for a spreadsheet."""
    if name not in QUESTIONS:
        raise HTTPException(404, "There is no such table.")
    snapshot, viewer, question = request.state.snapshot, request.state.viewer, QUESTIONS[name]
    values = values_of(snapshot, viewer, filters)
    rows = snapshot.ask(viewer, question.sql, {name: values[name] for name in question.parameters})
    text = formats.render(_spreadsheet_safe(rows), "csv")
    headers = {"Content-Disposition": f'attachment; filename="{name}_{filters.first}_{filters.last}.csv"'}
    return Response("\ufeff" + text + "\n", media_type="text/csv; charset=utf-8", headers=headers)  # the mark by which Excel knows UTF-8


def _spreadsheet_safe(rows: pa.Table) -> pa.Table:
    for place, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            safe = [formats.spreadsheet_safe(value) for value in rows.column(place).to_pylist()]
            rows = rows.set_column(place, field, pa.array(safe, field.type))
    return rows
