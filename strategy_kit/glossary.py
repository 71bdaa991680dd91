"""The only place where a column of a result may be born, with its meaning."""

from __future__ import annotations

COLUMNS: dict[str, str] = {
    "age": "periods since the cohort's start; negative before it",
    "assigned_at": "the level at which treatment was assigned: merchant or category",
    "band_high": "upper end of the simultaneous band, valid for all rows together",
    "band_low": "lower end of the simultaneous band, valid for all rows together",
    "clusters_comparison": "assigned units or categories that were never treated",
    "clusters_treated": "assigned units or categories that were treated",
    "cohort": "first treated period of the units, or first period of a cohort's members",
    "conf_high": "upper end of the pointwise interval",
    "conf_low": "lower end of the pointwise interval",
    "degrees_of_freedom": "of the t distribution behind the interval; missing where none applies",
    "estimate": "the effect, in units of the outcome",
    "estimator": "function that made the result",
    "level": "coverage that intervals and bands aim at",
    "method": "way of inference: welch, pooled or randomisation",
    "n_units": "treated units that the row rests on",
    "outcome": "what was measured",
    "p_value": "two-sided, against no effect",
    "period": "first day or number of the period",
    "std_error": "standard error of the estimate",
}
"""Column name -> meaning, for `Estimates.tidy` and `Estimates.glance`."""
