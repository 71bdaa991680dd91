"""Each pilot's effect, their average, and what they say on a category that was not tried."""

from __future__ import annotations

from math import expm1
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit import formats
from strategy_kit.charts.nested import nested_forest
from strategy_kit.report import blocks, claims
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.claims import Spread, in_percent
from strategy_kit.report.figures import sides_counted
from strategy_kit.report.page import measured, merchants_of
from strategy_kit.report.sections import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates
    from strategy_kit.report.reading import Reading
    from strategy_kit.report.words import Words

INNER = {"50": 0.5, "80": 0.8}
BOUNDS = ("conf_low", "conf_high", "low_80", "high_80", "low_50", "high_50")
_MOST = 700.0  # log points of which the exponential is still a number


class Row(NamedTuple):
    """One line of a forest: an estimate that is told at `level`, of `together` that hold at once."""

    name: str
    kind: str
    spread: Spread
    together: int = 1
    also: float = np.nan
    block: str = ""

    def interval(self, level: float) -> tuple[float, float]:
        """Return the ends that hold for all rows told together, by Bonferroni."""
        return self.spread.interval(1 - (1 - level) / self.together)


def categories(reading: Reading) -> Section:
    """Return the section of the single pilots and of a further category.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> section = categories(sk.report.read_week(sk.open_dataset("data/sample")))
    >>> str(section).splitlines()[0]
    'Categories: One more category could go either way: −61.7% to +238.7%'
    """
    say = reading.words
    head = say("section_categories"), say("question_categories")
    if reading.claim.verb == "cannot_tell":
        return Section("categories", (blocks.absent(*head, say("categories_absent")),))
    if isinstance(reading.pilots_apart, str):
        return Section("categories", (blocks.absent(*head, say("categories_impossible", reason=reading.pilots_apart)),))
    new = reading.further
    singles, few = single_pilots(reading)
    rows = [*singles, *_beside(reading)]
    notes = [say("categories_pilots", listed=_verbs(reading, rows), level=f"{reading.level:.0%}")]
    notes += [] if new is None else [_further(say, new)]
    notes += [say("categories_few", n=formats.Count(few), fewest=FEWEST)] if few else []
    note = say.prose(*notes)
    return Section("categories", (blocks.section_head(*head, _title(reading, rows), note), _forest(reading, rows)))


def nested_rows(rows: list[Row], level: float, write: Callable[[float, float, float], str]) -> pd.DataFrame:
    """Return the rows as `charts.nested_forest` draws them, in the units of their spreads."""
    frame = []
    for row in rows:
        ends = {"conf": row.interval(level), **{name: row.interval(inner) for name, inner in INNER.items()}}
        bands = {"conf_low": ends["conf"][0], "conf_high": ends["conf"][1]}
        bands |= {f"{side}_{name}": ends[name][at] for name in INNER for at, side in enumerate(("low", "high"))}
        told = {"block": row.block, "name": row.name, "kind": row.kind, "also": row.also}
        frame.append(
            told | {"estimate": row.spread.estimate} | bands | {"value": write(row.spread.estimate, *ends["conf"])}
        )
    return pd.DataFrame(frame)


def percent_rows(rows: list[Row], level: float, words: Words) -> pd.DataFrame:
    """Return rows in log points as shares, their numbers told in percent, the ends without its sign."""

    def write(*log_points: float) -> str:
        estimate, low, high = map(in_percent, log_points)
        return words("nested_value", estimate=estimate, low=low.rstrip("%"), high=high.rstrip("%"))

    frame = nested_rows(rows, level, write)
    shares = {name: np.expm1(frame[name].astype(float).clip(upper=_MOST)) for name in ("estimate", "also", *BOUNDS)}
    return frame.assign(**shares)


def single_pilots(reading: Reading) -> tuple[list[Row], int]:
    """Return the pilots of enough merchants, their intervals holding for all pilots at once, and how many are left out.

    There are none where the pilots cannot be told apart.
    """
    effects, say, rows, few = reading.pilots_apart, reading.words, list[Row](), 0
    if isinstance(effects, str):
        return rows, few
    pooled, sold, law = effects.details.get("shrunken"), merchants_of(reading), effects.law
    for at, name in enumerate(effects.labels["group"]):
        if sold.get(name, 0) < FEWEST:
            few += 1
            continue
        freedom = float(np.asarray(law.degrees_of_freedom)[at])  # type: ignore[union-attr]
        spread = Spread(float(effects.estimate[at]), float(effects.std_error[at]), freedom, reading.widening)
        also = np.nan if pooled is None else float(pooled["estimate"].iloc[at])
        rows.append(Row(say.label(str(name)), "one", spread, len(effects.estimate), also))
    return rows, few


