"""Many rows begin where a sixteenth of them ended, and arrive where all would have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from statsmodels.discrete.discrete_model import Logit

from strategy_kit.did import logit as module
from strategy_kit.did.logit import logit

N = 40_000


def rows(seed: int) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    X = np.column_stack([np.ones(N), draw.standard_normal((N, 3))])
    return X, (draw.uniform(size=N) < expit(X @ [-2.0, 0.8, -0.4, 0.1])).astype(float)


def both(X: Any, treated: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Begun on a sixteenth, and from nothing."""
    assert len(X) > module._MANY
    found = logit(X, treated, np.ones(N))
    monkeypatch.setattr(module, "_MANY", N)
    alone = logit(X, treated, np.ones(N))
    assert found is not None
    assert alone is not None
    return found, alone


def test_many_rows_agree_with_statsmodels_and_with_newton_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X, treated = rows(1)
    found, alone = both(X, treated, monkeypatch)
    # both end with a step below 1e-10, whose square is left
    np.testing.assert_allclose(found[0], alone[0], atol=1e-12)
    np.testing.assert_allclose(found[1], alone[1], rtol=1e-9)
    theirs = Logit(treated, X).fit(disp=0, tol=1e-14)
    np.testing.assert_allclose(found[0], theirs.params, atol=1e-9)
    np.testing.assert_allclose(found[1], theirs.cov_params(), rtol=1e-7)


def separated_in_every_sixteenth(seed: int) -> tuple[Any, Any]:
    X, treated = rows(seed)
    treated[::16] = X[::16, 1] > 0
    return X, treated


def misled_by_every_sixteenth(seed: int) -> tuple[Any, Any]:
    X, treated = rows(seed)
    treated[::16] = X[::16, 1] + 0.005 * np.random.default_rng(seed).logistic(size=len(X[::16])) > 0
    return X, 1 - treated if seed % 2 else treated


def none_in_every_sixteenth(seed: int) -> tuple[Any, Any]:
    X, treated = rows(seed)
    treated[::16] = 0
    return X, treated


def collinear_in_every_sixteenth(seed: int) -> tuple[Any, Any]:
    X, treated = rows(seed)
    X[::16, 3] = X[::16, 2]
    return X, treated


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "made",
    [separated_in_every_sixteenth, misled_by_every_sixteenth, none_in_every_sixteenth, collinear_in_every_sixteenth],
)
def test_a_sixteenth_that_is_unlike_the_rest_leads_to_the_same(
    made: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, alone = both(*made(seed), monkeypatch)
    np.testing.assert_allclose(found[0], alone[0], atol=1e-11)
