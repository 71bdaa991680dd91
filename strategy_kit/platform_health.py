"""What growth is worth to the platform: where its revenue came from, when support pays back, and what it costs consumers to find."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, refuse, whole_number
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.ratio import fieller
from strategy_kit.tables_to_panel import CATEGORY, sold_lines

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel

Array = np.ndarray
BRIDGE = ("growth", "mix", "rate", "subsidies", "support")
_STAY = """select {key} as unit, s.started_on as first, coalesce(s.ended_on, $end) as last, cast(s.cost as double) as cost
    from support s {roster} where s.cost is not null and s.started_on <= coalesce(s.ended_on, $end)"""


def take_rate_bridge(shop: Dataset, before: tuple[dt.date, dt.date], after: tuple[dt.date, dt.date]) -> pd.DataFrame:
    """Split the change of platform revenue between two windows into growth, mix and rate, less subsidies and support.

    With GMV G, shares s of categories and their take rates r, revenue is G·Σ s·r. Each change is taken at the mean of both
    windows for all that is held, so that no order of the steps matters and nothing is left over.

    Parameters
    ----------
    before, after
        First and last day of each window, of the same number of days.

    Returns
    -------
    DataFrame
        One row a category: category; gmv_before, gmv_after, fees_before, fees_after; growth, mix, rate, which add up to
        the change of fees of the row and of all rows; subsidies and support, what rose of either with its sign turned;
        net, the sum of the five. Support cost is spread evenly over the days of a stay, one without an end lasting to the
        end of the data, and belongs to the merchant's frozen category.

    Raises
    ------
    ParameterError
        If the windows differ in length, overlap, or lie outside the data.
    DesignError
        If order lines have no platform_fee, or a window no sale.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> spring, summer = (dt.date(2025, 3, 3), dt.date(2025, 3, 30)), (dt.date(2025, 6, 30), dt.date(2025, 7, 27))
    >>> found = take_rate_bridge(sk.open_dataset("data/sample"), spring, summer)
    >>> change = found["fees_after"].sum() - found["fees_before"].sum()
    >>> bool(abs(found[["growth", "mix", "rate"]].to_numpy().sum() - change) < 1e-9)
    True
    """
    _refuse_windows(shop, before, after)
    _require(shop, "order_lines", "platform_fee")
    sides = [_revenue(shop, window) for window in (before, after)]
    for window, side in zip((before, after), sides, strict=True):
        if not side["gmv"].sum() > 0:
            raise DesignError(
                f"nothing was sold from {window[0]} to {window[1]}, so there is no take rate; take other days"
            )
    names = sides[0].index.union(sides[1].index).sort_values()
    first, last = (side.reindex(names, fill_value=0.0) for side in sides)
    result = pd.DataFrame({"category": names})
    for name in ("gmv", "fees"):
        result[f"{name}_before"], result[f"{name}_after"] = first[name].to_numpy(), last[name].to_numpy()
    result = result.assign(**bridge_parts(first["gmv"], first["fees"], last["gmv"], last["fees"]))
    for name in ("subsidies", "support"):
        result[name] = first[name].to_numpy() - last[name].to_numpy()
    return result.assign(net=result[list(BRIDGE)].sum(axis=1))


def bridge_parts(gmv: Array, fees: Array, gmv_after: Array, fees_after: Array) -> dict[str, Array]:
    """Split the change of fees of C categories into growth of all GMV, mix over categories and rate within them, each (C,).

    A category that sold in one window only has that window's rate in both, so that it counts as mix.

    Examples
    --------
    >>> parts = bridge_parts([100, 100], [10, 2], [220, 110], [22, 2.2])
    >>> {name: round(float(values.sum()), 6) for name, values in parts.items()}
    {'growth': 8.666667, 'mix': 3.533333, 'rate': 0.0}
    """
    sold, fee = (np.asarray(pair, dtype=float) for pair in ((gmv, gmv_after), (fees, fees_after)))
    total = sold.sum(axis=1)
    share = sold / total[:, None]
    own = np.divide(fee, sold, out=np.full(fee.shape, np.nan), where=sold > 0)
    rate = np.where(np.isnan(own), own[::-1], own)
    rate = np.where(np.isnan(rate), 0.0, rate)
    per_sale = fee / total[:, None]
    middle = total.mean()
    return {
        "growth": (total[1] - total[0]) * per_sale.mean(axis=0),
        "mix": middle * (share[1] - share[0]) * rate.mean(axis=0),
        "rate": middle * share.mean(axis=0) * (rate[1] - rate[0]),
    }


def revenue_panels(
    shop: Dataset, *, since: dt.date, through: dt.date, categories: Sequence[str] | None = None
) -> dict[str, Panel]:
    """Build panels of merchants by week whose effects `pass_through` and `net_contribution` compare.

    Returns
    -------
    dict
        "gmv"; "fees"; "together", the sum of both, whose variance tells how the two vary together; and "contribution",
        fees less platform subsidies, where subsidies are known.

    Raises
    ------
    DesignError
        If order lines have no platform_fee, or there is no support table.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> sorted(revenue_panels(sk.open_dataset("data/sample"), since=dt.date(2025, 4, 7), through=dt.date(2025, 7, 21)))
    ['contribution', 'fees', 'gmv', 'together']
    """
    _require(shop, "order_lines", "platform_fee")
    gmv, fees = (shop.panel(name, categories=categories, since=since, through=through) for name in ("gmv", "fees"))
    result = {
        "gmv": gmv,
        "fees": fees,
        "together": replace(gmv, outcome=gmv.outcome + fees.outcome, name="gmv and fees"),
    }
    if "platform_subsidy" in shop.columns("order_lines"):
        paid = shop.panel("subsidies", categories=categories, since=since, through=through)
        result["contribution"] = replace(fees, outcome=fees.outcome - paid.outcome, name="fees less subsidies")
    return result


def pass_through(fees: Estimates, gmv: Estimates, together: Estimates, *, level: float = 0.95) -> pd.DataFrame:
    """Divide the effect on fees by the effect on GMV: what the platform earns of one unit of sales that support added.

    The interval is Fieller's: it holds the ratios that are not refused, and may be all outside its ends, or everything,
    where support may not have moved GMV at all.

    Parameters
    ----------
    fees, gmv, together
        The same estimator on the panels of `revenue_panels`: 2·cov(fees, gmv) is the variance of the sum less the two.

    Returns
    -------
    DataFrame
        One row: estimate, conf_low, conf_high, form.

    Raises
    ------
    ParameterError
        If `together` is not the sum of the other two.

    Examples
    --------
    >>> from strategy_kit.did import group_time, overall
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 4.0], [1.0, 5.0], [3.0, 3.0], [2.0, 2.5]])
    >>> parts = [overall(group_time(Panel.from_matrix(by * y, treated_from=[2, 2, 0, 0]))) for by in (0.1, 1, 1.1)]
    >>> float(pass_through(*parts)["estimate"][0].round(9))
    0.1
    """
    (over, error), (under, under_error), (both, both_error) = fees.average, gmv.average, together.average
    if not np.isclose(both, over + under, rtol=1e-9, atol=1e-9 * (abs(over) + abs(under))):
        raise ParameterError(f"`together` is the effect on fees and GMV added up, {over + under:.6g}, not {both:.6g}")
    shared = (both_error**2 - error**2 - under_error**2) / 2
    spread = np.array([[error**2, shared], [shared, under_error**2]])
    law = gmv.law_of_average
    student = law if isinstance(law, Student) else Student()
    low, high, form = fieller(over, under, spread, law=student, level=level)
    estimate = over / under if under else np.nan
    return pd.DataFrame(
        {"estimate": [estimate], "conf_low": low.ravel(), "conf_high": high.ravel(), "form": form.ravel()}
    )


def cost_by_age(shop: Dataset, *, through: dt.date, among: pd.Index | None = None) -> pd.DataFrame:
    """Return what support costs a merchant in each week since its first support started, on average over merchants.

    The cost of a stay is spread evenly over its days; one without an end lasts to the end of the data.

    Parameters
    ----------
    through
        Last Monday of a complete week; a merchant counts at the ages that x
    -------
    DataFrame
        age, cost (currency a merchant and week), merchants.

    Raises
    ------
    DesignError
        If there is no support cost.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> cost_by_age(sk.open_dataset("data/sample"), through=dt.date(2025, 7, 21))["age"].tolist() == list(range(10))
    True
    """
    _require(shop, "support", "cost")
    stays = _stays(shop, "s.merchant_id")
    stays = stays if among is None else stays[stays["unit"].isin(among)]
    stays = stays[stays["first"] <= pd.Timestamp(through) + pd.Timedelta(days=6)]
    if stays.empty:
        raise DesignError(f"no support with a cost had started by {through}; enter costs, or take a later week")
    first = stays.groupby("unit")["first"].transform("min")
    begun = first - pd.to_timedelta(first.dt.day_of_week, unit="D")
    reached = (pd.Timestamp(through) - begun).dt.days.to_numpy() // 7
    ages = np.arange(reached.max() + 1)
    start = begun.to_numpy("datetime64[D]")[:, None] + 7 * ages
    spent = _spent(stays, start, start + 6) * (ages <= reached[:, None])
    counts = (pd.Series(reached).groupby(stays["unit"].to_numpy()).max().to_numpy()[:, None] >= ages).sum(axis=0)
    return pd.DataFrame({"age": ages, "cost": spent.sum(axis=0) / counts, "merchants": counts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is supposed of the weeks to come, told beside whatever rests on it.

    Attributes
    ----------
    weeks
        To look ahead.
    persistence
        Share of a week's effect that is there a week later; the first is the average of the last weeks.
    averaged
        Last weeks whose mean effect is carried on.
    supported
        Whether support, and its cost, goes on.

    Examples
    --------
    >>> Scenario(weeks=26, persistence=0.98).name
    'scenario: 26 weeks more, 98% of the effect left each week, support goes on'
    """

    weeks: int
    persistence: float = 1.0
    averaged: int = 4
    supported: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no scenario."""
        laws = [f"{name} is 1 or more, not {getattr(self, name)!r}" for name in ("weeks", "averaged")
                if not whole_number(getattr(self, name), 1)]  # fmt: skip
        laws += [] if 0 <= self.persistence <= 1 else [f"persistence lies from 0 to 1, not {self.persistence!r}"]
        refuse(ParameterError, "a scenario", laws)

    @property
    def name(self) -> str:
        """The scenario in words."""
        kept = f"{self.persistence:.0%} of the effect left each week"
        return f"scenario: {self.weeks} weeks more, {kept}, support {'goes on' if self.supported else 'ends'}"


def net_contribution(study: Estimates, cost: pd.DataFrame, scenario: Scenario | None = None) -> Estimates:
    """Add up by age what support brought the platform for each supported merchant, less what it cost.

    The curve is C(a) = Σ_{e ≤ a} (b_e − c_e) from effects b on the platform's contribution and cost c by age; its covariance
    is L V L' with the study's V, so that interval and simultaneous band are exact for the curve as for the study.

    Parameters
    ----------
    study
        `did.event_study` of the panel "contribution" (or "fees"), labelled by age.
    cost
        From `cost_by_age`; taken as known.
    scenario
        What is supposed of the ages not seen yet; None adds none.

    Returns
    -------
    Estimates
        Labels age and basis ("observed", or the scenario in words), in currency a supported merchant.

    Raises
    ------
    DesignError
        If an age from 0 on lacks its cost, or its effect.

    Examples
    --------
    >>> from strategy_kit.did import event_study, group_time
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 4.0, 6.0], [1.0, 5.0, 6.0], [3.0, 3.0, 3.5], [2.0, 2.5, 2.0]])
    >>> study = event_study(group_time(Panel.from_matrix(y, treated_from=[2, 2, 0, 0])))
    >>> net_contribution(study, pd.DataFrame({"age": [0, 1], "cost": [4.0, 1.0]})).estimate.tolist()
    [-0.75, 3.0]
    """
    age = study.labels["age"].to_numpy()
    after = np.flatnonzero(age >= 0)
    after = after[np.argsort(age[after])]
    spent = cost.set_index("age")["cost"].reindex(age[after])
    if not len(after) or not np.array_equal(age[after], np.arange(len(after))) or spent.isna().any():
        raise DesignError(
            "effects and costs cover ages from 0 on without a gap; study more weeks, or enter their costs"
        )
    weights, paid = np.eye(len(after)), spent.to_numpy(dtype=float)
    basis = ["observed"] * len(after)
    if scenario is not None:
        last = np.zeros(len(after))
        last[-scenario.averaged :] = 1 / min(scenario.averaged, len(after))
        weights = np.vstack([weights, scenario.persistence ** np.arange(1, scenario.weeks + 1)[:, None] * last])
        paid = np.append(paid, np.full(scenario.weeks, last @ paid * scenario.supported))
        basis += [scenario.name] * scenario.weeks
    linear = np.cumsum(weights, axis=0)
    value = linear @ study.estimate[after] - np.cumsum(paid)
    spread = linear @ study.covariance[np.ix_(after, after)] @ linear.T
    units = np.append(study.n_units[after], np.repeat(study.n_units[after[-1]], len(value) - len(after)))
    return Estimates(
        estimator="net_contribution",
        outcome=f"{study.outcome} less support cost, cumulated",
        labels=pd.DataFrame({"age": np.arange(len(value)), "basis": basis}),
        estimate=value,
        spread=spread,
        n_units=units,
        assigned_at=study.assigned_at,
        clusters=study.clusters,
        average=(float(value[-1]), float(np.sqrt(spread[-1, -1]))),
        law=study.law if not isinstance(study.law, tuple) else Student(),
        notes=(*study.notes, "the cost of support is taken as known", *([scenario.name] if scenario else [])),
        seed=study.seed,
    )


def payback(curve: Estimates, *, level: float = 0.95) -> pd.DataFrame:
    """Return the age from which the curve is never again below 0, with its interval by inverting the simultaneous band.

    While the whole path lies in its band, the last age below 0 is no earlier than the last at which the band's upper end is
    below 0, and no later than the last at which its lower end is.

    Returns
    -------
    DataFrame
        One row: age, age_low, age_high, missing where the curve, or an end of the band, is below 0 at its last age; state:
        "not_yet" where the band's upper end is, "paid_back" where its lower end is not, else "cannot_tell"; horizon, the
        last age; basis of the last age.

    Examples
    --------
    >>> from strategy_kit.did import event_study, group_time
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 4.0, 9.0], [1.0, 5.0, 9.0], [3.0, 3.0, 3.1], [2.0, 2.1, 2.0]])
    >>> study = event_study(group_time(Panel.from_matrix(y, treated_from=[2, 2, 0, 0])))
    >>> payback(net_contribution(study, pd.DataFrame({"age": [0, 1], "cost": [5.0, 1.0]})))[["age", "state"]].values.tolist()
    [[1.0, 'paid_back']]
    """
    rows = curve.tidy(level)
    ages = {"age": "estimate", "age_low": "band_high", "age_high": "band_low"}
    last = {name: np.flatnonzero(rows[column].to_numpy() < 0) for name, column in ages.items()}
    end = len(rows) - 1
    found = {name: 0.0 if not len(at) else np.nan if at[-1] == end else float(at[-1] + 1) for name, at in last.items()}
    state = "not_yet" if np.isnan(found["age_low"]) else "cannot_tell" if np.isnan(found["age_high"]) else "paid_back"
    return pd.DataFrame({**{name: [value] for name, value in found.items()}, "state": [state],
                         "horizon": [int(rows["age"].iloc[-1])], "basis": [rows["basis"].iloc[-1]]})  # fmt: skip


def _revenue(shop: Dataset, window: tuple[dt.date, dt.date]) -> pd.DataFrame:
    subsidy = "coalesce(platform_subsidy, 0)" if "platform_subsidy" in shop.columns("order_lines") else "0"
    found = shop.engine.frame(
        f"""select {CATEGORY} as category, cast(sum(amount) as double) as gmv,
            cast(sum(coalesce(platform_fee, 0)) as double) as fees, cast(sum({subsidy}) as double) as subsidies
            from order_lines where {sold_lines(shop)} and cast(paid_at as date) between $first and $last group by 1""",
        {"first": window[0], "last": window[1]},
    ).set_index("category")
    if "support" not in shop.tables or "cost" not in shop.columns("support"):
        return found.assign(support=0.0)
    stays = _stays(shop, "coalesce(m.category, 'unknown')", "join merchants m using (merchant_id)")
    days = [np.full((len(stays), 1), day, dtype="datetime64[D]") for day in window]
    cost = pd.Series(_spent(stays, *days)[:, 0]).groupby(stays["unit"].to_numpy()).sum()
    found = found.reindex(found.index.union(cost[cost > 0].index), fill_value=0.0)
    return found.assign(support=cost.reindex(found.index).fillna(0.0))


def _stays(shop: Dataset, key: str, roster: str = "") -> pd.DataFrame:
    query = _STAY.format(key=key, roster=roster)
    if "ended_on" not in shop.columns("support"):
        query = query.replace("coalesce(s.ended_on, $end)", "cast($end as date)")
    found = shop.engine.frame(query, {"end": shop.data_through})
    return found.assign(first=pd.to_datetime(found["first"]), last=pd.to_datetime(found["last"]))


def _spent(stays: pd.DataFrame, first: Array, last: Array) -> Array:
    """Return the cost (S, A) of each stay that falls on the days from `first` to `last` (S, A)."""
    start, end = (stays[name].to_numpy("datetime64[D]")[:, None] for name in ("first", "last"))
    day = np.timedelta64(1, "D")
    held = (np.minimum(end, last) - np.maximum(start, first)) / day + 1
    result: Array = stays["cost"].to_numpy(dtype=float)[:, None] / ((end - start) / day + 1) * np.maximum(held, 0.0)
    return result


def _require(shop: Dataset, table: Literal["order_lines", "support"], column: str) -> None:
    if table not in shop.tables or column not in shop.columns(table):
        raise DesignError(f"data set {shop.name!r} has no {table}.{column}, which this question rests on; add it")


def _refuse_windows(shop: Dataset, before: tuple[dt.date, dt.date], after: tuple[dt.date, dt.date]) -> None:
    laws = [f"a window ends on or after its first day, not {first} to {last}; exchange them"
            for first, last in (before, after) if last < first]  # fmt: skip
    lengths = [(last - first).days + 1 for first, last in (before, after)]
    if lengths[0] != lengths[1]:
        laws.append(f"both windows have the same number of days, not {lengths[0]} and {lengths[1]}; choose equal ones")
    if before[1] >= after[0]:
        laws.append(
            f"the first window ends before the second, not on {before[1]} with the other from {after[0]}; part them"
        )
    if before[0] < shop.data_from or after[1] > shop.settled_through:
        laws.append(f"windows lie within {shop.data_from} to {shop.settled_through}; choose days of the data")
    refuse(ParameterError, "bridge", laws)
