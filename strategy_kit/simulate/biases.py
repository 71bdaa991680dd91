"""What well-known readings make of a world's expected sales: how wrong each knob makes one, and which one stays right."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from strategy_kit.simulate import advertising, forces, hollow
from strategy_kit.simulate.market import CANCELLED, SHOCK_RHO, SHOCK_SD, shock_scale
from strategy_kit.simulate.orders import MEAN_REFUND, mean_hour
from strategy_kit.simulate.prices import drifts
from strategy_kit.simulate.records import REFUND_DAYS
from strategy_kit.simulate.roster import IS_PILOT, NAMES, NEVER, REFUNDED, Floats, cohort_weeks
from strategy_kit.simulate.searches import minutes_saved
from strategy_kit.simulate.seasons import OPEN_DAYS
from strategy_kit.simulate.targets import attainment
from strategy_kit.simulate.traffic import LEVERS, step_shares

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.simulate.market import Market
    from strategy_kit.simulate.world import World


class Reading(NamedTuple):
    """Answers to one question, by category or as one number: naive and true; sound, and what is true of its weeks."""

    naive: Any
    truth: Any
    sound: Any
    sound_truth: Any


class Question(NamedTuple):
    """What is asked of a world with a knob, in words, and how it is read from a market."""

    knob: str
    naive: str
    sound: str
    read: Callable[[Market], Reading | None]


def biases(draw: Callable[[World], Market], world: World) -> list[dict[str, Any]]:
    """Read every question in `world`, and in the same draw with the question's knob at 0.

    Parameters
    ----------
    draw
        Gives the market of a world, the same draw every time.

    Returns
    -------
    list of dict
        Flat rows: knob, value, estimate (the naive one, in words), naive, truth, bias, sound_estimate, sound, sound_truth,
        sound_bias. A bias is what the knob adds to an estimate less its truth. A question that the market is too small or too
        short for is left out.
    """
    here, rows = draw(world), []
    for question in QUESTIONS:
        elsewhere = here if getattr(world, question.knob) == 0 else draw(world.without(question.knob))
        mine, other = _means(question.read(here), question.read(elsewhere))
        if np.isfinite([*mine, *other]).all():
            bias, sound_bias = ((mine[k] - mine[k + 1]) - (other[k] - other[k + 1]) for k in (0, 2))
            told = {"knob": question.knob, "value": getattr(world, question.knob), "estimate": question.naive}
            told |= {"naive": _short(mine.naive), "truth": _short(mine.truth), "bias": _short(bias)}
            told |= {"sound_estimate": question.sound, "sound": _short(mine.sound)}
            rows.append(told | {"sound_truth": _short(mine.sound_truth), "sound_bias": _short(sound_bias)})
    return rows


def _means(*readings: Reading | None) -> list[Reading]:
    """Average over the categories in which every answer exists in every reading."""
    rows = [np.atleast_2d(np.array([np.nan] * 4 if r is None else np.broadcast_arrays(*r)).T) for r in readings]
    known = np.logical_and.reduce([np.isfinite(row).all(axis=1) for row in rows])
    return [Reading(*(row[known].mean(axis=0) if known.any() else (np.nan,) * 4)) for row in rows]


def _short(value: float) -> float:
    return round(float(value), 8) + 0.0


def _answers(naive: Any, truth: Any, sound: Any) -> Reading:
    return Reading(naive, truth, sound, truth)


# windows of weeks (T,) and sides of merchants (N,), as truth values


def _around(market: Market, week: int) -> tuple[Any, Any]:
    """Return the complete weeks before `week`, and those from it on."""
    weeks = np.arange(market.clock.weeks + 1)
    return weeks < week, (weeks >= week) & (weeks < market.clock.weeks)


def _pilot_windows(market: Market) -> tuple[Any, Any]:
    return _around(market, market.clock.pilot_week)


def _pilot_sides(market: Market) -> tuple[Any, Any]:
    """Return the first cohort, and who is never supported and never joins."""
    cohort, joins = market.column("cohort"), market.column("joins")
    return cohort == market.clock.pilot_week, (cohort == NEVER) & (joins == NEVER)


def _sums(market: Market, values: Any, side: Any = 1.0) -> Floats:
    """Add up a side's values (N, T) by category."""
    return market.by_category(np.reshape(side, (-1, 1)) * np.asarray(values, dtype=np.float64))


def _change(sums: Floats, windows: tuple[Any, Any]) -> Floats:
    """Give log(mean of the second window / mean of the first) by category; missing where there is nothing."""
    before, after = (sums[:, window].mean(axis=1) for window in windows)
    return np.log(np.where(before * after > 0, after, np.nan) / np.where(before > 0, before, 1.0))


