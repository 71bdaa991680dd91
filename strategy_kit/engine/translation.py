"""The kit's SQL, written in DuckDB's dialect, as Spark says it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Callable


@lru_cache(maxsize=1024)
def to_spark(sql: str, prefix: str, tables: frozenset[str]) -> str:
    """Translate a query, and put `prefix` before the names of `tables`, which others may use in the same session.

    Examples
    --------
    >>> to_spark("select avg(x) as m from t where d = $day", "a_", frozenset({"t"}))
    'SELECT AVG(CAST(x AS DOUBLE)) AS m FROM a_t AS t WHERE d = :day'
    """
    tree = sqlglot.parse_one(sql, read="duckdb")
    for node in reversed(list(tree.walk())):  # what is inside first, since a rule takes its node's parts as they are
        if isinstance(node, exp.Table) and node.name in tables and not node.db:
            node.replace(exp.alias_(exp.to_table(prefix + node.name), node.alias or node.name, table=True))
        elif (rule := _RULES.get(type(node))) is not None:
            node.replace(rule(node.copy()))
    return tree.sql(dialect="spark")


def _double(node: Any) -> Any:
    return exp.cast(node, "double")


def _first_computed(node: Any) -> Any:
    node.set("materialized", None)
    return node


def _in_months(node: Any) -> Any:
    """Say quarters in months: Spark's intervals know none."""
    if node.unit is None or node.unit.name.lower() != "quarter":
        return node
    return exp.Interval(this=exp.Literal.string(f"{3 * int(node.this.name)}"), unit=exp.var("month"))


_NAMES = {"list_position": "array_position"}

# Where a word is the same and its meaning is not: DuckDB takes quotients and averages in double precision, interpolates
# quantiles exactly, and counts the elements of a list from 1.
_RULES: dict[type, Callable[[Any], Any]] = {
    exp.Div: lambda node: exp.Div(this=_double(node.this), expression=_double(node.expression)),
    exp.Avg: lambda node: exp.Avg(this=_double(node.this)),
    exp.PercentileCont: lambda node: exp.func("percentile", _double(node.this), node.expression),
    exp.IsInf: lambda node: exp.EQ(
        this=exp.Abs(this=_double(node.this)), expression=_double(exp.Literal.string("inf"))
    ),
    exp.Bracket: lambda node: exp.func("element_at", node.this, node.expressions[0]),
    exp.CTE: _first_computed,
    exp.Interval: _in_months,
    exp.Anonymous: lambda node: exp.func(_NAMES.get(node.name.lower(), node.name), *node.expressions),
}
