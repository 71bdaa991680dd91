"""Sums of each merchant before and after its support, beside those of the others over the same weeks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.levers.held import OVERSEAS, stays
from strategy_kit.periods import day_of, period_start
from strategy_kit.tables_to_panel import open_merchants, sold_lines

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Mapping

    from strategy_kit.dataset import Dataset

Array = np.ndarray
FEWEST_OTHERS = 2
"""Of a category: without one of them its growth must still be known."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Sums of S supported merchants and N others, before and after each of G weeks in which support starts.

    Attributes
    ----------
    supported
        S rows: bundle (levers held, such as "display + service"), category, size_band, start (0 to G − 1), cost (missing
        without the column).
    category
        (N,) of the others.
    own, others
        By measure (S, 2) and (N, G, 2): the sum before the start and from it on.
    categories
        Names of the C categories; `supported.category` and `category` are places in it.
    lacking
        The measures that the data set has no column for, with the column.
    left_out
        Merchants by reason, of those in `LEFT_OUT`.

    Examples
    --------
    >>> sold = {"sales": np.array([[10.0, 14.0]])}, {"sales": np.array([[[20.0, 24.0]]])}
    >>> supported = pd.DataFrame({"bundle": ["display"], "category": [0], "start": [0]})
    >>> Windows(supported, np.array([0]), *sold, ["toys"], left_out={"late": 3}).notes
    ('merchants not open in the first week, left out: 3',)
    """

    supported: pd.DataFrame
    category: Array
    own: Mapping[str, Array]
    others: Mapping[str, Array]
    categories: list[str]
    lacking: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Who was left out, in sentences."""
        return tuple(f"merchants {LEFT_OUT[why]}, left out: {n}" for why, n in self.left_out.items() if n)

    def sums(self, measure: str) -> tuple[Array, Array]:
        """Return a measure's sums of the supported (S, 2) and of the others (N, G, 2).

        Raises
        ------
        DesignError
            If the data set has no table or column for it.
        """
        if measure not in self.own:
            column = self.lacking.get(measure, "being asked of windows()")
            raise DesignError(f"{measure} cannot be summed without {column}; add it")
        return self.own[measure], self.others[measure]


SOURCES = {
    **dict.fromkeys(("orders", "sales", "buyers", "repeat_buyers"), "order_lines.amount"),
    "refunded": "order_lines.refund_amount",
    "impressions": "traffic.impressions",
    **dict.fromkeys(("clicks", "seen_orders"), "traffic.clicks"),
    **dict.fromkeys(("complaints", "heard_orders"), "experience.complaints"),
    **dict.fromkeys(("minutes", "answered_orders"), "experience.response_minutes"),
}
"""Each measure with the column that it needs."""


def windows(shop: Dataset, *, since: dt.date, through: dt.date, measures: Collection[str] | None = None) -> Windows:
    """Sum what each merchant did in the weeks before and after its support, and what the others did in the same weeks.

    A merchant's support starts with its first lever. The others had no support by `through`; those of its category say what
    it would have grown by. Orders beside traffic or experience are those of merchant-weeks that have a row there.

    Parameters
    ----------
    shop
        With `support`; traffic and experience where there are.
    since, through
        Mondays of the first and of the last week.
    measures
        Names in `SOURCES`; all that the data set has by default.

    Raises
    ------
    DesignError
        If there is no support table, or nobody was supported after `since` in a category where others were not.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> found = windows(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    >>> bool(found.own["sales"].sum() > 0), sorted(set(found.lacking.values()))[:2]
    (True, ['experience.complaints', 'experience.response_minutes'])
    """
    since, through = (period_start(day_of(day, name), "week") for name, day in (("since", since), ("through", through)))
    roster, left_out = _roster(shop, since, through)
    lacking = {name: source for name, source in SOURCES.items() if not _there(shop, source)}
    asked = [name for name in SOURCES if name not in lacking and (measures is None or name in measures)]
    supported, beside = roster[roster["start"].notna()], roster[roster["start"].isna()]
    starts = pd.DatetimeIndex(np.sort(supported["start"].unique()))
    own = {name: np.zeros((len(supported), 2)) for name in asked}
    others = {name: np.zeros((len(beside), len(starts), 2)) for name in asked}
    dates = {"first": since, "last": through, "overseas": OVERSEAS}
    for names, sql in _queries(shop, asked).items():
        sums = ", ".join(f"cast(sum(w.{name}) as double) as {name}" for name in names)
        found = shop.engine.frame(_WINDOWS.format(weekly=sql, sums=sums), dates)
        late, unit = found["after"].to_numpy(int), pd.Index(found["merchant_id"])
        row, other = supported.index.get_indexer(unit), beside.index.get_indexer(unit)
        start = starts.get_indexer(pd.DatetimeIndex(found["start"]))
        mine, theirs = row >= 0, (other >= 0) & (start >= 0)
        for name in names:
            values = found[name].to_numpy(float)
            own[name][row[mine], late[mine]] = values[mine]
            others[name][other[theirs], start[theirs], late[theirs]] = values[theirs]
    categories = sorted(roster["category"].unique())
    place = pd.Series(range(len(categories)), index=categories)
    began = starts.get_indexer(pd.DatetimeIndex(supported["start"]))
    rows = supported.assign(category=place[supported["category"]].to_numpy(), start=began)
    code = place[beside["category"]].to_numpy()
    return Windows(rows.drop(columns="here"), code, own, others, categories, lacking, left_out)


