"""Twelve-month value from the first weeks: a surrogate index, with what it assumes told in every result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, nearest, refuse, seed_laws, whole_number
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.kept_units import refuse_apart

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel

Array = np.ndarray
MEASURES = ("gmv", "orders")
SCORED = ("gmv", "orders", "buyers")
ASSUMPTIONS = (
    "surrogacy: all that support does to twelve-month value passes through the measures of the first weeks",
    "comparability: unsupported merchants' value follows from these measures as supported merchants' would",
    "season: the market's level of a week scales every merchant's measures alike, and value is that of a year like the learnt",
)
_FEWEST_TRAINED = 50


def measure_panels(
    shop: Dataset, measures: Sequence[str] = MEASURES, *, since: dt.date, through: dt.date
) -> dict[str, Panel]:
    """Build one panel of merchants by week for each measure.

    Raises
    ------
    DesignError
        If there is no support table.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> panels = measure_panels(sk.open_dataset("data/sample"), since=dt.date(2024, 8, 5), through=dt.date(2025, 7, 21))
    >>> list(panels), len(panels["gmv"].periods)
    (['gmv', 'orders'], 51)
    """
    return {name: shop.panel(name, since=since, through=through).collected() for name in measures}


@dataclass(frozen=True, eq=False)
class Index:
    """A surrogate index: value over the horizon as a linear function of the mean weekly measures of the first weeks.

    Attributes
    ----------
    measures
        (K,) names, in the order of all coefficients.
    weeks, horizon
        First weeks that the measures are averaged over, and weeks that the value is added up over, these included.
    coefficients, covariance
        (K,) and (K, K), of all trained merchants, robust to unequal variances (HC2).
    by_fold, fold, units
        (F, K) coefficients without a fold's own merchants, and the fold (N,), -1 if not trained on, of each merchant (N,).
    held_out
        One row a trained merchant: value, predicted by the folds that it is not in.
    assumptions
        Sentences; they go with every result.
    """

    measures: tuple[str, ...]
    weeks: int
    horizon: int
    coefficients: Array
    covariance: Array
    by_fold: Array
    fold: Array
    units: pd.Index
    held_out: pd.DataFrame
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def calibration(self, groups: int = 5) -> pd.DataFrame:
        """Compare predicted and true value of merchants that were held out, in groups by prediction.

        Returns
        -------
        DataFrame
            One row a group: group (from the lowest prediction), merchants, predicted, value (means); `attrs` has slope of
            value on prediction with slope_low and slope_high (95%; 1 where predictions are right on average at every
            size) and r_squared.
        """
        rows = self.held_out
        size = rows["predicted"].rank(method="first", pct=True)
        groups_of = np.minimum(np.ceil(size * groups).astype(int), groups)
        result = rows.groupby(groups_of).agg(merchants=("value", "size"), predicted=("predicted", "mean"),
                                             value=("value", "mean")).rename_axis("group").reset_index()  # fmt: skip
        design = np.column_stack([np.ones(len(rows)), rows["predicted"]])
        slope, spread = _least_squares(design, rows["value"].to_numpy())
        error = 1.959963984540054 * np.sqrt(spread[1, 1])
        result.attrs = {"slope": slope[1], "slope_low": slope[1] - error, "slope_high": slope[1] + error,
                        "r_squared": _held_out_r_squared(rows)}  # fmt: skip
        return result


def fit_index(
    panels: Mapping[str, Panel], *, weeks: int = 8, horizon: int = 52, past: int = 0, folds: int = 5, seed: int = 0
) -> Index:
    """Learn value over the horizon from the first weeks, among merchants that were not supported within the horizon.

    The training window begins `past` weeks into the panels. Least squares of value on the mean measures of the first
    weeks, and on those of the `past` weeks before them where it is above 0: then only what is new in the first weeks
    counts, and where that is noise the index is drawn to 0; without a past, lasting differences between merchants count.
    Measures are those of `without_season`, so that the season of the weeks learnt from does not enter.

    Parameters
    ----------
    panels
        From `measure_panels`; the first is the one whose sum is the value.
    weeks, horizon, past
        In weeks.
    folds, seed
        Parts into which trained merchants are dealt by lot, so that none is predicted from itself, and the lot.

    Raises
    ------
    DesignError
        If the panels are shorter than past and horizon, too few merchants were unsupported, or a week has no level.
    ParameterError
        If a number is out of range.

    References
    ----------
    Athey, Chetty, Imbens and Kang (2019), "The surrogate index: combining short-term proxies to estimate long-term treatment
    effects more rapidly and precisely".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> rng = np.random.default_rng(1)
    >>> steady = Panel.from_matrix(np.repeat(rng.uniform(1, 9, (80, 1)), 12, axis=1), treated_from=[0] * 80, name="gmv")
    >>> fit_index({"gmv": steady}, weeks=3, horizon=12).coefficients.round(6).tolist()
    [12.0]
    """
    _refuse_numbers(weeks=weeks, horizon=horizon, past=past, folds=folds, seed=seed)
    refuse_apart(panels)
    names, first = tuple(panels), next(iter(panels.values()))
    trained = _trained(first, past + horizon)
    count = int(trained.sum())
    value = first.outcome[trained, past : past + horizon].sum(axis=1)
    level = without_season(panels)
    spans = ((past, past + weeks), (0, past))[: 1 + (past > 0)]
    early, *before = ([panel.outcome[trained, a:b].mean(axis=1) for panel in level.values()] for a, b in spans)
    design = np.column_stack([*early, np.ones(count), *(column for columns in before for column in columns)])
    fold = np.full(len(trained), -1)
    fold[trained] = _dealt(count, folds, seed)
    by_fold, predicted = _cross_fitted(design, value, fold[trained])
    coefficients, spread = _least_squares(design, value)
    kept = len(names)
    return Index(names, weeks, horizon, coefficients[:kept], spread[:kept, :kept], by_fold[:, :kept], fold, pd.Index(first.units),
                 pd.DataFrame({"value": value, "predicted": predicted}))  # fmt: skip


def index_panel(index: Index, panels: Mapping[str, Panel]) -> Panel:
    """Return the panel of the index week by week: its mean over the first weeks since a start is the predicted value.

    A trained merchant has the coefficients that were learnt without it, any other those of all.

    Raises
    ------
    ParameterError
        If the panels hold other measures or merchants than the index was made from.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> rng = np.random.default_rng(1)
    >>> steady = Panel.from_matrix(np.repeat(rng.uniform(1, 9, (80, 1)), 12, axis=1), treated_from=[0] * 80, name="gmv")
    >>> panel = index_panel(fit_index({"gmv": steady}, weeks=3, horizon=12), {"gmv": steady})
    >>> bool(np.allclose(panel.outcome, 12 * steady.outcome)), panel.name
    (True, 'predicted value over 12 weeks')
    """
    first = panels.get(index.measures[0])
    if first is None or tuple(panels) != index.measures or not index.units.equals(pd.Index(first.units)):
        names = ", ".join(index.measures)
        raise ParameterError(f"the index was made from {names} of {len(index.fold)} merchants; give the same panels")
    own = np.where((index.fold >= 0)[:, None], index.by_fold[index.fold], index.coefficients)
    outcome = sum(own[:, [at]] * panel.outcome for at, panel in enumerate(without_season(panels).values()))
    return replace(first, outcome=np.asarray(outcome), name=f"predicted value over {index.horizon} weeks",
                   notes=(*first.notes, *index.assumptions))  # fmt: skip


def long_run_effect(index: Index, study: Estimates, effects: Mapping[str, Estimates]) -> Estimates:
    """Return the effect of support on value over the horizon, if the index's assumptions hold.

    The mean effect on the index over the first weeks; to its variance comes g' V g for the learnt coefficients, with g the
    mean effects on the measures: where the index is the conditional mean of value, both parts are uncorrelated. The market's
    level is taken as known, so that the error is too small where supported merchants are much larger than those never supported.

    Parameters
    ----------
    study
        `did.event_study` of `index_panel`.
    effects
        The same estimator on each panel of `without_season`, by name.

    Raises
    ------
    DesignError
        If an age of the first weeks has no effect.

    Examples
    --------
    >>> from strategy_kit.did import event_study, group_time
    >>> from strategy_kit.panel import Panel
    >>> y = np.repeat(np.random.default_rng(1).uniform(1, 9, (90, 1)), 12, axis=1)
    >>> y[80:, 9:] += 2
    >>> panels = {"gmv": Panel.from_matrix(y, treated_from=[0] * 80 + [10] * 10, name="gmv")}
    >>> index = fit_index(panels, weeks=3, horizon=9)
    >>> both = index_panel(index, panels), without_season(panels)["gmv"]
    >>> study, own = (event_study(group_time(panel)) for panel in both)
    >>> long_run_effect(index, study, {"gmv": own}).estimate.round(6).tolist()
    [18.0]
    """
    whole = first_weeks(study, index.weeks)
    gradient = np.array([first_weeks(effects[name], index.weeks)[0] for name in index.measures])
    learnt = float(gradient @ index.covariance @ gradient)
    error = float(np.sqrt(whole[1] ** 2 + learnt))
    ages = study.labels["age"].to_numpy()
    least = int(study.n_units[(ages >= 0) & (ages < index.weeks)].min())
    return Estimates(
        "surrogate_index", study.outcome, pd.DataFrame({"horizon": [index.horizon]}), np.array([whole[0]]),
        np.array([[error**2]]), np.array([least]), study.assigned_at, study.clusters, (whole[0], error),
        study.law if isinstance(study.law, Student) else Student(),
        notes=tuple(dict.fromkeys((*study.notes, *index.assumptions))),
    )  # fmt: skip


def first_weeks(study: Estimates, weeks: int) -> tuple[float, float]:
    """Return the mean effect over ages 0 to `weeks` - 1 of an event study, and its standard error.

    Raises
    ------
    DesignError
        If one of these ages has no effect.

    Examples
    --------
    >>> from strategy_kit.did import event_study, group_time
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 4.0, 6.0], [1.0, 5.0, 6.0], [3.0, 3.0, 3.5], [2.0, 2.5, 2.0]])
    >>> first_weeks(event_study(group_time(Panel.from_matrix(y, treated_from=[2, 2, 0, 0]))), 2)[0]
    4.0
    """
    ages = study.labels["age"].to_numpy()
    held = np.flatnonzero((ages >= 0) & (ages < weeks))
    if len(held) < weeks:
        raise DesignError(
            f"the first {weeks} weeks after a start are not all seen, only {len(held)}; choose fewer weeks"
        )
    mean = np.full(weeks, 1 / weeks)
    return float(mean @ study.estimate[held]), float(np.sqrt(mean @ study.covariance[np.ix_(held, held)] @ mean))


def scorecard(
    panels: Mapping[str, Panel], *, weeks: int = 8, horizon: int = 52, value: str = "gmv", folds: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Say of each weekly metric how well it foretells value, how noisy it is, and how soon it tells.

    Parameters
    ----------
    panels
        From `measure_panels`; `value` names the one whose sum over the horizon is foretold.
    weeks, horizon, folds, seed
        As in `fit_index`.

    Returns
    -------
    DataFrame
        One row a metric, the best first: metric; r_squared (held out, of value on the metric's mean over the first weeks);
        rank_correlation (of the two; positive where more of the metric means more value); reliability (share of a single
        week's variance over merchants that is lasting: differences between merchants over these and the noise within, once
        the mean of all in each week is taken out);
        weeks_needed (first weeks whose mean has nine tenths of that r_squared); merchants.

    Raises
    ------
    DesignError, ParameterError
        As `fit_index`.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> rng = np.random.default_rng(1)
    >>> y = rng.uniform(1, 9, (80, 1)) + rng.normal(0, 1, (80, 12))
    >>> panels = {n: Panel.from_matrix(m, treated_from=[0] * 80) for n, m in (("gmv", y), ("luck", rng.normal(size=(80, 12))))}
    >>> scorecard(panels, weeks=3, horizon=12)["metric"].tolist()
    ['gmv', 'luck']
    """
    _refuse_numbers(weeks=weeks, horizon=horizon, past=0, folds=folds, seed=seed)
    refuse_apart(panels)
    unknown = [] if value in panels else [f"value names no panel: {value!r}{nearest(value, panels)}"]
    refuse(ParameterError, "scorecard", unknown)
    rows, kept = [], _trained(panels[value], horizon)
    total = panels[value].outcome[kept, :horizon].sum(axis=1)
    for name, panel in panels.items():
        early = panel.outcome[kept, :weeks]
        swing = early - early.mean(axis=0)
        power = [_power(early[:, :week], total, folds, seed) for week in range(1, weeks + 1)]
        within = swing.var(axis=1, ddof=1).sum() / (len(swing) - 1) if weeks > 1 else np.nan
        between = max(early.mean(axis=1).var(ddof=1) - within / weeks, 0.0)
        reached = np.flatnonzero(np.array(power) >= 0.9 * power[-1])
        rows.append({
            "metric": name, "r_squared": power[-1],
            "rank_correlation": float(pd.Series(total).corr(pd.Series(early.mean(axis=1)), method="spearman")),
            "reliability": between / (between + within) if between + within > 0 else np.nan,
            "weeks_needed": int(reached[0] + 1) if power[-1] > 0 else 0, "merchants": int(kept.sum()),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values("r_squared", ascending=False, kind="stable", ignore_index=True)


def without_season(panels: Mapping[str, Panel]) -> dict[str, Panel]:
    """Divide each week of each measure by the market's level, the mean of merchants never supported; 1 over all weeks.

    Raises
    ------
    DesignError
        If fewer than 50 merchants were never supported, or their mean of a week is not above 0.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.outer(np.ones(60), [0.5, 1.5])
    >>> without_season({"gmv": Panel.from_matrix(y, treated_from=[0] * 60)})["gmv"].outcome[0].tolist()
    [1.0, 1.0]
    """
    refuse_apart(panels)
    result = {}
    for name, panel in panels.items():
        level = panel.outcome[_trained(panel, len(panel.periods))].mean(axis=0)
        if (idle := np.flatnonzero(~(level > 0))).size:
            raise DesignError(f"the market's {name} in week {idle[0] + 1} of the panel is not above 0; begin later")
        result[name] = replace(panel, outcome=panel.outcome / (level / level.mean()))
    return result


def _power(early: Array, value: Array, folds: int, seed: int) -> float:
    design = np.column_stack([early.mean(axis=1), np.ones(len(value))])
    predicted = _cross_fitted(design, value, _dealt(len(value), folds, seed))[1]
    return _held_out_r_squared(pd.DataFrame({"value": value, "predicted": predicted}))


def _dealt(count: int, folds: int, seed: int) -> Array:
    return np.random.default_rng(seed).permutation(np.arange(count) % folds)


def _cross_fitted(design: Array, value: Array, fold: Array) -> tuple[Array, Array]:
    """Return the coefficients (F, P) without each fold's own rows, and each row's prediction by those of its fold."""
    fits = [np.linalg.lstsq(design[fold != part], value[fold != part], rcond=None)[0] for part in range(fold.max() + 1)]
    by_fold = np.array(fits)
    return by_fold, np.einsum("ij,ij->i", design, by_fold[fold])


def _least_squares(design: Array, value: Array) -> tuple[Array, Array]:
    """Return coefficients (P,) and their covariance, HC2; what is collinear shares its coefficient out evenly."""
    inverse = np.linalg.pinv(design.T @ design)
    fitted = inverse @ design.T @ value
    leverage = np.minimum(np.einsum("ij,jk,ik->i", design, inverse, design), 1 - 1e-9)
    scores = design * ((value - design @ fitted) / np.sqrt(1 - leverage))[:, None]
    return fitted, inverse @ (scores.T @ scores) @ inverse


def _held_out_r_squared(rows: pd.DataFrame) -> float:
    spread = float(((rows["value"] - rows["value"].mean()) ** 2).sum())
    return 1 - float(((rows["value"] - rows["predicted"]) ** 2).sum()) / spread if spread > 0 else np.nan


def _refuse_numbers(weeks: int, horizon: int, past: int, folds: int, seed: int) -> None:
    laws = [f"{name} is a whole number of {least} or more, not {number!r}"
            for name, number, least in (("weeks", weeks, 1), ("horizon", horizon, 2), ("past", past, 0), ("folds", folds, 2))
            if not whole_number(number, least)]  # fmt: skip
    laws += [] if laws or weeks < horizon else [f"weeks lie before the horizon of {horizon}, not {weeks}"]
    refuse(ParameterError, "surrogate index", laws + seed_laws(seed))


def _trained(panel: Panel, weeks: int) -> Array:
    if len(panel.periods) < weeks:
        raise DesignError(
            f"value over a horizon that ends in week {weeks} of the panel needs {weeks} complete weeks, and there are "
            f"{len(panel.periods)}; wait, or ask for a shorter horizon"
        )
    trained = np.append(panel.starts, len(panel.periods))[panel.cohort] >= weeks
    if (count := int(trained.sum())) < _FEWEST_TRAINED:
        raise DesignError(
            f"the index needs {_FEWEST_TRAINED} merchants at least without support up to week {weeks} of the panel, and there "
            f"are {count}; keep more merchants without support"
        )
    return np.asarray(trained)
