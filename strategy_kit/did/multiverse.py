"""The same effect by every base window, estimator and comparison that could have been chosen, all listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.assigned import assigned_groups, group_means
from strategy_kit.did.aggregate import overall
from strategy_kit.did.diagnostics import from_window
from strategy_kit.did.group_time import group_time
from strategy_kit.did.guards import ROUNDING, refuse_no_spread
from strategy_kit.did.imputation import imputation
from strategy_kit.did.poisson import poisson, poisson_saturated
from strategy_kit.did.regression import saturated, sun_abraham, two_way
from strategy_kit.did.stacked import stacked
from strategy_kit.did.synthetic import synthetic, synthetic_control
from strategy_kit.errors import DesignError, ParameterError, level_laws, nearest, refuse, seed_laws, whole_number
from strategy_kit.inference import Student, pooled, welch
from strategy_kit.kept_units import refuse_apart
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strategy_kit.did.cells import Control
    from strategy_kit.estimates import Estimates

    Run = Callable[[float], dict[str, Any]]
    Grid = Iterator[tuple["_Choice", Run]]
    Compared = dict[str, tuple[Callable[[Panel], Estimates], str]]

Array = np.ndarray
PARTS = ("estimator", "base_window", "control", "left_out", "outcome")
_FOUND = ("estimate", "conf_low", "conf_high", "p_value", "clusters_treated", "clusters_comparison")
_BY_AGE: Compared = {"sun_abraham": (sun_abraham, "never"), "stacked": (stacked, "not_yet")}
_REGRESSIONS: Compared = {
    "two_way": (two_way, "any"), "imputation": (imputation, "not_yet"), "saturated": (saturated, "not_yet"),
}  # fmt: skip
_RATIOS: Compared = {"poisson": (poisson, "any"), "poisson_saturated": (poisson_saturated, "not_yet")}
_SYNTHETIC = {"synthetic": synthetic, "synthetic_control": synthetic_control}


def multiverse(
    panel: Panel | Mapping[str, Panel],
    *,
    windows: Sequence[int] = (4, 8, 13, 26),
    headline: Mapping[str, str] | None = None,
    logs: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate the same effect by every specification of the grid, and list each of them, run or not.

    It shows how far an answer hangs on choices that could have been others. It is no inference: specifications share
    their data, are not equally good, and no share of them is a p-value.

    Parameters
    ----------
    panel
        Balanced; or several panels of the same units and periods by the name of their outcome, such as a winsorised one,
        all in one unit, the headline's first.
    windows
        Numbers of periods k: the base is the last k before the first start, and all but the last k.
    headline
        Parts that were declared before results were seen, such as {"base_window": "last_26"}: the first specification
        that has them all is marked. The first of all unless given.
    logs
        True where outcomes are logarithms. Then Poisson regressions of their exponentials stand beside the others, as the
        logarithm of the ratio of means; their effect has no unit in common with levels.
    level
        Coverage of the intervals.
    seed
        Of sampled placebos and assignments.

    Returns
    -------
    DataFrame
        One row a specification: specification (its number), estimator, base_window, control, left_out, outcome, estimate,
        conf_low, conf_high, p_value, clusters_treated, clusters_comparison, headline, missing_because (why a row has no
        estimate: refused, or the same as another row; empty where it was run).

        Base windows: all_before the first start, last_k, without_last_k, and symmetric (as many periods as follow). Where
        categories were assigned: welch and pooled with all groups and without each in turn (left_out),
        synthetic and synthetic_control. Where merchants were: group_time against both control groups, from last_1 as its
        own, from the mean of so many periods before each cohort's own start, and for without_last_k with k periods of
        anticipation; sun_abraham and stacked, whose base is last_1; two_way, imputation, saturated, poisson and
        poisson_saturated on the panel cut to the base window. `control` is any where units already treated serve as
        comparison too.

    Raises
    ------
    ParameterError
        If a window, the level or the seed is out of range, or no specification has the parts of the headline.
    DesignError
        If the panels do not share units and starts, or nothing starts after the first period.

    References
    ----------
    Steegen, Tuerlinckx, Gelman and Vanpaemel (2016), "Increasing transparency through a multiverse analysis"; Simonsohn,
    Simmons and Nelson (2020), "Specification curve analysis".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 1.0, 3.0], [2.0, 1.0, 4.5], [1.0, 2.0, 1.0], [2.0, 2.0, 2.5], [3.0, 2.0, 3.1]])
    >>> pilot = Panel.from_matrix(y, treated_from=[3, 3, 0, 0, 0], category=list("abcde"))
    >>> rows = multiverse(pilot, windows=[1])
    >>> rows.loc[rows["left_out"] == "none", ["estimator", "base_window", "estimate"]].head(2).round(2).to_numpy().tolist()
    [['welch', 'all_before', 2.3], ['welch', 'last_1', 2.55]]
    """
    if not isinstance(panel, Panel | Mapping):
        raise ParameterError(f"multiverse takes a Panel, or panels by the names of their outcomes, not {panel!r}")
    panels = {panel.name: panel} if isinstance(panel, Panel) else dict(panel)
    _refuse(panels, windows, level, seed)
    made = []
    for name, each in panels.items():
        whole = each.assigned_at == "category"
        grid = _of_categories(each, windows, seed) if whole else _of_merchants(each, windows, logs=logs)
        made += [(choice, run, name) for choice, run in grid]
    rows, seen = [], dict[tuple[Any, ...], int]()
    for number, (choice, run, name) in enumerate(made, 1):
        row = dict(
            zip(PARTS, (choice.estimator, choice.window.name, choice.control, choice.left_out, name), strict=True)
        )
        first = seen.setdefault((choice.estimator, choice.window[1:], choice.control, choice.comparison, name), number)
        found = f"the same periods as specification {first}" if first < number else _attempted(run, level)
        missing = found if isinstance(found, str) else ""
        values = dict.fromkeys(_FOUND, np.nan) if isinstance(found, str) else found
        rows.append({"specification": number, **row, **values, "missing_because": missing})
    frame = pd.DataFrame(rows)
    frame.insert(len(frame.columns) - 1, "headline", _declared(frame, headline or {}))
    return frame


