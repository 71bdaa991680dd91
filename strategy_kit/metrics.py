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

Unit = Literal["currency", "count", "currency per order", "currency per merchant", "orders per buyer", "share"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One KPI: an SQL aggregate over the lines of orders that were not cancelled, or a ratio of two other metrics.

    Attributes
    ----------
    sql
        An aggregate in the DuckDB dialect; empty for a ratio.
    numerator, denominator
        Of a ratio: a shipped metric's name, or a metric.
    columns
        Of order_lines that the aggregate reads and that a data set may lack.
    additive
        Whether the values of groups add up to that of all.
    en, zh
        The definition, in words.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> lines = Metric("lines", "count", "count(*)", en="order lines", zh="订单行数")
    >>> share = Metric("lines_per_order", "share", numerator=lines, denominator="orders", additive=False)
    >>> sk.kpi.table(sk.open_dataset("data/sample"), by=[], metrics=["orders", lines, share]).columns.tolist()
    ['orders', 'lines', 'lines_per_order', 'complete']
    """

    name: str
    unit: Unit
    sql: str = ""
    numerator: str | Metric = ""
    denominator: str | Metric = ""
    columns: tuple[str, ...] = ()
    additive: bool = True
    en: str = ""
    zh: str = ""


_SUMS = (
    Metric("gmv", "currency", "sum(amount)", columns=("amount",),
           en="paid sales, refunds not deducted", zh="支付成交额，未扣退款"),
    Metric("refunds", "currency", "sum(refund_amount)", columns=("refund_amount",),
           en="refunds, counted when the order was paid", zh="退款额，计入订单支付当期"),
    Metric("gmv_net", "currency", "sum(amount - coalesce(refund_amount, 0))", columns=("amount", "refund_amount"),
           en="paid sales less refunds of the same orders", zh="支付成交额减去同批订单的退款"),
    Metric("orders", "count", "count(distinct order_id)", additive=False, en="paid orders", zh="支付订单数"),
    Metric("buyers", "count", "count(distinct buyer_id)", additive=False, en="distinct paying buyers", zh="支付买家数（去重）"),
    Metric("active_merchants", "count", "count(distinct merchant_id)", additive=False,
           en="merchants with a paid order", zh="有支付订单的商家数"),
    Metric("units", "count", "sum(quantity)", columns=("quantity",), en="units sold", zh="销售件数"),
    Metric("subsidies", "currency", "sum(platform_subsidy)", columns=("platform_subsidy",),
           en="platform subsidies", zh="平台补贴额"),
    Metric("list_value", "currency", "sum(list_amount)", columns=("list_amount",),
           en="paid sales at list price, where one is known", zh="按标价计的成交额（有标价的订单行）"),
    Metric("discounts", "currency", "sum(list_amount - amount)", columns=("list_amount", "amount"),
           en="list price less amount paid, where a list price is known", zh="标价与实付之差（有标价的订单行）"),
    Metric("gmv_overseas", "currency", "sum(amount) filter (where market <> 'domestic')", columns=("amount", "market"),
           en="paid sales outside the domestic market", zh="境外市场支付成交额"),
)  # fmt: skip
_RATIOS = (
    Metric("refund_rate", "share", numerator="refunds", denominator="gmv", additive=False,
           en="refunds of the period's orders per paid sales; young orders may still be refunded",
           zh="当期订单的退款额 ÷ 成交额；新订单仍可能退款"),
    Metric("average_order_value", "currency per order", numerator="gmv", denominator="orders", additive=False,
           en="paid sales per paid order", zh="客单价：成交额 ÷ 订单数"),
    Metric("orders_per_buyer", "orders per buyer", numerator="orders", denominator="buyers", additive=False,
           en="paid orders per distinct buyer", zh="人均订单数：订单数 ÷ 买家数"),
    Metric("gmv_per_active_merchant", "currency per merchant", numerator="gmv", denominator="active_merchants",
           additive=False, en="paid sales per merchant with a paid order", zh="成交额 ÷ 动销商家数"),
    Metric("subsidy_share", "share", numerator="subsidies", denominator="gmv", additive=False,
           en="platform subsidies per paid sales", zh="平台补贴 ÷ 成交额"),
    Metric("discount_depth", "share", numerator="discounts", denominator="list_value", additive=False,
           en="discount as a share of list price", zh="折扣深度：折扣额 ÷ 标价额"),
    Metric("overseas_share", "share", numerator="gmv_overseas", denominator="gmv", additive=False,
           en="share of paid sales outside the domestic market", zh="境外成交额占比"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in (*_SUMS, *_RATIOS)}
"""Every metric the kit ships, by name."""


def chosen(asked: Iterable[str | Metric], columns: Iterable[str]) -> list[Metric]:
    """Look metrics up by name, take those given as they are, and see that the data set has the columns that they read.

    Raises
    ------
    ParameterError
        If a name is unknown (the nearest is offered) or a needed column is absent; all at once.

    Examples
    --------
    >>> [metric.name for metric in chosen(["gmv"], ["amount"])]
    ['gmv']
    """
    asked, present = list(asked), set(columns)
    laws = [
        f"{m!r} is not a metric{nearest(str(m), METRICS)}" for m in asked if not (isinstance(m, Metric) or m in METRICS)
    ]
    found = [METRICS[m] if isinstance(m, str) else m for m in asked if isinstance(m, Metric) or m in METRICS]
    needed: dict[str, Metric] = {}
    for metric in found:
        ends = [METRICS.get(p, p) if isinstance(p, str) else p for p in (metric.numerator, metric.denominator)]
        if not metric.sql and not all(isinstance(end, Metric) and end.sql for end in ends):
            laws.append(f"{metric.name} needs an aggregate, or a numerator and a denominator that are aggregates")
            continue
        for part in parts(metric):
            if needed.setdefault(part.name, part) != part:
                laws.append(f"two different metrics are called {part.name!r}; rename one")
            absent = [c for c in part.columns if c not in present]
            laws += [f"{metric.name} needs order_lines.{c}, which this data set lacks" for c in absent]
    refuse(ParameterError, "metrics", laws)
    return found


def fills_with_zero(metric: Metric) -> bool:
    """Whether nothing sold makes the metric 0, as it does sums and counts, rather than missing."""
    return metric.additive or metric.unit == "count"


def parts(metric: Metric) -> list[Metric]:
    """Return the aggregates that a metric is made of: itself, or numerator and denominator.

    Examples
    --------
    >>> [part.name for part in parts(METRICS["average_order_value"])]
    ['gmv', 'orders']
    """
    if metric.sql:
        return [metric]
    return [METRICS[part] if isinstance(part, str) else part for part in (metric.numerator, metric.denominator)]
