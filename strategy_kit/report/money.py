"""From what supported merchants gained to what the platform keeps, and what each unit of support cost returned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import did, formats
from strategy_kit.charts.nested import nested_forest
from strategy_kit.errors import DesignError
from strategy_kit.inference import Student
from strategy_kit.overseas import LEVER
from strategy_kit.panel import Panel
from strategy_kit.report import blocks, claims
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.categories import BOUNDS, Row, forest, interval_columns, nested_note, nested_rows
from strategy_kit.report.claims import Spread
from strategy_kit.report.figures import sides_counted
from strategy_kit.report.reading import WEEK
from strategy_kit.report.sections import Section
from strategy_kit.tables_to_panel import CATEGORY, POOLED, sold_lines

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.formats import Language
    from strategy_kit.report.reading import Reading

SALES = ("supported", "rivals", "category")
TOTALS = ("category", "profit")
_UNITS: dict[Language, tuple[tuple[float, float, int], ...]] = {
    "en": ((1e9, 1e6, 0), (1e7, 1e6, 1), (1e4, 1e3, 0)),
    "zh": ((1e9, 1e4, 0), (1e7, 1e4, 0), (1e4, 1e4, 1)),
}
"""From which largest amount on a chart is in which unit, and with how many decimals."""


@dataclass(frozen=True, eq=False)
class Money:
    """The ladder of one reading, with what was spent and what the platform keeps; made by `read_money`.

    Attributes
    ----------
    ladder
        Of `did.gross_to_net`, in currency over the weeks since the start.
    cost
        Of support up to the week; None where the data do not tell it.
    """

    reading: Reading
    ladder: Estimates
    cost: float | None

    @property
    def rungs(self) -> list[str]:
        """What the ladder has, in its order."""
        return list(self.ladder.labels["rung"])

    def spread(self, rung: str) -> Spread:
        """Return a rung as a distribution, read as often as the headline; a known cost has no error."""
        at, law = self.rungs.index(rung), self.ladder.law
        own: Any = law[at] if isinstance(law, tuple) else Student()
        error = float(np.nan_to_num(self.ladder.std_error[at]))
        return Spread(float(self.ladder.estimate[at]), error, own.degrees_of_freedom, self.reading.widening)

    def verb(self, rung: str) -> str:
        """Say what the rung's interval and the checks allow."""
        spread = self.spread(rung)
        return self.reading.told(spread, self.reading.amount(abs(spread.estimate), like=self._beside(rung)))

    def range(self, rung: str) -> str:
        """Write the interval of a rung, all rungs of sales, and all of the platform, in one unit."""
        ends, like = self.spread(rung).interval(self.reading.level), self._beside(rung)
        low, high = (self.reading.amount(end, like=like, signed=True) for end in ends)
        return self.reading.words.span(low, high)

    def _beside(self, rung: str) -> tuple[float, ...]:
        """Return the ends of the rungs that stand on the same scale."""
        beside = [other for other in self.rungs if (other in SALES) == (rung in SALES)]
        return tuple(end for other in beside for end in self.spread(other).interval(self.reading.level))

    @property
    def returned(self) -> pd.Series | None:
        """What came back for each unit of cost: estimate, conf_low, conf_high, form and break_even; None if not known."""
        if "profit" not in self.rungs:
            return None
        wide = replace(self.ladder, spread=self.ladder.covariance * self.reading.widening**2)
        row, now = (did.return_per_yuan(ladder, self.reading.level).iloc[0] for ladder in (wide, self.ladder))
        return pd.Series({**row, "break_even": now["break_even"]})  # chances are of one look, as everywhere


def money(reading: Reading) -> Section:
    """Return the section of the ladder from gross to net, one line where it cannot be told.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> section = money(sk.report.read_week(sk.open_dataset("data/sample")))
    >>> str(section).splitlines()[0].split(" (")[0]
    'Money: Net of rivals, GMV of the pilot categories may have risen'
    """
    found, say = reading.money_followed, reading.words
    head = say("section_money"), say("question_money")
    if isinstance(found, str):
        return Section("money", (blocks.absent(*head, found),))
    note = say.prose(_sales_sentence(found), say("money_beyond"), cost_sentence(found))
    title = say("money_title", verb=found.verb("category"))
    return Section("money", (blocks.section_head(*head, title, note), _figure(found)))