def _there(shop: Dataset, source: str) -> bool:
    table, column = source.split(".")
    return table in shop.tables and column in shop.columns(table)


LEFT_OUT = {
    "overseas": "that joined overseas",
    "late": "not open in the first week",
    "early": "supported by the first week",
    "alone": "without others in their category",
}
_STARTS = """select m.merchant_id, s.start from merchants m left join (
    select merchant_id, cast(date_trunc('week', min(started_on)) as date) as start,
        max(case when lever = $overseas then 1 else 0 end) as abroad
    from support where started_on < cast($last as date) + interval 7 day group by merchant_id) s
    on m.merchant_id = s.merchant_id where coalesce(s.abroad, 0) = 0 group by m.merchant_id, s.start"""

_WINDOWS = f"""with roster as ({_STARTS}), starts as (select distinct start from roster where start is not null),
    spans as (select merchant_id, start from roster where start is not null
        union all select r.merchant_id, s.start from roster r cross join starts s where r.start is null),
    weekly as ({{weekly}})
    select p.merchant_id, p.start, case when w.week >= p.start then 1 else 0 end as after, {{sums}}
    from spans p join weekly w on p.merchant_id = w.merchant_id where w.week >= $first and w.week <= $last
    group by p.merchant_id, p.start, case when w.week >= p.start then 1 else 0 end"""


def _queries(shop: Dataset, asked: Collection[str]) -> dict[tuple[str, ...], str]:
    """Return, by the measures that it gives, the query of a table by merchant and week."""
    week, sold = "cast(date_trunc('week', paid_at) as date)", sold_lines(shop)
    refunds = "sum(coalesce(refund_amount, 0))" if _there(shop, SOURCES["refunded"]) else "0"
    lines = f"""select merchant_id, {week} as week, count(distinct order_id) as orders, sum(amount) as sales,
        {refunds} as refunded from order_lines where {sold} and paid_at >= $first group by 1, 2"""
    visits = f"select merchant_id, buyer_id, {week} as week from order_lines where {sold} group by 1, 2, 3"
    buyers = f"""select merchant_id, week, 1 as buyers, case when week > first then 1 else 0 end as repeat_buyers from (select
        merchant_id, week, min(week) over (partition by merchant_id, buyer_id) as first from ({visits}) v) b"""

    def beside(table: str, told: str, needed: str) -> str:
        return f"""select t.merchant_id, cast(t.week as date) as week, {told} from {table} t left join ({lines}) o
            on t.merchant_id = o.merchant_id and cast(t.week as date) = o.week where t.{needed} is not null"""

    placed, minutes = "coalesce(o.orders, 0)", "t.response_minutes"
    seen = f"t.impressions, t.clicks, {placed} as seen_orders"
    queries = {
        ("orders", "sales", "refunded"): lines,
        ("buyers", "repeat_buyers"): buyers,
        ("impressions", "clicks", "seen_orders"): beside("traffic", seen, "impressions"),
        ("complaints", "heard_orders"): beside("experience", f"t.complaints, {placed} as heard_orders", "complaints"),
        ("minutes", "answered_orders"): beside(
            "experience", f"{minutes} * {placed} as minutes, {placed} as answered_orders", "response_minutes"
        ),
    }
    chosen = {tuple(name for name in names if name in asked): sql for names, sql in queries.items()}
    return {names: sql for names, sql in chosen.items() if names}


def _roster(shop: Dataset, since: dt.date, through: dt.date) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return merchants that were open by `since`, with bundle and start of the supported, and tell who was left out."""
    known, given = shop.columns("merchants"), shop.engine.frame
    band = "m.size_band" if "size_band" in known else "cast(null as varchar)"
    roster: Any = given(
        f"""select m.merchant_id, min(coalesce(m.category, 'unknown')) as category, min(coalesce({band}, 'unknown')) as size_band,
            bool_or(h.here) as here from merchants m join ({open_merchants(shop, "week")}) h
            on m.merchant_id = h.merchant_id group by m.merchant_id order by 1""",
        {"first": since},
    ).set_index("merchant_id")
    held = stays(shop, through=through)
    abroad = held.index[held["abroad"]]
    roster = roster.join(held[["bundle", "start", "cost"]])
    first = pd.Timestamp(since)
    joined = roster.index.isin(abroad)
    late = ~joined & ~roster["here"].to_numpy(bool)
    early = ~joined & ~late & (roster["start"] <= first).to_numpy(bool)
    kept = roster[~(joined | late | early)]
    others = kept.loc[kept["start"].isna(), "category"].value_counts()
    alone = kept["start"].notna() & ~kept["category"].isin(others.index[others >= FEWEST_OTHERS])
    if not (kept["start"].notna() & ~alone).any():
        raise DesignError(
            f"nobody was supported after {since} in a category with merchants that were not; begin earlier, or add merchants"
        )
    left_out = {
        "overseas": int(joined.sum()),
        "late": int(late.sum()),
        "early": int(early.sum()),
        "alone": int(alone.sum()),
    }
    kept = kept[~alone]
    return kept[kept["category"].isin(kept["category"][kept["start"].notna()])], left_out
