"""Rank intervals: by hand, against the studentised range, on published data, and how often they hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from strategy_kit import did
from strategy_kit.did.ranks import rank_intervals
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.inference import Student, StudentByRow
from strategy_kit.panel import Panel

RNG = np.random.default_rng
TEMPLATE = did.group_time(Panel.from_matrix(RNG(1).normal(size=(20, 4)), treated_from=[3, 0] * 10))
# Mathematics scores and their errors in PISA 2018, 37 countries of the OECD (oecd.org/pisa/data).
PISA = """AUS 491.36 1.94 AUT 498.94 2.97 BEL 508.07 2.26 CAN 512.02 2.36 CHL 417.41 2.42 COL 390.93 2.99 CZE 499.47 2.46
DNK 509.40 1.74 EST 523.41 1.74 FIN 507.30 1.97 FRA 495.41 2.32 DEU 500.04 2.65 GRC 451.37 3.09 HUN 481.08 2.32
ISL 495.19 1.95 IRL 499.63 2.20 ISR 463.03 3.50 ITA 486.59 2.78 JPN 526.97 2.47 KOR 525.93 3.12 LVA 496.13 1.96
LTU 481.19 1.95 LUX 483.42 1.10 MEX 408.80 2.49 NLD 519.23 2.63 NZL 494.49 1.71 NOR 500.96 2.22 POL 515.65 2.60
PRT 492.49 2.68 SVK 486.16 2.56 SVN 508.90 1.36 ESP 481.39 1.46 SWE 502.39 2.65 CHE 515.31 2.91 TUR 453.51 2.26
GBR 501.77 2.56 USA 478.24 3.24"""


def effects(value: Any, covariance: np.ndarray, law: Any = None) -> Any:
    labels = pd.DataFrame({"lever": [f"l{k}" for k in range(len(value))]})
    value = np.asarray(value, dtype=float)
    return replace(TEMPLATE, labels=labels, estimate=value, spread=covariance, n_units=value, law=law or Student())


def ranks(*given: Any, level: float = 0.95) -> list[list[int]]:
    return rank_intervals(effects(*given), level)[["rank", "rank_low", "rank_high"]].to_numpy().tolist()


def test_two_effects_are_one_comparison() -> None:
    # The difference has variance 1 + 1 - 2 * 0.5; two one-sided tests at once are one two-sided one, so 1.96.
    tied = np.array([[1.0, 0.5], [0.5, 1.0]])
    assert ranks([0.0, 2.1], tied) == [[2, 2, 2], [1, 1, 1]]
    assert ranks([0.0, 1.8], tied) == [[2, 1, 2], [1, 1, 2]]
    assert ranks([0.0, 2.1], np.eye(2)) == [[2, 1, 2], [1, 1, 2]]


@pytest.mark.parametrize("freedom", [5.0, 20.0, np.inf])
@pytest.mark.parametrize("size", [3, 5])
def test_equal_errors_are_judged_by_the_studentised_range(size: int, freedom: float) -> None:
    # One effect above the others, which are equal. 20,000 draws: the quantile is good to about 2 %.
    critical = stats.studentized_range.ppf(0.95, size, freedom)  # of the range in errors of one effect
    for law in (Student(freedom), StudentByRow(np.append(freedom, np.full(size - 1, 90.0)))):
        above, below = ([0.0] * (size - 1) + [share * critical] for share in (1.03, 0.97))
        assert ranks(above, np.eye(size), law)[-1] == [1, 1, 1]
        assert ranks(below, np.eye(size), law)[-1] == [1, 1, size]


def test_what_is_sure_is_left_out_of_the_next_step() -> None:
    """Twelve one-sided tests first; the four that set two far pairs apart are then left out, their reverses are not."""
    draws = RNG(9).normal(size=(200_000, 4))
    later = [(0, 1), (1, 0), (2, 3), (3, 2), (0, 2), (0, 3), (1, 2), (1, 3)]
    largest = np.max([draws[:, one] - draws[:, other] for one, other in later], axis=0)
    last, first = np.quantile(largest, 0.95), stats.studentized_range.ppf(0.95, 4, np.inf)
    within = (last + first) / 2
    assert first > 1.03 * last  # further apart than the 2 % that 20,000 draws leave open
    assert ranks([0.0, within, 100.0, 100.0], np.eye(4)) == [[4, 4, 4], [3, 3, 3], [1, 1, 2], [1, 1, 2]]
    assert ranks([0.0, within, 1.0, 1.0], np.eye(4))[0][1:] == [1, 4]


def test_published_statements_on_pisa() -> None:
    """What the authors' R package csranks 1.2.2 says of these data in its vignette "Inference for ranks"."""
    cells = PISA.split()
    names, score, error = cells[::3], np.array(cells[1::3], dtype=float), np.array(cells[2::3], dtype=float)
    given = replace(effects(score, np.diag(error**2)), labels=pd.DataFrame({"group": names}))
    found = rank_intervals(given).set_index("group")
    assert found.sort_values("rank").index[:6].tolist() == ["JPN", "KOR", "EST", "NLD", "POL", "CHE"]
    last = found.loc[["CHL", "MEX", "COL"]]
    assert last["rank_low"].min() > found.drop(["CHL", "MEX", "COL"])["rank_high"].max()  # overlap with no other
    assert found.loc["DEU", "rank_low"] <= 7 <= found.loc["KOR", "rank_high"]  # both contain rank 7
    narrower = rank_intervals(given, 0.75).set_index("group")
    assert narrower.loc["KOR", "rank_high"] < narrower.loc["DEU", "rank_low"]  # at 75 % they do not overlap


