"""Bunching at a target: how many merchants sit just above the line who would not be there if it were not drawn there.

Attainment is counted in bins. A polynomial through the bins away from the line says how many there would be anyway; what
lies above it in the first bins at or over the line is the excess. Those who are missing below must be as many: in
`bunching` that law finds where the missing ones begin, in `kink` it lifts all bins below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, refuse, seed_laws, whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = np.ndarray
_FEW, _ROUNDS, _TOLERANCE, _SPARE = 100, 1000, 1e-10, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """How attainment is counted around a line; all but `degree` in its units, such as shares of the target.

    Attributes
    ----------
    width
        Of a bin; the line is the lower edge of one.
    below, above
        How far the window reaches on either side.
    excess
        How far over the line merchants bunch; these bins do not fit the polynomial.
    missing
        How far below it those who bunch may have come from, at most.
    degree
        Of the polynomial.

    Examples
    --------
    >>> Bins(width=0.02).counts
    (12, 12, 1, 6)
    """

    width: float = 0.01
    below: float = 0.25
    above: float = 0.25
    excess: float = 0.02
    missing: float = 0.13
    degree: int = 3

    def __post_init__(self) -> None:
        """Refuse bins that leave the polynomial no more bins than it has terms."""
        if self.width <= 0 or not whole_number(self.degree, 0):
            raise ParameterError(
                f"bins have a width above 0 and a whole degree, not {self.width!r} and {self.degree!r}; correct them"
            )
        low, high, over, under = self.counts
        need = self.degree + _SPARE
        laws = [] if over >= 1 and under >= 1 else ["excess and missing each hold one bin at least; widen them"]
        if low - under < 1 or high - over < 1 or low - under + high - over < need:
            laws.append(
                f"the window has {low - under} bins below and {high - over} above the excluded ones, and the polynomial of "
                f"degree {self.degree} needs {need}, some on each side; widen the window"
            )
        refuse(ParameterError, "bins", laws)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Whole bins below and above the line, with excess, and below it at most without those who left."""
        low, high, over, under = (
            int(size / self.width + 1e-9) for size in (self.below, self.above, self.excess, self.missing)
        )
        return low, high, over, under


@dataclass(frozen=True, slots=True, eq=False)
class Bunching:
    """What `bunching` and `kink` find.

    Attributes
    ----------
    bins
        low, high (edges), observed, counterfactual (targets), clusters (whose targets they are), excluded (whether the bin did
        not fit the polynomial).
    measures
        excess (targets), share (of all in the window), height (excess over the counterfactual of a bin at the line) and
        reach (how far below the line the missing begin), with their intervals: columns measure, estimate, conf_low, conf_high.
    balanced
        Whether as many are missing below as there are too many above; else `reach` is only the most that was allowed.
    left_out
        Targets outside the window.

    Examples
    --------
    >>> kink(np.linspace(0.75, 1.3, 5501)[:-1]).left_out
    500
    """

    bins: pd.DataFrame
    measures: pd.DataFrame
    balanced: bool
    left_out: int

    def tidy(self) -> pd.DataFrame:
        """Return `measures`."""
        return self.measures


def bunching(
    attained: Sequence[float] | Array,
    *,
    at: float = 1.0,
    bins: Bins | None = None,
    cluster: Sequence[object] | Array | None = None,
    draws: int = 400,
    seed: int = 1,
) -> Bunching:
    """Measure the excess just over a line that merchants below it reach by effort or by gaming: a notch.

    Parameters
    ----------
    attained
        (N,) what was sold over the target, one a target.
    at
        The line.
    bins
        How it is counted; `Bins()` by default.
    cluster
        (N,) whose target it is: merchants are drawn anew with all their targets. By default each target alone.
    draws, seed
        Of the bootstrap; intervals are its 2.5 and 97.5 percentiles.

    Raises
    ------
    DesignError
        If fewer than 100 targets lie in the window, or bins of a side that the polynomial needs are all empty.
    ParameterError
        If `draws` or `seed` is none, or owners are not as many as targets.

    References
    ----------
    Kleven and Waseem (2013), "Using notches to uncover optimization frictions and structural elasticities", section IV.A;
    Kleven (2016), "Bunching", section 3.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> honest = rng.uniform(0.7, 1.3, 6000)
    >>> pushed = (honest > 0.9) & (honest < 1) & (rng.random(6000) < 0.8)
    >>> found = bunching(np.where(pushed, 1.002, honest)).tidy().set_index("measure")
    >>> bool(found.loc["excess", "conf_low"] < pushed.sum() < found.loc["excess", "conf_high"])
    True
    """
    return _found(attained, (at, bins or Bins()), cluster, (draws, seed), _notch)


def kink(
    attained: Sequence[float] | Array,
    *,
    at: float = 1.0,
    bins: Bins | None = None,
    cluster: Sequence[object] | Array | None = None,
    draws: int = 400,
    seed: int = 1,
) -> Bunching:
    """Measure the excess at a line that changes a rate: those who come to it come from everywhere below.

    Within `Bins.missing` below the line, by default 0.02, bins do not fit the polynomial and count with the excess; those
    further down are lifted until the window holds as many as there are.

    Parameters and errors are those of `bunching`.

    References
    ----------
    Chetty, Friedman, Olsen and Pistaferri (2011), "Adjustment costs, firm responses, and micro vs. macro labor supply
    elasticities", section V.A; here the mass comes from below, not from above.

    Examples
    --------
    >>> even = np.linspace(0.75, 1.25, 5001)[:-1]
    >>> bool(kink(even).tidy()["estimate"].abs().iloc[0] < 1e-6)
    True
    """
    return _found(attained, (at, bins or Bins(missing=0.02)), cluster, (draws, seed), _kink)


