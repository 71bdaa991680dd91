"""Placebo pilots from the time before the start: what contrasts would be, had nothing been done."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray
Basis = Literal["placebo", "model"]
LEAST_PERIODS, LEAST_GROUPS, MOST_GROUPS = 6, 4, 2_000
_ROUNDING, _REFITS = 1e-14, 100
_CELLS, _MOST_DRAWS = 10_000_000, 20_000
_CORRELATIONS = (-0.99, 0.999)


@dataclass(frozen=True, eq=False)
class Past:
    """Groups before anything started, those that are piloted first.

    Attributes
    ----------
    paths
        (G, P) outcomes before the first start.
    chosen
        How many groups the panel pilots: started, or announced for after its last period.
    after
        Periods from the first start on that the panel has; 0 where the pilot is still a plan.
    names
        (G,) of the groups, in the order of `paths`: the panel's categories, or its units where it has none.
    """

    paths: Array
    chosen: int
    after: int
    names: pd.Index = field(default_factory=lambda: pd.Index([]))

    @classmethod
    def of(cls, panel: Panel) -> Past:
        """Average the panel over the units of each category, where it has them, and cut it at the first start.

        Raises
        ------
        DesignError
            If support starts inside categories rather than with whole ones, a unit lacks a period before the start, or
            there are too few periods or groups.
        """
        after = len(panel.periods) - int(panel.starts.min(initial=len(panel.periods)))
        past = panel.outcome[:, : len(panel.periods) - after]
        treated = panel.cohort >= 0
        treated = treated if panel.late is None else treated | (panel.late > 0)
        _refuse_units(panel, past, treated)
        names = panel.units
        if panel.category is not None:
            code, names = pd.factorize(panel.category, sort=True, use_na_sentinel=False)
            mean, treated_mean = np.zeros((len(names), past.shape[1])), np.bincount(code, treated) > 0
            np.add.at(mean, code, past)
            past, treated = mean / np.bincount(code)[:, None], treated_mean
        order = np.argsort(~treated, kind="stable")
        result = cls(past[order], int(treated.sum()), after, pd.Index(names)[order])
        if not LEAST_GROUPS <= len(past) <= MOST_GROUPS or not result.varies:
            raise DesignError(
                f"power needs {LEAST_GROUPS} to {MOST_GROUPS:,} groups, of which those not piloted vary in their own way, "
                f"and there are {len(past)}; give a panel of categories, and check that outcomes are not filled in"
            )
        return result

    @cached_property
    def own(self) -> Array:
        """(G, P) what is a group's own: less its mean, and less what all groups share in a period."""
        own = self.paths - self.paths.mean(axis=1, keepdims=True)
        result: Array = own - own.mean(axis=0)
        return result

    @property
    def varies(self) -> bool:
        """Whether groups that are not piloted move by more than rounding."""
        return bool(np.abs(self.own[self.chosen :]).max(initial=0.0) > _ROUNDING * np.abs(self.paths).max(initial=0.0))

    @cached_property
    def model(self) -> Ar1:
        """The autoregression that the past looks like."""
        return ar1(self.own)

    def basis(self, base: int, weeks: int) -> Basis:
        """Say whether the past holds at least two windows of the whole design that share no period."""
        return "placebo" if self.paths.shape[1] >= 2 * (base + weeks) else "model"

    def draws(self, base: int, weeks: int, basis: Basis, seed: int) -> Array:
        """Return (R, G) changes after less before without any effect, one column a place, the pilots' places first."""
        groups = len(self.paths)
        rows = min(_MOST_DRAWS, _CELLS // groups)
        draw = np.random.default_rng(seed)
        if basis == "placebo":
            return self._placebos(base, weeks, draw, rows)
        spread = np.sqrt(self.model.contrast_variance(base, weeks))
        places = np.broadcast_to(spread, (rows, groups)).copy()
        # one of the others, each as likely, would be a further pilot
        places[:, self.chosen :] = draw.permuted(places[:, self.chosen :], axis=1)
        result: Array = places * draw.standard_normal((rows, groups))
        return result

    def spread(self, model: Ar1, pilots: int, base: int, weeks: int) -> float:
        """Return the standard error of the estimate under a model; further pilots and comparisons are any of the others."""
        variance, others = model.contrast_variance(base, weeks), len(self.paths) - pilots
        chosen, average = variance[: self.chosen].sum(), variance[self.chosen :].mean()
        return float(np.sqrt((chosen + (pilots - self.chosen) * average) / pilots**2 + average / others))

    def refits(self, seed: int) -> list[Ar1]:
        """Return the model fitted anew to pasts that it could have made: how little a short past says."""
        draw, (correlation, variance) = np.random.default_rng((seed, 1)), self.model
        paths = draw.standard_normal((min(_REFITS, max(20, _CELLS // self.paths.size)), *self.paths.shape))
        for t in range(1, paths.shape[2]):
            paths[..., t] = correlation * paths[..., t - 1] + np.sqrt(1 - correlation**2) * paths[..., t]
        paths *= np.sqrt(variance)[:, None]
        return [Past(path, self.chosen, 0).model for path in paths]

    def _placebos(self, base: int, weeks: int, draw: np.random.Generator, rows: int) -> Array:
        """Deal what groups did at one past date to the places, each side in units of its own spread."""
        total = np.cumsum(np.pad(self.own, ((0, 0), (1, 0))), axis=1)
        start = np.arange(base, self.paths.shape[1] - weeks + 1)
        change = (total[:, start + weeks] - total[:, start]) / weeks - (total[:, start] - total[:, start - base]) / base
        groups = len(change)
        square = (change**2).mean(axis=1)
        variance, side = own_variance(square), (np.arange(groups) >= self.chosen).astype(int)
        count = np.maximum(np.bincount(side, minlength=2), 1)
        found, spread = (np.sqrt(np.bincount(side, each, 2) / count) for each in (square, variance))
        found = np.where(found > 0, found, 1.0)
        # groups less their common mean vary by a share of 1 - 1/G less than they do
        unit = np.sqrt(1 - 1 / groups) * change / found[side][:, None]
        dealt = draw.permuted(np.broadcast_to(np.arange(groups), (rows, groups)), axis=1)
        result: Array = unit[dealt, draw.integers(len(start), size=rows)[:, None]] * spread[side]
        return result


class Ar1(NamedTuple):
    """First-order autocorrelation of what is a group's own, the same in all, and each group's variance (G,)."""

    correlation: float
    variance: Array

    def contrast_variance(self, base: int, weeks: int) -> Array:
        """Return (G,) variances of the mean of `weeks` periods less the mean of the `base` periods before them."""
        weight = np.repeat([-1 / base, 1 / weeks], [base, weeks])
        # the quadratic form by the sums along diagonals: no matrix of all periods
        lagged = np.correlate(weight, weight, "full")
        lag = np.abs(np.arange(1 - len(weight), len(weight)))
        return self.variance * float(lagged @ self.correlation**lag)


def ar1(own: Array) -> Ar1:
    """Fit a stationary autoregression of order one to groups of short series, by moments that allow for the demeaning.

    Taking its own mean from a series of P periods makes autocorrelation and variance look smaller than they are. With M
    that takes means away, L that shifts by a period and R the correlation matrix, residuals r = M u have
    E Σ r_t r_{t-1} / E Σ r_t² = tr(L M R M) / tr(M R M); the autocorrelation is the one whose ratio is that of the pooled
    residuals, and the variance divides by the same trace.

    Parameters
    ----------
    own
        (G, P) less the mean of each group and of each period.
    """
    from scipy.optimize import brentq

    periods = own.shape[1]
    squares = (own**2).sum(axis=1)
    low, high = _CORRELATIONS

    def ratio(correlation: float) -> float:
        variance, lagged = _demeaned(correlation, periods)
        return lagged / variance

    # what no stationary series would show counts as the nearest that one does
    seen = float(np.clip((own[:, 1:] * own[:, :-1]).sum() / squares.sum(), ratio(low), ratio(high)))
    found = float(brentq(lambda correlation: ratio(correlation) - seen, low, high, xtol=1e-9))
    return Ar1(found, own_variance(squares / _demeaned(found, periods)[0]))


def _demeaned(correlation: float, periods: int) -> tuple[float, float]:
    """Return tr(M R M) and tr(L M R M), by the means of the rows of R."""
    total = np.cumsum(correlation ** np.arange(periods))
    row = (total + total[::-1] - 1) / periods
    mean = row.mean()
    return float(periods * (1 - mean)), float((periods - 1) * (correlation + mean) - (row[1:] + row[:-1]).sum())


def own_variance(square: Array) -> Array:
    """Return (G,) variances of groups from mean squares of what is left when their common mean is taken away.

    A square is (1 - 2/G) of a group's own variance and 1/G of the average one, in expectation; below zero counts as zero.

    Examples
    --------
    >>> own_variance(np.array([0.5, 0.5, 0.5, 1.0])).round(3).tolist()
    [0.583, 0.583, 0.583, 1.583]
    """
    groups = len(square)
    average = square.sum() / (groups - 1)
    result: Array = np.maximum((square - average / groups) / (1 - 2 / groups), 0.0)
    return result


def _refuse_units(panel: Panel, past: Array, treated: Array) -> None:
    if past.shape[1] < LEAST_PERIODS:
        raise DesignError(
            f"power needs at least {LEAST_PERIODS} periods before the first start, and the panel has {past.shape[1]}; begin "
            "it earlier"
        )
    if panel.category is not None:
        start = np.where(panel.cohort >= 0, panel.cohort, -1 - treated)
        code, names = pd.factorize(panel.category, use_na_sentinel=False)
        first = np.zeros(len(names), dtype=int)
        first[code] = start
        mixed = np.unique(code[start != first[code]])
        if len(mixed):
            raise DesignError(
                f"support starts inside {len(mixed)} of {len(names)} categories rather than with whole ones, so "
                "categories are no draws; give a panel without categories, of the groups that are drawn"
            )
    if np.isnan(past).any():
        lacking = int(np.isnan(past).any(axis=1).sum())
        raise DesignError(
            f"{lacking} of {len(past)} units lack a period before the start; keep the others with panel.complete_units()"
        )
