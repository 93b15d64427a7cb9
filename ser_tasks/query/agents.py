"""The minimum for figures that a query of ``ser sql`` groups by agent: groups of few calls would describe single calls of a person at work.

It guards against oversight, not against intent: whoever reads the rows of single calls can count them elsewhere.
"""

import json
from collections.abc import Iterator
from typing import Any

import duckdb

AGENT = "agent_pseudonym"
MINIMUM = "count(*) >= min_calls_by_agent()"
LEFT_OUT = "groups by agent with fewer calls than SER_MIN_CALLS_BY_AGENT are left out"


def with_minimum(connection: duckdb.DuckDBPyConnection, statement: str) -> str | None:
    """The statement with MINIMUM in the HAVING of every SELECT that groups by agent; None where none does, or it is no SELECT."""
    if AGENT not in statement.lower():
        return None
    tree = _tree(connection, statement)
    if tree is None:
        return None
    names = _names_of_agents(tree)
    grouped = [node for node in _nodes(tree) if node.get("type") == "SELECT_NODE" and _groups_by(node, names)]
    for node in grouped:
        both = f"SELECT 1 HAVING true AND {MINIMUM}" if node["having"] else f"SELECT 1 HAVING {MINIMUM}"
        having = (_tree(connection, both) or {})["statements"][0]["node"]["having"]
        if node["having"]:
            having["children"][0] = node["having"]
        node["having"] = having
    if not grouped:
        return None
    [(text,)] = connection.execute("SELECT json_deserialize_sql($tree::JSON)", {"tree": json.dumps(tree)}).fetchall()
    return str(text)


def _tree(connection: duckdb.DuckDBPyConnection, statement: str) -> dict[str, Any] | None:
    [(text,)] = connection.execute("SELECT json_serialize_sql($sql::VARCHAR)", {"sql": statement}).fetchall()
    tree: dict[str, Any] = json.loads(text)
    return None if tree["error"] else tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a statement's tree."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)


def _mentions(tree: Any, names: set[str]) -> bool:
    return any(node.get("class") == "COLUMN_REF" and node["column_names"][-1].lower() in names for node in _nodes(tree))


def _names_of_agents(tree: Any) -> set[str]:
    """The column's name, and the aliases that the statement gives it."""
    names = {AGENT}
    while True:
        more = {node["alias"].lower() for node in _nodes(tree) if _is_alias(node) and _mentions(node, names)}
        if more <= names:
            return names
        names |= more


def _is_alias(node: dict[str, Any]) -> bool:
    return bool(node.get("alias")) and "class" in node and not _aggregates(node)


def _groups_by(node: dict[str, Any], names: set[str]) -> bool:
    selected = node["select_list"]
    if node["aggregate_handling"] == "FORCE_AGGREGATES":  # GROUP BY ALL
        return any(_mentions(each, names) for each in selected if not _aggregates(each))
    for each in node["group_expressions"]:
        place = each.get("value", {}).get("value") if each.get("class") == "CONSTANT" else None  # GROUP BY 1
        if isinstance(place, int) and 1 <= place <= len(selected):
            each = selected[place - 1]
        if _mentions(each, names):
            return True
    return False


def _aggregates(tree: Any) -> bool:
    """Whether the outermost thing is a function of all rows, such as count(DISTINCT agent_pseudonym)."""
    name: str = tree.get("function_name", "").lower() if tree.get("class") == "FUNCTION" else ""
    return name.startswith(("count", "approx_count"))
