"""Power before effect: what a pilot can find, from the time before it alone."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from strategy_kit.errors import ParameterError, level_laws, refuse, seed_laws, whole_number
from strategy_kit.formats import number, percent
from strategy_kit.inference import welch
from strategy_kit.planning.past import Past

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strategy_kit.panel import Panel

Array = np.ndarray
FOUND = 0.8
"""Chance of being found that makes an effect detectable, unless another is asked for."""
_LEAST, _CURVE = 2, 25


class Reading(TypedDict, total=False):
    """How the headline will be read.

    `level` is the coverage of its interval, 0.95 unless given; `widening` the factor by which all looks together make it
    wider than one, 1 unless given; `base` the periods before the start that the change is measured from, all of the past
    unless given.
    """

    level: float
    widening: float
    base: int


_READ = tuple(Reading.__annotations__)


def power(
    panel: Panel,
    *,
    effects: Sequence[float] | None = None,
    pilots: int | None = None,
    weeks: int | None = None,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> pd.DataFrame:
    """Simulate how often the headline of a pilot finds an effect, from the time before the start.

    No outcome from the first start on is used; a panel whose pilots start after its last period, or that has none yet,
    will do. 20,000 times, groups change as they do when nothing is done, the effect is added to the pilots, and the
    interval of `pilot_contrast` is formed. It finds the effect where it excludes zero.

    Parameters
    ----------
    panel
        Outcome as the headline takes it, such as the log of category totals. Groups are categories where there are any,
        else units.
    effects
        In units of the outcome; from none to half as much again as what is detectable by default.
    pilots
        How many groups are piloted: those that the panel pilots, unless more are asked for. Further ones are any of the
        others, each as likely.
    weeks
        Periods from the start on; those that the panel has, unless given.
    seed
        Of the draws.
    **reading
        level, widening (for answers read at several looks) and base, see `Reading`.

    Returns
    -------
    DataFrame
        One row an effect: pilots, weeks, effect, power (for no effect: the chance of a false alarm), wrong_sign (the part of
        it that lies on the wrong side of zero), exaggeration (mean size of the estimates that exclude zero, over the
        effect), basis, autocorrelation. `basis` is "placebo" where the past holds two windows of the whole design, base and
        weeks, that share no period: what groups did at a past date, dealt at random to the places of the design, those of
        chosen pilots with the pilots' spread. Otherwise it is "model": a normal autoregression of order one with each
        group's own variance, fitted to the past.

    Raises
    ------
    DesignError
        If the past is shorter than 6 periods, there are fewer than 4 groups or more than 2,000, support starts inside
        categories, or a unit lacks a period before the start.
    ParameterError
        If a side would have fewer than two groups, or an argument is out of range.

    References
    ----------
    Burlig, Preonas and Woerman (2020), "Panel data and experimental design" (power with serial correlation); Gelman and
    Carlin (2014), "Beyond power calculations" (wrong sign and exaggeration).

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> past = np.random.default_rng(1).normal(scale=0.1, size=(12, 26))
    >>> planned = Panel.from_matrix(past, treated_from=[27] * 3 + [0] * 9)
    >>> power(planned, effects=[0.1], weeks=13)[["pilots", "weeks", "basis"]].to_numpy().tolist()
    [[3, 13, 'model']]
    """
    (sample,) = _samples(panel, _asked(pilots, weeks), seed, reading)
    sizes = np.linspace(0, 1.5 * sample.detectable(FOUND), _CURVE) if effects is None else np.asarray(effects, float)
    if sizes.ndim != 1 or not sizes.size or not np.isfinite(sizes).all():
        raise ParameterError(f"effects are numbers in units of the outcome, at least one, not {effects!r}")
    return pd.DataFrame([sample.row(effect=size, **sample.at(size)) for size in sizes])


def detectable_effect(
    panel: Panel,
    *,
    chance: float = FOUND,
    pilots: int | None = None,
    weeks: int | None = None,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> pd.DataFrame:
    """Find the smallest effect that the headline of a pilot finds with a chance of 80 in 100.

    Whether a simulated pilot finds an effect, with its sign, depends on one number: half the width of its interval less its
    error. The detectable effect is the quantile of that number, so that no search, and no normal formula, stands between
    the simulation and it.

    Parameters
    ----------
    panel, pilots, weeks, seed, **reading
        As in `power`.
    chance
        Of finding it.

    Returns
    -------
    DataFrame
        One row: pilots, weeks, detectable_effect (units of the outcome), past_error (its standard error, since the past
        that spreads are read from is short; by refitting the model to up to 100 pasts that it draws), simulation_error (the same
        from the number of draws), std_error (of the estimate, over the draws), power (`chance`), basis, autocorrelation.

    Raises
    ------
    DesignError, ParameterError
        As `power` does.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> past = np.random.default_rng(1).normal(scale=0.1, size=(12, 26))
    >>> planned = Panel.from_matrix(past, treated_from=[27] * 3 + [0] * 9)
    >>> detectable_effect(planned, weeks=13)["detectable_effect"].round(2).tolist()
    [0.07]
    """
    if not isinstance(chance, float) or not 0 < chance < 1:  # type: ignore[redundant-expr]
        raise ParameterError(f"chance lies between 0 and 1, such as 0.8, not {chance!r}")
    (sample,) = _samples(panel, _asked(pilots, weeks), seed, reading)
    size, error = sample.detectable(chance), sample.detectable_error(chance)
    told = {"detectable_effect": size, "past_error": sample.unsure * size, "simulation_error": error}
    return pd.DataFrame([sample.row(**told, std_error=sample.estimate.std(), power=chance)])


def what_if(
    panel: Panel,
    *,
    effect: float | None = None,
    more_pilots: Sequence[int] = (0, 1),
    more_weeks: Sequence[int] = (0, 13),
    seed: int = 0,
    **reading: Unpack[Reading],
) -> pd.DataFrame:
    """Say what further pilots, or more weeks, would buy.

    Parameters
    ----------
    panel, seed, **reading
        As in `power`.
    effect
        Whose chance of being found is told: the plan's threshold, log(1 + threshold) for logs. Unless given, what the first
        of the designs asked for can detect.
    more_pilots
        Added to the groups that the panel pilots.
    more_weeks
        Added to the periods that the panel has from the first start on.

    Returns
    -------
    DataFrame
        One row a design, pilots first: pilots, weeks, detectable_effect, past_error, std_error, effect, power, basis,
        autocorrelation. All rows have the same basis and the same draws, so that they differ by design alone.

    Raises
    ------
    DesignError, ParameterError
        As `power` does.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> past = np.random.default_rng(1).normal(scale=0.1, size=(12, 26))
    >>> planned = Panel.from_matrix(past, treated_from=[27] * 3 + [0] * 9)
    >>> what_if(planned, more_weeks=[13, 26]).iloc[:, :3].round(2).to_numpy().tolist()
    [[3.0, 13.0, 0.07], [3.0, 26.0, 0.06], [4.0, 13.0, 0.06], [4.0, 26.0, 0.05]]
    """
    added = {"more_pilots": more_pilots, "more_weeks": more_weeks}
    wrong = [name for name, values in added.items() if not values or not all(whole_number(v, 0) for v in values)]
    refuse(ParameterError, "what_if", [f"{name} are whole numbers of 0 or more, at least one" for name in wrong])
    if effect is not None and not np.isfinite(effect):
        raise ParameterError(f"effect is a number in units of the outcome, not {effect!r}")
    more = list(product(sorted(set(more_pilots)), sorted(set(more_weeks))))
    samples = _samples(panel, lambda past: [(past.chosen + p, past.after + w) for p, w in more], seed, reading)
    found = [sample.detectable(FOUND) for sample in samples]
    size = found[0] if effect is None else float(effect)
    rows = []
    for each, own in zip(samples, found, strict=True):
        told = {"detectable_effect": own, "past_error": each.unsure * own, "std_error": each.estimate.std()}
        rows.append(each.row(**told, effect=size, power=each.at(size)["power"]))
    return pd.DataFrame(rows)


def what_if_sentence(rows: pd.DataFrame, *, logs: bool = False) -> str:
    """Answer in one sentence what more pilots or weeks would buy.

    Parameters
    ----------
    rows
        As `what_if` returns them.
    logs
        True where the outcome is a logarithm: effects are told in percent.

    Examples
    --------
    >>> rows = pd.DataFrame({"pilots": [3, 3, 4], "weeks": [13, 26, 13], "detectable_effect": [0.1, 0.09, 0.075]})
    >>> what_if_sentence(rows, logs=True)
    'With 3 pilots and 13 weeks an effect of 10.5% is found in 80 of 100 cases; with 13 more weeks one of 9.4%, with 1 more \
pilot one of 7.8%.'
    """

    def told(size: float) -> str:
        return percent(float(np.expm1(size))) if logs else number(size, max(0, 2 - int(np.floor(np.log10(size)))))

    (pilots, weeks), *designs = rows[["pilots", "weeks"]].astype(int).to_numpy().tolist()
    first, *sizes = map(told, rows["detectable_effect"].astype(float))
    others = []
    for (more_pilots, more_weeks), size in zip(designs, sizes, strict=True):
        more = [(more_pilots - pilots, "pilot"), (more_weeks - weeks, "week")]
        change = " and ".join(f"{n} more {word}{'s' * (n != 1)}" for n, word in more if n)
        others.append(f"with {change} one of {size}")
    asked = f"With {pilots} pilots and {weeks} weeks an effect of {first} is found in 80 of 100 cases"
    return f"{asked}; {', '.join(others)}." if others else f"{asked}."


class _Sample(NamedTuple):
    """What pilots without effect would show: (R,) estimates, and the half-widths of their intervals."""

    design: dict[str, int]
    estimate: Array
    half: Array
    source: dict[str, Any]
    unsure: float
    """Standard deviation of the estimate's error over pasts that could have been seen, as a share of it."""

    def at(self, effect: float) -> dict[str, float]:
        """Return how often the interval excludes zero, how often on the wrong side, and by how much estimates exaggerate."""
        shown = np.sign(effect or 1.0) * (self.estimate + effect)
        found, wrong = np.abs(shown) > self.half, shown < -self.half
        if effect == 0 or not found.any():
            return {"power": found.mean(), "wrong_sign": np.nan, "exaggeration": np.nan}
        size = np.abs(shown[found]).mean() / abs(effect)
        return {"power": found.mean(), "wrong_sign": wrong.mean(), "exaggeration": size}

    def detectable(self, chance: float) -> float:
        return max(float(np.quantile(self.half - self.estimate, chance, method="inverted_cdf")), 0.0)

    def detectable_error(self, chance: float) -> float:
        error = np.sqrt(chance * (1 - chance) / len(self.estimate))
        low, high = (self.detectable(float(np.clip(chance + side * error, 0, 1))) for side in (-1, 1))
        return (high - low) / 2

    def row(self, **values: float) -> dict[str, Any]:
        return {**self.design, **values, **self.source}


