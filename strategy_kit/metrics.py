"""What each KPI sums or counts: one definition, one name, one unit.

A metric is declared over the lines of orders that were not cancelled. Ratios name their parts, so that zero sales give a
zero numerator and a missing ratio, never a zero one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from strategy_kit.errors import ParameterError, nearest, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable

Unit = Literal["currency", "count", "currency per order", "share"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One KPI: an SQL aggregate over order lines, or a ratio of two other metrics.

    Examples
    --------
    >>> Metric("lines", "count", "count(*)", en="Order lines", zh="订单行数").additive
    True
    """

    name: str
    unit: Unit
    sql: str = ""
    numerator: str = ""
    denominator: str = ""
    columns: tuple[str, ...] = ()
    additive: bool = True
    en: str = ""
    zh: str = ""


_SOLD = (
    Metric("gmv", "currency", "sum(amount)", columns=("amount",),
           en="paid sales, refunds not deducted", zh="支付成交额，未扣退款"),
    Metric("orders", "count", "count(distinct order_id)", additive=False, en="paid orders", zh="支付订单数"),
    Metric("buyers", "count", "count(distinct buyer_id)", additive=False, en="distinct paying buyers", zh="支付买家数（去重）"),
    Metric("units", "count", "sum(quantity)", columns=("quantity",), en="units sold", zh="销售件数"),
    Metric("average_order_value", "currency per order", numerator="gmv", denominator="orders", additive=False,
           en="paid sales per paid order", zh="客单价：成交额 ÷ 订单数"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _SOLD}
"""Every metric the kit ships, by name."""


def chosen(names: Iterable[str], columns: Iterable[str]) -> list[Metric]:
    """Look metrics up by name, and see that the data set has the columns that they read.

    Raises
    ------
    ParameterError
        If a name is unknown (the nearest is offered) or a needed column is absent; all at once.

    Examples
    --------
    >>> [metric.name for metric in chosen(["gmv"], ["amount"])]
    ['gmv']
    """
    names, present = list(names), set(columns)
    laws = [f"{name!r} is not a metric{nearest(name, METRICS)}" for name in names if name not in METRICS]
    found = [METRICS[name] for name in names if name in METRICS]
    for metric in found:
        for part in parts(metric):
            absent = [c for c in part.columns if c not in present]
            laws += [f"{metric.name} needs order_lines.{c}, which this data set lacks" for c in absent]
    refuse(ParameterError, "metrics", laws)
    return found


def parts(metric: Metric) -> list[Metric]:
    """Return the aggregates that a metric is made of: itself, or numerator and denominator.

    Examples
    --------
    >>> [part.name for part in parts(METRICS["average_order_value"])]
    ['gmv', 'orders']
    """
    if metric.sql:
        return [metric]
    return [METRICS[metric.numerator], METRICS[metric.denominator]]
