"""How estimates and the cohort shares that average them vary together, without their full covariance where it is large."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array, eye_array, hstack, vstack

from strategy_kit.inference import band_critical, diagonal

if TYPE_CHECKING:
    import pandas as pd

    from strategy_kit.inference import BandLaw, Parts

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Joint:
    """How K estimates and G cohort shares vary together.

    A daily panel has thousands of estimates, and a matrix of all of them takes longer than everything else; averages need
    none. So the covariance is kept as Σ F M F', with F (K + G, m) mostly zeros: m periods of a cohort, or its share.

    Attributes
    ----------
    parts
        Pairs of F, None for the identity, and M (m, m).
    shares
        (G,): cohort shares of all units, weighted where the panel is.
    count
        (G,): units of each cohort.
    cohorts
        Labels of the first shares; the never treated, who come last, have none.
    draws
        (B, K + G): multiplier draws of the same, around zero, where they were asked for.
    silent
        (K,) estimates without a standard error, or None: fixed by design, or points alone.
    """

    parts: Parts
    shares: Array
    count: Array
    cohorts: pd.Index
    draws: Array | None = None
    silent: Array | None = None

    @property
    def size(self) -> int:
        """K."""
        factor, middle = self.parts[0]
        return int((middle if factor is None else factor).shape[0]) - len(self.shares)

    @property
    def estimate_parts(self) -> Parts:
        """The parts without the shares."""
        held = slice(self.size)
        return tuple((None, m[held, held]) if f is None else (f[held], m) for f, m in self.parts)

    @cached_property
    def covariance(self) -> Array:
        """(K, K) covariance of the estimates; of the draws where there are any; missing for silent ones."""
        result = np.zeros((self.size, self.size))
        if (drawn := self.estimate_draws) is not None:
            result += drawn.T @ drawn / len(drawn)
        else:
            for factor, middle in self.estimate_parts:
                result += middle if factor is None else factor @ (factor @ middle).T
        if self.silent is not None:
            result[self.silent, :] = result[:, self.silent] = np.nan
        return result

    @cached_property
    def variance(self) -> Array:
        """(K,) diagonal of `covariance`."""
        drawn = self.estimate_draws
        result = diagonal(self.estimate_parts) if drawn is None else (drawn**2).mean(axis=0)
        return result if self.silent is None else np.where(self.silent, np.nan, result)

    def critical(self, level: float, law: BandLaw, seed: int) -> float:
        """Return the critical value of a band over the estimates that have a standard error."""
        drawn = self.estimate_draws
        loud = np.arange(self.size) if self.silent is None else np.flatnonzero(~self.silent)
        parts = tuple((f, m[np.ix_(loud, loud)]) if f is None else (f[loud], m) for f, m in self.estimate_parts)
        return band_critical(parts, level, law=law, seed=seed, draws=None if drawn is None else drawn[:, loud])

    @property
    def estimate_draws(self) -> Array | None:
        """(B, K): multiplier draws of the estimates alone."""
        return None if self.draws is None else self.draws[:, : self.size]

    def without_errors(self, lost: Array) -> Joint:
        """Return the same with estimates marked in `lost` (K,) silent too."""
        return replace(self, silent=lost if self.silent is None else self.silent | lost)

    def combined(self, weights: Array | csr_array, weight_gradient: Array) -> Joint:
        """Return the law of `weights` @ estimates, whose weights depend on the shares too.

        Parameters
        ----------
        weights
            (J, K), mostly zeros where many periods are averaged.
        weight_gradient
            (J, G): derivative of the combinations with respect to the shares through the weights alone.
        """
        own = hstack([csr_array(weights), csr_array(weight_gradient)])
        shares = eye_array(own.shape[1], format="csr")[weights.shape[1] :]
        change = vstack([own, shares], format="csr")
        whole = np.zeros((change.shape[0], change.shape[0]))
        for factor, middle in self.parts:
            left = change if factor is None else change @ factor
            whole += left @ (left @ middle).T
        drawn = None if self.draws is None else (change @ self.draws.T).T
        return Joint(((None, whole),), self.shares, self.count, self.cohorts, drawn)

    def of_shares(self, held: Array, cohorts: pd.Index) -> Joint:
        """Return the law of the estimates and of the shares at the positions `held`, which are those of `cohorts`."""
        kept = np.append(np.arange(self.size), self.size + held)
        parts = tuple(
            (None if f is None else f[kept], m[np.ix_(kept, kept)] if f is None else m) for f, m in self.parts
        )
        draws = None if self.draws is None else self.draws[:, kept]
        return Joint(parts, self.shares[held], self.count[held], cohorts, draws)
