"""Prices of a simulated market: what each product costs here and elsewhere, and how supported merchants drift to low prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.simulate.roster import IS_PILOT, NEVER, REFUNDED
from strategy_kit.simulate.world import stream

if TYPE_CHECKING:
    from strategy_kit.simulate.market import Market

SKUS, DRIFT = 5, 0.06  # products a merchant offers at a time; fall of supported log relative prices at strength 1
PREMIUM, PENALTY = 0.12, -0.8  # log relative price for a star of rating, and for a return rate of 1
TYPICAL_RATING, MOST_STARS, LEAST_STARS = 4.6, 5.0, 3.0
REPLACED = 1 / 40  # chance in a week that a product gives way to a new one
TREND = -0.0004  # log change of market prices in a week
_OWN, _OF_SKU, _OF_WEEK = 0.10, 0.05, 0.02  # standard deviations of log relative prices
_RANGE, _RATINGS, _RETURNS = 0.30, 0.25, 0.30  # of log base prices, of ratings and of log return rates


def draw_prices(market: Market, key: int) -> pd.DataFrame:
    """Draw one row a product and complete week: sku (code), merchant, week, price and market_price in fen, rating, return_rate.

    A merchant has five places on offer; a product that leaves one is followed there by a new product the week after. What is
    drawn is the same at every strength: the strength moves the prices of supported merchants alone.
    """
    rng, weeks, roster = stream(key, "price_drift"), market.clock.weeks, market.roster
    places = len(roster) * SKUS
    starts = rng.random((places, weeks)) < REPLACED
    starts[:, 0] = True
    sku = np.cumsum(starts).reshape(places, weeks) - 1
    count = int(sku[-1, -1]) + 1
    merchant = np.arange(places) // SKUS
    first = np.flatnonzero(starts.ravel()) // weeks
    category = market.column("category")[merchant[first]]
    base = market.column("price")[merchant[first]] * np.exp(rng.normal(0, _RANGE, count))
    rating = np.clip(np.round(TYPICAL_RATING + rng.normal(0, _RATINGS, count), 2), LEAST_STARS, MOST_STARS)
    returns = np.round(np.minimum(REFUNDED[category] * np.exp(rng.normal(0, _RETURNS, count)), 1.0), 4)
    own = rng.normal(0, _OWN, len(roster))[merchant[first]] + rng.normal(0, _OF_SKU, count)
    own += PREMIUM * (rating - TYPICAL_RATING) + PENALTY * (returns - REFUNDED[category])
    noise = rng.normal(0, _OF_WEEK, (places, weeks))
    open_now = market.active()[:, :weeks]
    place, week = np.nonzero(open_now[merchant])
    code, who = sku[place, week], merchant[place]
    cohort = market.column("cohort")[who]
    drift = DRIFT * market.world.price_drift * ((cohort != NEVER) & (week >= cohort))
    elsewhere = base[code] * np.exp(TREND * week)
    here = elsewhere * np.exp(own[code] + noise[place, week] - drift)
    columns = {"sku": code, "merchant": who, "week": week, "rating": rating[code], "return_rate": returns[code]}
    fen = {"price": np.round(100 * here).astype(np.int64), "market_price": np.round(100 * elsewhere).astype(np.int64)}
    return pd.DataFrame({**columns, **fen})


def true_prices(strength: float) -> dict[str, float]:
    """Return what is true of the prices: drift of the supported, hedonic coefficients, weekly trend of market prices."""
    told = {"drift": -DRIFT * strength, "rating": PREMIUM, "return_rate": PENALTY, "market_trend": TREND, "skus": SKUS}
    return {name: round(float(value), 8) + 0.0 for name, value in told.items()}


def drifts(market: Market) -> tuple[float, float]:
    """Return the drift of the mean log relative price in the pilot categories after the start, and that of the supported."""
    weeks = np.arange(market.clock.weeks)
    cohort, active = market.column("cohort")[:, None], market.active()[:, :-1]
    there = active & IS_PILOT[market.column("category")][:, None] & (weeks >= market.clock.pilot_week)
    drift = -DRIFT * market.world.price_drift
    return float(drift * (there & (cohort != NEVER) & (weeks >= cohort)).sum() / there.sum()), drift
