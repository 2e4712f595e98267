"""What a condition on machines may be: one expression over one row of v1.machines.

Whoever reads reports may give one, and SQL is for analysts: it has no SELECT of its own, and what fails names
no value.  What is allowed is listed, so that a new version of DuckDB brings nothing along.
"""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any

from llmenv_collector.sql.statement_rules import RefusedError, nodes, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

EXPRESSIONS = {
    "BETWEEN",
    "CASE",
    "CAST",
    "COLLATE",
    "COLUMN_REF",
    "COMPARISON",
    "CONJUNCTION",
    "CONSTANT",
    "FUNCTION",
    "LAMBDA",
    "OPERATOR",
    "TYPE",
}
NAMES = {
    "PARAMETER": "a parameter",
    "STAR": "a star",
    "SUBQUERY": "a SELECT of its own",
    "WINDOW": "a window function",
}
FUNCTIONS = """
SELECT lower(function_name) FROM duckdb_functions() GROUP BY ALL
HAVING bool_or(function_type IN ('scalar', 'macro'))
AND NOT bool_or(coalesce(macro_definition ILIKE '%select%', false))
"""
"""Those of values; some macros look up tables."""
NOT_OF_VALUES = {"currval", "nextval", "pg_sleep", "setval", "sleep_ms"}
NOT_ONE = "One expression is wanted, such as \"chip = 'Apple M2 Ultra'\"."
FAILED = (
    "It cannot be computed for every machine: a value is not of the kind that it is taken for"
    " (TRY_CAST gives NULL there)."
)


def statement_of(condition: str) -> str:
    """On lines of its own: a comment at its end must not swallow the bracket."""
    return f"SELECT machine_id::VARCHAR AS machine_id FROM v1.machines WHERE (\n{condition}\n)"  # noqa: S608 (see below)


def require_condition(connection: duckdb.DuckDBPyConnection, condition: str) -> None:
    """Raises RefusedError for what may not be asked, or would be read in another way in its statement."""
    try:
        expression = only_expression(connection, condition)
        require_of_one_row(connection, without_lists(connection, copy.deepcopy(expression)))
        wanted = placeless(tree_of(connection, statement_of("true")))
        wanted["statements"][0]["node"]["where_clause"] = expression
        if placeless(tree_of(connection, statement_of(condition))) != wanted:
            raise RefusedError(NOT_ONE)
    except RecursionError:
        raise RefusedError("It is nested too deeply: write it flatter.") from None


def only_expression(connection: duckdb.DuckDBPyConnection, condition: str) -> dict[str, Any]:
    """Without brackets around it, which it could close."""
    found = placeless(tree_of(connection, f"SELECT\n{condition}"))
    wanted = placeless(tree_of(connection, "SELECT true"))
    selected = [one for each in found["statements"] for one in each["node"].get("select_list", ())]
    wanted["statements"][0]["node"]["select_list"] = selected
    if len(selected) != 1 or found != wanted:
        raise RefusedError(NOT_ONE)
    expression: dict[str, Any] = selected[0]
    return expression


def require_of_one_row(connection: duckdb.DuckDBPyConnection, expression: dict[str, Any]) -> None:
    functions = None
    for node in nodes(expression):
        kind = node.get("class")
        if kind is not None and kind not in EXPRESSIONS:
            named = NAMES.get(kind, f"what SQL calls {kind}")
            raise RefusedError(f"A condition is on one row of v1.machines and may not have {named}.")
        if kind == "FUNCTION":
            functions = functions or functions_of_values(connection)
            name = node["function_name"]
            if name.lower() not in functions:
                raise RefusedError(f"There is no function {name}() that a condition may use.")


def without_lists(connection: duckdb.DuckDBPyConnection, expression: dict[str, Any]) -> dict[str, Any]:
    """`x = ANY(list)` reads no table: DuckDB writes it as a SELECT of unnest(list), and of nothing else."""
    bare = None
    for node in nodes(expression):
        if node.get("subquery_type") == "ANY":
            bare = bare or any_of_list(connection)
            if (operands := operands_of(node, bare)) is not None:
                node.clear()
                node.update({"class": "OPERATOR", "children": operands})
    return expression


def operands_of(node: dict[str, Any], bare: dict[str, Any]) -> list[Any] | None:
    """What is compared and the list; None where it is anything but the bare form with those two in it."""
    selected = node["subquery"]["node"].get("select_list", ())
    arguments = arguments_of(selected[0]) if len(selected) == 1 else []
    own = {key: node[key] for key in ("child", "comparison_type")}
    made = copy.deepcopy(bare | own)
    arguments_of(made["subquery"]["node"]["select_list"][0])[:] = arguments
    return [own["child"], *arguments] if len(arguments) == 1 and made == node else None


def any_of_list(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """As DuckDB writes it."""
    tree = placeless(tree_of(connection, "SELECT true = ANY(true)"))
    found: dict[str, Any] = tree["statements"][0]["node"]["select_list"][0]
    return found


def arguments_of(function: dict[str, Any]) -> list[Any]:
    """Of either version of DuckDB; of what is no function there are none."""
    found: list[Any] = function.get("arguments") or function.get("children") or []
    return found


def functions_of_values(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {name for (name,) in connection.execute(FUNCTIONS).fetchall()} - NOT_OF_VALUES


def placeless(tree: dict[str, Any]) -> dict[str, Any]:
    """Without where in the text each thing was read."""
    for node in nodes(tree):
        node.pop("query_location", None)
        node.pop("query_location_length", None)
    return tree


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """What DuckDB says of values is not passed on; of the words of a condition it is."""
    import duckdb

    of_words = duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        is_ours = isinstance(error, RefusedError) and error.__cause__ is None
        if is_ours or isinstance(error.__cause__, of_words):
            raise
        raise RefusedError(FAILED) from None
