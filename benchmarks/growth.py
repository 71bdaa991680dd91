"""How the kit's own cost grows: order lines through KPIs, cohorts and a panel; merchants, periods and cohorts through estimators.

One dimension grows while the others stand still. Every step is a process of its own; steps are asked in turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LIMITS = measure.Limits(seconds=900, slow=60, gigabytes=16)
LINES_A_MERCHANT = 300  # of a simulated market of 78 weeks
STILL = {"merchants": 20_000, "periods": 52, "cohorts": 4}
STEPS = {
    "rows": (1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 100_000_000),
    "merchants": (25_000, 50_000, 100_000, 200_000, 400_000, 800_000),
    "periods": (26, 52, 104, 208, 416),
    "cohorts": (2, 4, 8, 16, 32),
}
SUMS = ["gmv", "orders", "buyers", "average_order_value"]
ANNUAL = ["annual_active_buyers", "spend_per_annual_active_buyer"]
ASKED: dict[str, Callable[[Any, Any], Any]] = {
    "checks": lambda sk, shop: shop.check(),  # noqa: ARG005
    "KPIs by category and month": lambda sk, shop: sk.kpi.table(shop, by=["category", "month"], metrics=SUMS),
    "KPIs by merchant and week": lambda sk, shop: sk.kpi.table(shop, by=["merchant_id", "week"], metrics=SUMS),
    "annual buyers by month": lambda sk, shop: sk.kpi.table(shop, by=["month"], metrics=ANNUAL),
    "annual buyers by category and month": lambda sk, shop: sk.kpi.table(
        shop, by=["category", "month"], metrics=ANNUAL
    ),
    "merchant cohorts": lambda sk, shop: sk.cohort.triangle(shop, unit="merchant"),
    "buyer cohorts": lambda sk, shop: sk.cohort.triangle(shop, unit="buyer"),
    "buyer cohorts, GMV": lambda sk, shop: sk.cohort.triangle(shop, unit="buyer", value="gmv"),
    "weekly panel and moments": lambda sk, shop: shop.panel().moments,  # noqa: ARG005
    "pilot contrast": lambda sk, shop: sk.did.pilot_contrast(shop.category_panel().logs()).tidy(),
    "group-time effects": lambda sk, shop: effects(shop.panel(categories=shop.pilot.categories), "bands"),  # noqa: ARG005
}
WORK = dict.fromkeys(STEPS, ("effects", "bands", "imputation", "two_way_event_study")) | {"rows": tuple(ASKED)}


def effects(panel: Any, work: str = "effects") -> Any:
    """Estimate from the panel's moments, which are formed here."""
    import strategy_kit as sk

    if work in {"imputation", "two_way_event_study"}:
        return getattr(sk.did, work)(panel)
    study = sk.did.event_study(sk.did.group_time(panel, control="not_yet"))
    return study.tidy() if work == "bands" else study


def simulated(folder: Path, lines: int) -> tuple[int, Path]:
    """Return how many order lines there are in the market of about so many, which is made where it is not there yet."""
    from strategy_kit.simulate import simulate

    here = folder / f"lines{lines // 10**6}"
    if not here.exists():
        simulate(here, merchants=lines // LINES_A_MERCHANT)
    return json.loads((here / "truth.json").read_text(encoding="utf-8"))["counts"]["order_lines"], here


def matrix(sizes: dict[str, int]) -> Any:
    """Return a panel with half its merchants never treated and starts spread over its periods."""
    import strategy_kit as sk

    draw = np.random.default_rng(20_260)
    n, periods, cohorts = sizes["merchants"], sizes["periods"], sizes["cohorts"]
    starts = np.linspace(periods // 4, periods - 2, cohorts).round()
    treated = np.where(draw.random(n) < 0.5, np.inf, draw.choice(starts, n))
    return sk.Panel.from_matrix(draw.standard_normal((n, periods)), treated_from=treated)


def ask(dimension: str, size: str, work: str) -> None:
    """Do one piece of work at one size, or on the order lines of a folder, and print its cost."""
    if dimension == "rows":
        import strategy_kit as sk
        import strategy_kit.did

        task = partial(ASKED[work], sk, sk.open_dataset(size))
        measure.told(measure.timed(task, LIMITS)[0], None)
        return
    panel = matrix(STILL | {dimension: int(size)})
    small = matrix({"merchants": 300, "periods": 12, "cohorts": 2})
    measure.told(measure.timed(partial(effects, panel, work), LIMITS, warm=partial(effects, small, work))[0], None)


def grown(dimension: str, sizes: Mapping[int, object], work: str) -> list[measure.Answer]:
    """Do one piece of work at every size, sizes in turns."""
    asks = {
        size: partial(measure.run, [sys.executable, __file__, "--ask", dimension, str(place), work], LIMITS)
        for size, place in sizes.items()
    }
    rows = [measure.row(dimension, size, work, found, "") for size, found in measure.in_turns(asks, LIMITS).items()]
    for row in rows:
        measure.show(row)
    return rows


def main() -> None:
    """Grow each dimension in turn and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dimensions", default=",".join(STEPS))
    parser.add_argument("--rows", type=int, nargs="+", default=STEPS["rows"])
    parser.add_argument("--folder", type=Path, help="keeps the simulated order lines")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for dimension in given.dimensions.split(","):
            sizes: dict[int, object] = {size: size for size in STEPS[dimension]}
            if dimension == "rows":
                sizes = dict(simulated(given.folder or Path(scratch), lines) for lines in given.rows)
            measure.record(
                "growth", [row for work in WORK[dimension] for row in grown(dimension, sizes, work)], **STILL
            )


if __name__ == "__main__":
    words = measure.asked()
    main() if words is None else ask(*words)
