"""What support has brought the platform by age, less what it cost, and when it pays back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, refuse, whole_number
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.platform_health.costs import priced, require, spent, stays

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

Array = np.ndarray


def cost_by_age(shop: Dataset, *, through: dt.date, among: pd.Index | None = None) -> pd.DataFrame:
    """Return what support costs a merchant in each week since its first support started, on average over merchants.

    The cost of a stay is spread evenly over its days; one without an end lasts to the end of the data.

    Parameters
    ----------
    through
        Last Monday of a complete week; a merchant counts at the ages that its first support has reached by then.
    among
        Merchants to count; all with support by default.

    Returns
    -------
    DataFrame
        age, cost (currency a merchant and week), merchants.

    Raises
    ------
    DesignError
        If there is no support cost, or a stay has none.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> cost_by_age(sk.open_dataset("data/sample"), through=dt.date(2025, 7, 21))["age"].tolist() == list(range(10))
    True
    """
    require(shop, "support", "cost")
    held = stays(shop, "s.merchant_id")
    held = held if among is None else held[held["unit"].isin(among)]
    held = held[held["first"] <= pd.Timestamp(through) + pd.Timedelta(days=6)]
    if held.empty:
        raise DesignError(f"no support had started by {through}; take a later week")
    first = priced(held).groupby("unit")["first"].transform("min")
    begun = first - pd.to_timedelta(first.dt.day_of_week, unit="D")
    reached = (pd.Timestamp(through) - begun).dt.days.to_numpy() // 7
    ages = np.arange(reached.max() + 1)
    start = begun.to_numpy("datetime64[D]")[:, None] + 7 * ages
    paid = spent(held, start, start + 6) * (ages <= reached[:, None])
    counts = (pd.Series(reached).groupby(held["unit"].to_numpy()).max().to_numpy()[:, None] >= ages).sum(axis=0)
    return pd.DataFrame({"age": ages, "cost": paid.sum(axis=0) / counts, "merchants": counts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is supposed of the weeks to come, told beside whatever rests on it.

    Attributes
    ----------
    weeks
        To look ahead.
    persistence
        Share of a week's effect that is there a week later, counted from the average of the last weeks on.
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
        Labels age and scenario ("observed", or the scenario in words), in currency a supported merchant.

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
    known = cost.set_index("age")["cost"].reindex(age[after])
    if not len(after) or not np.array_equal(age[after], np.arange(len(after))) or known.isna().any():
        raise DesignError(
            "effects and costs cover ages from 0 on without a gap; study more weeks, or enter their costs"
        )
    weights, paid = np.eye(len(after)), known.to_numpy(dtype=float)
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
        labels=pd.DataFrame({"age": np.arange(len(value)), "scenario": basis}),
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
        One row: age, age_low, age_high, missing where the curve, or an end of the band, is below 0 at its last age, or is
        missing itself; state: "cannot_tell" there, "not_yet" where the band's upper end is below 0, "paid_back" where its
        lower end is not, else "cannot_tell"; horizon, the last age; scenario of the last age.

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
    unknown = {name for name, column in ages.items() if rows[column].isna().any()}
    found |= dict.fromkeys(unknown, np.nan)
    state = "not_yet" if np.isnan(found["age_low"]) else "cannot_tell" if np.isnan(found["age_high"]) else "paid_back"
    state = "cannot_tell" if unknown else state
    return pd.DataFrame({**{name: [value] for name, value in found.items()}, "state": [state],
                         "horizon": [int(rows["age"].iloc[-1])], "scenario": [rows["scenario"].iloc[-1]]})  # fmt: skip
