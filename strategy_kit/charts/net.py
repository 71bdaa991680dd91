"""From what supported merchants gained to what the platform keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from strategy_kit.charts.forest import BOUNDS, drawn
from strategy_kit.charts.theme import Chart, Labels, require, worded
from strategy_kit.formats import number

if TYPE_CHECKING:
    from collections.abc import Callable

SALES, PLATFORM = ("supported", "rivals", "category"), ("revenue", "cost", "profit")
WORDS = {"sales": "Sales, over the periods after the start", "platform": "The platform, over the same periods",
    "note": "lines: 95% intervals; diamonds: what is left in the end", "missing": "known",
    "supported": "supported merchants", "rivals": "their rivals in the category", "category": "the category",
    "revenue": "revenue on it", "cost": "cost", "profit": "revenue less cost"}  # fmt: skip


def gross_to_net(ladder: Any, *, write: Callable[[float], str] | None = None, labels: Labels | None = None) -> Chart:
    """Draw the ladder: gains of supported merchants, losses of rivals, the category, then revenue, cost and profit.

    Sales and the platform's money have a scale each, for one is a small share of the other.

    Parameters
    ----------
    ladder
        An `Estimates` of `did.gross_to_net` or its tidy frame: rung, estimate, conf_low, conf_high, in money.
    write
        How an amount is written, signed, such as by `formats.money`; as a number by default.
    labels
        Words: "sales" and "platform" (titles, with the currency), "note", "missing" (said of a cost without an interval),
        and one per rung.

    Raises
    ------
    ParameterError
        If the frame has no rows, lacks columns or has an unknown rung.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"rung": ["supported", "rivals"], "estimate": [120.0, -20.0], "conf_low": [80.0, -50.0]})
    >>> gross_to_net(rows.assign(conf_high=[160.0, 10.0])).description.split(". ")[1]
    'supported merchants +120 (+80 … +160); their rivals in the category −20 (−50 … +10).'
    """
    rows = getattr(ladder, "tidy", lambda: ladder)()
    require("gross_to_net", rows, {"rung": (*SALES, *PLATFORM), **dict.fromkeys(BOUNDS, ())})
    words = worded(WORDS, labels)
    sales = rows["rung"].isin(SALES)
    rows = rows.assign(
        block=sales.map({True: words["sales"], False: words["platform"]}),
        name=rows["rung"].map(words),
        kind=rows["rung"].isin(["category", "profit"]).map({True: "head", False: "plain"}),
    )
    digits = rows.groupby("block")["estimate"].transform(lambda part: 0 if part.abs().max() >= 100 else 1).astype(int)
    texts = [
        [write(value) if write and math.isfinite(value) else number(value, places, signed=True) for value in bounds]
        for bounds, places in zip(rows[BOUNDS].to_numpy(), digits, strict=True)
    ]
    cost = rows["rung"] == "cost"  # an amount, not a change
    texts = [
        [text.lstrip("+\u2060") if plain else text for text in row] for row, plain in zip(texts, cost, strict=True)
    ]
    rows["value"] = [text[0] for text in texts]
    known = rows["conf_low"].isna()
    rows["told"] = [
        f"{at} ({words['missing'] if lacks else f'{low} … {high}'})"
        for (at, low, high), lacks in zip(texts, known, strict=True)
    ]
    return drawn(rows, note=words["note"], unit=write or "")
