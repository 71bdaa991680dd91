"""What an event study must give before violations of parallel trends can be bounded: one base period, no gaps, errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from strategy_kit.base_age import GIVEN, NO_LINE, base_age
from strategy_kit.errors import DesignError, ParameterError, level_laws, refuse, whole_number
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray
_WAY_OUT = "use event_study(group_time(panel, base='universal'))"


def study_of(
    estimate: Sequence[float] | Array,
    covariance: Sequence[Sequence[float]] | Array,
    ages: Sequence[int] | Array,
    *,
    outcome: str = "outcome",
    degrees_of_freedom: float = np.inf,
) -> Estimates:
    """Make an event study from coefficients and their covariance, such as those of a paper.

    Parameters
    ----------
    estimate, covariance
        (K,) coefficients and their (K, K) covariance, in units of the outcome and its square.
    ages
        (K,) periods since the start, in any order. The base period may be left out, and is −1 then, or be given with an
        estimate and a variance of 0.
    outcome
        What was measured.
    degrees_of_freedom
        Of the t law behind the standard errors; infinite for the normal law.

    Returns
    -------
    Estimates
        Label age. How many units stand behind it is not known, so `n_units` is missing.

    Raises
    ------
    ParameterError
        If shapes do not fit, ages are not distinct whole numbers, a number is not finite, or the matrix is no
        covariance.

    Examples
    --------
    >>> study_of([0.1, 0.5], [[0.04, 0.01], [0.01, 0.04]], [-2, 0]).tidy()[["age", "std_error"]].round(2).to_numpy().tolist()
    [[-2.0, 0.2], [0.0, 0.2]]
    """
    value, spread, age = (np.asarray(given, dtype=float) for given in (estimate, covariance, ages))
    if value.ndim != 1 or not len(value) or age.shape != value.shape or spread.shape != 2 * value.shape:
        raise ParameterError(
            f"study_of takes K estimates, K ages and a K by K covariance, not {value.shape}, {age.shape} and {spread.shape}"
        )
    if not (np.isfinite(value).all() and np.isfinite(spread).all()):
        raise ParameterError("study_of: an estimate or a covariance is missing or infinite; leave such ages out")
    laws, size = [], float(np.abs(spread).max())
    if (age != np.round(age)).any() or len(np.unique(age)) < len(age):
        laws.append(f"ages are distinct whole numbers of periods since the start, not {age.tolist()}")
    if np.abs(spread - spread.T).max() > 1e-6 * size:
        laws.append("the covariance is not symmetric; give the matrix itself, not its root")
    elif np.linalg.eigvalsh(spread).min() < -1e-6 * size:
        laws.append("the matrix has negative eigenvalues and so is no covariance; do not mix fits or round it")
    if not degrees_of_freedom > 0:
        laws.append(f"degrees_of_freedom is above 0, not {degrees_of_freedom!r}")
    refuse(ParameterError, "study_of", laws)
    result = Estimates(
        estimator=GIVEN,
        outcome=outcome,
        labels=pd.DataFrame({"age": age.astype(int)}),
        estimate=value,
        spread=(spread + spread.T) / 2,
        n_units=np.full(len(value), np.nan),
        assigned_at="merchant",
        clusters=(0, 0),
        average=(np.nan, np.nan),
        law=Student(float(degrees_of_freedom)),
        notes=("coefficients and covariance are taken as given; the number of units behind them is not known",),
    )
    return result.without_errors(np.diag(spread) == 0)


@dataclass(frozen=True, eq=False)
class Path:
    """An event study as the methods see it: in order of age, in standard errors of the target, base left out.

    Attributes
    ----------
    freedom
        How many independent units the covariance rests on, less one: of the smaller side, or of the t law.
    estimate, covariance
        (K,), (K, K): the first `before` rows lie before the base period, the others after it.
    weight
        (K − before,) of each later age in the target; they add up to one.
    scale
        Standard error of the target, in units of the outcome.
    original
        The target's interval in the study's own law, in units of the outcome.
    """

    outcome: str
    notes: tuple[str, ...]
    level: float
    freedom: float
    ages: tuple[int, ...]
    all_ages: Array
    before: int
    estimate: Array
    covariance: Array
    weight: Array
    scale: float
    original: tuple[float, float]

    @property
    def changes(self) -> Array:
        """(K, K) matrix that takes coefficients to changes from each age to the next, the base being zero."""
        size = len(self.estimate)
        return np.diff(np.insert(np.eye(size), self.before, 0.0, axis=0), axis=0)

    @property
    def target(self) -> Array:
        """(K,) weights of the target over all coefficients."""
        return np.append(np.zeros(self.before), self.weight)


def path_of(study: Estimates, *, ages: int | Sequence[int] | None, since: int | None = None, level: float) -> Path:
    """Read an event study, or refuse it with all that stands in the way; covariances are widened to its t law."""
    refuse(ParameterError, study.estimator, level_laws(level))
    _refuse_law(study)
    if not np.isfinite(study.std_error).any():
        raise DesignError(f"{study.estimator} has no standard errors; ask for them, inference='analytic'")
    base = base_age(study)
    given = study.labels["age"].to_numpy()
    order = np.argsort(given, kind="stable")
    order = order[(given[order] != base) & (given[order] >= _oldest(given, since, base))]
    age = given[order].astype(int)
    value, spread = study.estimate[order], study.covariance[np.ix_(order, order)]
    before = int((age < base).sum())
    _refuse_unfit(study, np.insert(age, before, base), base, np.diag(spread))
    weight = _weight(age[before:], ages)
    target = np.append(np.zeros(before), weight)
    scale = float(np.sqrt(target @ spread @ target))
    if not scale > 0:
        raise DesignError("the effect in question has no variance, so chance cannot be measured; choose other ages")
    law = study.law
    assert isinstance(law, Student)  # noqa: S101  # `_refuse_law` refused every other
    low, high = law.interval(np.array([target @ value]), np.array([scale]), level)
    few = min(study.clusters)
    return Path(
        outcome=study.outcome,
        notes=study.notes,
        level=level,
        freedom=min(law.degrees_of_freedom, few - 1 if few > 0 else np.inf),
        ages=tuple(int(one) for one in age[before:][weight > 0]),
        all_ages=np.insert(age, before, base),
        before=before,
        estimate=value / scale,
        covariance=spread / scale**2 * _widened(law, level) ** 2,
        weight=weight,
        scale=scale,
        original=(float(low[0]), float(high[0])),
    )


def _oldest(given: Array, since: int | None, base: int) -> int:
    """Return the age from which on ages are used."""
    if since is None:
        return int(given.min())
    if not whole_number(since, int(given.min())) or since >= base:
        raise ParameterError(
            f"since is an age before the base period {base}, {given.min()} at the earliest, not {since!r}"
        )
    return int(since)


def _widened(law: Student, level: float) -> float:
    """Return the ratio of the t quantile to the normal one, by which standard errors are widened."""
    if not np.isfinite(law.degrees_of_freedom):
        return 1.0
    tail = 0.5 + level / 2
    return float(stdtrit(law.degrees_of_freedom, tail) / ndtri(tail))


def _refuse_law(study: Estimates) -> None:
    laws = []
    if study.assigned_at == "category":
        laws.append(
            "treatment was assigned at category level, and a few pilot categories have no covariance to rest on; compare them "
            "by pilot_contrast and its placebo, or bring a covariance that holds at that level by study_of"
        )
    if not isinstance(study.law, Student):
        laws.append(
            "its intervals follow neither the normal nor a common t law; where effects are in percent, give their logarithms and "
            "covariance to study_of"
        )
    if any(NO_LINE in note for note in study.notes):
        laws.append(
            "ages were left out because a straight line cannot be told from the effects, so that more than one age is a base; "
            f"add units that are never treated, or {_WAY_OUT}"
        )
    refuse(DesignError, f"sensitivity of {study.estimator}", laws)


def _refuse_unfit(study: Estimates, ages: Array, base: int, variance: Array) -> None:
    laws = []
    if ages[0] == base:
        laws.append(
            f"no effect lies before the base period, so no violation was ever seen; begin the panel earlier, or {_WAY_OUT}"
        )
    if ages[-1] == base:
        laws.append("no effect lies after the base period; add later periods")
    lost = np.setdiff1d(np.arange(ages[0], ages[-1] + 1), ages)
    if len(lost):
        laws.append(
            f"changes from one period to the next need every age, and {', '.join(map(str, lost))} is missing; leave out what "
            "lies beyond the gap by since or study_of"
        )
    bare = np.delete(ages, ages == base)[~np.isfinite(variance)]
    if len(bare):
        laws.append(f"age {', '.join(map(str, bare))} has no standard error; leave it out by study_of")
    refuse(DesignError, f"sensitivity of {study.estimator}", laws)


def _weight(after: Array, ages: Any) -> Array:
    """Return the (Q,) weights of the ages asked for: the first from 0 on unless given, equal weights else."""
    if ages is None:
        chosen = np.array([after[after >= 0][0] if (after >= 0).any() else after[0]])
    else:
        given = [ages] if whole_number(ages, int(after[0])) else list(ages) if np.iterable(ages) else [None]
        known = set(after.tolist())
        if not given or len(set(given)) < len(given) or not all(one in known for one in given):
            raise ParameterError(
                f"ages are one or more distinct ages after the base period, {after[0]} to {after[-1]}, not {ages!r}"
            )
        chosen = np.array(given)
    return np.isin(after, chosen) / len(chosen)
