"""A festival and the weeks after it as one block, so that sales that were only moved forward do not count as more."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from strategy_kit import festivals
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.lasting_growth.grounds import ALL, sides
from strategy_kit.tables_to_panel import CATEGORY, sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

TROUGH, AROUND, LEAST = 2, 6, 3
"""Weeks after a festival that belong to its block; ordinary weeks of each side that tell what to expect, at most and least."""
Array = np.ndarray


class _Movement(NamedTuple):
    """How log weekly sales move around their trend in ordinary weeks: sd, share left a week later, degrees of freedom."""

    sd: float
    rho: float
    freedom: float


def festival_blocks(shop: Dataset, *, through: dt.date | None = None) -> pd.DataFrame:
    """Compare each festival and the two weeks after it, as one block, with what ordinary weeks around lead to expect.

    Where another festival begins to sell in the second of these weeks, the block has only the first.

    Log weekly GMV of the at most six ordinary weeks on each side of a block is a line plus a stationary AR(1); the block's
    weeks are predicted from it (best linear unbiased prediction), and the error of the sum has both the line's and the weeks'
    own movement. The share left a week later is estimated from all categories' ordinary weeks together, the standard
    deviation from the side's own. Ordinary weeks lie in no block, nor in a holiday that sells nothing (phase none).

    Parameters
    ----------
    through
        Last day that is known; the last day of the data by default.

    Returns
    -------
    DataFrame
        One row a side (pilots, others, all), festival and part (festival, trough, block): side, festival, first_week,
        last_week (Mondays of the part), weeks, sold, expected (currency), lift (sold over expected, less 1), std_error (of
        the log ratio), conf_low, conf_high (of the lift, 95%, Student's t), given_back (shortfall of the trough over gain of
        the festival weeks, in the row of the block; missing where the festival gained nothing).
        `attrs["left_out"]` lists blocks that could not be judged: festival, last_week, reason (cut_off, few_weeks, dates_unknown
        where the shipped calendar has only its day, or overlap: another festival sells in its weeks or in the week after).
        `attrs["movement"]` has sd, rho and degrees of freedom by side.

    Raises
    ------
    DesignError
        If no festival with a selling phase lies in the data with enough ordinary weeks on both sides.

    References
    ----------
    Goldberger (1962), "Best linear unbiased prediction in the generalized linear regression model".

    Examples
    --------
    >>> import strategy_kit as sk
    >>> found = festival_blocks(sk.open_dataset("data/sample"))
    >>> found["part"].unique().tolist()
    ['festival', 'trough', 'block']
    """
    sales, by_category = _weekly(shop, through)
    blocks, ordinary = _calendar(shop, pd.DatetimeIndex(sales.index))
    always = sales.columns[(sales > 0).all()]
    rho = _rho(by_category[ordinary], ordinary) if len(always) else 0.0
    rows, left_out, moves = [], [], {}
    for side in sales:
        values = sales[side].to_numpy(float)
        if side in always:
            moves[side] = _movement(np.log(values), ordinary, rho)
        for block in blocks:
            around = _around(ordinary, block)
            few = "few_weeks" if around is None or side not in always else ""
            known = "cut_off" if block["cut"] else few
            reason = "dates_unknown" if block["vague"] else "overlap" if block["overlap"] else known
            if around is None or reason:
                left_out.append(
                    {"festival": block["festival"], "last_week": sales.index[block["weeks"][-1]], "reason": reason}
                )
                continue
            rows += [
                {"side": side, **row}
                for row in _judged(values, around, block, moves[side], pd.DatetimeIndex(sales.index))
            ]
    if not rows:
        raise DesignError(
            f"no festival of data set {shop.name!r} has {LEAST} ordinary weeks on both sides of it and its trough; wait, or "
            "correct the calendar"
        )
    result = pd.DataFrame(rows)
    result.attrs["left_out"] = pd.DataFrame(left_out, columns=["festival", "last_week", "reason"]).drop_duplicates()
    result.attrs["movement"] = {side: move._asdict() for side, move in moves.items()}
    return result


def festival_weeks_shown(shop: Dataset, blocks: pd.DataFrame, *, through: dt.date | None = None) -> pd.DataFrame:
    """Lay the last judged block of all categories out by week, with the ordinary weeks that its expectation rests on.

    Parameters
    ----------
    blocks
        From `festival_blocks` of the same `through`.

    Returns
    -------
    DataFrame
        One row a week: week (Monday), part (ordinary, festival, trough), sold, expected (currency).

    Raises
    ------
    ParameterError
        If `blocks` has none of all categories.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> weeks = festival_weeks_shown(shop, festival_blocks(shop))
    >>> sorted(set(weeks["part"]))
    ['festival', 'ordinary', 'trough']
    """
    mine = blocks[(blocks["side"] == ALL) & (blocks["part"] == "block")]
    if mine.empty:
        raise ParameterError(f"no block of side {ALL!r} is among {', '.join(blocks['side'].unique())}; give all blocks")
    sales, _ = _weekly(shop, through)
    last: Any = mine.sort_values("last_week").iloc[-1]
    every, ordinary = _calendar(shop, pd.DatetimeIndex(sales.index))
    block = next(b for b in every if sales.index[b["weeks"][-1]] == last["last_week"] and not b["overlap"])
    around = _around(ordinary, block)
    values = sales[ALL].to_numpy(float)
    move = _Movement(**blocks.attrs["movement"][ALL])
    inside = block["weeks"]
    at = np.concatenate([around, inside]) if around is not None else inside
    log_expected, _ = _predicted(np.log(values), np.asarray(around), np.asarray(at), move)
    part = np.full(len(sales), "ordinary", dtype=object)
    part[inside], part[inside[-block["trough"] :]] = "festival", "trough"
    line = _line(np.log(values), np.asarray(around), np.asarray(at), move)
    expected = np.where(np.isin(at, inside), np.exp(log_expected), np.exp(line))
    frame = pd.DataFrame({"week": sales.index[at], "part": part[at], "sold": values[at], "expected": expected})
    return frame.sort_values("week", ignore_index=True)


def _weekly(shop: Dataset, through: dt.date | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return GMV of complete weeks by side, and its log by category, missing where a category sold nothing."""
    known = min(through or shop.data_through, shop.data_through) - (shop.data_through - shop.settled_through)
    weeks = [week for week in shop.complete_periods("week") if week + dt.timedelta(days=6) <= known]
    if len(weeks) < 2 * LEAST:
        raise DesignError(f"data set {shop.name!r} has {len(weeks)} complete weeks by {known}; a festival needs more")
    side, values = sides(shop)
    found = shop.engine.frame(
        f"""select cast(date_trunc('week', paid_at) as date) as week, {CATEGORY} as category, {side} as side,
                   sum(cast(amount as double)) as sold from order_lines
            where {sold_lines(shop)} and paid_at >= $first and paid_at < $until group by 1, 2, 3""",
        {**values, "first": weeks[0], "until": weeks[-1] + dt.timedelta(days=7)},
    )
    index = pd.DatetimeIndex(weeks)
    found["week"] = pd.to_datetime(found["week"])
    by_side = found.pivot_table(index="week", columns="side", values="sold", aggfunc="sum").reindex(index).fillna(0.0)
    by_side[ALL] = (
        by_side[[name for name in by_side if name != ALL]].sum(axis=1) if list(by_side) != [ALL] else by_side[ALL]
    )
    by_category = found.pivot_table(index="week", columns="category", values="sold", aggfunc="sum").reindex(index)
    positive = by_category.where(by_category > 0)
    return by_side, positive.apply(np.log)


