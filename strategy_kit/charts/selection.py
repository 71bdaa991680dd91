"""One effect from every base window, below each other."""

from __future__ import annotations

import pandas as pd

from strategy_kit.charts.estimators import estimator_comparison
from strategy_kit.charts.theme import Chart, Labels, require, worded

COLUMNS: dict[str, tuple[str, ...]] = dict.fromkeys(["base_window", "estimate", "conf_low", "conf_high"], ())
WORDS = {"value": "Effect, in units of the outcome", "interval": "lines: 95% intervals", "missing": "no interval",
    "base": "base", "absent": "cannot be told", "before_selection": "before the selection",
    "all_before": "all periods before", "early": "early selection window", "late": "late selection window",
    "symmetric": "as far before as after", "forecast": "forecast from others who grew"}  # fmt: skip


def selection_windows(
    rows: pd.DataFrame, *, declared: str = "before_selection", percent: bool = False, labels: Labels | None = None
) -> Chart:
    """Draw the effect from every base window with its interval, the declared one first and heavy, the others in order.

    Parameters
    ----------
    rows
        From `did.selection_windows`; or columns `base_window` (text), `estimate`, `conf_low`, `conf_high`, and optionally
        `base_first` and `base_last`, which stand below the name. Windows without an estimate are named in the title.
    declared
        The base window that the plan fixed before results were seen.
    percent
        True where the estimates are shares, to be shown as percentages.
    labels
        Words: "value" (axis title with the unit), "interval", "missing", "base" (before the base periods), "absent"
        (before the windows without an estimate), and one per base window.

    Raises
    ------
    ParameterError
        If the frame has no rows, lacks columns, or the declared window has no estimate.

    Examples
    --------
    >>> found = pd.DataFrame({"base_window": ["all_before", "late"], "estimate": [0.2, -0.3], "conf_low": [0.1, -0.4]})
    >>> found = found.assign(conf_high=[0.3, -0.2])
    >>> selection_windows(found, declared="late", percent=True, labels={"value": "Effect"}).description
    'Effect. late selection window −30.0% (−40.0% … −20.0%); all periods before +20.0% (+10.0% … +30.0%).'
    """
    require("selection_windows", rows, COLUMNS)
    names = rows["base_window"].astype(str)
    words = worded({**dict(zip(names, names, strict=True)), **WORDS}, labels)
    held = rows["estimate"].notna()
    require("selection_windows", rows[held & (names == declared)], {})
    absent = [words[name] for name in names[~held]]
    shown = rows[held].assign(estimator=names[held].map(words), comparison="")
    if {"base_first", "base_last"} <= set(rows):
        ends = [shown[name].map(_day) for name in ("base_first", "base_last")]
        shown["comparison"] = words["base"] + " " + ends[0] + "–" + ends[1]
    first = (names[held] != declared).argsort(kind="stable")
    said = {"value": words["value"] + (f"; {words['absent']}: {', '.join(absent)}" if absent else "")}
    said |= {name: words[name] for name in ("interval", "missing")}
    return estimator_comparison(shown.iloc[first], percent=percent, labels=said)


def _day(period: object) -> str:
    return f"{period:%Y-%m-%d}" if isinstance(period, pd.Timestamp) else f"{period:g}"
