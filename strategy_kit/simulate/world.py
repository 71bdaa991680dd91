"""What a simulated market may do to an analyst: one number a knob, 0 for nothing, 1 for full strength."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.errors import ParameterError, nearest, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The knobs of a simulated market, each from 0 (absent) to 1.

    The default is the market of the demo: the first four knobs at 1, the others at 0. With every knob at 0 all
    categories share one season and every comparison of expected sales gives the true effect.

    Attributes
    ----------
    churn
        Shops that open and close in the window, alike on every side; at 1, 12% of the small shops open and 9% close.
    shocks
        Standard deviation of a category's weekly log shock; 0.058 at 1.
    autocorrelation
        Share of a category's shock that is left a week later; 0.65 at 1.
    festival_response
        How much categories differ in their response to festivals; at 1, a standard deviation of 6%.
    unequal_variance
        Excess standard deviation of the pilots' shocks; at 1, twice the others'.
    moving_festivals
        A festival of the pilot categories alone, for a week soon after the start and two weeks earlier a year before; it
        adds 0.45 log points at 1.
    selection
        Support goes to merchants after a good month: 0.35 log points more in the four weeks before the start at 1, and
        nothing after. One in four of the others has the same good month.
    anticipation
        Support is announced two weeks before it starts; at 1, half of the long-run effect is there from then on.
    exits
        Merchants without support close from the pilot's start on, 20% of them by the last week at 1; support keeps a
        shop open, which is part of its effect.
    cannibalisation
        Share of each supported merchant's gain that is taken from the other merchants of its category, at most 0.9 of
        their sales.
    multi_homing
        Two merchants in five enter another platform, in three waves; at 1 they sell there 40% of what they sell here,
        and 0.05 log points more here.
    refund_lag
        Refunds arrive evenly over the 28 days after payment at 1, at once at 0; those still to come are not in the data.
    concurrent_policies
        A policy in the pilot categories alone starts with the pilot; it adds 0.04 log points at 1 to all their merchants.
    target_bunching
        Eligible merchants have targets by four weeks; at 1, four in five of those that would miss the stretch by at most
        10% make it: up to half with orders of the next week, the rest with orders that are refunded later. From the middle
        of the window on, half of the merchants, drawn by lot, have a looser floor, which moves nothing.
    kpi_regimes
        Share of the cancelled orders that was recorded as paid until the pilot's start, by the definition of then.
    overseas
        One continuing merchant in four joins an overseas programme, in three waves; at 1 it gains 10% by joining, and half
        a log point over the window by itself, at the expense of the others of its category.
    price_drift
        Each merchant has five products on offer, with prices here and elsewhere, ratings and return rates, in a table; at 1,
        prices of supported merchants fall by 0.06 log points against the market's from the start of support on.
    hollow_growth
        Growth that does not last: at 1, buyers whose first order was subsidised place 40% fewer later orders, a quarter of the
        orders of the two weeks after a festival are paid in its last week, and lines name their product, a fifth of them one
        launched less than 90 days before.
    search_cost
        A table of searches by category and week; at 1, a purchase in the pilot categories takes 0.10 log points less time, and
        as many fewer queries, from the start on.
    advertising
        Three merchants in ten sell 40% of what they sell here on another platform throughout, and advertise there; at 1, a log
        point of spend over their usual raises demand here by 0.10, 0.06 and 0.03 log points in the month and the two after.
    lever_funnel
        Tables of traffic and experience by merchant and week: at 1, display's effect goes through impressions, marketing's
        through the click rate and service's through conversion, below that the rest of it through impressions; service also
        lowers complaints per order by 0.30 log points and response minutes by 0.40.

    Raises
    ------
    ParameterError
        If a value is not a number from 0 to 1.

    Examples
    --------
    >>> World(exits=0.5).chosen()
    {'exits': 0.5}
    """

    churn: float = 1.0
    shocks: float = 1.0
    autocorrelation: float = 1.0
    festival_response: float = 1.0
    unequal_variance: float = 0.0
    moving_festivals: float = 0.0
    selection: float = 0.0
    anticipation: float = 0.0
    exits: float = 0.0
    cannibalisation: float = 0.0
    multi_homing: float = 0.0
    refund_lag: float = 0.0
    concurrent_policies: float = 0.0
    target_bunching: float = 0.0
    kpi_regimes: float = 0.0
    overseas: float = 0.0
    price_drift: float = 0.0
    hollow_growth: float = 0.0
    search_cost: float = 0.0
    advertising: float = 0.0
    lever_funnel: float = 0.0

    def __post_init__(self) -> None:
        laws = []
        for name, value in asdict(self).items():
            if isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0 <= value <= 1:
                object.__setattr__(self, name, float(value))
            else:
                laws.append(f"{name} is a number from 0 (absent) to 1, not {value!r}")
        refuse(ParameterError, "a world", laws)

    @classmethod
    def of(cls, knobs: Mapping[str, float]) -> World:
        """Make a world of knobs by name; a name that is no knob is a ParameterError with the nearest.

        Examples
        --------
        >>> World.of({"exit": 1})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        strategy_kit.errors.ParameterError: a world: 'exit' is not a knob (did you mean 'exits'?); there are churn, ...
        """
        unknown = [name for name in knobs if name not in KNOBS]
        known = ", ".join(KNOBS)
        laws = [f"{name!r} is not a knob{nearest(name, KNOBS)}; there are {known}" for name in unknown]
        refuse(ParameterError, "a world", laws)
        return cls(**knobs)

    @classmethod
    def quiet(cls) -> World:
        """Return the world with every knob at 0.

        Examples
        --------
        >>> World.quiet().shocks
        0.0
        """
        return cls(**dict.fromkeys(KNOBS, 0.0))

    def without(self, knob: str) -> World:
        """Return this world with one knob at 0.

        Examples
        --------
        >>> World(exits=1).without("exits") == World()
        True
        """
        return replace(self, **{knob: 0.0})

    def chosen(self) -> dict[str, float]:
        """Return the knobs that are not at their default.

        Examples
        --------
        >>> World().chosen()
        {}
        """
        return {name: value for name, value in asdict(self).items() if value != getattr(DEFAULT, name)}


KNOBS = tuple(field.name for field in fields(World))
DEFAULT = World()


def stream(key: int, knob: str) -> np.random.Generator:
    """Give a knob random numbers of its own, so that no knob moves another's draws.

    Examples
    --------
    >>> bool(stream(1, "exits").random() == stream(1, "exits").random())
    True
    """
    return np.random.default_rng([key, zlib.crc32(knob.encode())])


def fresh_key(rng: np.random.Generator) -> int:
    """Draw the number that opens the knobs' streams, after all draws that no knob has part in.

    Examples
    --------
    >>> fresh_key(np.random.default_rng(1)) == fresh_key(np.random.default_rng(1))
    True
    """
    return int(rng.integers(2**63))