def read_money(reading: Reading) -> Money | str:
    """Follow the money of the reading's weeks, or say in one sentence why it cannot be followed.

    Merchants of a pilot that got support by the week, joining overseas aside, are the supported ones in all weeks. Both they
    and the others are expected to have grown as the other categories did as a whole.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> read_money(sk.report.read_week(sk.open_dataset("data/sample"))).rungs
    ['supported', 'rivals', 'category', 'revenue', 'cost', 'profit']
    """
    say, shop = reading.words, reading.shop
    if reading.claim.verb == "cannot_tell":
        return say("money_absent")
    if "support" not in shop.tables:
        return say("money_no_support")
    panel, marks = reading.merchant_sales
    if min(counts := _sides(reading)) < FEWEST:
        return say("money_few", supported=counts[0], others=formats.Count(counts[1]), fewest=FEWEST)
    cost, rates = _spent(reading), _rates(reading)
    try:
        ladder = did.gross_to_net(panel, marks.tolist(), take_rate=rates, cost=None if rates is None else cost)
    except DesignError as reason:
        return say("money_impossible", reason=reason)
    return Money(reading, ladder, cost)


def merchant_sales(reading: Reading) -> tuple[Panel, np.ndarray]:
    """Return weekly sales of the supported and of the other merchants of each category, and which are the supported ones.

    Categories, weeks and starts are those of the headline; all orders count, whenever a merchant opened.
    """
    totals = reading.totals
    sold = _lines(reading, f"select unit, supported, week, sum(amount) as y from ({_LINES}) group by 1, 2, 3")
    pairs = pd.MultiIndex.from_product([totals.units, [True, False]], names=["unit", "supported"])
    sums = sold.astype({"y": float}).pivot_table(index=list(pairs.names), columns="week", values="y", aggfunc="sum")
    sums.columns = pd.DatetimeIndex(sums.columns)
    start = pd.Series(totals.cohort).map(dict(enumerate(totals.cohorts)))
    panel = Panel.from_matrix(
        sums.reindex(index=pairs, columns=totals.periods).fillna(0.0).to_numpy(),
        treated_from=start.repeat(2).reset_index(drop=True),
        periods=totals.periods,
        units=range(len(pairs)),
        category=list(pairs.get_level_values("unit")),
        name="gmv",
    )
    return panel, pairs.get_level_values("supported").to_numpy() & (panel.cohort >= 0)


def _sides(reading: Reading) -> tuple[int, int]:
    """Count the supported and the other merchants who sold in the pilots."""
    query = "count(distinct merchant_id) filter (where {} supported) as {}"
    asked = ", ".join(query.format(*words) for words in (("", "yes"), ("not", "no")))
    found = _lines(reading, f"select {asked} from ({_LINES}) where list_contains($pilots, unit)").iloc[0]
    return int(found["yes"]), int(found["no"])


_LINES = f"""select case when list_contains($kept, {CATEGORY}) then {CATEGORY} else '{POOLED}' end as unit,
    merchant_id in (select merchant_id from support where started_on < $next and lever <> '{LEVER}')
    and list_contains($pilots, {CATEGORY}) as supported, merchant_id, amount, cast(date_trunc('week', paid_at) as date) as week
    from order_lines where SOLD and paid_at >= $first and paid_at < $next and not list_contains($later, {CATEGORY})"""


def _lines(reading: Reading, query: str) -> pd.DataFrame:
    totals = reading.totals
    values = {
        "kept": [str(unit) for unit in totals.units],
        "pilots": [str(unit) for unit in totals.units[totals.cohort >= 0]],
        "later": reading.not_begun,
        "first": totals.periods[0].date(),
        "next": reading.monday + WEEK,
    }
    return reading.shop.engine.frame(query.replace("SOLD", sold_lines(reading.shop)), values)


def _spent(reading: Reading) -> float | None:
    """Return what support in the pilots cost up to the week, each stay's cost spread evenly over its days.

    A stay without an end is taken to have run until the data end.
    """
    shop = reading.shop
    if "cost" not in shop.columns("support"):
        return None
    ended = "s.ended_on" if "ended_on" in shop.columns("support") else "null"
    end = f"greatest(coalesce(cast({ended} as date), $through), s.started_on)"
    days, whole = (f"(1 + date_diff('day', s.started_on, {last}))" for last in (f"least({end}, $sunday)", end))
    found = shop.engine.frame(
        f"""select cast(sum(s.cost * {days} / {whole}) as double) as y
            from support s join (select distinct merchant_id, category from merchants) m using (merchant_id)
            where s.started_on <= $sunday and s.lever <> '{LEVER}' and list_contains($pilots, m.category)""",
        {
            "pilots": [name for name in shop.pilot.categories if name not in reading.not_begun],
            "through": shop.data_through,
            "sunday": reading.monday + WEEK - pd.Timedelta(days=1).to_pytimedelta(),
        },
    )["y"][0]
    return float(found) if found is not None and found > 0 else None


