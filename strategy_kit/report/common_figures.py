"""Charts and tables that several pages draw: steps from one amount to another, cohorts by age, and survival."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, formats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.report.week import Week
    from strategy_kit.report.words import Words


def waterfall(
    week: Week, steps: Sequence[str], amounts: Sequence[float], kinds: Sequence[str], name: str, largest: float
) -> tuple[Any, pd.DataFrame, str]:
    """Return the chart of levels and changes of what is called `name`, its table, and its steps in words."""
    say, (scale, unit) = week.words, week.scale(largest)
    texts = [week.amount(value, signed=kind == "change") for value, kind in zip(amounts, kinds, strict=True)]
    frame = pd.DataFrame({"step": steps, "amount": np.array(amounts) / scale, "kind": kinds, "text": texts})
    labels = {"value": say("with_unit", name=name, unit=unit), "cut": say("axis_cut")}
    told = "; ".join(f"{step} {text}" for step, text in zip(steps, texts, strict=True))
    return charts.growth_waterfall(frame, labels=labels), pd.DataFrame({say("column_step"): steps, name: texts}), told


def cohort_table(say: Words, cells: pd.DataFrame, size: str, day: str) -> pd.DataFrame:
    """Return the share of each cohort that is active by age; `size` heads the cohorts' sizes, `day` writes their start."""
    wide = cells.assign(share=cells["value"] / cells["cohort_size"])
    wide = wide.pivot_table(index=["cohort", "cohort_size"], columns="age", values="share")
    starts, sizes = (wide.index.get_level_values(at) for at in (0, 1))
    table = pd.DataFrame(
        {say("column_cohort"): pd.DatetimeIndex(starts).strftime(day), size: sizes.map(formats.number)}
    )
    shares = {str(age): ["" if np.isnan(v) else formats.percent(v, 0) for v in wide[age]] for age in wide.columns}
    return table.assign(**shares)


def survival(week: Week, found: pd.DataFrame, labels: dict[str, str]) -> tuple[Any, pd.DataFrame]:
    """Return the chart of how many are left by age with its interval, and the table behind it."""
    say = week.words
    low, high = ((found["survival"] + sign * 1.96 * found["std_error"]).clip(0, 1) for sign in (-1, 1))
    rows = pd.DataFrame(
        {"age": found["age"], "value": found["survival"], "low": low, "high": high, "series": "average"}
    )
    table = pd.DataFrame({say("column_ages"): [str(age) for age in found["age"]]})
    counts = {say("column_risk"): "at_risk", say("column_exits"): "exits"}
    table = table.assign(**{name: [*map(formats.number, found[column])] for name, column in counts.items()})
    table[labels["value"]] = [formats.percent(value) for value in found["survival"]]
    return charts.retention_curves(rows, labels={**labels, "interval": say("shaded")}), table
