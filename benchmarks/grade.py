"""Grade the kit's headline on simulated markets, beside what is usual, and write docs/grading.md with its picture.

Every world has a seed of its own, made of its design's place and its number, so that any row can be drawn again.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import grading
import numpy as np
import pandas as pd
from grading import KINDS, UNPLANNED, WEEKLY, Design

from strategy_kit.inference import FREEDOM_CAP

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[1] / "docs"
GROUPS, EFFECTS = (8, 12, 20, 30), (0.0, 0.05, 0.10, 0.15)
DESIGNS = [Design(groups, kind) for groups in GROUPS for kind in KINDS]
FADING = [Design(12, kind, fading) for fading in (0.0, 0.9) for kind in KINDS]
CANNIBALISED = (0.0, 0.25, 0.5, 0.75)
METHODS = {
    "kit": "kit, in words",
    "welch": "kit, interval",
    "satterthwaite": "Welch, Satterthwaite",
    "bell_mccaffrey": "Welch, Bell-McCaffrey",
    "pooled": "pooled t",
    "randomisation": "randomisation",
    "by_category": "clustered by category",
    "by_merchant": "clustered by merchant",
}
BLOCK = 50


def once(design: Design, effect: float, first: int) -> pd.DataFrame:
    """Judge a block of worlds read once."""
    rows = []
    for number in range(first, first + BLOCK):
        world = grading.draw(design, effect, seed_of(design, effect, number))
        rows.append(grading.judged(world).assign(world=number))
    return pd.concat(rows, ignore_index=True).assign(design=design.name, fading=design.fading, effect=effect)


def weekly(design: Design, effect: float, first: int) -> pd.DataFrame:
    """Follow a block of worlds week by week, with a horizon and without."""
    rows = []
    for number in range(first, first + BLOCK):
        world = grading.draw(design, effect, seed_of(design, effect, number))
        for plan, name in ((WEEKLY, "horizon"), (UNPLANNED, "none")):
            rows.append(grading.watched(world, plan).assign(world=number, plan=name))
    return pd.concat(rows, ignore_index=True).assign(design=design.name, fading=design.fading, effect=effect)


def net(share: float, first: int) -> pd.DataFrame:
    """Judge the net effect in a block of worlds where rivals lose a share of what supported merchants gain."""
    return pd.DataFrame(
        [grading.netted(share, (int(100 * share), number)) for number in range(first, first + BLOCK)]
    ).assign(share=share)


def seed_of(design: Design, effect: float, number: int) -> tuple[int, ...]:
    """Return the seed of a world."""
    return design.groups, KINDS.index(design.kind), round(100 * design.fading), round(1000 * effect), number


def spread_out(
    pool: ProcessPoolExecutor, task: Callable[..., pd.DataFrame], cases: list[Any], worlds: int
) -> pd.DataFrame:
    """Run a task over all cases and blocks; rows come in the order of cases and worlds."""
    calls = [partial(task, *case, first) for case in cases for first in range(0, worlds, BLOCK)]
    return pd.concat(pool.map(_call, calls), ignore_index=True)


def _call(task: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    return task()


def share(values: pd.Series[Any]) -> str:
    """Write a share in percent."""
    return f"{100 * values.mean():.1f}"


def listing(rows: pd.DataFrame, heads: list[str]) -> str:
    """Write a table in Markdown."""
    lines = [" | ".join(heads), " | ".join(["---"] + ["---:"] * (len(heads) - 1))]
    lines += [" | ".join(map(str, row)) for row in rows.itertuples(index=False)]
    return "\n".join(f"| {line} |" for line in lines)


def by_design(rows: pd.DataFrame, measured: pd.Series[Any], names: dict[str, str]) -> str:
    """Write a table with a row a design and a column a method."""
    marked = rows.assign(measured=measured)
    table = marked.pivot_table("measured", ["design", "fading"], "method", aggfunc=share, sort=False)
    table = table[list(names)].reset_index()
    table["fading"] = table["fading"].map("{:.1f}".format)
    return listing(table, ["design", "fading", *names.values()])


def paragraphs(read: pd.DataFrame, seen: pd.DataFrame, ladder: pd.DataFrame, about: dict[str, str]) -> str:
    """Write the page; every figure in it comes from the rows."""
    null = read[read["effect"] == 0]
    kit, ever = null[null["method"] == "kit"], ever_claimed(seen)
    usual = null[null["method"] == "by_merchant"].groupby(["design", "fading"])["claims"].mean()
    words = {**setting(), **about, "few": f"{100 * usual.min():.1f}", "many": f"{100 * usual.max():.1f}"}
    words["worst"] = f"{100 * kit.groupby(['design', 'fading'])['claims'].mean().max():.1f}"
    interval = null[null["method"] == "welch"].groupby(["design", "fading"])["claims"].mean()
    words["lowest"] = f"{100 * interval.min():.1f}"
    words["interval"], words["ever"] = f"{100 * interval.max():.1f}", f"{100 * ever['kit'].max():.1f}"
    words["asserted"] = f"{100 * kit.groupby(['design', 'fading'])['asserts'].mean().max():.1f}"
    tables = {
        "false_claims": by_design(null, null["claims"], METHODS),
        "coverage": by_design(read, read["covers"], INTERVALS),
        "power": power(read),
        "wrong": wrong(read),
        "looks": looked(ever),
        "net": listing(
            ladder.groupby("share")[["category", "supported", "rivals"]].agg(share).reset_index(),
            ["share that rivals lose", "category (net)", "supported (gross)", "rivals"],
        ),
    }
    return PAGE.format(**words, **tables)


INTERVALS = {name: words for name, words in METHODS.items() if name != "kit"}


def power(read: pd.DataFrame) -> str:
    """Write how often each method finds an effect, by its size, over all kinds of pilots."""
    rows = read[(read["effect"] > 0) & (read["fading"] == DESIGNS[0].fading)]
    rows = rows.assign(found=(rows["claims"]) & (rows["estimate"] > 0), groups=rows["design"].str.split(",").str[0])
    table = rows.pivot_table("found", ["groups", "effect"], "method", aggfunc=share, sort=False)
    table = table[list(METHODS)].reset_index()
    table["effect"] = (100 * table["effect"]).map("{:.0f}".format)
    return listing(table, ["categories", "effect, log points x 100", *METHODS.values()])


def wrong(read: pd.DataFrame) -> str:
    """Write how often what is claimed is wrong: of claims without an effect and with one, and by how much it is overstated."""
    rows = []
    for name, label in METHODS.items():
        own = read[read["method"] == name]
        real, said = own[own["effect"] == 0.05], own[own["claims"]]
        found = real[real["claims"] & (real["estimate"] > 0)]
        halves = pd.concat([own[own["effect"] == 0].head(len(real)), real])
        claimed = halves[halves["claims"]]
        false = ((claimed["effect"] == 0) | (claimed["estimate"] < 0)).mean()
        sign = (said.loc[said["effect"] > 0, "estimate"] < 0).mean()
        rows.append(
            [label, *(f"{100 * value:.1f}" for value in (false, sign)), f"{found['estimate'].mean() / 0.05:.1f}"]
        )
    heads = ["method", "claims that are wrong, where half of the worlds have an effect of 5",
             "claims with the wrong sign, among worlds with an effect", "claimed size over true size, effect of 5"]  # fmt: skip
    return listing(pd.DataFrame(rows), heads)


def ever_claimed(seen: pd.DataFrame) -> pd.DataFrame:
    """Return by design, plan and effect: how often a claim is made in any week, and how often the band always holds."""
    keys = ["design", "fading", "plan", "effect"]
    worlds = seen.groupby([*keys, "world"], sort=False)
    each = worlds[["kit", "band", "one_look"]].any().join(worlds["covered"].all())
    return each.groupby(keys, sort=False).mean().reset_index()


def looked(ever: pd.DataFrame) -> str:
    """Write the table of weekly reading."""
    null = ever[ever["effect"] == 0]
    wide = null.pivot_table(index=["design", "fading"], columns="plan", values=["kit", "band"], sort=False)
    one = null[null["plan"] == "horizon"].set_index(["design", "fading"])["one_look"]
    columns = {f"{n} {p}": wide[n][p] for p in ("horizon", "none") for n in ("kit", "band")}
    shown = pd.DataFrame({**columns, "one look": one}).mul(100).round(1).map("{:.1f}".format).reset_index()
    heads = ["design", "fading", "kit in words, horizon of 26 weeks", "its band", "kit in words, no horizon", "its band",
             "interval of one look, read weekly"]  # fmt: skip
    return listing(shown, heads)


def picture(read: pd.DataFrame) -> alt.LayerChart:
    """Draw how often each method claims an effect where there is none."""
    null = read[(read["effect"] == 0) & (read["fading"] == DESIGNS[0].fading)]
    rows = null.groupby(["design", "method"], sort=False)["claims"].mean().mul(100).reset_index()
    rows["method"] = rows["method"].map(METHODS)
    x = alt.X(
        "claims:Q", title="claims where nothing happened, % (nominal 5)", scale=alt.Scale(type="sqrt", domain=[0, 80])
    )
    y = alt.Y("method:N", title=None, sort=list(METHODS.values()))
    points = alt.Chart(rows).mark_point(filled=True, size=60, opacity=0.6, color="#12436D").encode(x=x, y=y)
    line = alt.Chart(pd.DataFrame({"claims": [5.0]})).mark_rule(color="#801650", strokeDash=[4, 3]).encode(x="claims:Q")
    title = alt.Title("What is claimed where nothing happened", subtitle="Each point: one of twelve designs, three pilots",
                      anchor="start")  # fmt: skip
    return alt.layer(points, line, title=title).properties(width=560, height=260).configure_view(stroke=None)


PAGE = (Path(__file__).parent / "grading.md").read_text(encoding="utf-8")


def main() -> None:
    """Grade, and write the page and its picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--worlds", type=int, default=4000, help="worlds a design without effect; a fifth with each effect"
    )
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    began, some = time.perf_counter(), given.worlds // 5
    processes = os.cpu_count() or 1
    with ProcessPoolExecutor(processes) as pool:
        read = spread_out(pool, once, [(d, 0.0) for d in [*DESIGNS, *FADING]], given.worlds)
        found = spread_out(pool, once, [(d, effect) for d in DESIGNS for effect in EFFECTS[1:]], some)
        seen = spread_out(pool, weekly, [(d, 0.0) for d in [*DESIGNS, *FADING]], given.worlds // 4)
        ladder = spread_out(pool, net, [(share,) for share in CANNIBALISED], given.worlds // 4)
    read = pd.concat([read, found], ignore_index=True)
    about = {"worlds": f"{given.worlds:,}", "some": f"{some:,}", "half": f"{given.worlds // 4:,}",
             "speed": f"{1000 * headline_seconds():.0f}", "command": "make grade"}  # fmt: skip
    (given.out / "grading.md").write_text(paragraphs(read, seen, ladder, about), encoding="utf-8")
    picture(read).save(given.out / "grading.png", scale_factor=2)
    print(f"{given.out / 'grading.md'} written in {time.perf_counter() - began:.0f} s on {processes} processes")


def setting() -> dict[str, str]:
    """Return what the worlds of the page are made of."""
    return {
        "merchants": str(grading.MERCHANTS),
        "pilots": str(grading.PILOTS),
        "before": str(grading.BEFORE),
        "after": str(grading.AFTER),
        "shock": f"{100 * grading.SHOCK:.0f}",
        "noise": f"{100 * grading.NOISE:.0f}",
        "fading": f"{DESIGNS[0].fading:g}",
        "big": str(grading.BIG),
        "volatile": str(grading.VOLATILE),
        "gain": f"{100 * grading.GAIN:.0f}",
        "cap": f"{FREEDOM_CAP:g}",
    }


def headline_seconds() -> float:
    """Return the median time of one market's headline, from category totals to the sentence in both languages."""
    times = []
    for number in range(21):
        panel = grading.draw(DESIGNS[-1], 0.0, (1, number)).panel
        began = time.perf_counter()
        grading.asserted(grading.headline(panel, WEEKLY))
        times.append(time.perf_counter() - began)
    return float(np.median(times))


if __name__ == "__main__":
    main()
