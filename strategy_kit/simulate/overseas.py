"""What is true of joining overseas in a simulated market: the gain, where it is sold, and growth that joiners had anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from strategy_kit.simulate.forces import JOIN_GAIN, OWN_GROWTH
from strategy_kit.simulate.roster import NEVER

if TYPE_CHECKING:
    from strategy_kit.simulate.market import Market


def true_overseas(market: Market) -> dict[str, Any]:
    """Return the waves, and by weeks since joining the gain at home and abroad and the growth of joiners by themselves.

    Gains are in percent of what a joiner would sell in that week without joining. `own_growth` is in log points since the
    week before joining, against merchants of the same category that never join: it is there without the programme too.
    """
    weeks, strength = market.clock.weeks, market.world.overseas
    joins = market.column("joins")
    starts, counts = np.unique(joins[joins != NEVER], return_counts=True)
    if not starts.size:
        return {"waves": [], "ages": []}
    abroad = 100 * JOIN_GAIN * strength
    by_age = [
        {
            "age": int(age),
            "gain": round(abroad * (age >= 0), 8) + 0.0,
            "domestic_gain": 0.0,
            "overseas_gain": round(abroad * (age >= 0), 8) + 0.0,
            "own_growth": round(strength * OWN_GROWTH * (int(age) + 1) / weeks, 8) + 0.0,
        }
        for age in range(-int(starts.max()), weeks - int(starts.min()))
    ]
    waves = [
        {"week": str(market.clock.monday(int(start))), "merchants": int(count)}
        for start, count in zip(starts, counts, strict=True)
    ]
    return {"waves": waves, "ages": by_age}
