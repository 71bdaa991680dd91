"""What every estimator refuses, cautions against, and takes away: errors that would not mean what they seem to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.assigned import HYBRID
from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray
FEW = 5
"""Units, or clusters, below which a standard error says little."""
LEAST_CLUSTERS = 10
"""Clusters a side below which a clustered error is refused: with nine, nominal 95% intervals miss in one of ten cases."""
ROUNDING = 4e-15
"""Share of the outcome's size up to which a spread is taken for rounding: sums of doubles leave about 1e-16 of it."""


def assignment_laws(panel: Panel, way_out: str = "pilot_contrast") -> list[str]:
    """Return what forbids errors that take merchants as draws: categories were drawn, all or in part."""
    if panel.assigned_at == "category":
        law = "merchants are not independent draws and intervals clustered by merchant would be wrong about half of the time"
        return [f"treatment was assigned at category level, so {law}; use {way_out}"]
    return [HYBRID] if panel.assigned_at == "hybrid" else []


def refuse_category_level(panel: Panel, *, points_only: bool = False, way_out: str = "pilot_contrast") -> None:
    """Refuse errors that take merchants as draws where categories were drawn, all or in part."""
    for law in [] if points_only else assignment_laws(panel, way_out):
        raise DesignError(f"{law}, or inference='none' for points alone")


def refuse_no_cohort(panel: Panel) -> None:
    """Refuse a panel in which nothing starts after its first period."""
    if not len(panel.cohorts):
        raise DesignError(
            "the panel has no treated cohort with a period before its start and anticipation; check treated_from, or begin "
            "the panel earlier"
        )


def refuse_few_clusters(panel: Panel, *, points_only: bool = False) -> None:
    """Refuse errors over clusters of which one side has too few; where all are treated, the last to start are the other side."""
    if panel.cluster is None or points_only:
        return
    treated, last = panel.cohort >= 0, panel.cohort == panel.cohort.max()
    sides_of = (treated & ~last, last) if treated.all() else (treated, ~treated)
    counts = [len(np.unique(panel.cluster[side])) for side in sides_of]
    if min(counts) < LEAST_CLUSTERS:
        raise DesignError(
            f"an error clustered by group needs at least {LEAST_CLUSTERS} clusters on each side, but {counts[0]} are treated "
            f"and {counts[1]} are not, and its intervals would be far too narrow; average each cluster to one unit and use "
            "pilot_contrast, cluster by smaller groups, or take inference='none' for points alone"
        )


def drawn(panel: Panel, held: Array) -> int:
    """How many draws the marked units (N,) are: categories where whole ones started, else their clusters, else units."""
    if panel.assigned_at == "category" and panel.category is not None:
        return int(panel.category[held].nunique(dropna=False))
    return int(held.sum()) if panel.cluster is None else len(np.unique(panel.cluster[held]))


def sides(panel: Panel, treated: Array, comparison: Array | None = None) -> tuple[int, int]:
    """How many draws two sets of cohorts (G,), marked in the order of the moments, are; by default the second is the rest."""
    both = treated, ~treated if comparison is None else comparison
    if panel.cluster is not None:
        first, second = (drawn(panel, marks[panel.cohort_codes]) for marks in both)
    elif panel.assigned_at == "category" and panel.starts_by_category is not None:
        table = np.roll(panel.starts_by_category, -1, axis=1)[:, : len(treated)]  # the never treated last
        first, second = (int(table[:, marks].any(axis=1).sum()) for marks in both)
    else:
        first, second = (int(panel.units_by_cohort[marks].sum()) for marks in both)
    return first, second


def cautions(panel: Panel) -> tuple[str, ...]:
    """Say what standard errors leave out: cohorts of few units or clusters, and categories in which nobody was treated."""
    what, count = "units", panel.units_by_cohort
    if panel.cluster is not None:
        pairs = pd.DataFrame({"cohort": panel.cohort_codes, "drawn": panel.cluster}).drop_duplicates()
        what, count = "clusters", pairs.groupby("cohort").size().to_numpy()
    names = [*panel.cohort_names, "never treated"]
    small = [name for name, n in zip(names, count, strict=False) if n < FEW]
    law = f"cohorts of fewer than {FEW} {what} ({', '.join(small)}): their standard errors say little"
    notes = [law] if small else []
    if panel.starts_by_category is not None and panel.assigned_at != "category":
        treated = np.atleast_1d(panel.starts_by_category[:, 1:].any(axis=1))
        if not treated.all():
            notes.append(
                f"treated units are in {int(treated.sum())} of {len(treated)} categories only, and standard errors leave out "
                "what moves whole categories; compare inside them with panel.within(...)"
            )
    if panel.assigned_at == "hybrid":
        notes.append("hybrid assignment: whole categories were chosen, and merchants inside some of them")
    elif panel.uneven:
        notes.append(
            "shares of treated units differ between categories by more than chance, and what moves whole categories enters the "
            "comparison; compare within each with within_categories"
        )
    return tuple(notes)


def unused_by_means(panel: Panel) -> tuple[str, ...]:
    """Say what of the panel a comparison of plain means leaves unused."""
    given = {"covariates": panel.covariates, "weights": panel.weight, "clusters": panel.cluster}
    named = [name for name, value in given.items() if value is not None]
    return (f"groups are compared by their plain means, without {' and '.join(named)}",) if named else ()


def refuse_no_spread(values: Array, treated: Array, least: float) -> None:
    """Refuse changes of groups that do not differ within either side by more than `least`."""
    if np.ptp(values[treated]) <= least and np.ptp(values[~treated]) <= least:
        raise DesignError(
            "all groups of each side changed by exactly the same amount, so chance cannot be measured; check that the outcome "
            "is not filled in"
        )


def known_errors(error: Array, scale: float) -> Array:
    """Return standard errors, missing where they are nothing but rounding of outcomes of this size."""
    return np.where(error > ROUNDING * scale, error, np.nan)


def settled(result: Estimates, scale: float) -> Estimates:
    """Take away standard errors that are nothing but rounding of outcomes of this size, and say so."""
    error, least = result.std_error, ROUNDING * scale
    lost = error <= least
    value, spread = result.average
    if not lost.any() and not spread <= least:
        return result
    note = "standard errors that cannot be told from rounding are missing: outcomes do not vary in their own way"
    return replace(
        result.without_errors(lost), average=(value, np.nan if spread <= least else spread), notes=(*result.notes, note)
    )