def _calendar(shop: Dataset, weeks: pd.DatetimeIndex) -> tuple[list[dict[str, Any]], Array]:
    """Return the blocks of selling festivals as positions of weeks, and which weeks are ordinary (T,)."""
    if "calendar" in shop.tables:
        days = shop.engine.frame("select date, festival, phase from calendar")
    else:
        days = festivals.shipped(shop.data_from, shop.data_through)
    selling = set(days.loc[days["phase"] != "none", "festival"].dropna())
    held = festivals.festival_weeks(days)
    vague = set(pd.to_datetime(days.loc[days["phase"] == festivals.UNKNOWN, "date"]).dt.to_period("W").dt.start_time)
    ordinary = ~np.isin(weeks.to_numpy(), np.array(list(held), "datetime64[us]")) if held else np.ones(len(weeks), bool)
    rows = pd.DataFrame({"week": pd.DatetimeIndex(list(held)), "festival": list(held.values())})
    blocks: list[dict[str, Any]] = []
    rows = rows.sort_values(["festival", "week"])
    sold, week = rows.loc[rows["festival"].isin(selling), "week"], pd.Timedelta(weeks=1)
    apart = rows["week"].diff().gt(pd.Timedelta(weeks=3)) | rows["festival"].ne(rows["festival"].shift())
    for _, one in rows.groupby(apart.cumsum()):
        name, first, last = one["festival"].iloc[0], one["week"].iloc[0], one["week"].iloc[-1]
        if name not in selling:
            continue
        others = sold[~sold.isin(one["week"]) & (sold > first)]
        ahead = others[others > last].min()
        trough = TROUGH if pd.isna(ahead) else min(int((ahead - last) / week) - 1, TROUGH)
        every = pd.date_range(first, last + trough * week, freq="7D")
        place = weeks.get_indexer(every)
        ordinary[place[place >= 0]] = False
        if (place >= 0).any():
            block = {"festival": name, "weeks": place[place >= 0], "trough": trough, "cut": bool((place < 0).any())}
            overlap = trough == 0 or bool((others < last).any())
            blocks.append({**block, "overlap": overlap, "vague": not vague.isdisjoint(one["week"])})
    return sorted(blocks, key=lambda block: int(block["weeks"][0])), ordinary


