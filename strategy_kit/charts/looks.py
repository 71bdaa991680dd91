"""The estimate from look to look: the interval for one look, the band for all, threshold and horizon."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.formats import number

HEIGHT = 300
WORDS = {
    "value": "Effect, in units of the outcome",
    "look": "Complete periods since the start",
    "interval": "Shaded: interval for one look, 95%",
    "band": "Broken lines: band for all looks up to the horizon, 95%",
    "band_without_horizon": "Broken lines: band for every week of three years, no horizon declared, 95%",
    "threshold": "Long dashes: threshold",
    "horizon": "horizon",
}
_COLUMNS = ("look", "estimate", "conf_low", "conf_high", "band_low", "band_high")


def looks(
    study: Any,
    *,
    threshold: float | None = None,
    horizon: int | None = None,
    percent: bool = False,
    labels: theme.Labels | None = None,
) -> theme.Chart:
    """Draw the estimate at each look with its interval and the band, the threshold, and the horizon.

    Parameters
    ----------
    study
        `planning.weekly_looks`, or its tidy frame: look, estimate, conf_low, conf_high, band_low, band_high.
    threshold
        In the units of the estimate; None draws none.
    horizon
        Look at which the answer is final; None where none was declared. The band is named by it.
    percent
        True where the estimates are shares, to be shown as percentages.
    labels
        Words: "value" (axis title with the unit), "look", the legend "interval", "band", "band_without_horizon" and
        "threshold", and "horizon".

    Raises
    ------
    ParameterError
        If a column is missing, or there is no look.

    Examples
    --------
    >>> rows = pd.DataFrame({"look": [1, 2], "estimate": [0.02, 0.03], "conf_low": -0.1, "conf_high": 0.2})
    >>> looks(rows.assign(band_low=-0.2, band_high=0.3), threshold=0.03, horizon=8).description.split(";")[0]
    'Effect, in units of the outcome, by complete periods since the start from 1 to 2'
    """
    words = theme.worded(WORDS, labels)
    tidy = study.tidy() if hasattr(study, "tidy") else study
    theme.require("looks", tidy, dict.fromkeys(_COLUMNS, ()))
    rows = tidy[list(_COLUMNS)].astype(float).sort_values("look").reset_index(drop=True)
    factor, unit = (100, "%") if percent else (1, "")

    def told(value: float) -> str:
        return number(value * factor, 1 if abs(value * factor) < 100 else 0, signed=True) + unit

    for bounds in ("conf", "band"):
        rows[bounds] = rows[f"{bounds}_low"].map(told) + " … " + rows[f"{bounds}_high"].map(told)
    rows["shown"] = rows["estimate"].map(told)
    band = words["band_without_horizon" if horizon is None else "band"]
    legend = [words["interval"], band, *([] if threshold is None else [f"{words['threshold']} {told(threshold)}"])]
    domain = [min(rows["look"].min(), 1) - 0.5, max(rows["look"].max(), horizon or 0) + 0.5]
    x = theme.below("look:Q", domain, [words["look"], *legend], tickMinStep=1, tickCount=12)
    y = alt.Axis(labelExpr=theme.signed_axis(unit, factor), tickCount=6, title=None)
    base = alt.Chart(rows).encode(x=x)
    tips = {"look:Q": words["look"], "shown:N": words["value"], "conf:N": words["interval"], "band:N": band}
    dots = base.mark_point(color=theme.PILOT, fill=theme.PILOT, size=18, opacity=1)
    last = rows.iloc[-1]
    described = (
        f"{words['value']}, by {words['look'].lower()} from {number(rows['look'].iloc[0])} to {number(last['look'])}; the last "
        f"estimate is {last['shown']}, interval {last['conf']}, band {last['band']}. {'. '.join(legend)}."
    )
    return alt.layer(
        _shade(base, y),
        *(_edge(base, bound) for bound in ("band_low", "band_high")),
        alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(color=theme.INK, strokeWidth=1).encode(y="at:Q"),
        *([] if threshold is None else [_rule(threshold)]),
        *([] if horizon is None else theme.start_rule(x, horizon, words["horizon"], "right", HEIGHT)),
        base.mark_line(color=theme.PILOT, strokeWidth=2.25).encode(y="estimate:Q"),
        dots.encode(y="estimate:Q", tooltip=[alt.Tooltip(name, title=title) for name, title in tips.items()]),
        theme.headed(rows, words["value"], -30),
        width=theme.WIDTH,
        height=HEIGHT,
        description=described,
    )


def _shade(base: alt.Chart, axis: alt.Axis) -> Any:
    """Fill the interval; a single look has a bar, since an area needs two."""
    tint, several = theme.TINTS[0.95], len(base.data) > 1
    mark = base.mark_area(color=tint, opacity=1) if several else base.mark_bar(color=tint, size=24)
    return mark.encode(y=alt.Y("conf_low:Q", axis=axis), y2="conf_high:Q")


def _edge(base: alt.Chart, bound: str) -> Any:
    """Draw an end of the band; a single look has a tick."""
    tick = base.mark_tick(color=theme.SOFT, orient="horizontal", size=40, thickness=1.5)
    return tick.encode(y=f"{bound}:Q") if len(base.data) == 1 else theme.edge(base, bound)


def _rule(value: float) -> Any:
    rule = alt.Chart(pd.DataFrame({"at": [value]})).mark_rule(color=theme.WARNING, strokeWidth=1.5, strokeDash=[8, 4])
    return rule.encode(y="at:Q")