def _asked(pilots: int | None, weeks: int | None) -> Callable[[Past], list[tuple[int, int]]]:
    return lambda past: [(past.chosen if pilots is None else pilots, past.after if weeks is None else weeks)]


def _samples(
    panel: Panel, designs: Callable[[Past], list[tuple[int, int]]], seed: int, reading: Reading
) -> list[_Sample]:
    """Simulate designs, pairs of pilots and weeks, all from the same draws and on the same basis."""
    past = Past.of(panel)
    pairs, periods = designs(past), past.paths.shape[1]
    level, widening, base = ({"level": 0.95, "widening": 1.0, "base": periods, **reading}[name] for name in _READ)
    laws = [f"{name!r} is none of {', '.join(_READ)}" for name in reading if name not in _READ]
    laws += _design_laws(past, pairs)
    laws += seed_laws(seed)
    laws += level_laws(level)
    if not isinstance(widening, int | float) or not 1 <= widening < np.inf:
        laws.append(f"widening is a factor of 1 or more, not {widening!r}")
    if not whole_number(base, 1) or base > periods:
        laws.append(f"base is a whole number from 1 to the {periods} periods of the past, not {base!r}")
    refuse(ParameterError, "power", laws)
    basis, refits, made = past.basis(int(base), max(weeks for _, weeks in pairs)), past.refits(seed), []
    for pilots, weeks in pairs:
        change = past.draws(int(base), weeks, basis, seed)
        estimate, error, freedom = welch(change[:, :pilots], change[:, pilots:])
        half = widening * stdtrit(freedom, 0.5 + level / 2) * error
        source = {"basis": basis, "autocorrelation": past.model.correlation}
        errors = [past.spread(model, pilots, int(base), weeks) for model in refits]
        made.append(
            _Sample({"pilots": pilots, "weeks": weeks}, estimate, half, source, float(np.std(errors) / np.mean(errors)))
        )
    return made


def _design_laws(past: Past, pairs: list[tuple[int, int]]) -> list[str]:
    least, most = max(_LEAST, past.chosen), len(past.paths) - _LEAST
    pilots = [f"{given!r}" for given, _ in pairs if not whole_number(given, least) or given > most]
    weeks = [f"{given!r}" for _, given in pairs if not whole_number(given, 1)]
    laws = {
        f"pilots is a whole number from {least} to {most}, which leaves two groups on each side and keeps those of the "
        "panel": pilots,
        "weeks is how many periods the pilot lasts, at least 1": weeks,
    }
    return [f"{law}, not {wrong[0]}" for law, wrong in laws.items() if wrong]