def _around(ordinary: Array, block: dict[str, Any]) -> Array | None:
    """Return the nearest ordinary weeks before and after a block, None where a side has too few."""
    before = np.flatnonzero(ordinary[: block["weeks"][0]])[-AROUND:]
    after = block["weeks"][-1] + 1 + np.flatnonzero(ordinary[block["weeks"][-1] + 1 :])[:AROUND]
    return None if min(len(before), len(after)) < LEAST else np.concatenate([before, after])


def _rho(logs: pd.DataFrame, ordinary: Array) -> float:
    """Estimate the share of a movement left a week later, from all categories, with the small-sample correction of an AR(1)."""
    at, values = np.flatnonzero(ordinary), logs.dropna(axis=1).to_numpy(float)
    if values.shape[1] == 0 or len(at) < 2 * LEAST:
        return 0.0
    left = values - _design(at, at) @ np.linalg.lstsq(_design(at, at), values, rcond=None)[0]
    pair = np.flatnonzero(np.diff(at) == 1)
    found = (left[pair] * left[pair + 1]).sum() / max((left[pair] ** 2 + left[pair + 1] ** 2).sum() / 2, 1e-300)
    count = len(at)
    return float(np.clip((count * found + 1) / (count - 3), 0.0, 0.95))


def _movement(logs: Array, ordinary: Array, rho: float) -> _Movement:
    """Estimate the standard deviation around the trend, unbiased given `rho`; the degrees of freedom allow for dependence."""
    at = np.flatnonzero(ordinary & np.isfinite(logs))
    design = _design(at, at)
    maker = np.eye(len(at)) - design @ np.linalg.pinv(design)
    law = maker @ _law(at, at, rho) @ maker
    left = maker @ logs[at]
    trace = float(np.trace(law))
    return _Movement(float(np.sqrt(left @ left / trace)), rho, float(trace**2 / (law * law).sum()))


def _design(at: Array, all_at: Array) -> Array:
    """Return a constant, a line, and a bend: a year's wave where a year is seen, else a square."""
    scaled = (at - all_at.mean()) / max(float(np.ptp(all_at)), 1.0)
    bend = [np.sin(2 * np.pi * at / 52), np.cos(2 * np.pi * at / 52)] if np.ptp(all_at) >= 51 else [scaled**2]
    return np.column_stack([np.ones(len(at)), scaled, *bend])


def _law(one: Array, other: Array, rho: float) -> Array:
    return np.asarray(rho ** np.abs(one[:, None] - other[None, :]).astype(float))


def _line(logs: Array, around: Array, at: Array, move: _Movement) -> Array:
    design, inverse = _design(around, around)[:, :2], np.linalg.inv(_law(around, around, move.rho))
    beta = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ logs[around])
    return np.asarray(_design(at, around)[:, :2] @ beta)


def _predicted(logs: Array, around: Array, at: Array, move: _Movement) -> tuple[Array, Array]:
    """Predict log sales at weeks `at`, and return the covariance of the errors of prediction."""
    own, between = np.linalg.inv(_law(around, around, move.rho)), _law(at, around, move.rho)
    design, ahead = (_design(place, around)[:, :2] for place in (around, at))
    weight = between @ own
    middle = np.linalg.inv(design.T @ own @ design)
    gap = ahead - weight @ design
    beta = middle @ design.T @ own @ logs[around]
    covariance = _law(at, at, move.rho) - weight @ between.T + gap @ middle @ gap.T
    return ahead @ beta + weight @ (logs[around] - design @ beta), move.sd**2 * covariance


def _judged(
    values: Array, around: Array, block: dict[str, Any], move: _Movement, weeks: pd.DatetimeIndex
) -> list[dict[str, Any]]:
    inside, trough = block["weeks"], block["trough"]
    log_expected, covariance = _predicted(np.log(values), around, inside, move)
    expected, sold, t = np.exp(log_expected), values[inside], float(stdtrit(move.freedom, 0.975))
    parts = {"festival": slice(None, -trough), "trough": slice(-trough, None), "block": slice(None)}
    gains = {name: float(sold[where].sum() - expected[where].sum()) for name, where in parts.items()}
    rows = []
    for name, where in parts.items():
        share = expected[where] / expected[where].sum()
        error = float(np.sqrt(share @ covariance[where, where] @ share))
        log_lift = float(np.log(sold[where].sum() / expected[where].sum()))
        given_back = -gains["trough"] / gains["festival"] if name == "block" and gains["festival"] > 0 else np.nan
        span = {"first_week": weeks[inside[where][0]], "last_week": weeks[inside[where][-1]], "weeks": len(share)}
        money = {
            "sold": float(sold[where].sum()),
            "expected": float(expected[where].sum()),
            "lift": float(np.expm1(log_lift)),
        }
        ends = {"conf_low": float(np.expm1(log_lift - t * error)), "conf_high": float(np.expm1(log_lift + t * error))}
        rows.append({"festival": block["festival"], "part": name, **span, **money, "std_error": error, **ends,
                     "given_back": given_back})  # fmt: skip
    return rows
