"""Good or plain quality, fair or dear price: four tiles for each side, darker where more products are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import pandas as pd

from strategy_kit.charts.theme import INK, PAPER, PILOT, RULE, SOFT, TINTS, WIDTH, Chart, across, down, require, worded

if TYPE_CHECKING:
    from collections.abc import Mapping

TALL, GAP = 40, 34
WORDS = {"good": "good", "plain": "plain", "fair": "fair", "dear": "dear", "value": "Share of product-weeks"}


def price_quadrants(shares: pd.DataFrame, *, labels: Mapping[str, str] | None = None) -> Chart:
    """Draw how each side's products spread over quality and price, with the 95% interval of each share.

    Parameters
    ----------
    shares
        side, quality (good, plain), price (fair, dear), share, conf_low, conf_high, as `prices.quadrants` returns.
    labels
        Words: "good", "plain", "fair", "dear", "value" (axis title), and one per side.

    Examples
    --------
    >>> row = {"side": ["beside"], "quality": ["good"], "price": ["fair"], "share": [0.4], "conf_low": [0.3]}
    >>> price_quadrants(pd.DataFrame({**row, "conf_high": [0.5]})).description
    'Share of product-weeks. beside: good, fair 40% (30 to 50%).'
    """
    corners = {"quality": ("good", "plain"), "price": ("fair", "dear")}
    require("price_quadrants", shares, {"side": (), **corners, **dict.fromkeys(("share", "conf_low", "conf_high"), ())})
    sides = list(dict.fromkeys(shares["side"].astype(str)))
    words = worded({**WORDS, **{side: side for side in sides}}, labels)
    block = shares["side"].astype(str).map(sides.index) * (2 * TALL + GAP)
    left = shares["price"].map({"fair": 0, "dear": 1})
    top = block + shares["quality"].map({"good": 0, "plain": TALL})
    rows = pd.DataFrame({"left": left, "right": left + 1, "top": top, "bottom": top + TALL, "share": shares["share"]})
    rows = rows.assign(
        middle=left + 0.5, at=top + TALL / 2, name=shares["quality"].map(words),
        text=[f"{100 * share:.0f}%" for share in shares["share"]],
        span=[f"{100 * low:.0f} – {100 * high:.0f}%" for low, high in zip(shares["conf_low"], shares["conf_high"], strict=True)],
    )  # fmt: skip
    heads = pd.DataFrame(
        {"at": [k * (2 * TALL + GAP) for k in range(len(sides))], "text": [words[side] for side in sides]}
    )
    feet = pd.DataFrame({"middle": [0.5, 1.5], "name": [words["fair"], words["dear"]]})
    base, height = alt.Chart(rows), len(sides) * (2 * TALL + GAP) - GAP
    scale = alt.Scale(domain=[0, 0.5], range=[PAPER, TINTS[0.50]], clamp=True, interpolate="rgb")
    tips = [alt.Tooltip("text:N", title=words["value"]), alt.Tooltip("span:N", title="95%")]
    layers = [
        base.mark_rect(stroke=RULE, strokeWidth=1).encode(
            x=across("left", 2), x2="right:Q", y=down("top"), y2="bottom:Q", color=alt.Color("share:Q", scale=scale, legend=None),
            tooltip=tips,
        ),
        base.mark_text(fontSize=15, fontWeight=600, color=INK, dx=-6, align="right").encode(
            x=across("middle", 2), y=down("at"), text="text:N"
        ),
        base.mark_text(color=INK, align="left").encode(x=across("middle", 2), y=down("at"), text="span:N"),
        base.mark_text(align="right", color=SOFT).encode(x=alt.value(-10), y=down("at"), text="name:N"),
        alt.Chart(feet).mark_text(color=SOFT).encode(x=across("middle", 2), y=alt.value(height + 14), text="name:N"),
        alt.Chart(heads).mark_text(align="left", fontWeight=600, color=PILOT, dy=-12).encode(
            x=alt.value(0), y=down("at"), text="text:N"
        ),
    ]  # fmt: skip
    percents = 100 * shares[["share", "conf_low", "conf_high"]]
    spans = [f"{share:.0f}% ({low:.0f} to {high:.0f}%)" for share, low, high in percents.to_numpy(float)]
    corner = shares["quality"].map(words) + ", " + shares["price"].map(words) + " " + pd.Series(spans, shares.index)
    parts = corner.groupby(shares["side"].astype(str), sort=False).agg("; ".join)
    described = ". ".join(f"{words[str(side)]}: {part}" for side, part in parts.items())
    chart = alt.layer(*layers, width=WIDTH, height=height + 24)
    return chart.properties(description=f"{words['value']}. {described}.")