def _found(
    attained: Sequence[float] | Array,
    line: tuple[float, Bins],
    cluster: Sequence[object] | Array | None,
    random: tuple[int, int],
    law: Callable[[Array, Bins], tuple[Array, Array, Array, Array]],
) -> Bunching:
    (at, bins), values = line, np.asarray(attained, dtype=float)
    laws = seed_laws(random[1])
    laws += [] if whole_number(random[0], 1) else [f"draws is a whole number, 1 or more, not {random[0]!r}; take 400"]
    if cluster is not None and len(cluster) != len(values):
        laws.append(f"{len(values)} targets have {len(cluster)} owners; give one each")
    refuse(ParameterError, "bunching", laws)
    low, high, over, _ = bins.counts
    place = np.floor((values - at) / bins.width + 1e-9)
    inside = (place >= -low) & (place < high)
    if inside.sum() < _FEW:
        raise DesignError(
            f"bunching needs {_FEW} targets around the line, but {int(inside.sum())} lie in the window; widen it or add periods"
        )
    column = (place[inside] + low).astype(int)
    owner = pd.factorize(np.asarray(cluster)[inside])[0] if cluster is not None else np.arange(len(column))
    observed = np.bincount(column, minlength=low + high).astype(float)
    if not observed[:low].any() or not observed[low:].any():
        raise DesignError(f"no target lies on one side of the line at {at:g}, so no density can be drawn; leave it out")
    counts = np.vstack([observed, _drawn(owner, column, low + high, random)])
    fit, excess, reach, balanced = law(counts, bins)
    height = fit[:, low : low + over].mean(axis=1)
    found = {"excess": excess, "share": excess / counts.sum(axis=1), "height": excess / np.where(height > 0, height, np.nan),
             "reach": reach * bins.width}  # fmt: skip
    ends = np.nanquantile(np.array(list(found.values()))[:, 1:], [0.025, 0.975], axis=1)
    measures = pd.DataFrame({"measure": list(found), "estimate": [values[0] for values in found.values()],
                             "conf_low": ends[0], "conf_high": ends[1]})  # fmt: skip
    step = np.arange(-low, high)
    table = {"low": at + step * bins.width, "high": at + (step + 1) * bins.width, "observed": observed.astype(int)}
    excluded = (step >= -reach[0]) & (step < over)
    owners = np.bincount(np.unique(owner * observed.size + column) % observed.size, minlength=observed.size)
    frame = pd.DataFrame({**table, "counterfactual": fit[0], "clusters": owners, "excluded": excluded})
    return Bunching(frame, measures, bool(balanced[0]), int((~inside).sum()))


def _drawn(owner: Array, column: Array, width: int, random: tuple[int, int]) -> Array:
    """Return (draws, bins) counts of targets whose owners were drawn anew."""
    from scipy.sparse import csr_array

    size = int(owner.max()) + 1
    counts = csr_array((np.ones(len(owner)), (owner, column)), shape=(size, width))
    rng = np.random.default_rng(random[1])
    times = np.array([np.bincount(rng.integers(0, size, size), minlength=size) for _ in range(random[0])], dtype=float)
    return np.asarray((counts.T @ times.T).T)


def _projection(bins: Bins, under: int) -> Array:
    """Return the matrix (bins, bins) that draws the polynomial through the bins that are not excluded."""
    low, high, over, _ = bins.counts
    step = np.arange(-low, high)
    terms = np.polynomial.legendre.legvander((step + 0.5) / max(low, high), bins.degree)
    kept = (step < -under) | (step >= over)
    return np.asarray(terms @ np.linalg.pinv(terms * kept[:, None]))


def _notch(counts: Array, bins: Bins) -> tuple[Array, Array, Array, Array]:
    """Widen the excluded bins below until as many are missing there as there are too many above, for each row."""
    low, _, over, most = bins.counts
    rows = len(counts)
    fit, excess = np.empty_like(counts), np.empty(rows)
    reach, open_ = np.full(rows, most), np.ones(rows, dtype=bool)
    for under in range(1, most + 1):
        drawn = counts @ _projection(bins, under).T
        gap = counts - drawn
        above, missing = gap[:, low : low + over].sum(axis=1), -gap[:, low - under : low].sum(axis=1)
        fit[open_], excess[open_] = drawn[open_], above[open_]
        closed = open_ & (missing >= above)
        reach[closed] = under
        open_ &= ~closed
    return fit, excess, reach, ~open_


def _kink(counts: Array, bins: Bins) -> tuple[Array, Array, Array, Array]:
    """Lift the bins below by the excess until it no longer changes, for each row."""
    low, _, over, under = bins.counts
    project = _projection(bins, under)
    source = counts * (np.arange(counts.shape[1]) < low - under)
    excess = np.zeros(len(counts))
    for _ in range(_ROUNDS):
        before = excess
        fit = (counts + source * (before / np.maximum(source.sum(axis=1), 1.0))[:, None]) @ project.T
        excess = (counts - fit)[:, low - under : low + over].sum(axis=1)
        if np.abs(excess - before).max() <= _TOLERANCE * max(1.0, float(counts[0].sum())):
            break
    return fit, excess, np.full(len(counts), under), np.ones(len(counts), dtype=bool)
