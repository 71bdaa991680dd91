"""Many metrics at once: one primary, families that were declared, all of them shown."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from strategy_kit.errors import ParameterError, StrategyKitError, nearest, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strategy_kit.estimates import Estimates

    Results = Mapping[str, Estimates | StrategyKitError]

PRIMARY = "primary"
Correction = Literal["holm", "benjamini_hochberg"]
_NUMBERS = ["estimate", "std_error", "conf_low", "conf_high", "p_value"]


def all_metrics(
    results: Results,
    *,
    primary: str,
    families: Mapping[str, Sequence[str]],
    correction: Correction = "holm",
    level: float = 0.95,
) -> pd.DataFrame:
    """Put the effects on all declared metrics into one table, p-values corrected within each family.

    The primary metric was named before outcomes were seen and stands alone, uncorrected. In a family of m metrics each has
    m chances of being called an effect by luck. A metric without a p-value counts in its family as one of 1, so that what
    could not be computed makes nothing else easier to find.

    Parameters
    ----------
    results
        By metric: the estimates, whose overall effect (as `glance` shows it) is taken, or the refusal that stood in their way.
    primary, families
        As in the `Plan`: its metric, and the names of secondary metrics by family.
    correction
        Within families: "holm" keeps the chance of a single wrong survivor below 1 − `level` and is for what decisions rest
        on; "benjamini_hochberg" the expected share of wrong ones among the survivors, for screening.
    level
        Coverage of the intervals, which are each metric's own; 1 − `level` is what corrected p-values are held to.

    Returns
    -------
    DataFrame
        One row a declared metric, the primary first, families in their order: family, metric, estimate, std_error, conf_low,
        conf_high, p_value, p_adjusted, survives (p_adjusted of at most 1 − `level`) and missing_because (why there is no effect).

    Raises
    ------
    ParameterError
        If a result is of a metric that was not declared, a metric was declared twice, a family has none or is called
        primary, or `correction` or `level` is not one; all at once.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure"; Benjamini and Hochberg (1995), "Controlling the
    false discovery rate"; tests hold both to statsmodels, whose import takes a second.

    Examples
    --------
    >>> from strategy_kit.did import pilot_contrast
    >>> from strategy_kit.errors import DesignError
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 3.0], [2.0, 3.8], [1.0, 1.0], [2.0, 2.2], [3.0, 3.1]])
    >>> sales = pilot_contrast(Panel.from_matrix(y, treated_from=[2, 2, 0, 0, 0]))
    >>> given = {"gmv": sales, "orders": sales, "buyers": DesignError("no buyers are recorded")}
    >>> table = all_metrics(given, primary="gmv", families={"reach": ["orders", "buyers"]})
    >>> table[["metric", "p_value", "p_adjusted", "survives"]].round(3).to_numpy().tolist()
    [['gmv', 0.008, 0.008, True], ['orders', 0.008, 0.016, True], ['buyers', nan, nan, False]]
    """
    declared = [(PRIMARY, primary), *((family, metric) for family in families for metric in families[family])]
    _refuse(results, declared, families, correction)
    rows = pd.DataFrame(declared, columns=["family", "metric"])
    found = [_row(results.get(metric), level) for metric in rows["metric"]]
    rows = rows.join(pd.DataFrame(found, columns=[*_NUMBERS, "missing_because"]))
    adjusted = rows.groupby("family", sort=False)["p_value"].transform(lambda p: _adjusted(p, correction))
    survives = (adjusted <= 1 - level + 1e-12).to_numpy()
    return rows.assign(p_adjusted=adjusted, survives=survives)[
        [*rows.columns[:-1], "p_adjusted", "survives", "missing_because"]
    ]


def _refuse(
    results: Results, declared: list[tuple[str, str]], families: Mapping[str, Sequence[str]], correction: str
) -> None:
    names = Counter(metric for _, metric in declared)
    laws = [
        f"{name!r} was not declared{nearest(name, names)}; add it to the plan" for name in results if name not in names
    ]
    laws += [
        f"{name!r} is declared {count} times; a metric has one place" for name, count in names.items() if count > 1
    ]
    laws += [f"family {name!r} has no metric; leave it out" for name, metrics in families.items() if not metrics]
    if any(isinstance(metrics, str) for metrics in families.values()):
        laws.append("a family is a list of metrics, not one name")
    if PRIMARY in families:
        laws.append(f"a family is called {PRIMARY!r}, as the metric that stands alone is; rename it")
    if correction not in get_args(Correction):
        laws.append(f"correction is one of {', '.join(map(repr, get_args(Correction)))}, not {correction!r}")
    refuse(ParameterError, "all_metrics", laws)


def _row(result: Estimates | StrategyKitError | None, level: float) -> tuple[float | str, ...]:
    if result is None or isinstance(result, StrategyKitError):
        return *[np.nan] * len(_NUMBERS), str(result or "it was declared, but no result was given")
    top = result.glance(level).iloc[0]
    return *(float(top[name]) for name in _NUMBERS), "" if np.isfinite(top["p_value"]) else "the effect has no error"


def _adjusted(p_value: pd.Series, correction: Correction) -> pd.Series:
    size = len(p_value)
    given = p_value.fillna(1.0).to_numpy(float)
    order = np.argsort(given, kind="stable")
    if correction == "holm":
        steps = np.maximum.accumulate(np.arange(size, 0, -1) * given[order])
    else:
        steps = np.minimum.accumulate((size / np.arange(1, size + 1) * given[order])[::-1])[::-1]
    adjusted = np.empty(size)
    adjusted[order] = np.minimum(steps, 1.0)
    return pd.Series(adjusted, index=p_value.index).where(p_value.notna())