def multiverse_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Count what the specifications say, and where the headline stands among them. It describes; it is no test.

    Parameters
    ----------
    rows
        As `multiverse` returns them.

    Returns
    -------
    DataFrame
        One row: n_run, n_missing (specifications), share_same_sign (as the headline), share_excluding_zero (same sign, and
        the interval excludes zero), share_opposite (other sign, and excludes zero), lowest, middle and highest estimate,
        headline_estimate, headline_rank (1: lowest).

    Raises
    ------
    DesignError
        If the headline itself has no estimate.

    Examples
    --------
    >>> rows = pd.DataFrame({"estimate": [1.0, 2.0, np.nan], "conf_low": [-1.0, 1.0, np.nan], "conf_high": [3.0, 3.0, np.nan]})
    >>> multiverse_summary(rows.assign(headline=[True, False, False]))["share_excluding_zero"].tolist()
    [0.5]
    """
    run = rows[rows["estimate"].notna()]
    own = run.loc[run["headline"], "estimate"]
    if len(own) != 1:
        raise DesignError(
            "the headline has no estimate, so that others cannot be set beside it; see its missing_because"
        )
    sign = np.sign(own.iloc[0])
    same = np.sign(run["estimate"]) == sign
    off_zero = (run["conf_low"] > 0) | (run["conf_high"] < 0)
    return pd.DataFrame(
        {
            "n_run": [len(run)],
            "n_missing": [len(rows) - len(run)],
            "share_same_sign": [same.mean()],
            "share_excluding_zero": [(same & off_zero).mean()],
            "share_opposite": [(~same & off_zero).mean()],
            "lowest": [run["estimate"].min()],
            "middle": [run["estimate"].median()],
            "highest": [run["estimate"].max()],
            "headline_estimate": [own.iloc[0]],
            "headline_rank": [int((run["estimate"] < own.iloc[0]).sum()) + 1],
        }
    )


class _Window(NamedTuple):
    """Positions of the base periods: from `first` to before `stop`."""

    name: str
    first: int
    stop: int


class _Choice(NamedTuple):
    estimator: str
    window: _Window
    control: str = "never"
    left_out: str = "none"
    comparison: int = 0  # a group may be called "none" itself


def _windows(panel: Panel, windows: Sequence[int]) -> list[_Window]:
    start, last = int(panel.starts.min()), len(panel.periods)
    return [
        _Window("all_before", 0, start),
        *(_Window(f"last_{k}", start - k, start) for k in windows),
        *(_Window(f"without_last_{k}", 0, start - k) for k in windows),
        _Window("symmetric", 2 * start - last, start),
    ]


def _of_categories(panel: Panel, windows: Sequence[int], seed: int) -> Grid:
    names, paths, cohort, _ = group_means(panel)
    bare: dict[str, Any] = dict.fromkeys(("category", "covariates", "weight", "cluster", "late"))
    grouped = replace(panel, outcome=paths, units=names, cohort=cohort, **bare)
    held = grouped
    for number, left_out in enumerate(("none", *map(str, names))):
        if number:
            held = grouped.only(np.arange(len(names)) != number - 1)
        for method in ("welch", "pooled"):
            for window in _windows(held if len(held.starts) else panel, windows):
                choice = _Choice(method, window, left_out=left_out, comparison=number)
                yield choice, partial(_contrast, held, window, method)
    for window in _windows(panel, windows):
        for name, estimator in _SYNTHETIC.items():
            yield _Choice(name, window), partial(_glanced, partial(estimator, seed=seed), panel, window)


def _of_merchants(panel: Panel, windows: Sequence[int], *, logs: bool) -> Grid:
    panel = panel.comparable
    own = _Window("last_1", int(panel.starts.min()) - 1, int(panel.starts.min()))
    controls: tuple[Control, Control] = ("not_yet", "never")
    for control in controls:
        for window in (own, *_windows(panel, windows)):
            yield _Choice("group_time", window, control), partial(_grouped, panel, window, control)
    for name, (estimator, compared) in _BY_AGE.items():
        yield _Choice(name, own, compared), partial(_glanced, estimator, panel, _windows(panel, ())[0])
    for name, (estimator, compared) in (_REGRESSIONS | _RATIOS).items():
        for window in _windows(panel, windows):
            run = _glanced if name in _REGRESSIONS else _log_ratio if logs else _in_another_unit
            yield _Choice(name, window, compared), partial(run, estimator, panel, window)


def _cut(panel: Panel, window: _Window) -> Panel:
    """Return the panel of the base window and of the periods from the first start on."""
    start = _start(panel, window)
    if window.stop < start and len(panel.cohorts) > 1:
        raise DesignError(
            f"{window.name} leaves out periods before one start, and there are {len(panel.cohorts)} starts"
        )
    kept = np.r_[window.first : window.stop, start : len(panel.periods)]
    given = panel.covariates
    return replace(
        panel,
        outcome=panel.outcome[:, kept],
        periods=panel.periods[kept],
        covariates=given if given is None or given.ndim == 2 else given[:, kept],
    )


def _start(panel: Panel, window: _Window) -> int:
    """Return the position of the first start; a window that reaches further back than the panel is refused."""
    if not len(panel.starts):
        raise DesignError("no group that starts is left, so that there is nothing to compare")
    start = int(panel.starts.min())
    if window.first < 0 or window.stop <= max(window.first, 0):
        raise DesignError(f"{window.name} asks for more than the {start} periods before the first start")
    return start


def _contrast(panel: Panel, window: _Window, method: str, level: float) -> dict[str, Any]:
    """Welch's or the pooled comparison of the groups' changes, as `pilot_contrast` has them."""
    groups = assigned_groups(_cut(panel, window))
    values, treated = groups.contrasts, groups.treated
    refuse_no_spread(values, treated, ROUNDING * panel.scale)
    compared = pooled if method == "pooled" else welch
    estimate, error, freedom = compared(values[treated], values[~treated])
    return _told(estimate, error, Student(float(freedom)), (int(treated.sum()), int((~treated).sum())), level)


def _told(estimate: Any, error: Any, law: Student, clusters: tuple[int, int], level: float) -> dict[str, Any]:
    value, spread = np.array([estimate]), np.array([error])
    low, high = law.interval(value, spread, level)
    return dict(zip(_FOUND, (value[0], low[0], high[0], law.p_value(value, spread)[0], *clusters), strict=True))


def _glanced(estimator: Callable[[Panel], Estimates], panel: Panel, window: _Window, level: float) -> dict[str, Any]:
    return dict(estimator(_cut(panel, window)).glance(level).iloc[0][list(_FOUND)])


def _grouped(panel: Panel, window: _Window, control: Control, level: float) -> dict[str, Any]:
    """The overall average of `group_time`, measured from its own base, an earlier one, or the mean of a window."""
    start = _start(panel, window)
    if window.stop < start:
        effects = group_time(panel, control=control, anticipation=start - window.stop)
        return dict(overall(effects).glance(level).iloc[0][list(_FOUND)])
    plain = overall(group_time(panel, control=control))
    if window.first == start - 1:
        return dict(plain.glance(level).iloc[0][list(_FOUND)])
    average = from_window(panel, start - window.first, control)
    return _told(*average, Student(), plain.clusters, level)


def _log_ratio(estimator: Callable[[Panel], Estimates], panel: Panel, window: _Window, level: float) -> dict[str, Any]:
    """The logarithm of the ratio of means, from the exponentials of the outcome."""
    found = _glanced(estimator, replace(panel, outcome=np.exp(panel.outcome)), window, level)
    return {name: np.log1p(value) if name in _FOUND[:3] else value for name, value in found.items()}


def _in_another_unit(*_: Any) -> dict[str, Any]:
    raise DesignError("its effect is a share of the mean, not in units of the outcome; give logs, and logs=True")


def _attempted(run: Run, level: float) -> dict[str, Any] | str:
    try:
        found = run(level)
    except (DesignError, ParameterError) as reason:
        return str(reason)
    return found if np.isfinite(found["estimate"]) else "no estimate came out"


def _declared(frame: pd.DataFrame, headline: Mapping[str, str]) -> Array:
    laws = [f"a specification has no part {name!r}{nearest(name, PARTS)}" for name in headline if name not in PARTS]
    refuse(ParameterError, "headline", laws)
    match = np.ones(len(frame), dtype=bool)
    for name, value in headline.items():
        known = frame[name].unique()
        if value not in known:
            raise ParameterError(f"headline: {name} is one of {', '.join(known)}, not {value!r}{nearest(value, known)}")
        match &= (frame[name] == value).to_numpy()
    if not match.any():
        raise ParameterError(
            f"headline: no specification has all of {dict(headline)}; choose parts that occur together"
        )
    return np.arange(len(frame)) == int(np.flatnonzero(match)[0])


def _refuse(panels: Mapping[str, Panel], windows: Sequence[int], level: float, seed: int) -> None:
    laws = [f"windows are whole numbers of periods, 1 or more, not {k!r}" for k in windows if not whole_number(k, 1)]
    laws += level_laws(level)
    laws += seed_laws(seed)
    refuse(ParameterError, "multiverse", laws)
    refuse_apart(panels)
    first = next(iter(panels.values()))
    if not len(first.cohorts) or first.starts.max() < 1:
        raise DesignError(
            "nothing starts after the first period of the panel, so there is no effect to estimate; begin earlier"
        )
