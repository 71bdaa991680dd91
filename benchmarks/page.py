"""Write docs/benchmarks.md and its charts from the measurements in results/, without measuring again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).resolve().parent
RESULTS, DOCS = HERE / "results", HERE.parent / "docs"
PAGE = (HERE / "page.md").read_text(encoding="utf-8")
PARTS = ("kpi", "did", "report", "hottest", "start_up", "growth", "engines")
COLOURS = (
    "#12436D #801650 #28A197 #F46A25 #3D3D3D #A285D1 #8FA23F #4AA3DF #C9A227 #D4376B #6B4423 #7F8C8D".split()  # noqa: SIM905
)
HEADS = ["case", "size", "way", "wall, s", "CPU, s", "peak, GiB", "added, GiB", "rounds", "CPU ÷ kit's", "answers"]
ABSENT = "Not measured yet: `make bench PART={part}`."
EXECUTORS = (8, 32, 128)


class Part(NamedTuple):
    """What one script measured, and on which machines, the last one last."""

    name: str
    machines: list[dict[str, Any]]
    rows: pd.DataFrame


def part(name: str) -> Part | None:
    """Read the measurements of one script, None where there are none."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    return Part(name, told["machines"], pd.DataFrame(told["rows"]))


def listing(rows: Iterable[Iterable[Any]], heads: list[str], words: int = 1) -> str:
    """Write a table in Markdown whose first columns are words."""
    lines = [heads, ["---"] * words + ["---:"] * (len(heads) - words), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def number(value: float) -> str:
    """Write a number with three digits, nothing where it is missing."""
    return "" if pd.isna(value) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def against(rows: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Add each way's CPU as a ratio of the reference's of the same case and size."""
    keys = ["case", "size"]
    own = rows[rows["way"] == reference].set_index(keys)["cpu"]
    own = own.groupby(level=[0, 1]).first().reindex(pd.MultiIndex.from_frame(rows[keys]))
    return rows.assign(ratio=rows["cpu"].to_numpy() / own.to_numpy())


def everything(rows: pd.DataFrame) -> str:
    """Write every measurement, folded away."""
    columns = ["case", "size", "way", "wall", "cpu", "peak", "added", "rounds", "ratio", "answers"]
    shown = rows.reindex(columns=columns).assign(size=rows["size"].map("{:,}".format))
    for name in ("wall", "cpu", "peak", "added", "ratio"):
        shown[name] = shown[name].astype(float).map(number)
    body = listing(shown.itertuples(index=False), HEADS)
    return f"<details><summary>Every measurement</summary>\n\n{body}\n\n</details>"


def fastest(found: Part, reference: str) -> str:
    """Write for each case and size the kit's wall time and how many times that of each other way is."""
    rows, sizes = found.rows, sorted(found.rows["size"].unique())
    lines = []
    for case, own in rows.groupby("case", sort=False):
        cells = []
        for size in sizes:
            here = own[own["size"] == size].set_index("way")
            kit = next((way for way in here.index if way == reference or way.startswith("kit")), None)
            if kit is None:
                cells.append("")
                continue
            wall = here["wall"] if "wall" in here else pd.Series(dtype=float)
            others = [way for way in here.index if not way.startswith("kit")]
            told = [f"{w} {number(wall[w] / wall[kit])} ×" if pd.notna(wall.get(w)) else f"{w} –" for w in others]
            cells.append(f"{number(wall[kit])} s; " + ", ".join(told))
        lines.append([case, *cells])
    return listing(lines, ["case", *(f"{size:,}" for size in sizes)], len(sizes) + 1)


def kpi(found: Part) -> dict[str, str]:
    """Write the section on KPIs and cohorts."""
    rows = against(found.rows, "sql")
    own = rows[rows["way"] == "kit"]
    others = rows[rows["way"] != "kit"]
    differ = others["answers"].str.startswith("DIFFER").sum()
    worst = own.loc[own["ratio"].idxmax()]
    claim = (
        f"The kit takes {own['ratio'].min():.2f} to {own['ratio'].max():.2f} × the CPU seconds of hand-written DuckDB SQL "
        f"(most: {worst['case']}, {worst['size']:,} lines). Answers that differ: {differ} of {len(others)}."
    )
    picture = draw(found.rows, "kpi", "order lines", columns=2)
    return {"kpi": "\n\n".join([claim, fastest(found, "kit"), picture, everything(against(found.rows, "kit"))])}


def did(found: Part) -> dict[str, str]:
    """Write the section on estimators."""
    rows = found.rows.copy()
    firsts = rows.groupby("case", sort=False)["way"].first()
    ratios = pd.concat([against(rows[rows["case"] == case], way) for case, way in firsts.items()])
    others = ratios[~ratios["way"].str.startswith("kit")]
    told = others["answers"].str.split(":").str[0].str.split(" ").str[0]
    refused = others["wall"].isna().sum()
    claim = (
        f"Answers of other packages: {len(others)}. Equal to the kit's estimates to a thousandth of a standard error: "
        f"{(told == 'equal').sum()}; different: {(told == 'DIFFER').sum()}; not within the limits: {refused}."
    )
    picture = draw(rows[rows["case"] != "daily"], "did", "merchants", columns=3)
    return {"did": "\n\n".join([claim, fastest(found, "kit"), picture, everything(ratios)])}


def report(found: Part) -> dict[str, str]:
    """Write the section on the weekly report."""
    ways, shares = (found.rows[found.rows["case"] == case] for case in ("report", "share of weekly_report"))
    empty = ways[ways["way"] == "empty notebook"].iloc[0]
    lines = [
        [w.way, number(w.wall), number(w.cpu), number(w.peak), f"{w.wall / empty['wall']:.2f}", w.answers]
        for w in ways.itertuples()
    ]
    heads = ["", "wall, s", "CPU, s", "peak, GiB", "wall ÷ empty notebook's", ""]
    parts = ", ".join(f"{s.way.replace('_', '-')} {s.wall:.1f} s" for s in shares.itertuples())
    return {"report": f"{listing(lines, heads)}\n\nThe weekly report by what its time goes to: {parts}."}


def hottest(found: Part) -> dict[str, str]:
    """Write where the time goes."""
    cost = found.rows.pivot_table("cpu", "way", "case", sort=False)
    lines = [
        [name, number(one["whole"]), f"{100 * one['engine'] / one['whole']:.0f} %"] for name, one in cost.iterrows()
    ]
    return {"hottest": listing(lines, ["part", "CPU, s", "of it in the engine"])}


def start_up(found: Part) -> dict[str, str]:
    """Write the section on imports."""
    base = found.rows.set_index("way").loc["pandas and duckdb"]
    lines = [[r.way, number(r.cpu), number(r.wall), f"{r.cpu / base['cpu']:.2f}"] for r in found.rows.itertuples()]
    return {"start_up": listing(lines, ["import of", "CPU, s", "wall, s", "CPU ÷ pandas' and duckdb's"])}


def growth(found: Part) -> dict[str, str]:
    """Write the section on growth: what doubling one dimension does to CPU seconds."""
    lines = []
    for (dimension, work), own in found.rows.groupby(["case", "way"], sort=False):
        steps = own.dropna(subset="cpu").sort_values("size")
        doublings = np.diff(np.log2(steps["size"].to_numpy(float)))
        each = np.exp2(np.diff(np.log2(steps["cpu"].to_numpy(float))) / doublings)
        whole = np.exp2(np.log2(steps["cpu"].iloc[-1] / steps["cpu"].iloc[0]) / doublings.sum())
        lines.append(
            [dimension, work, *_ends(steps), f"{whole:.2f}", f"{each.max():.2f}", number(steps["peak"].iloc[-1])]
        )
    picture = draw(found.rows, "growth", "size of what grows", columns=2)
    heads = ["what grows", "work", "least", "most", "CPU per doubling", "most in a step", "peak at most, GiB"]
    still = {name: f"{found.machines[-1][name]:,} {name}" for name in ("merchants", "periods", "cohorts")}
    told = f"{' × '.join(still.values())} for estimators; merchants grow with order lines"
    return {"growth": f"What stands still: {told}.\n\n{listing(lines, heads, 4)}\n\n{picture}"}


def _ends(steps: pd.DataFrame) -> list[str]:
    ends = zip(steps["size"].iloc[[0, -1]], steps["cpu"].iloc[[0, -1]], strict=True)
    return [f"{size:,}: {number(seconds)} s" for size, seconds in ends]


def engines(found: Part) -> dict[str, str]:
    """Write the section on engines: costs laid on lines, and from them how many executors Spark needs to win."""
    lines = []
    for question, own in found.rows.dropna(subset="wall").groupby("case", sort=False):
        fits = {engine: line_through(rows) for engine, rows in own.groupby("way")}
        if len(fits) < 2:
            continue
        (fixed, rate), (spark_fixed, spark_rate) = fits["duckdb"], fits["spark"]
        needed = spark_rate / rate
        points = [breaks_even(fits["duckdb"], fits["spark"], count) for count in EXECUTORS]
        fitted = [
            f"{number(f)} s + {number(1e6 * r)} s a million" for f, r in ((fixed, rate), (spark_fixed, spark_rate))
        ]
        lines.append([question, *fitted, number(needed), *points])
    picture = draw(found.rows, "engines", "order lines", columns=3)
    heads = ["question", "DuckDB", "Spark", "executors at least", *(f"wins with {n} from" for n in EXECUTORS)]
    return {"engines": "\n\n".join([listing(lines, heads, 3), picture, everything(against(found.rows, "duckdb"))])}


def line_through(rows: pd.DataFrame) -> tuple[float, float]:
    """Fit wall seconds as a fixed cost and one a line, each size weighing as its relative error does."""
    size, wall = rows["size"].to_numpy(float), rows["wall"].to_numpy(float)
    design = np.column_stack([np.ones_like(size), size]) / wall[:, None]
    fixed, rate = np.linalg.lstsq(design, np.ones_like(wall), rcond=None)[0]
    return max(float(fixed), 0.0), max(float(rate), 1e-12)


def breaks_even(single: tuple[float, float], cluster: tuple[float, float], executors: int) -> str:
    """Say from how many lines on a cluster of as many executors, each as fast as this machine, is faster."""
    gain = single[1] - cluster[1] / executors
    if gain <= 0:
        return "never"
    lines = max(cluster[0] - single[0], 0) / gain
    return f"{lines / 1e6:,.0f} million" if lines >= 1e6 else "the first line"


def draw(rows: pd.DataFrame, name: str, what: str, columns: int) -> str:
    """Draw wall seconds by size, a panel a case and a line a way, both axes logarithmic; return the picture's Markdown."""
    shown = rows.dropna(subset="wall")
    order = list(dict.fromkeys(rows["way"]))
    base = alt.Chart(shown).encode(
        x=alt.X("size:Q", scale=alt.Scale(type="log"), title=what, axis=alt.Axis(format="~s", tickCount=4)),
        y=alt.Y("wall:Q", scale=alt.Scale(type="log"), title="wall, s", axis=alt.Axis(tickCount=5)),
        color=alt.Color(
            "way:N",
            sort=order,
            scale=alt.Scale(domain=order, range=COLOURS[: len(order)]),
            title=None,
            legend=alt.Legend(labelLimit=0),
        ),
    )
    panels = (base.mark_line() + base.mark_point(filled=True, size=35)).properties(width=240, height=150)
    chart = panels.facet(facet=alt.Facet("case:N", title=None, sort=list(dict.fromkeys(rows["case"]))), columns=columns)
    if name == "growth":
        chart = chart.resolve_scale(x="independent")
    (DOCS / "benchmarks").mkdir(exist_ok=True)
    chart.save(DOCS / "benchmarks" / f"{name}.svg")
    return f"![Wall seconds by {what}](benchmarks/{name}.svg)"


def machines(found: list[Part]) -> str:
    """Say on what and when each part was measured; the rows of a case are always of one machine."""
    lines = []
    for one, about in [(each, about) for each in found for about in each.machines]:
        rows = one.rows[one.rows["processor"] == about["processor"]]
        cases = f": {', '.join(rows['case'].unique())}" if len(one.machines) > 1 else ""
        versions = {**about["versions"], **about.get("peers", {})}
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        cores = f"{about['processors']} × {about['processor']}, {about['memory']} GiB, {about['system']}"
        days = " to ".join(sorted({rows["date"].min(), rows["date"].max()}))
        lines.append([f"{one.name}{cases}", days, cores, about["load"], listed])
    return listing(lines, ["part", "measured", "machine", "load at the end", "versions"], 5)


def page() -> str:
    """Return the page, and draw its charts."""
    found = {name: part(name) for name in PARTS}
    words = {name: ABSENT.format(part=name) for name in PARTS}
    for name, one in found.items():
        if one is not None:
            words |= WRITERS[name](one)
    return PAGE.format(**words, machines=machines([one for one in found.values() if one is not None]))


WRITERS = {work.__name__: work for work in (kpi, did, report, hottest, start_up, growth, engines)}


def main() -> None:
    """Write the page and its charts."""
    (DOCS / "benchmarks.md").write_text(page(), encoding="utf-8")
    print("docs/benchmarks.md written")


if __name__ == "__main__":
    main()
