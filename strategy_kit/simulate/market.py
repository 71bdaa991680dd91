"""A simulated market: what is expected of every merchant in every week, and so what is true."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from strategy_kit.simulate.advertising import demand, draw_spending, true_advertising
from strategy_kit.simulate.forces import OWN_FESTIVAL, forces, log_open, own_effects, rivals_effects, with_parts
from strategy_kit.simulate.hollow import truth as true_hollow
from strategy_kit.simulate.overseas import true_overseas
from strategy_kit.simulate.prices import true_prices
from strategy_kit.simulate.roster import IS_PILOT, NAMES, NEVER, Floats, cohorts, draw_roster
from strategy_kit.simulate.searches import true_searches
from strategy_kit.simulate.seasons import POLICIES
from strategy_kit.simulate.targets import true_targets
from strategy_kit.simulate.traffic import true_traffic
from strategy_kit.simulate.world import DEFAULT, World, fresh_key

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from strategy_kit.simulate.seasons import Clock

SHOCK_SD, SHOCK_RHO, RESPONSE_SD = 0.058, 0.65, 0.06
CANCELLED, SECOND_LINE, MORE_PIECES = 0.04, 0.15, 0.14  # shares: of orders; of orders with two lines; of lines with two
PIECES = (1 - CANCELLED) * (1 + SECOND_LINE) * (1 + MORE_PIECES)  # sold for each order, cancelled ones included
NOTES = {
    "effects": "change of a supported merchant's expected GMV by age in weeks from 0; it depends on neither "
    "lever, dose, size nor score, and nothing happens before the start",
    "categories": "change of the category's expected GMV, mean log ratio over complete post weeks, against"
    " the same market without support; shock is what the drawn shocks alone put between before and after",
}
_MORE_NOTES = {
    "effects": "change of a supported merchant's expected GMV by age in weeks, against the same market without support: "
    "readiness before the start and closures avoided are in it, what rivals lose is not",
    "ladder": "expected GMV over complete post weeks in yuan against the same market without support: gross is what gainers "
    "gain, rivals_loss what the others lose, net the difference",
    "biases": "naive, truth and sound are read from expected sales; bias and sound_bias are what the knob adds to naive less "
    "truth and to sound less truth, against the same draw with that knob at 0",
}


@dataclass(frozen=True, slots=True)
class Market:
    """A drawn market of C categories and N merchants over T weeks, the open one included.

    `roster` has one row a merchant: category (code), level (orders in an ordinary week), price, opens, closes
    (weeks), score, eligible, cohort (week in which support starts, or NEVER), and its part in the knobs: lucky, enters,
    joins, leaves (weeks or NEVER). Log shocks are (C, T), the busyness of days (C, T, 7); (N, T) in log points are
    `effects` of the support, on rivals too, `forces` with or without support, and `log_open`, the chance of not having left.
    `spending` is the log spend on advertising elsewhere over the usual by month, missing for who does not advertise.
    """

    clock: Clock
    roster: pd.DataFrame
    shocks: Floats
    days: Floats
    effects: Floats
    forces: Floats
    log_open: Floats
    spending: Floats
    world: World

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of the roster, (N,)."""
        return self.roster[name].to_numpy()

    def orders(self, *, supported: bool = True) -> Floats:
        """Give the expected orders of each merchant-week (N, T), with the support given or without any."""
        pace = (self.days.sum(axis=2) * np.exp(self.shocks))[self.column("category")]
        moved = np.exp(self.effects * supported + self.forces)
        return np.asarray(self.column("level")[:, None] * self.active() * pace * moved)

    def active(self) -> NDArray[np.bool_]:
        """Say in which weeks a merchant is open (N, T), closures for want of support aside."""
        week = np.arange(self.clock.weeks + 1)
        return np.asarray((week >= self.column("opens")[:, None]) & (week < self.column("closes")[:, None]))

    def orders_while_open(self) -> Floats:
        """Give the expected orders (N, T) given who has left by then."""
        leaves = self.column("leaves")[:, None]
        still = (leaves == NEVER) | (np.arange(self.clock.weeks + 1) < leaves)
        return np.asarray(self.orders() * np.exp(-self.log_open) * still)

    def sales(self, *, supported: bool = True) -> Floats:
        """Give the expected GMV of each merchant-week (N, T) in yuan."""
        return np.asarray(PIECES * self.column("price")[:, None] * self.orders(supported=supported))

    def totals(self, *, supported: bool = True) -> Floats:
        """Give the expected GMV of each category-week (C, T) in yuan."""
        return self.by_category(self.sales(supported=supported))

    def by_category(self, values: Floats) -> Floats:
        """Add up values of merchants (N, ...) by category (C, ...); the roster is in order of categories."""
        return np.asarray(np.add.reduceat(values, np.searchsorted(self.column("category"), np.arange(len(NAMES)))))

    def category_effects(self) -> Floats:
        """Give log(expected GMV with support / without) by category and complete post week."""
        value = (np.eye(len(NAMES))[self.column("category")] * self.column("price")[:, None]).T
        ratio = (value @ self.orders()) / (value @ self.orders(supported=False))
        return np.asarray(np.log(ratio[:, self.clock.pilot_week : -1]))


