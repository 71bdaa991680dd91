"""When a merchant grows, do we grow? Pass-through as an association, and how much of it is arithmetic or blurred."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, whole_number
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.whole_web.rows import CLASSES, FEWEST, both_sides, cell_of, comparable, days_of, months_known

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

Array = np.ndarray
TERMS = ("total", "mechanical", "co_movement", "off_platform", "off_platform_before")
_ASSOCIATION = "an association: nobody made merchants grow elsewhere by lot"


def changes(shop: Dataset, *, since: dt.date | None = None, through: dt.date | None = None) -> pd.DataFrame:
    """Return log changes from month to month of merchants that sell both here and elsewhere in both months.

    A merchant's first month on both sides, unless it is the window's first, is taken as begun inside the month: growth from it
    is no growth of a whole month and left out.

    Returns
    -------
    DataFrame
        merchant_id, category, size_band ("all" without the column), month (the later one), on_platform, off_platform, total
        (log changes), weight_on, weight_off (total = weight_on · on_platform + weight_off · off_platform, exactly),
        off_platform_before (log change of the month before; missing where unknown), confidence (of the less sure month).
        `attrs["left_out"]`: merchant-months with an estimate that have no such change.

    Raises
    ------
    DesignError
        If the table or two common months are missing, or nobody sells on both sides in two months in a row.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> changes(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no offplatform_sales table, so what merchants sell elsewhere is \
not known; add it
    """
    months = months_known(shop, since, through, least=2)
    band = cell_of(shop, "size_band") if "size_band" in shop.columns("merchants") else "'all'"
    found = shop.engine.frame(
        f"""select s.merchant_id, coalesce(m.category, 'unknown') as category, {band} as size_band, s.month, s.on_platform,
                   s.off_platform, s.confidence
            from ({both_sides(shop)}) as s join merchants m on s.merchant_id = m.merchant_id
            where s.off_platform > 0 order by 1, s.month""",
        days_of(months),
    )
    result = log_changes(found.assign(month=pd.to_datetime(found["month"])))
    if result.empty:
        raise DesignError(
            "no merchant sells both here and elsewhere in two months in a row, so nothing has a growth to compare; "
            "take a longer window"
        )
    return result


def log_changes(found: pd.DataFrame) -> pd.DataFrame:
    """Return what `changes` returns from levels: merchant_id, category, size_band, month, both sides' sales and confidence.

    The weights are those of the logarithmic mean L(a, b) = (a - b) / log(a / b): with T = x + y, the change of T is
    L(x)·log(x₁/x₀) + L(y)·log(y₁/y₀), and that of log T is this over L(T).

    Examples
    --------
    >>> levels = pd.DataFrame({"merchant_id": "a", "category": "c", "size_band": "s", "confidence": 3,
    ...                        "month": pd.to_datetime(["2025-01-01", "2025-02-01"])})
    >>> row = log_changes(levels.assign(on_platform=[80.0, 90.0], off_platform=[20.0, 50.0])).iloc[0]
    >>> float(round(row["weight_on"] * row["on_platform"] + row["weight_off"] * row["off_platform"] - np.log(1.4), 12)) + 0
    0.0
    """
    own = ["merchant_id", "category", "size_band", "month"]
    held = found[(found["on_platform"] > 0) & (found["off_platform"] > 0)]
    begun = held.groupby("merchant_id")["month"].transform("min")
    whole = held[(held["month"] > begun) | (begun == found["month"].min())]
    earlier = whole.assign(month=whole["month"] + pd.DateOffset(months=1)).drop(columns=["category", "size_band"])
    both = held.merge(earlier, on=["merchant_id", "month"], suffixes=("", "_before"))
    sides = {name: (both[name], both[f"{name}_before"]) for name in ("on_platform", "off_platform")}
    sides["total"] = (
        sides["on_platform"][0] + sides["off_platform"][0],
        sides["on_platform"][1] + sides["off_platform"][1],
    )
    mean = {name: _log_mean(*map(pd.Series.to_numpy, pair)) for name, pair in sides.items()}
    result = both[own].assign(**{name: np.log(after / before) for name, (after, before) in sides.items()})
    result = result.assign(
        weight_on=mean["on_platform"] / mean["total"], weight_off=mean["off_platform"] / mean["total"]
    )
    lagged = result[["merchant_id", "month", "off_platform"]]
    lagged = lagged.assign(month=lagged["month"] + pd.DateOffset(months=1))
    result["off_platform_before"] = (
        result[["merchant_id", "month"]].merge(lagged, how="left")["off_platform"].to_numpy()
    )
    rank = both[["confidence", "confidence_before"]].min(axis=1).to_numpy(int)
    result["confidence"] = np.array(CLASSES[::-1])[rank]
    result.attrs["left_out"] = len(found) - len(result)
    return result


def pass_through(moved: pd.DataFrame) -> Estimates:
    """Estimate by how many percent a merchant grows here with each percent of growth in total, and elsewhere.

    Least squares of log changes within category and month, errors clustered by merchant. What is sold here is part of the
    total: were both sides to move independently, the slope on the total would still be above 0. It is split exactly into
    that part, cov(on, weight_on · on) / var(total), and what both sides have in common, cov(on, weight_off · off) / var(total).
    The slope on growth elsewhere has no such part. An association.

    Parameters
    ----------
    moved
        Of `changes` or `log_changes`.

    Returns
    -------
    Estimates
        Label term: total; mechanical and co_movement, which add up to it; off_platform, the slope on growth elsewhere in the
        same month (the overall estimate), and off_platform_before, on that of the month before, if any merchant has one.
        Errors are clustered by merchant, with the factor G/(G - 1) · (n - 1)/(n - k), means by category and month counted in k,
        and Student's t of merchants less categories. A change alone in its category and month is left out.

    Raises
    ------
    DesignError
        If there are fewer than nine merchants more than categories, or growth does not vary within category and month.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> levels = pd.DataFrame({"merchant_id": np.repeat(np.arange(40), 9), "category": "c", "size_band": "s", "confidence": 2,
    ...                        "month": np.tile(pd.date_range("2025-01-01", periods=9, freq="MS"), 40)})
    >>> levels = levels.assign(**{side: np.exp(rng.normal(size=360)) for side in ("on_platform", "off_platform")})
    >>> found = pass_through(log_changes(levels)).tidy().set_index("term")["estimate"]
    >>> bool(found["mechanical"] > 0.5), bool(abs(found["off_platform"]) < 0.2)
    (True, True)
    """
    lost = int(moved.attrs.get("left_out", 0))
    every, moved = len(moved), _beside_others(moved).reset_index(drop=True)
    cell = moved.groupby(["category", "month"]).ngroup().to_numpy()
    unit = pd.factorize(moved["merchant_id"])[0]
    count, free = int(unit.max(initial=-1)) + 1, _freedom(moved)
    if free < FEWEST - 1:
        raise DesignError(
            f"growth on both sides is known of {count} merchants, in categories that have two or more of them: {count - free}; "
            f"this needs {FEWEST - 1} more merchants than categories; take a longer window"
        )
    here, off, total = (_within(moved[name].to_numpy(float), cell) for name in ("on_platform", "off_platform", "total"))
    parts = [_within((moved[f"weight_{s}"] * moved[f"{s}_platform"]).to_numpy(float), cell) for s in ("on", "off")]
    # slope on the total as sums of what it is made of: each part is a slope whose residual is its own
    fits = [_slope(total, here, unit), _part(here, parts[0], total, unit), _part(here, parts[1], total, unit)]
    fits.append(_slope(off, here, unit))
    counted, freedom = [_counted(cell, unit)] * len(fits), [free] * len(fits)
    later = _beside_others(moved[moved["off_platform_before"].notna()])
    if (free := _freedom(later)) >= FEWEST - 1:
        known = moved.index.isin(later.index)
        before, after = (
            _within(later[name].to_numpy(float), cell[known]) for name in ("off_platform_before", "on_platform")
        )
        fits.append(_slope(before, after, unit[known]))
        counted.append(_counted(cell[known], unit[known]))
        freedom.append(free)
    influence = np.stack([np.bincount(units, values, count) for _, values, units in fits], axis=1) * counted
    estimate, spread = np.array([value for value, *_ in fits]), influence.T @ influence
    sizes, laws = [np.unique(units).size for *_, units in fits], tuple(Student(float(free)) for free in freedom)
    left_out = {"without growth on both sides": lost, "alone in their category": every - len(moved)}
    notes = [f"merchant-months {why}, left out: {n} of {lost + every}" for why, n in left_out.items() if n]
    return Estimates("pass_through", "log change of sales here", pd.DataFrame({"term": TERMS[: len(fits)]}), estimate, spread,
                     np.array(sizes), "merchant", (count, 0), (float(estimate[3]), float(np.sqrt(spread[3, 3]))),
                     laws, average_law=laws[3], notes=(_ASSOCIATION, *notes))  # fmt: skip


def by_confidence(moved: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Return the slope on growth elsewhere by how sure the less sure of both estimates is.

    Returns
    -------
    DataFrame
        confidence (high, medium, low, unstated; those with nine merchants more than categories), estimate, std_error, conf_low,
        conf_high, changes, merchants.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> levels = pd.DataFrame({"merchant_id": np.repeat(np.arange(40), 9), "category": "c", "size_band": "s",
    ...                        "month": np.tile(pd.date_range("2025-01-01", periods=9, freq="MS"), 40)})
    >>> levels = levels.assign(confidence=np.repeat([1, 3], 180))
    >>> levels = levels.assign(**{side: np.exp(rng.normal(size=360)) for side in ("on_platform", "off_platform")})
    >>> by_confidence(log_changes(levels))["confidence"].tolist()
    ['high', 'low']
    """
    rows = []
    for name in CLASSES:
        part = _beside_others(moved[moved["confidence"] == name])
        if _freedom(part) >= FEWEST - 1:
            merchants = part["merchant_id"].nunique()
            row = pass_through(part).glance(level)[["estimate", "std_error", "conf_low", "conf_high"]]
            rows.append(row.assign(confidence=name, changes=len(part), merchants=merchants))
    columns = ["confidence", "estimate", "std_error", "conf_low", "conf_high", "changes", "merchants"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def attenuation_bounds(moved: pd.DataFrame, *, error: float | None = None) -> pd.DataFrame:
    """Bound the slope on growth elsewhere, were that known without error.

    Errors of estimates that have nothing to do with sales draw the slope towards 0, by the share of the variance of measured
    growth that is true. Without knowing that share, the true slope lies between the slope and its reverse, var(on) / cov
    (Frisch), which also counts all else that moves sales here as error and so is wide. With `error`, the standard
    deviation of one month's log estimate, independent from month to month, the share is 1 - 2·error² / var(off).

    Returns
    -------
    DataFrame
        One row: estimate (the slope), reverse (the other bound), reliability and corrected (missing without `error`).

    Raises
    ------
    ParameterError
        If `error` is not above 0.
    DesignError
        If the measured growth leaves no room for such an error: reliability is at least the squared correlation, estimate /
        reverse; or where `pass_through` refuses.

    References
    ----------
    Frisch (1934), "Statistical confluence analysis by means of complete regression systems".

    Examples
    --------
    >>> rng, shape = np.random.default_rng(2), (60, 12)
    >>> there = rng.normal(0, 0.3, shape).cumsum(axis=1)
    >>> here = 0.5 * there + rng.normal(0, 0.05, shape)
    >>> levels = pd.DataFrame({"merchant_id": np.repeat(np.arange(60), 12), "category": "c", "size_band": "s", "confidence": 2,
    ...                        "month": np.tile(pd.date_range("2025-01-01", periods=12, freq="MS"), 60)})
    >>> levels["on_platform"], levels["off_platform"] = np.exp(here).ravel(), np.exp(there + rng.normal(0, 0.2, shape)).ravel()
    >>> found = attenuation_bounds(log_changes(levels), error=0.2).iloc[0]
    >>> bool(found["estimate"] < 0.35), bool(abs(found["corrected"] - 0.5) < 0.05), bool(found["reverse"] > 0.5)
    (True, True, True)
    """
    if error is not None and not error > 0:
        raise ParameterError(f"error is the standard deviation of a log estimate, above 0, not {error!r}")
    slope = pass_through(moved).average[0]
    cell = moved.groupby(["category", "month"]).ngroup().to_numpy()
    here, off = (_within(moved[name].to_numpy(float), cell) for name in ("on_platform", "off_platform"))
    shared = float(here @ off)
    reverse = float(here @ here) / shared if shared else np.nan
    free = len(moved) - len(np.unique(cell))
    share = np.nan if error is None else 1 - 2 * error**2 / (float(off @ off) / max(free, 1))
    # whatever is not error moves sales here as closely as it can, or less
    if share <= max(slope / reverse, 0.0):
        raise DesignError(
            f"an error of {error} in each estimate is more than growth here leaves room for; take a smaller one"
        )
    row = {"estimate": slope, "reverse": reverse, "reliability": share, "corrected": slope / share}
    return pd.DataFrame([row])


def growth_bins(moved: pd.DataFrame, *, bins: int = 8) -> pd.DataFrame:
    """Return mean growth here by growth in total, within size band, in bins of as many changes each.

    Growth is less that of the category and month.

    Returns
    -------
    DataFrame
        group (size band), total, on_platform (mean log changes), changes, merchants; bins of fewer than ten merchants are left
        out and counted in `attrs["left_out"]`.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> levels = pd.DataFrame({"merchant_id": np.repeat(np.arange(40), 9), "category": "c", "size_band": "s", "confidence": 2,
    ...                        "month": np.tile(pd.date_range("2025-01-01", periods=9, freq="MS"), 40)})
    >>> levels = levels.assign(**{side: np.exp(rng.normal(size=360)) for side in ("on_platform", "off_platform")})
    >>> len(growth_bins(log_changes(levels), bins=4))
    4
    """
    if not whole_number(bins, 1):
        raise ParameterError(f"bins is a whole number, 1 or more, not {bins!r}; choose one such as 8")
    cell = moved.groupby(["category", "month"]).ngroup().to_numpy()
    rows = pd.DataFrame({name: _within(moved[name].to_numpy(float), cell) for name in ("total", "on_platform")})
    rows = rows.assign(group=moved["size_band"].to_numpy(), merchant=moved["merchant_id"].to_numpy())
    place = rows.groupby("group")["total"].rank(method="first", pct=True)
    rows["bin"] = np.minimum(np.ceil(place * bins), bins).astype(int)
    named = {"total": ("total", "mean"), "on_platform": ("on_platform", "mean"), "changes": ("total", "size")}
    found = rows.groupby(["group", "bin"]).agg(**named, merchants=("merchant", "nunique")).reset_index()
    few = found["merchants"] < FEWEST
    result = found.loc[~few, ["group", "total", "on_platform", "changes", "merchants"]].reset_index(drop=True)
    result.attrs["left_out"] = int(found.loc[few, "changes"].sum())
    return result


def _log_mean(after: Array, before: Array) -> Array:
    """Return (a - b) / log(a / b), and a where both are the same; near there by its series, which rounding spares."""
    ratio = np.log(after / before)
    near = np.abs(ratio) < 1e-4
    safe = np.where(near, 1.0, ratio)
    return np.where(near, np.sqrt(after * before) * (1 + ratio**2 / 24), (after - before) / safe)


def _within(values: Array, cell: Array) -> Array:
    """Take out the mean of each cell."""
    return values - (np.bincount(cell, values) / np.maximum(np.bincount(cell), 1))[cell]


def _beside_others(moved: pd.DataFrame) -> pd.DataFrame:
    """Leave out what is alone in its category and month, and so is compared with nothing."""
    held: pd.DataFrame = moved[moved.groupby(["category", "month"])["month"].transform("size") > 1]
    return held


def _freedom(moved: pd.DataFrame) -> int:
    """Return merchants less categories: a category's merchants are compared with each other."""
    return comparable(moved.drop_duplicates("merchant_id")["category"].to_numpy())


def _counted(cell: Array, unit: Array) -> float:
    """Return what errors are multiplied by, as the mean of each cell was taken out besides the slope, and units are few."""
    means, count = (len(cell) - 1) / max(len(cell) - len(np.unique(cell)) - 1, 1), np.unique(unit).size
    return float(np.sqrt(count / (count - 1) * means))


def _slope(x: Array, y: Array, unit: Array) -> tuple[float, Array, Array]:
    """Return the slope of y on x, and what each row adds to its error."""
    square = float(x @ x)
    if square < 1e-12 * max(len(x), 1):
        raise DesignError(
            "growth does not vary within category and month, so that no slope stands; take a longer window"
        )
    value = float(x @ y) / square
    return value, x * (y - value * x) / square, unit


def _part(y: Array, part: Array, total: Array, unit: Array) -> tuple[float, Array, Array]:
    """Return cov(y, part) / var(total), and what each row adds to its error."""
    square = float(total @ total)
    value = float(y @ part) / square
    return value, (y * part - value * total**2) / square, unit
