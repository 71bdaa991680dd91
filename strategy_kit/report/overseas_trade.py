"""Sales abroad by market, and their growth with and without exchange rates."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit import charts, formats, overseas
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.categories import signed_percent

if TYPE_CHECKING:
    from strategy_kit.report.reading import Reading

WEEKS, YEAR = 13, 12
_SUNDAY = dt.timedelta(days=6)
_NEEDED = ("currency", "fx_rate")


def currency_parts(reading: Reading) -> tuple[Any, ...]:
    """Return title, note and what is shown: growth at two kinds of rates where currencies are known, and the markets."""
    say, sold = reading.words, overseas.markets(reading.shop, **_weeks(reading))
    shown = sold[sold["merchants"] >= FEWEST]
    if shown.empty:
        raise DesignError(say("os_markets_few", least=FEWEST))
    top: Any = next(shown.itertuples())
    listed = _markets(reading, sold)
    share = formats.percent(top.gmv / sold["gmv"].sum(), 0)
    title, note = say("os_markets_title", market=say.label(str(top.market)), share=share), say("os_markets_note")
    absent = [f"order_lines.{name}" for name in _NEEDED if name not in reading.shop.columns("order_lines")]
    if absent:
        return title, note, blocks.line(say("os_currency_absent", columns=", ".join(absent))), listed
    try:
        sales = _months(reading)
        found = overseas.growth_split(sales)
    except DesignError as reason:
        return title, note, blocks.line(say("os_impossible", reason=reason)), listed
    whole: Any = found.iloc[0]
    if whole["merchants"] < FEWEST:
        return title, note, blocks.line(say("os_few", least=FEWEST)), listed
    months = _between(reading, sales)
    told = {"constant": signed_percent(whole["growth_constant"]), "current": signed_percent(whole["growth"])}
    late = formats.Count(int(sales.loc[sales["market"] == "all", "late"].max()))
    note = say("os_currency_note_late" if late else "os_currency_note", late=late, **months)
    return (
        say("os_currency_title", **told, **months),
        note,
        _paths(reading, sales, told),
        _table(reading, found),
        listed,
    )


def _weeks(reading: Reading) -> dict[str, dt.date]:
    """Return the last quarter of a year, less where the data begin later."""
    first = reading.monday - dt.timedelta(weeks=WEEKS - 1)
    return {"since": max(first, reading.totals.periods[0].date()), "through": reading.monday}


def _months(reading: Reading) -> pd.DataFrame:
    """Return sales by month from the same month a year ago on, or from the first complete one."""
    months = reading.shop.complete_periods("month", reading.monday + _SUNDAY)
    if not months:
        raise DesignError(reading.words("os_no_month"))
    base = months[max(0, len(months) - 1 - YEAR)]
    return overseas.constant_currency(reading.shop, base=base, through=reading.monday + _SUNDAY)


def _between(reading: Reading, sales: pd.DataFrame) -> dict[str, str]:
    ends = {"base": sales["month"].min(), "last": sales["month"].max()}
    return {name: formats.period_name(end.date(), "month", reading.words.language) for name, end in ends.items()}


def _amount(reading: Reading, value: float, *, signed: bool = False) -> str:
    return reading.amount(value, signed=signed)


def _paths(reading: Reading, sales: pd.DataFrame, told: dict[str, str]) -> Any:
    say, rates = reading.words, ("constant", "current")
    whole = sales[sales["market"] == "all"]
    base = whole["current"].iloc[0]
    long = whole.melt("month", list(rates), var_name="rates", value_name="value")
    long = long.assign(value=100 * long["value"] / base, complete=True)
    months = _between(reading, sales)
    labels = {"value": say("os_currency_axis", base=months["base"]), "incomplete": say("incomplete"), "start": ""}
    labels |= {name: say(f"os_rates_{name}") for name in rates}
    table = pd.DataFrame({say("column_os_month"): whole["month"].dt.strftime("%Y-%m")})
    table = table.assign(**{labels[name]: [_amount(reading, value) for value in whole[name]] for name in rates})
    chart = charts.kpi_trend(long, metric="value", period="month", series="rates", labels=labels)
    note = say("os_currency_n", n=formats.Count(int(whole["merchants"].iloc[-1])))
    return reading.figure("os_currency", chart, table, note, **months, **told)


def _table(reading: Reading, found: pd.DataFrame) -> Any:
    """List the split of growth by market, markets of few merchants left out and counted."""
    say = reading.words
    shown: Any = found[found["merchants"] >= FEWEST]
    rows = [
        [say("os_every_market") if row.market == "all" else say.label(row.market), *(
            formats.number(row.merchants), _amount(reading, row.before),
            _amount(reading, row.volume, signed=True), _amount(reading, row.currency, signed=True),
            signed_percent(row.growth_constant), signed_percent(row.growth))]
        for row in shown.itertuples()
    ]  # fmt: skip
    names = ("market", "merchants", "first_month", "volume", "currency", "growth_constant", "growth_current")
    hidden = formats.Count(len(found) - len(shown))
    heads = [say(f"column_os_{name}") for name in names]
    return blocks.listing(heads, rows, say("os_currency_caption", n=hidden, least=FEWEST), numbers=range(1, 7))


def _markets(reading: Reading, sold: pd.DataFrame) -> Any:
    """List sales by market, markets of few merchants left out and counted."""
    say = reading.words
    shown: Any = sold[sold["merchants"] >= FEWEST]
    rows = [
        [say.label(str(row.market)), *(
            formats.number(row.merchants), _amount(reading, row.gmv), formats.percent(row.gmv / sold["gmv"].sum(), 0),
            signed_percent(row.gmv / row.before - 1 if row.before > 0 else float("nan")) or "–",
            "–" if pd.isna(row.kept) else _amount(reading, row.kept, signed=True))]
        for row in shown.itertuples()
    ]  # fmt: skip
    heads = say.heads("os_market", "os_merchants", "os_gmv", "os_share", "os_year", "os_kept")
    weeks = _weeks(reading)
    span = (weeks["through"] - weeks["since"]).days // 7 + 1
    counts = {"weeks": formats.Count(span), "n": formats.Count(len(sold) - len(shown))}
    return blocks.listing(heads, rows, say("os_markets_caption", least=FEWEST, **counts), numbers=range(1, 6))
