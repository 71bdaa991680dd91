"""KPIs and cohorts of simulated order lines: the kit against the same question in hand-written DuckDB SQL and in pandas.

Each answer is computed in a process of its own, in turns, and compared before its time is; CPU seconds and peak memory are
those of the process after the imports.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

ROUNDS = 3
HEAD = """name = "bench"
synthetic = true
currency = "CNY"
timezone = "Asia/Shanghai"
data_from = 2024-01-01
data_through = 2025-06-30

[tables]
order_lines = "order_lines.parquet"
merchants = "merchants.parquet"
"""
LINES = """
copy (
    select 'o' || lpad(cast(i // 2 as varchar), 9, '0') as order_id, cast(i % 2 + 1 as integer) as line_id,
           'b' || lpad(cast(cast(pow(hash(i // 2 * 8 + 1) / 18446744073709551616.0, 1.5) * {buyers} as integer) as varchar),
                       8, '0') as buyer_id,
           'm' || lpad(cast(m as varchar), 7, '0') as merchant_id,
           'category ' || lpad(cast(m % 15 as varchar), 2, '0') as category,
           timestamp '2024-01-01' + interval 1 second * cast(hash(i // 2 * 8 + 3) / 18446744073709551616.0 * 47260800 as integer)
               as paid_at,
           cast(round(1 + exp(3 + hash(-i - 1) / 18446744073709551616.0 * 4), 2) as decimal(12, 2)) as amount,
           if(hash(i // 2 * 8 + 5) % 50 = 0, 'cancelled', 'paid') as status
    from (select i, cast(pow(hash(i // 2 * 8 + 2) / 18446744073709551616.0, 2) * {merchants} as integer) as m
          from range({lines}) as r(i))
) to '{folder}/order_lines.parquet' (compression zstd);
copy (select 'm' || lpad(cast(m as varchar), 7, '0') as merchant_id,
             'category ' || lpad(cast(m % 15 as varchar), 2, '0') as category
      from range({merchants}) as r(m)) to '{folder}/merchants.parquet';
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


def kit(question: str, folder: Path) -> pd.DataFrame:
    """Ask the library."""
    import strategy_kit as sk

    shop = sk.open_dataset(folder)
    if question == "category by month":
        return sk.kpi.table(shop, by=["category", "month"], metrics=ASKED)
    if question == "merchant by week":
        return sk.kpi.table(shop, by=["merchant_id", "week"], metrics=ASKED).query("orders > 0")
    if question == "buyer cohorts":
        return sk.cohort.triangle(shop, unit="buyer", period="month", value="active").query("value > 0")
    return sk.cohort.triangle(shop, unit="merchant", period="month", value="gmv").query("value > 0")


def sql(question: str, folder: Path) -> pd.DataFrame:
    """Ask DuckDB by hand."""
    file = folder / "order_lines.parquet"
    text = QUESTIONS[question].replace("{sold}", SOLD).replace("{file}", str(file))
    return duckdb.connect().execute(text).df()


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


WAYS = {"kit": kit, "sql": sql, "pandas": pandas}


def ask(way: str, question: str, folder: Path) -> None:
    """Answer one question and print its cost and a digest of the answer."""
    import strategy_kit as sk

    sk.__version__  # noqa: B018  # every way pays for the same imports, before the clock starts
    began, clock = time.perf_counter(), time.process_time()
    found = WAYS[way](question, folder)
    cost = {"wall": time.perf_counter() - began, "cpu": time.process_time() - clock}
    cost["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    names = [name for name in (*ASKED, "value") if name in found]
    digest = [len(found), *(round(float(found[name].sum()), 2) for name in names)]
    print(json.dumps({**cost, "digest": digest}))


def run(way: str, question: str, folder: Path) -> dict[str, Any]:
    """Answer one question in a process of its own."""
    call = [sys.executable, __file__, way, question, str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"wall": np.nan, "cpu": np.nan, "memory": np.nan, "digest": [f"failed ({done.returncode})"]}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main(lines: int) -> None:
    """Write the lines once, then let every way answer every question in turns; print medians and ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"lines": lines, "buyers": lines // 10, "merchants": max(lines // 200, 100), "folder": folder}
        duckdb.connect().execute(LINES.format(**sizes))
        (folder / "dataset.toml").write_text(HEAD, encoding="utf-8")
        print(f"{lines:,} lines, medians of {ROUNDS} rounds; ratios are CPU of the kit over CPU of the other")
        for question in QUESTIONS:
            rounds = [{way: run(way, question, folder) for way in WAYS} for _ in range(ROUNDS)]
            digests = {way: rounds[0][way]["digest"] for way in WAYS}
            same = all(np.allclose(digests["kit"], other, rtol=1e-9) for other in digests.values() if len(other) > 1)
            middle = {
                w: {k: statistics.median(r[w][k] for r in rounds) for k in ("cpu", "wall", "memory")} for w in WAYS
            }
            cells = [f"{w} {m['cpu']:.2f} s CPU, {m['wall']:.2f} s, {m['memory']:.2f} GB" for w, m in middle.items()]
            ratios = [f"{middle['kit']['cpu'] / middle[w]['cpu']:.2f} × {w}" for w in ("sql", "pandas")]
            print(
                f"{question}: {'; '.join([*cells, *ratios])}; answers {'equal' if same else f'DIFFER {digests}'}",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        ask(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000_000)