def _beside(reading: Reading) -> list[Row]:
    """Return the pilots' average as the headline has it, and a further category."""
    say, new = reading.words, reading.further
    rows = [Row(say("categories_average"), "average", reading.spread)]
    if new is not None:
        rows.append(Row(say("categories_new"), "prediction", prediction(new, reading.widening)))
    return rows


def prediction(new: Estimates, widening: float) -> Spread:
    """Return the effect in a category that was not tried, as a distribution in log points."""
    law: Any = new.law[1] if isinstance(new.law, tuple) else new.law
    return Spread(float(new.estimate[1]), float(new.std_error[1]), law.degrees_of_freedom, widening)


def _title(reading: Reading, rows: list[Row]) -> str:
    say, last = reading.words, rows[-1]
    if last.kind != "prediction":
        return say("categories_title_none", n=formats.Count(reading.contrast.clusters[0]))
    low, high = last.interval(reading.level)
    way = "rise" if low > 0 else "fall" if high < 0 else "open"
    chance = last.spread.chance_above(0.0)
    told = claims.in_hundred(1 - chance if way == "fall" else chance, say)
    return say(f"categories_title_{way}", low=in_percent(low), high=in_percent(high), chance=told)


def _verbs(reading: Reading, rows: list[Row]) -> str:
    """Say of each pilot what its own interval, which holds for all pilots together, and the checks allow."""
    say, sentences = reading.words, []
    for row in rows:
        if row.kind == "one":
            size = formats.percent(abs(expm1(row.spread.estimate)))
            verb = reading.told(row.spread, size, together=row.together)
            sentences.append(say("categories_one", name=row.name, verb=verb))
    return say.clauses(sentences)


def _further(say: Words, new: Estimates) -> str:
    width = new.details["further"].iloc[1]
    n = formats.Count(int(width["categories"]))
    return say("categories_further", n=n, narrower=formats.percent(1 - float(width["relative_width"]), 0))


def interval_columns(
    frame: pd.DataFrame, level: float, write: Callable[[float], str], words: Words
) -> dict[str, list[str]]:
    """Return the columns of the table behind a forest: each interval in words, empty where there is none."""
    ends = {f"{level:.0%}": ("conf_low", "conf_high"), "80%": ("low_80", "high_80"), "50%": ("low_50", "high_50")}
    return {
        words("column_interval_at", level=name): [
            "" if np.isnan(low) else words.span(write(low), write(high)) for low, high in frame[list(pair)].to_numpy()
        ]
        for name, pair in ends.items()
    }


def signed_percent(share: float) -> str:
    """Write a share as a signed percentage, empty where it is missing."""
    return "" if np.isnan(share) else formats.percent(share, signed=True)


def forest(
    reading: Reading,
    key: str,
    frame: pd.DataFrame,
    table: pd.DataFrame,
    note: str,
    draw: Callable[..., Any] = nested_forest,
    **words: Any,
) -> Any:
    """Draw rows with nested bands under the words of a key, which may ask for `listed` and `interval`."""
    say, listed = reading.words, "; ".join(frame["name"] + " " + frame["value"])
    chart = draw(frame, labels={"note": "", "cut": say("nested_cut")})
    words = {"listed": listed, "interval": claims.interval_name(reading.evidence, say), **words}
    if f"{key}_alt" not in say:
        words.setdefault("description", say("forest_alt", listed=listed))
    return reading.figure(key, chart, table, note, **words)


def nested_note(reading: Reading, n: str) -> str:
    """Write n, and how the bands are read."""
    return f"{n} · {reading.words('nested_note', level=f'{reading.level:.0%}')}"


def _forest(reading: Reading, rows: list[Row]) -> Any:
    say, frame = reading.words, percent_rows(rows, reading.level, reading.words)
    table = pd.DataFrame({say("column_category"): frame["name"]})
    table[say("column_change")] = frame["estimate"].map(signed_percent)
    table = table.assign(**interval_columns(frame, reading.level, signed_percent, say))
    if frame["also"].notna().any():
        table[say("column_pooled")] = frame["also"].map(signed_percent)
    note = f"{sides_counted(reading)} · {say('categories_note', level=f'{reading.level:.0%}')}"
    return forest(reading, "categories", frame, table, note, measure=measured(reading))