def _gap(market: Market, sides: tuple[Any, Any], windows: tuple[Any, Any]) -> Floats:
    own, others = (_change(_sums(market, market.sales(), side), windows) for side in sides)
    return np.asarray(own - others)


def _gain(market: Market, side: Any, window: Any) -> Floats:
    """Give log(expected sales with support / without) of a side over a window by category."""
    given, without = (_sums(market, market.sales(supported=s), side)[:, window].sum(axis=1) for s in (True, False))
    return np.log(np.where(without > 0, given, np.nan) / np.where(without > 0, without, 1.0))


def _pilots_less_others(values: Floats) -> float:
    return float(values[IS_PILOT].mean() - values[~IS_PILOT].mean())


def _contrast(market: Market, before: Any, after: Any) -> tuple[float, float]:
    """Give the pilots' change of mean log weekly totals less the others', and what is true of the weeks after."""
    logs, effects = np.log(market.totals()), np.log(market.totals() / market.totals(supported=False))
    change = logs[:, after].mean(axis=1) - logs[:, before].mean(axis=1)
    return _pilots_less_others(change), float(effects[IS_PILOT][:, after].mean())


# questions


def _churn(market: Market) -> Reading:
    windows, sales = _pilot_windows(market), market.sales()
    stays = (market.column("opens") == 0) & (market.column("closes") > market.clock.weeks)
    pace = _change(market.days.sum(axis=2) * np.exp(market.shocks), windows)
    per_merchant = _sums(market, sales) / np.maximum(_sums(market, market.active()), 1)
    naive, sound = (_change(sums, windows) for sums in (per_merchant, _sums(market, sales, stays)))
    return _answers(*(np.where(IS_PILOT, np.nan, values) for values in (naive, pace, sound)))


def _errors(market: Market) -> dict[str, float]:
    """Give the pilot contrast's standard error that shocks make: the true one, by pooling, and by independent weeks."""
    before, after = (window[:-1] for window in _pilot_windows(market))
    weights, scale = after / after.sum() - before / before.sum(), SHOCK_SD * shock_scale(market.world)
    rho, lag = SHOCK_RHO * market.world.autocorrelation, np.arange(weights.size)
    law = rho ** np.abs(lag[:, None] - lag)
    by_week = 0.0
    for window in (before, after):
        count, square = int(window.sum()), law[np.ix_(window, window)].sum()
        by_week += (count - square / count) / (count - 1) / count
    pilots, others = int(IS_PILOT.sum()), int((~IS_PILOT).sum())
    means = (scale[IS_PILOT] ** 2).mean() / pilots + (scale[~IS_PILOT] ** 2).mean() / others
    pooled = (scale[IS_PILOT] ** 2).mean() * (pilots - 1) + (scale[~IS_PILOT] ** 2).mean() * (others - 1)
    unit = weights @ law @ weights
    squares = {"true": unit * means, "by_week": by_week * means, "by_merchant": 0.0}  # all merchants move together
    squares["pooled"] = unit * pooled / (pilots + others - 2) * (1 / pilots + 1 / others)
    return {name: float(np.sqrt(square)) for name, square in squares.items()}


def _error(market: Market, kind: str) -> Reading:
    errors = _errors(market)
    return _answers(errors[kind], errors["true"], errors["true"])


def _without(market: Market, weeks: Callable[[Market], Any]) -> Reading:
    before, after = _pilot_windows(market)
    apart = weeks(market)
    return Reading(*_contrast(market, before, after), *_contrast(market, before & ~apart, after & ~apart))


def _own_weeks(market: Market) -> Any:
    return np.isin(np.arange(market.clock.weeks + 1), market.clock.moved_festival())


def _moved_year(market: Market) -> Reading | None:
    (week, earlier), start = market.clock.moved_festival(), market.clock.pilot_week
    if min(earlier, start - 52) < 0 or earlier + 52 >= start:
        return None
    logs, after = np.log(market.totals()), np.arange(start, market.clock.weeks)
    year_ago = after - 52
    aligned = np.where(after == week, earlier, year_ago)
    naive, sound = (_pilots_less_others((logs[:, after] - logs[:, past]).mean(axis=1)) for past in (year_ago, aligned))
    return _answers(naive, _contrast(market, *_pilot_windows(market))[1], sound)


def _selection(market: Market, *, alike: bool) -> Reading:
    (own, others), (before, after) = _pilot_sides(market), _pilot_windows(market)
    good = before & ~_around(market, market.clock.pilot_week - forces.GOOD_WEEKS)[0]
    naive = _gap(market, (own, others), (good, after))
    fair = (own, others & market.column("lucky")), (good, after)
    sound = _gap(market, *(fair if alike else ((own, others), (before & ~good, after))))
    return _answers(naive, _gain(market, own, after), sound)


