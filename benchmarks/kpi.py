"""KPIs and cohorts of simulated order lines: the kit against hand-written DuckDB SQL, polars and pandas.

Answers are compared before their times are: rows, the sum of each measure, and its sum weighted by a hash of the row's keys.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = (5_000_000, 20_000_000, 100_000_000)
LIMITS = measure.Limits(seconds=600, slow=60, gigabytes=16)
CLOSE = 1e-9  # of a measure's sum: sums of floats in another order
HEAD = """name = "bench"
synthetic = true
currency = "CNY"
timezone = "Asia/Shanghai"
data_from = 2024-01-01
data_through = 2025-06-30

[tables]
order_lines = "order_lines.parquet"
merchants = "merchants.parquet"
support = "support.parquet"
"""
LINES = """
copy (
    select 'o' || lpad(cast(i // 2 as varchar), 9, '0') as order_id, cast(i % 2 + 1 as integer) as line_id,
           'b' || lpad(cast(cast(pow(hash(i // 2 * 8 + 1) / 18446744073709551616.0, 1.5) * {buyers} as integer) as varchar),
                       8, '0') as buyer_id,
           'm' || lpad(cast(m as varchar), 7, '0') as merchant_id,
           'category ' || lpad(cast(m % 15 as varchar), 2, '0') as category,
           timestamp '2024-01-01' + interval 1 second * cast(hash(i // 2 * 8 + 3) / 18446744073709551616.0 * 47260799 as integer)
               as paid_at,
           cast(round(1 + exp(3 + hash(-i - 1) / 18446744073709551616.0 * 4), 2) as decimal(12, 2)) as amount,
           if(hash(i // 2 * 8 + 5) % 50 = 0, 'cancelled', 'paid') as status
    from (select i, cast(pow(hash(i // 2 * 8 + 2) / 18446744073709551616.0, 2) * {merchants} as integer) as m
          from range({lines}) as r(i))
) to '{folder}/order_lines.parquet' (compression zstd);
copy (select 'm' || lpad(cast(m as varchar), 7, '0') as merchant_id,
             'category ' || lpad(cast(m % 15 as varchar), 2, '0') as category
      from range({merchants}) as r(m)) to '{folder}/merchants.parquet';
copy (select 'm' || lpad(cast(m as varchar), 7, '0') as merchant_id, 'display' as lever,
             date '2024-09-02' + cast(hash(m) % 4 * 56 as integer) as started_on
      from range({merchants}) as r(m) where hash(-m - 1) % 5 < 3) to '{folder}/support.parquet';
"""
SOLD = "from '{file}' where coalesce(status, 'paid') <> 'cancelled'"
MEASURES = """cast(sum(amount) as double) as gmv, count(distinct order_id) as orders, count(distinct buyer_id) as buyers,
              cast(sum(amount) as double) / count(distinct order_id) as average_order_value"""
TRIANGLE = """
with first as (select {unit}, date_trunc('month', min(paid_at)) as cohort {sold} group by 1)
select cast(first.cohort as timestamp) as cohort, date_diff('month', first.cohort, date_trunc('month', paid_at)) as age,
       {value} as value
from '{file}' join first using ({unit}) where coalesce(status, 'paid') <> 'cancelled' group by 1, 2 order by 1, 2"""
QUESTIONS = {
    "category by month": f"select coalesce(category, 'unknown') as category, date_trunc('month', paid_at) as month, {MEASURES} "
    f"{SOLD} group by 1, 2 order by 1, 2",
    "merchant by week": f"select merchant_id, date_trunc('week', paid_at) as week, {MEASURES} {SOLD} group by 1, 2 order by 1, 2",
    "buyer cohorts": TRIANGLE.replace("{unit}", "buyer_id").replace(
        "{value}", "cast(count(distinct buyer_id) as double)"
    ),
    "merchant cohorts": TRIANGLE.replace("{unit}", "merchant_id").replace("{value}", "cast(sum(amount) as double)"),
}
ASKED = ["gmv", "orders", "buyers", "average_order_value"]


def kit(question: str, folder: Path, engine: Any = "duckdb") -> pd.DataFrame:
    """Ask the library."""
    import strategy_kit as sk

    shop = sk.open_dataset(folder, engine=engine)
    if question == "category by month":
        return sk.kpi.table(shop, by=["category", "month"], metrics=ASKED).query("orders > 0")
    if question == "merchant by week":
        return sk.kpi.table(shop, by=["merchant_id", "week"], metrics=ASKED).query("orders > 0")
    if question == "buyer cohorts":
        return sk.cohort.triangle(shop, unit="buyer", period="month", value="active").query("value > 0")
    return sk.cohort.triangle(shop, unit="merchant", period="month", value="gmv").query("value > 0")


def sql(question: str, folder: Path) -> pd.DataFrame:
    """Ask DuckDB by hand."""
    file = folder / "order_lines.parquet"
    text = QUESTIONS[question].replace("{sold}", SOLD).replace("{file}", str(file))
    return import_module("duckdb").connect().execute(text).df()


def polars(question: str, folder: Path) -> Any:
    """Ask polars, lazily and streaming."""
    pl = import_module("polars")
    lines = pl.scan_parquet(folder / "order_lines.parquet").filter(pl.col("status").fill_null("paid") != "cancelled")
    month = pl.col("paid_at").dt.truncate("1mo")
    if "by" in question:
        keys = [pl.col("category").fill_null("unknown"), month.alias("month")]
        if question == "merchant by week":
            keys = [pl.col("merchant_id"), pl.col("paid_at").dt.truncate("1w").alias("week")]
        gmv, orders = (
            pl.col("amount").sum().cast(pl.Float64).alias("gmv"),
            pl.col("order_id").n_unique().alias("orders"),
        )
        found = lines.group_by(keys).agg(gmv, orders, pl.col("buyer_id").n_unique().alias("buyers"))
        found = found.with_columns((pl.col("gmv") / pl.col("orders")).alias("average_order_value")).sort(
            found.columns[:2]
        )
        return found.collect(engine="streaming")
    unit = "buyer_id" if question == "buyer cohorts" else "merchant_id"
    first = lines.group_by(unit).agg(month.min().alias("cohort"))
    number = [pl.col(name).dt.year().cast(int) * 12 + pl.col(name).dt.month() for name in ("month", "cohort")]
    value = pl.col(unit).n_unique() if unit == "buyer_id" else pl.col("amount").sum()
    aged = lines.with_columns(month.alias("month")).join(first, on=unit)
    found = aged.group_by("cohort", (number[0] - number[1]).alias("age")).agg(value.cast(pl.Float64).alias("value"))
    return found.sort("cohort", "age").collect(engine="streaming")


def pandas(question: str, folder: Path) -> pd.DataFrame:
    """Ask pandas, reading only the columns needed."""
    columns = ["merchant_id", "buyer_id", "paid_at", "amount", "status"]
    columns += ["order_id", "category"] if "by" in question else []
    lines = pd.read_parquet(folder / "order_lines.parquet", columns=columns)
    lines["amount"] = lines["amount"].astype(float)
    lines = lines[lines["status"].fillna("paid") != "cancelled"]
    month = lines["paid_at"].dt.to_period("M").dt.start_time
    if question == "category by month":
        keys = [lines["category"].fillna("unknown"), month.rename("month")]
    elif question == "merchant by week":
        keys = [
            lines["merchant_id"],
            (lines["paid_at"].dt.normalize() - pd.to_timedelta(lines["paid_at"].dt.dayofweek, "D")),
        ]
        keys[1] = keys[1].rename("week")
    else:
        unit = "buyer_id" if question == "buyer cohorts" else "merchant_id"
        cohort = month.groupby(lines[unit]).transform("min").rename("cohort")
        age = ((month.dt.year - cohort.dt.year) * 12 + month.dt.month - cohort.dt.month).rename("age")
        grouped = lines.groupby([cohort, age])
        value = grouped[unit].nunique() if unit == "buyer_id" else grouped["amount"].sum()
        return value.astype(float).rename("value").reset_index()
    found = lines.groupby(keys).agg(
        gmv=("amount", "sum"), orders=("order_id", "nunique"), buyers=("buyer_id", "nunique")
    )
    return found.assign(average_order_value=found["gmv"] / found["orders"]).reset_index()


WAYS = {"kit": kit, "sql": sql, "polars": polars, "pandas": pandas}


def digest(found: Any) -> list[float]:
    """Return the number of rows, and each measure's sum and its sum weighted by a hash of the keys."""
    frame = found.to_pandas() if hasattr(found, "to_pandas") else found
    keys, weight = [name for name in frame if name not in {*ASKED, "value", "complete"}][:2], np.zeros(len(frame))
    for name in keys:
        column = frame[name]
        if column.dtype.kind == "M":
            column = column.astype("datetime64[us]").astype("int64")
        column = column.astype("int64") if column.dtype.kind == "i" else column.astype("category").astype(object)
        weight = np.fmod(1.7 * weight + pd.util.hash_array(column.to_numpy()) / 2**64, 1.0)
    measures = [frame[name].to_numpy(float) for name in (*ASKED, "value") if name in frame]
    return [float(len(frame)), *(float(part) for each in measures for part in (each.sum(), each @ weight))]


def ask(way: str, question: str, folder: str) -> None:
    """Answer one question and print its cost and a digest of the answer."""
    import_module("polars" if way == "polars" else "strategy_kit.kpi")
    import_module("pyarrow.parquet" if way == "polars" else "strategy_kit.cohort")
    cost, found = measure.timed(partial(WAYS[way], question, Path(folder)), LIMITS)
    measure.told(cost, digest(found))


def compared(own: list[float], other: list[float]) -> str:
    """Say whether two digests are equal, or how far they are apart."""
    if len(own) != len(other) or own[0] != other[0]:
        return f"DIFFER: {other[0]:,.0f} rows, not {own[0]:,.0f}"
    apart = max(abs(b - a) / max(abs(a), 1) for a, b in zip(own, other, strict=True))
    return "equal" if apart <= CLOSE else f"DIFFER by {apart:.0e}"


def write(folder: Path, lines: int, merchants: int = 0) -> None:
    """Write simulated lines, their merchants (one for 200 lines unless told) and when three fifths were supported."""
    merchants = merchants or max(lines // 200, 100)
    sizes = {"lines": lines, "buyers": lines // 10, "merchants": merchants, "folder": folder}
    import_module("duckdb").connect().execute(LINES.format(**sizes))
    (folder / "dataset.toml").write_text(HEAD, encoding="utf-8")


def answers(folder: Path, lines: int, questions: Sequence[str], ways: Sequence[str]) -> list[measure.Answer]:
    """Let every way answer every question in turns; return the rows."""
    rows = []
    for question in questions:
        pythons = {way: measure.PEERS_PYTHON if way == "polars" else sys.executable for way in ways}
        asks = {
            way: partial(measure.run, [python, __file__, "--ask", way, question, str(folder)], LIMITS)
            for way, python in pythons.items()
        }
        found = measure.in_turns(asks, LIMITS)
        own = found["kit"].get("answer", [0.0])
        for way, one in found.items():
            told = "reference" if way == "kit" else compared(own, one.get("answer", [0.0]))
            rows.append(measure.row(question, lines, way, one, told))
            measure.show(rows[-1])
    return rows


def main() -> None:
    """Write the lines of each size in turn, ask, and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("lines", type=int, nargs="*", default=SIZES)
    parser.add_argument("--questions", default=",".join(QUESTIONS))
    parser.add_argument("--ways", default=",".join(WAYS))
    given = parser.parse_args()
    versions = measure.peers(["polars"])
    for lines in given.lines:
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), lines)
            rows = answers(Path(name), lines, given.questions.split(","), given.ways.split(","))
        measure.record("kpi", rows, peers=versions)


if __name__ == "__main__":
    words = measure.asked()
    main() if words is None else ask(*words)