def draw_market(clock: Clock, merchants: int, rng: np.random.Generator, world: World = DEFAULT) -> Market:
    """Draw a market of `merchants` sellers over the weeks of `clock`.

    Generators in the same state give the same merchants, support, shocks and seasons in every world, so that two worlds
    differ by their knobs alone.
    """
    drawn = draw_roster(clock, merchants, rng)
    response = np.exp(rng.normal(0.0, RESPONSE_SD, len(NAMES)) * world.festival_response)
    shocks = rng.normal(0.0, SHOCK_SD, (len(NAMES), clock.weeks + 1))
    rho = SHOCK_RHO * world.autocorrelation
    for week in range(1, clock.weeks + 1):
        shocks[:, week] = rho * shocks[:, week - 1] + np.sqrt(1 - rho**2) * shocks[:, week]
    key = fresh_key(rng)
    roster, spending = with_parts(drawn, clock, key, world), draw_spending(clock, merchants, key)
    pushed = demand(spending, clock, world.advertising) if world.advertising else 0.0
    days = clock.busyness(response)
    for week in clock.moved_festival() if world.moving_festivals else ():
        if week >= 0:
            days[IS_PILOT, week] *= np.exp(world.moving_festivals * OWN_FESTIVAL)
    market = Market(
        clock,
        roster,
        shocks * shock_scale(world)[:, None],
        days,
        effects=own_effects(roster, clock, world),
        forces=forces(roster, clock, world) + pushed,
        log_open=log_open(roster, clock, world, supported=True),
        spending=spending,
        world=world,
    )
    if not world.cannibalisation:
        return market
    rivals = rivals_effects(
        market.sales(supported=False), market.effects, market.column("category"), world.cannibalisation
    )
    return replace(market, effects=market.effects + rivals)


def shock_scale(world: World) -> Floats:
    """Return the standard deviation of each category's shocks, 1 being the demo's, (C,)."""
    return np.asarray(world.shocks * np.where(IS_PILOT, 1 + world.unequal_variance, 1.0))


def truth(market: Market) -> dict[str, Any]:
    """Collect the true effects and parameters as flat rows; `percent` is 100 (exp(`log_effect`) - 1)."""
    clock, start, weekly = market.clock, market.clock.pilot_week, market.category_effects()
    shock = market.shocks[:, start:-1].mean(axis=1) - market.shocks[:, :start].mean(axis=1)
    earliest = 0 if market.world.anticipation == 0 else -2
    result = {
        "notes": NOTES,
        "effects": [
            {"category": NAMES[code], "cohort": str(clock.monday(week)), "age": age, "merchants": len(group)}
            | _sizes(log_effect)
            for (code, week), group in cohorts(market.roster)
            for age, log_effect in enumerate(market.effects[group.index[0], week + earliest : -1], earliest)
        ],
        "categories": [
            {"category": name, "shock": _sizes(drift), **_sizes(mean)}
            for name, drift, mean in zip(NAMES, shock, weekly.mean(axis=1), strict=True)
        ],
        "category_weeks": [
            {"category": name, "week": str(clock.monday(start + week))} | _sizes(log_effect)
            for name, row in zip(NAMES, weekly, strict=True)
            for week, log_effect in enumerate(row)
        ],
        "pilot_average": _sizes(weekly[IS_PILOT].mean()),
        "shocks": {"kind": "AR(1) by week in log points", "sd": SHOCK_SD, "rho": SHOCK_RHO},
        "policies": [{"policy": name} | _sizes(lift) for name, *_, lift in POLICIES],
    }
    return result if market.world == DEFAULT else result | _truth_of_world(market)


def _truth_of_world(market: Market) -> dict[str, Any]:
    world, post = market.world, slice(market.clock.pilot_week, -1)
    moved = (market.sales() - market.sales(supported=False))[:, post]
    sums = {"gross": np.maximum(moved, 0), "rivals_loss": np.maximum(-moved, 0), "net": moved}
    by_category = {name: market.by_category(values.sum(axis=1)) for name, values in sums.items()}
    scale = {name: round(SHOCK_SD * float(by), 8) for name, by in zip(NAMES, shock_scale(world), strict=True)}
    return {
        "notes": NOTES | _MORE_NOTES,
        "world": asdict(world),
        "ladder": [
            {"category": name} | {step: round(float(values[code]), 2) + 0.0 for step, values in by_category.items()}
            for code, name in enumerate(NAMES)
            if IS_PILOT[code]
        ],
        "shocks": {"kind": "AR(1) by week in log points", "sd": scale, "rho": SHOCK_RHO * world.autocorrelation},
        **({"targets": true_targets(world.target_bunching, market.clock.weeks)} if world.target_bunching else {}),
        **({"overseas": true_overseas(market)} if world.overseas else {}),
        **({"prices": true_prices(world.price_drift)} if world.price_drift else {}),
        **({"hollow_growth": true_hollow(market)} if world.hollow_growth else {}),
        **({"searches": true_searches(world.search_cost)} if world.search_cost else {}),
        **({"advertising": true_advertising(world.advertising, market.clock)} if world.advertising else {}),
        **({"funnel": true_traffic(world.lever_funnel)} if world.lever_funnel else {}),
    }


def _sizes(log_effect: float) -> dict[str, float]:
    size = float(log_effect)
    return {"log_effect": round(size, 8) + 0.0, "percent": round(100 * float(np.expm1(size)), 8) + 0.0}
