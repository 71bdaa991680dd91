"""What each KPI sums or counts: one definition, one name, one unit.

A metric is declared over the lines of orders that were not cancelled. Ratios name their parts, so that zero sales give a
zero numerator and a missing ratio, never a zero one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from strategy_kit.errors import ParameterError, nearest, refuse, whole_number

Unit = Literal[
    "currency",
    "count",
    "currency per order",
    "currency per buyer",
    "currency per merchant",
    "orders per buyer",
    "share",
]
Level = Literal["line", "merchant", "buyer"]
Clock = Literal["paid_at", "refunded_at"]
DISTINCT = re.compile(r"count\(distinct (\w+)\)", re.IGNORECASE)
_AMBIGUOUS = {"aac": "write spend_per_annual_active_buyer (money) or annual_active_buyers (heads)"}


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
    per
        What a row of the aggregate is: an order line; or, of each group, a merchant or buyer with columns gmv, orders,
        is_new (first sale in this period), rank (1 has the largest gmv) and members (their number).
    clock
        The column of order_lines that puts a line into a period.
    trailing_months
        Months to the period's end over which a sum or a count of distinct values runs; 0 for the period itself.

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
    per: Level = "line"
    clock: Clock = "paid_at"
    trailing_months: int = 0

    @property
    def plain(self) -> bool:
        """Whether it is an aggregate over the lines paid in the period, and nothing else."""
        return bool(self.sql) and self.per == "line" and self.clock == "paid_at" and not self.trailing_months


_SUMS = (
    Metric("gmv", "currency", "sum(amount)", columns=("amount",),
           en="paid sales, refunds not deducted", zh="支付成交额，未扣退款"),
    Metric("refunds", "currency", "sum(refund_amount)", columns=("refund_amount",),
           en="refunds, counted when the order was paid", zh="退款额，计入订单支付当期"),
    Metric("refunds_by_event_date", "currency", "sum(refund_amount)", columns=("refund_amount", "refunded_at"),
           clock="refunded_at", en="refunds, counted when they were made", zh="退款额，计入退款发生当期"),
    Metric("mature_gmv", "currency", "sum(amount) filter (where paid_at < $matured_before)", columns=("amount",),
           en="paid sales old enough that refunds have all arrived", zh="已过退款期的支付成交额"),
    Metric("gmv_net", "currency", "sum(amount - coalesce(refund_amount, 0))", columns=("amount", "refund_amount"),
           en="paid sales less refunds of the same orders", zh="支付成交额减去同批订单的退款"),
    Metric("orders", "count", "count(distinct order_id)", additive=False, en="paid orders", zh="支付订单数"),
    Metric("buyers", "count", "count(distinct buyer_id)", additive=False, en="distinct paying buyers", zh="支付买家数（去重）"),
    Metric("new_buyers", "count", "count(*) filter (where is_new)", per="buyer", additive=False,
           en="buyers whose first paid order in the data falls in the period", zh="在数据中首次支付的买家数"),
    Metric("repeat_buyers", "count", "count(*) filter (where orders >= 2)", per="buyer", additive=False,
           en="buyers with two or more paid orders in the period", zh="当期支付两单及以上的买家数"),
    Metric("annual_active_buyers", "count", "count(distinct buyer_id)", trailing_months=12, additive=False,
           en="distinct buyers of the twelve months to the period's end", zh="截至期末十二个月的支付买家数（去重）"),
    Metric("annual_gmv", "currency", "sum(amount)", columns=("amount",), trailing_months=12,
           en="paid sales of the twelve months to the period's end", zh="截至期末十二个月的支付成交额"),
    Metric("active_merchants", "count", "count(distinct merchant_id)", additive=False,
           en="merchants with a paid order", zh="有支付订单的商家数"),
    Metric("median_gmv_per_active_merchant", "currency per merchant", "quantile_cont(gmv, 0.5)", per="merchant",
           additive=False, en="paid sales of the merchant in the middle", zh="动销商家成交额的中位数"),
    Metric("p90_gmv_per_active_merchant", "currency per merchant", "quantile_cont(gmv, 0.9)", per="merchant",
           additive=False, en="paid sales that one merchant in ten exceeds", zh="动销商家成交额的第 90 百分位"),
    Metric("top_decile_gmv", "currency", "sum(gmv) filter (where rank <= ceil(members / 10.0))", per="merchant",
           additive=False, en="paid sales of the largest tenth of merchants, rounded up",
           zh="成交额最高的十分之一商家（进位取整）的成交额"),
    Metric("units", "count", "sum(quantity)", columns=("quantity",), en="units sold", zh="销售件数"),
    Metric("subsidies", "currency", "sum(platform_subsidy)", columns=("platform_subsidy",),
           en="platform subsidies", zh="平台补贴额"),
    Metric("fees", "currency", "sum(platform_fee)", columns=("platform_fee",),
           en="fees that the platform earned", zh="平台收取的费用"),
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
    Metric("refund_rate_by_event_date", "share", numerator="refunds_by_event_date", denominator="gmv", additive=False,
           en="refunds made in the period, of whatever orders, per paid sales",
           zh="当期发生的退款额（不论订单何时支付）÷ 成交额"),
    Metric("refund_maturity", "share", numerator="mature_gmv", denominator="gmv", additive=False,
           en="share of paid sales old enough that refunds have all arrived; below 100% the refund rate will rise",
           zh="已过退款期的成交额占比；不足 100% 时退款率还会上升"),
    Metric("repeat_rate", "share", numerator="repeat_buyers", denominator="buyers", additive=False,
           en="share of the period's buyers with two or more paid orders in it", zh="复购率：当期支付两单及以上的买家 ÷ 买家数"),
    Metric("average_order_value", "currency per order", numerator="gmv", denominator="orders", additive=False,
           en="paid sales per paid order", zh="笔单价：成交额 ÷ 订单数"),
    Metric("orders_per_buyer", "orders per buyer", numerator="orders", denominator="buyers", additive=False,
           en="paid orders per distinct buyer", zh="人均订单数：订单数 ÷ 买家数"),
    Metric("spend_per_annual_active_buyer", "currency per buyer", numerator="annual_gmv",
           denominator="annual_active_buyers", additive=False,
           en="paid sales per distinct buyer, both of the twelve months to the period's end",
           zh="年度活跃买家人均消费：截至期末十二个月的成交额 ÷ 买家数（去重）"),
    Metric("gmv_per_active_merchant", "currency per merchant", numerator="gmv", denominator="active_merchants",
           additive=False, en="paid sales per merchant with a paid order", zh="成交额 ÷ 动销商家数"),
    Metric("top_decile_share", "share", numerator="top_decile_gmv", denominator="gmv", additive=False,
           en="share of paid sales that the largest tenth of merchants has", zh="成交额最高的十分之一商家的成交额占比"),
    Metric("subsidy_share", "share", numerator="subsidies", denominator="gmv", additive=False,
           en="platform subsidies per paid sales", zh="平台补贴 ÷ 成交额"),
    Metric("take_rate", "share", numerator="fees", denominator="gmv", additive=False,
           en="fees that the platform earned per paid sales", zh="货币化率：平台收费 ÷ 成交额"),
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
    if isinstance(asked, str | Metric) or not isinstance(asked, Iterable):
        raise ParameterError(f"metrics are a list of names or of Metric, such as ['gmv', 'orders'], not {asked!r}")
    asked, present = list(asked), set(columns)
    laws = [_unknown(m) for m in asked if not (isinstance(m, Metric) or _shipped(m))]
    found = [METRICS[m] if isinstance(m, str) else m for m in asked if isinstance(m, Metric) or _shipped(m)]
    needed: dict[str, Metric] = {}
    for metric in found:
        ends = [METRICS.get(p, p) if isinstance(p, str) else p for p in (metric.numerator, metric.denominator)]
        if not metric.sql and not all(isinstance(end, Metric) and end.sql for end in ends):
            laws.append(f"{metric.name} needs an aggregate, or a numerator and a denominator that are aggregates")
            laws += [_unknown(end) for end in ends if isinstance(end, str) and end]
            continue
        for part in parts(metric):
            if needed.setdefault(part.name.lower(), part) != part:
                laws.append(f"two different metrics are called {part.name!r}, capitals aside; rename one")
            absent = [c for c in part.columns if c not in present]
            laws += [f"{metric.name} needs order_lines.{c}, which this data set lacks" for c in absent]
            laws += _own_laws(part)
    refuse(ParameterError, "metrics", laws)
    return found


def plain_metric(name: str, columns: Iterable[str]) -> Metric:
    """Look up a metric that is an aggregate over the lines paid in a period.

    Raises
    ------
    ParameterError
        If the metric is unknown, lacks a column, is a ratio, or counts by merchant, by buyer, by another date or over
        trailing months.

    Examples
    --------
    >>> plain_metric("gmv", ["amount"]).sql
    'sum(amount)'
    """
    metric = chosen([name], columns)[0]
    if not metric.sql:
        raise ParameterError(f"{name} is a ratio, which has no value where nothing was sold; use one of its parts")
    if not metric.plain:
        raise ParameterError(
            f"{name} is no sum or count over the lines paid in a period; use one, such as gmv or orders"
        )
    return metric


def _shipped(asked: object) -> bool:
    return isinstance(asked, str) and asked in METRICS


def _unknown(asked: object) -> str:
    hint = _AMBIGUOUS.get(str(asked).lower())
    return f"{asked!r} is not a metric" + (f"; {hint}" if hint else nearest(str(asked), METRICS))


def _own_laws(metric: Metric) -> list[str]:
    """Say what is wrong with the declaration of an aggregate."""
    told, laws = f"metric {metric.name!r}", []
    if not re.fullmatch(r'[^"$]+', str(metric.name).strip()):
        laws.append(f"{told} needs a name without quotation marks and dollar signs")
    fields: dict[str, Any] = {"unit": Unit, "per": Level, "clock": Clock}
    for field, allowed in fields.items():
        if (value := getattr(metric, field)) not in get_args(allowed):
            laws.append(f"{told} has the {field} {value!r}; it is one of {', '.join(get_args(allowed))}")
    if not whole_number(metric.trailing_months, 0):
        laws.append(f"{told} trails {metric.trailing_months!r} months; give a whole number, 0 for none")
    elif metric.trailing_months and not runs_over_windows(metric):
        laws.append(f"{told} cannot run over trailing months; make it additive, or count(distinct column)")
    elif metric.trailing_months and metric.clock != "paid_at":
        laws.append(f"{told} runs over months of payment, not of {metric.clock}; leave trailing_months or clock out")
    return laws


def runs_over_windows(metric: Metric) -> bool:
    """Whether the metric can be had exactly over overlapping windows: a sum, or a count of distinct values.

    Examples
    --------
    >>> runs_over_windows(METRICS["buyers"]), runs_over_windows(METRICS["new_buyers"])
    (True, False)
    """
    return metric.per == "line" and (metric.additive or DISTINCT.fullmatch(metric.sql) is not None)


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
