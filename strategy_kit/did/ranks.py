"""Which lever, or which group, is best, as far as the data can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.errors import DesignError, ParameterError, refuse, seed_laws
from strategy_kit.inference import BAND_DRAWS

if TYPE_CHECKING:
    import pandas as pd

    from strategy_kit.estimates import Estimates

Array = np.ndarray
_LEAST, _BLOCK_CELLS = 2, 4_000_000


def rank_intervals(effects: Estimates, level: float = 0.95, *, seed: int = 0) -> pd.DataFrame:
    """Rank effects from the largest, with intervals that hold all true ranks together.

    A rank's interval starts after the effects that are larger for sure and ends before those that are smaller for sure, by
    one-sided tests of all ordered pairs at once. What is sure is left out and the others are tested again, until nothing is
    added. Whether an effect differs from 0 is another question.

    Parameters
    ----------
    effects
        Two rows or more with errors, such as those of `lever_effects`; their covariance is used.
    level
        Chance that all intervals hold together.
    seed
        Of the 20,000 draws from which critical values come.

    Returns
    -------
    DataFrame
        The labels, then estimate, rank (1 is the largest; equal ones share the smaller number), rank_low and rank_high.

    Raises
    ------
    DesignError
        If there are fewer than two rows, or two rows whose difference has no error.
    ParameterError
        If `level` or `seed` is not one.

    References
    ----------
    Mogstad, Romano, Shaikh and Wilhelm (2024), "Inference for ranks with applications to mobility across neighbourhoods and
    academic achievement across countries" (simultaneous sets, stepwise). With degrees of freedom, draws are of the t law, of
    the smallest where rows differ.

    Examples
    --------
    >>> import pandas as pd
    >>> from strategy_kit.did import lever_effects
    >>> from strategy_kit.panel import Panel
    >>> rng, start = np.random.default_rng(1), np.repeat([2, 2, 0], 40)
    >>> levers = pd.DataFrame({"display": np.arange(80) < 40, "service": np.arange(80) >= 40})
    >>> y = np.c_[np.zeros(120), rng.normal(size=120) + np.repeat([0.2, 1.5, 0.0], 40)]
    >>> effects = lever_effects(Panel.from_matrix(y, treated_from=start), levers)
    >>> rank_intervals(effects)[["lever", "rank", "rank_low", "rank_high"]].to_numpy().tolist()
    [['display', 2, 2, 2], ['service', 1, 1, 1]]
    """
    effects.tidy(level)
    refuse(ParameterError, "rank_intervals", seed_laws(seed))
    value, covariance = effects.estimate, effects.covariance
    error = np.sqrt(np.maximum(np.add.outer(np.diag(covariance), np.diag(covariance)) - 2 * covariance, 0.0))
    apart = ~np.eye(len(value), dtype=bool)
    if len(value) < _LEAST or not (error[apart] > 0).all():
        raise DesignError(
            f"ranks compare {_LEAST} or more effects whose differences have errors; leave out rows without one"
        )
    larger = _surely_larger(np.subtract.outer(value, value), np.where(apart, error, 1.0), _draws(effects, seed), level)
    return effects.labels.assign(
        estimate=value,
        rank=1 + (value[:, None] < value).sum(axis=1),
        rank_low=1 + larger.sum(axis=0),
        rank_high=len(value) - larger.sum(axis=1),
    )


def _draws(effects: Estimates, seed: int) -> Array:
    """Return (20,000, K) draws of estimates less the truth."""
    random = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(effects.covariance)
    normal = random.standard_normal((BAND_DRAWS, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    laws = effects.law if isinstance(effects.law, tuple) else (effects.law,)
    freedom = min(float(np.min(getattr(law, "degrees_of_freedom", np.inf))) for law in laws)
    if np.isfinite(freedom):
        normal /= np.sqrt(random.chisquare(freedom, BAND_DRAWS) / freedom)[:, None]
    result: Array = normal
    return result


def _surely_larger(difference: Array, error: Array, draws: Array, level: float) -> Array:
    """Return (K, K) whether the effect of a row is larger than that of a column, wrong anywhere in 1 − `level`."""
    sure, open_ = np.zeros(error.shape, dtype=bool), ~np.eye(len(error), dtype=bool)
    while True:
        critical = _critical(draws, error, open_ & ~sure, level)
        found = open_ & (difference > critical * error)
        if not (found & ~sure).any() or found[open_ & ~sure].all():
            return found | sure
        sure |= found


def _critical(draws: Array, error: Array, tested: Array, level: float) -> float:
    one, other = tested.nonzero()
    largest, step = np.empty(len(draws)), max(1, _BLOCK_CELLS // len(one))
    for first in range(0, len(draws), step):
        block = draws[first : first + step]
        largest[first : first + step] = ((block[:, one] - block[:, other]) / error[one, other]).max(axis=1)
    return float(np.quantile(largest, level))