def _anticipation(market: Market) -> Reading:
    sides, (before, after) = _pilot_sides(market), _pilot_windows(market)
    early = _around(market, market.clock.pilot_week - forces.NOTICE_WEEKS)[0]
    naive, sound = (_gap(market, sides, (window, after)) for window in (before & ~early, early))
    return _answers(naive, _gain(market, sides[0], after), sound)


def _exits(market: Market) -> Reading:
    sides, windows, still = _pilot_sides(market), _pilot_windows(market), market.active() * np.exp(market.log_open)
    per_survivor = [
        _sums(market, market.sales(), side) / np.maximum(_sums(market, still, side), 1e-9) for side in sides
    ]
    own, others = (_change(sums, windows) for sums in per_survivor)
    return _answers(own - others, _gain(market, sides[0], windows[1]), _gap(market, sides, windows))


def _on_totals(market: Market, *, contrast: bool) -> Reading:
    """Read the effect on pilot totals, once every cohort has started: by contrast with other categories, or added up."""
    ever, before = market.column("cohort") != NEVER, _pilot_windows(market)[0]
    windows = before, _around(market, int(cohort_weeks(market.clock)[-1]))[1]
    own, others, total = (_sums(market, market.sales(), side) for side in (ever, ~ever, 1.0))
    without = own[:, before].mean(axis=1) * np.exp(_change(others, windows))
    all_own, everyone = own[:, windows[1]].mean(axis=1), total[:, windows[1]].mean(axis=1)
    added = np.log(everyone / np.maximum(everyone - (all_own - without), 1e-9))
    change = _change(total, windows)
    truth = np.where(IS_PILOT, _gain(market, np.ones_like(ever), windows[1]), np.nan)
    against_others = change - change[~IS_PILOT].mean()
    return _answers(against_others, truth, added) if contrast else _answers(added, truth, against_others)


def _multi_homing(market: Market) -> Reading:
    first, enters, ratio = (
        forces.waves(market.clock)[0],
        market.column("enters"),
        forces.ELSEWHERE * market.world.multi_homing,
    )
    own, windows, sales = (enters == first) & (market.column("joins") == NEVER), _around(market, first), market.sales()
    others = (enters == NEVER) & (market.column("joins") == NEVER)
    everywhere = sales * (1 + ratio * (np.arange(market.clock.weeks + 1) >= first))
    naive = _change(_sums(market, sales, own), windows) - _change(_sums(market, everywhere, own), windows)
    truth = np.full(len(NAMES), market.world.multi_homing * forces.ENTRY_LIFT)
    sound = _gap(market, (own, others), windows)
    return _answers(*(np.where(IS_PILOT, np.nan, values) for values in (naive, truth, sound)))


def _refund_lag(market: Market) -> Reading:
    weeks, lag = slice(market.clock.weeks - 4, market.clock.weeks), market.world.refund_lag * REFUND_DAYS
    share = market.days / market.days.sum(axis=2, keepdims=True)
    paid = (market.totals()[:, :, None] * share)[:, weeks].reshape(len(NAMES), -1)
    age = OPEN_DAYS + 7 * 4 - np.arange(7 * 4) - mean_hour() / 24
    arrived = np.minimum(age / lag, 1) if lag else np.ones(7 * 4)
    due = (REFUNDED[:, None] * MEAN_REFUND * paid).sum(axis=0)
    known = due * arrived
    answers = (np.log1p(-refunds.sum() / paid.sum()) for refunds in (known, due, known / arrived))
    return _answers(*answers)


def _kpi_regimes(market: Market) -> Reading:
    windows, total = _pilot_windows(market), np.where(IS_PILOT[:, None], np.nan, market.totals())
    counted = 1 + CANCELLED / (1 - CANCELLED) * market.world.kpi_regimes * windows[0]
    everything = total / (1 - CANCELLED)
    return _answers(*(_change(sums, windows) for sums in (total * counted, total, everything)))


def _overseas(market: Market) -> Reading:
    first, _, last = forces.waves(market.clock)
    joins, (before, after) = market.column("joins"), _around(market, first)
    windows = before, after & _around(market, last)[0]
    own, rest, later = joins == first, joins == NEVER, joins == last
    truth = np.full(len(NAMES), forces.joining(market.world))
    naive, sound = (_gap(market, (own, side), windows) for side in (rest, later))
    return _answers(*(np.where(IS_PILOT, np.nan, values) for values in (naive, truth, sound)))


def _target_bunching(market: Market) -> Reading:
    recorded, honest = attainment(market.world.target_bunching)
    return _answers(recorded, honest, honest)


def _hollow_growth(market: Market) -> Reading | None:
    honest, seen = (hollow.lifts(market, share * market.world.hollow_growth) for share in (0.0, hollow.PULLED))
    if not seen:
        return None
    means = [np.mean([row[f"log_lift_{part}"] for row in rows]) for rows, part in ((seen, "festival"), (honest, "festival"),
             (seen, "block"), (honest, "block"))]  # fmt: skip
    return Reading(*means)