@pytest.mark.parametrize("truth", [[0.0, 0, 0, 0, 0], [0, 1, 2, 3, 4], [0, 0, 3, 3, 9]])
def test_all_ranks_are_held_together(truth: list[float]) -> None:
    draws, rng, held = 250, RNG(2), 0
    root = rng.normal(size=(5, 5)) / 2 + np.eye(5)
    ahead = np.array(truth) > np.array(truth)[:, None]
    first, last = 1 + ahead.sum(axis=1), 5 - ahead.sum(axis=0)  # equal effects may take any of their ranks
    for draw in range(draws):
        value = np.array(truth) + root @ rng.normal(size=5)
        found = rank_intervals(effects(value, root @ root.T), seed=draw)
        held += bool(((found["rank_low"] <= first) & (last <= found["rank_high"])).all())
    # Three binomial standard errors of 250 draws are 4.1 points.
    assert held / draws >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / draws)


def test_intervals_follow_the_effects_and_their_order() -> None:
    rng = RNG(4)
    value, root = 3 * rng.normal(size=6), rng.normal(size=(6, 6))
    covariance, order = root @ root.T / 6, rng.permutation(6)
    first = np.array(ranks(value, covariance))
    assert np.array_equal(np.array(ranks(value[order], covariance[np.ix_(order, order)])), first[order])
    assert np.array_equal(np.array(ranks(100 * value + 5, 1e4 * covariance)), first)
    mirrored = np.array(ranks(-value, covariance))
    assert np.array_equal(mirrored[:, 1:], 7 - first[:, :0:-1])


def test_refusals() -> None:
    for value, covariance in (([1.0], np.eye(1)), ([1.0, 2.0], np.ones((2, 2))), ([1.0, 2.0], np.diag([1.0, np.nan]))):
        with pytest.raises(DesignError, match="2 or more effects whose differences have errors"):
            rank_intervals(effects(value, covariance))
    for wrong in ({"seed": -1}, {"level": 1.0}):
        with pytest.raises(ParameterError):
            rank_intervals(effects([1.0, 2.0], np.eye(2)), **wrong)
