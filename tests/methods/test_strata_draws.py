"""One draw of a large category looks at its supported merchants only, and equals sums over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from strategy_kit.did.strata import _drawn

RNG = np.random.default_rng


@pytest.mark.parametrize("starts", [1, 3])
def test_a_draw_sums_each_merchant_at_the_start_it_was_dealt(starts: int) -> None:
    rng = RNG(8)
    start = np.repeat([*range(starts), -1], [*[4, 3, 2][:starts], 20])
    value, effect = rng.normal(size=(2, len(start), starts))
    counts = np.bincount(start[start >= 0])

    def terms(v: Any, e: Any) -> Any:
        return np.stack([v, e, v * v, v * e, e * e], axis=-1)

    own, pooled = terms(value, effect), terms(*(each @ counts / counts.sum() for each in (value, effect)))
    found, again = _drawn(start, own, pooled, 6, RNG(5)), RNG(5)
    for sums in found:
        size = int((start >= 0).sum())
        chosen = again.choice(len(start), size, replace=False, shuffle=starts > 1).tolist()
        dealt = dict(zip(chosen, start[start >= 0].tolist(), strict=True))
        rest = [i for i in range(len(start)) if i not in dealt]
        common = [
            each[rest].mean(axis=0) - (each[rest].mean(axis=0) @ counts) / counts.sum() for each in (value, effect)
        ]
        expected = sum(terms(value[i, s] - common[0][s], effect[i, s] - common[1][s]) for i, s in dealt.items())
        np.testing.assert_allclose(sums[0], expected)
        np.testing.assert_allclose(sums[1], sum(pooled[i] for i in range(len(start)) if i not in dealt), atol=1e-12)