def _search_cost(market: Market) -> Reading:
    start = market.clock.pilot_week
    bought = np.log(market.by_category(market.orders_while_open())[IS_PILOT, :-1])
    searched = bought - minutes_saved(market)[IS_PILOT]
    naive, truth = (path[:, start:].mean(axis=1) - path[:, :start].mean(axis=1) for path in (searched, bought))
    return Reading(naive, truth, truth, truth)


def _advertising(market: Market) -> Reading | None:
    found = advertising.slopes(market)
    total = market.world.advertising * float(advertising.PROFILE.sum())
    return None if found is None else _answers(found[0], total, found[1])


def _lever_funnel(market: Market) -> Reading:
    """Read service's effect from impressions, as though exposure were all that a lever can move."""
    side, post = _pilot_sides(market)[0], _pilot_windows(market)[1]
    share = step_shares(np.eye(len(LEVERS)), market.world.lever_funnel)[LEVERS.index("service"), 0]
    sales = market.sales(), market.sales() * np.exp((share - 1) * market.effects)
    sold, seen = (_sums(market, values, side)[:, post].sum(axis=1) for values in sales)
    truth = _gain(market, side, post)[IS_PILOT]
    naive = truth + np.log(np.where(sold > 0, seen, np.nan) / np.where(sold > 0, sold, 1.0))[IS_PILOT]
    return Reading(naive, truth, truth, truth)


def _price_drift(market: Market) -> Reading:
    diluted, drift = drifts(market)
    return Reading(diluted, drift, drift, drift)


_CONTRAST = "pilots' change of mean log weekly sales less the others'"
_FIRST = "first cohort less never supported, log change of sales from"
_TOTALS = "log effect on pilot totals,"
_ADDED, _OTHERS = "adding up supported less unsupported", "from totals of pilots against other categories"
QUESTIONS = (
    Question("churn", "log change of sales per open merchant, other categories", "of merchants there throughout", _churn),
    Question("shocks", "standard error, merchants as draws", "categories as draws", partial(_error, kind="by_merchant")),
    Question("autocorrelation", "standard error, weeks as draws", "one change a category", partial(_error, kind="by_week")),
    Question("unequal_variance", "standard error, one variance", "a variance a side", partial(_error, kind="pooled")),
    Question("festival_response", _CONTRAST, "in weeks that no festival touches",
             partial(_without, weeks=lambda market: market.clock.festive())),
    Question("moving_festivals", _CONTRAST, "without the pilots' own festival", partial(_without, weeks=_own_weeks)),
    Question("moving_festivals", "pilots' growth on the same calendar week a year ago less the others'",
             "on the same festival a year ago", _moved_year),
    Question("selection", f"{_FIRST} the four weeks before", "from the weeks before those", partial(_selection, alike=False)),
    Question("selection", f"{_FIRST} the four weeks before", "against others with the same good month",
             partial(_selection, alike=True)),
    Question("anticipation", f"{_FIRST} the two weeks before", "from the weeks before the announcement", _anticipation),
    Question("exits", f"{_FIRST} before, per merchant still open", "with the closed as zeros", _exits),
    Question("cannibalisation", f"{_TOTALS} {_ADDED}", _OTHERS, partial(_on_totals, contrast=False)),
    Question("concurrent_policies", f"{_TOTALS} {_OTHERS}", _ADDED, partial(_on_totals, contrast=True)),
    Question("multi_homing", "log change of the platform's share in the sales of who entered another first",
             "of their sales here, less those of who never entered", _multi_homing),
    Question("refund_lag", "log share of paid sales kept after refunds, last four complete weeks",
             "with refunds over the share that has arrived by that age", _refund_lag),
    Question("kpi_regimes", "log change of recorded GMV, other categories", "of all orders, cancelled or not", _kpi_regimes),
    Question("overseas", "first joiners' log change less that of who never joined", "less that of who joined last",
             _overseas),
    Question("target_bunching", "share of targets made", "from attainment further than a tenth below the line",
             _target_bunching),
    Question("price_drift", "change of the pilots' mean log relative price", "of supported merchants, from support on",
             _price_drift),
    Question("hollow_growth", "log lift of sales in festival weeks", "of festival and two weeks after as one block",
             _hollow_growth),
    Question("search_cost", "pilots' log change of minutes searched, as a sign of purchases", "of purchases counted",
             _search_cost),
    Question("advertising", "log sales here a log point of spend elsewhere, from the same month", "from all months since",
             _advertising),
    Question("lever_funnel", "service's log effect, as impressions show it", "as orders show it", _lever_funnel),
)  # fmt: skip
