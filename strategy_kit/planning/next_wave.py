"""Where next: what a further category would gain, what a pilot there would teach, and how the next wave is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtr, stdtrit

from strategy_kit.errors import DesignError, ParameterError, level_laws, refuse, seed_laws, whole_number
from strategy_kit.planning.past import Past

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray
_LEVEL = 0.95
_LARGEST_LOG = 700.0  # whose exponential is still a number
_PAIR = 2


def candidates(
    panel: Panel, prediction: Estimates, *, weeks: int, threshold: float = 0.0, level: float = _LEVEL
) -> pd.DataFrame:
    """Rank the categories that were not piloted, by what support would be worth there and by what a pilot there would teach.

    The pilots predict the same effect, in percent, everywhere they were not; nothing in the data says which other category
    is like them. Candidates differ by their size and by how much they move of themselves.

    Parameters
    ----------
    panel
        Log totals of categories by week (units are categories), with the pilots.
    prediction
        Of `did.new_category` on the same panel: the effect in a further category, in log points.
    weeks
        That a pilot would last, and for which value is counted.
    threshold
        Least effect, in log points, for which the category would be supported.
    level
        Coverage of the prediction's interval.

    Returns
    -------
    DataFrame
        One row a candidate, largest value first: category, sales (currency a week, mean before the start), predicted_low,
        predicted, predicted_high (log points), value_low, value, value_high (currency over `weeks`, at those effects),
        chance (of an effect above the threshold), error (standard error of one pilot's effect there after `weeks`, from
        the weeks before any start), own_width (width of the interval of its effect after a pilot, as a share of the
        prediction's), further_width (the same for a category after it), learning (currency over `weeks`: what deciding
        after a pilot is worth beyond deciding now), rank_value and rank_learning (from 1).

    Raises
    ------
    ParameterError
        If an argument is out of range, `prediction` is of another function, or outcomes are no logs.
    DesignError
        If no category is left, or the past is too short to tell how much they move.

    Notes
    -----
    Let the effect have mean m and standard deviation p, and a pilot the error v. What is believed after it has the standard
    deviation s = p² / √(p² + v²) beforehand, so deciding after it is worth s(φ(z) + zΦ(z)) − max(m − threshold, 0) log
    points of sales, z = (m − threshold) / s. p is taken as known and the law as normal: with three pilots both are not.

    References
    ----------
    Raiffa and Schlaifer (1961), "Applied statistical decision theory" (the value of sample information).

    Examples
    --------
    >>> import strategy_kit as sk
    >>> panel = sk.open_dataset("data/sample").category_panel().logs()
    >>> further = sk.did.new_category(sk.did.category_effects(panel))
    >>> candidates(panel, further, weeks=26)["category"].head(3).tolist()
    ['appliances', 'electronics', 'jewellery']
    """
    laws = [] if prediction.estimator == "new_category" else ["prediction is a result of did.new_category"]
    laws += [] if whole_number(weeks, 1) else [f"weeks is a whole number of 1 or more, not {weeks!r}"]
    laws += level_laws(level)
    laws += [] if np.isfinite(threshold) else [f"threshold is a number of log points, not {threshold!r}"]
    if np.isnan(panel.outcome).any():
        laws.append("panel has no gaps; take it over weeks in which every category sold")
    elif np.abs(panel.outcome).max(initial=0.0) >= _LARGEST_LOG:
        laws.append("panel has logs of totals; take panel.logs()")
    if panel.category is not None and panel.category.duplicated().any():
        laws.append("panel has one unit a category; take shop.category_panel().logs()")
    refuse(ParameterError, "candidates", laws)
    free = panel.cohort < 0 if panel.late is None else (panel.cohort < 0) & (panel.late == 0)
    if not free.any():
        raise DesignError("every category is piloted already, so none is left to try; look for other markets")
    start = int(panel.starts.min(initial=len(panel.periods)))
    error, sales = _errors(panel, free, weeks), np.exp(panel.outcome[free][:, :start]).mean(axis=1)
    law: Any = prediction.law[1] if isinstance(prediction.law, tuple) else prediction.law
    mean, spread = float(prediction.estimate[1]), float(prediction.std_error[1])
    freedom = float(law.degrees_of_freedom)
    reach = float(stdtrit(freedom, 0.5 + level / 2)) * spread
    frame = pd.DataFrame({"category": panel.units[free], "sales": sales})
    for name, effect in {"low": mean - reach, "": mean, "high": mean + reach}.items():
        frame[f"predicted_{name}".rstrip("_")] = effect
        frame[f"value_{name}".rstrip("_")] = sales * weeks * np.expm1(np.minimum(effect, _LARGEST_LOG))
    frame["chance"] = float(stdtr(freedom, (mean - threshold) / spread))
    frame["error"] = error
    return _learned(frame, prediction, weeks, threshold, level).sort_values("rank_value", ignore_index=True)


def wave(ranked: pd.DataFrame, *, pilots: int, starts: Sequence[object], seed: int) -> pd.DataFrame:
    """Draw the next wave: pairs of candidates alike in value, one of each piloted by lot, starts dealt by lot.

    Parameters
    ----------
    ranked
        Of `candidates`; its order makes the pairs.
    pilots
        How many categories start; twice as many take part, the others of each pair being its comparison.
    starts
        Weeks in which pilots may start, first to last; each gets as equal a number as can be.
    seed
        Of the lots; the draw can be repeated by whoever doubts it.

    Returns
    -------
    DataFrame
        pair (from 1), category, piloted, start (of `starts`, missing for comparisons), smallest_p_value (of the exact test
        over all outcomes of the lots, two-sided: 2 / 2^pilots).

    Raises
    ------
    ParameterError
        If there are fewer candidates than two a pilot, no starts, or an argument is out of range.

    Examples
    --------
    >>> drawn = wave(pd.DataFrame({"category": list("abcd")}), pilots=2, starts=["W36", "W40"], seed=1)
    >>> drawn.groupby("pair")["piloted"].sum().tolist(), sorted(drawn["start"].dropna())
    ([1, 1], ['W36', 'W40'])
    """
    laws = seed_laws(seed)
    if not whole_number(pilots, 1) or _PAIR * pilots > len(ranked):
        laws.append(
            f"pilots is a whole number from 1 to {len(ranked) // _PAIR}, half of the candidates, not {pilots!r}"
        )
    laws += [] if len(starts) else ["starts names at least one week"]
    refuse(ParameterError, "wave", laws)
    draw = np.random.default_rng(seed)
    order = draw.permuted(np.tile([True, False], (pilots, 1)), axis=1).ravel()
    dealt = draw.permutation(np.arange(pilots) % len(starts))
    chosen = ranked["category"].iloc[: _PAIR * pilots].reset_index(drop=True)
    frame = pd.DataFrame({"pair": np.repeat(np.arange(1, pilots + 1), _PAIR), "category": chosen, "piloted": order})
    which = np.full(len(frame), -1)
    which[order] = dealt
    frame["start"] = pd.Series(list(starts)).reindex(which).to_numpy()
    return frame.assign(smallest_p_value=min(1.0, 2.0 ** (1 - pilots)))


def _errors(panel: Panel, free: Array, weeks: int) -> Array:
    """Return the standard error that the effect of a pilot in each candidate would have after `weeks`."""
    past = Past.of(panel)
    variance = past.model.contrast_variance(past.paths.shape[1], weeks)[past.chosen :]
    others = max(1, int(free.sum()) - 1)
    error = pd.Series(np.sqrt(variance + (variance.sum() - variance) / others**2), past.names[past.chosen :])
    # the past has its own order of groups
    return error.reindex(panel.units[free] if panel.category is None else panel.category[free]).to_numpy()


def _learned(frame: pd.DataFrame, prediction: Estimates, weeks: int, threshold: float, level: float) -> pd.DataFrame:
    """Add what a pilot in each candidate would teach, on itself, on a category after it, and in money."""
    mean, before = float(prediction.estimate[1]), float(prediction.std_error[1]) ** 2
    tau = float(prediction.details["spread"]["tau"].iloc[0]) ** 2
    freedom = float(prediction.law[1].degrees_of_freedom)  # type: ignore[index, union-attr]
    noise = frame["error"].to_numpy() ** 2
    after = 1 / (1 / (before - tau) + 1 / (tau + noise))  # of the population's mean, errors of pilots being independent
    factor = stdtrit(freedom + 1, 0.5 + level / 2) / stdtrit(freedom, 0.5 + level / 2)
    told = before / np.sqrt(before + noise)
    ahead = (mean - threshold) / told
    gain = told * (np.exp(-(ahead**2) / 2) / np.sqrt(2 * np.pi) + ahead * ndtr(ahead)) - max(mean - threshold, 0.0)
    frame["own_width"] = np.sqrt(noise / (before + noise))
    frame["further_width"] = factor * np.sqrt((tau + after) / before)
    frame["learning"] = frame["sales"] * weeks * gain
    for name in ("value", "learning"):
        frame[f"rank_{name}"] = frame[name].rank(ascending=False, method="first").astype("int64")
    return frame