def _rates(reading: Reading) -> pd.Series | None:
    """Return the share of sales since the start that the platform kept in each pilot, where fees are recorded."""
    shop, totals = reading.shop, reading.totals
    if "platform_fee" not in shop.columns("order_lines"):
        return None
    rows = shop.engine.frame(
        f"""select {CATEGORY} as unit, cast(date_trunc('week', paid_at) as date) as week,
            cast(sum(platform_fee) as double) as fees, cast(sum(amount) as double) as sold
            from order_lines where {sold_lines(shop)} and paid_at < $next group by 1, 2""",
        {"next": reading.monday + WEEK},
    )
    start = dict(zip(totals.units, pd.Series(totals.cohort).map(dict(enumerate(totals.cohorts))), strict=True))
    after = rows[pd.to_datetime(rows["week"]) >= pd.to_datetime(rows["unit"].map(start))]
    sums = after.groupby("unit")[["fees", "sold"]].sum()
    rates = sums["fees"] / sums["sold"]
    return rates if len(rates) == int((totals.cohort >= 0).sum()) and rates.between(0, 1, "right").all() else None


def _sales_sentence(found: Money) -> str:
    say = found.reading.words
    named = {"interval": claims.interval_name(found.reading.evidence, say)}
    for rung in ("supported", "rivals"):
        named |= {rung: found.verb(rung), f"{rung}_range": found.range(rung)}
    return say("money_sales", **named)


def cost_sentence(found: Money) -> str:
    """Say what support cost and what it returned, or which share of new sales would pay for it."""
    say, returned = found.reading.words, found.returned
    if found.cost is None:
        return say("money_revenue", verb=found.verb("revenue")) if "revenue" in found.rungs else say("money_no_cost")
    cost = found.reading.amount(found.cost)
    if returned is not None:
        ends = {"low": formats.number(returned["conf_low"], 2), "high": formats.number(returned["conf_high"], 2)}
        span = say("money_return_range", **ends)  # a known cost has no error, so that the interval is bounded
        chance, estimate = (
            claims.in_hundred(float(returned["break_even"]), say),
            formats.number(returned["estimate"], 2),
        )
        unit = found.reading.unit
        named = {"interval": claims.interval_name(found.reading.evidence, say), "span": span, "unit": unit}
        return say("money_return", cost=cost, estimate=estimate, chance=chance, **named)
    gain = found.spread("category").estimate
    if gain <= found.cost:
        return say("money_never", cost=cost)
    return say("money_break_even", cost=cost, share=formats.percent(found.cost / gain))


def _figure(found: Money) -> Any:
    reading, say = found.reading, found.reading.words
    scale, unit, digits = _unit(found)

    def write(value: float) -> str:
        return "" if np.isnan(value) else formats.number(value / scale, digits, signed=True)

    def told(estimate: float, low: float, high: float) -> str:
        return say("nested_value", estimate=write(estimate), low=write(low), high=write(high))

    blocks_of = [
        say("money_block_sales" if rung in SALES else "money_block_platform", unit=unit) for rung in found.rungs
    ]
    rows = [
        Row(say(f"rung_{rung}"), "average" if rung in TOTALS else "one", found.spread(rung), block=block)
        for rung, block in zip(found.rungs, blocks_of, strict=True)
    ]
    frame = nested_rows(rows, reading.level, told)
    known = (pd.Series(found.rungs) == "cost").to_numpy()  # an amount, not a change
    frame.loc[known, list(BOUNDS)] = np.nan
    frame.loc[known, "value"] = [
        say("money_known", cost=write(cost).lstrip("+")) for cost in frame.loc[known, "estimate"]
    ]
    table = pd.DataFrame({say("money_rung"): frame["name"], unit: frame["estimate"].map(write)})
    table = table.assign(**interval_columns(frame, reading.level, write, say))
    note, weeks = nested_note(reading, sides_counted(reading)), formats.Count(reading.weeks_after)
    return forest(
        reading, "money", frame, table, note, partial(nested_forest, unit=write, shared=False), weeks=weeks, unit=unit
    )


def _unit(found: Money) -> tuple[float, str, int]:
    """Return the unit of the chart: its size, its name and the decimals that tell three figures of the largest amount."""
    reading, say = found.reading, found.reading.words
    ends = [abs(end) for rung in found.rungs for end in found.spread(rung).interval(reading.level)]
    largest, currency = max(ends), reading.unit
    for least, scale, digits in _UNITS[say.language]:
        if largest >= least:
            return scale, say(f"axis_{scale:.0f}", unit=currency), digits
    return 1.0, currency, 0
