"""Data as other systems write them: long identifiers, NaN, folders and files with odd names, zones, threads."""

from __future__ import annotations

import datetime as dt
import decimal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import strategy_kit as sk
from strategy_kit.errors import ContractError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 'name = "odd"\ntimezone = "Asia/Shanghai"\ncurrency = "CNY"\n[tables]\norder_lines = "{}"\nmerchants = "m.parquet"\n'
LONG = 2**60  # neighbours are one number as doubles


def lines(**columns: Any) -> pd.DataFrame:
    """Six orders of two merchants, a fortnight."""
    made = {
        "order_id": [f"o{n}" for n in range(6)], "line_id": 1, "buyer_id": ["a", "b", "c", "a", "b", "c"],
        "merchant_id": ["m0", "m1"] * 3, "category": ["beauty", "toys"] * 3,
        "paid_at": pd.date_range("2025-01-06 09:00", periods=6, freq="2D"), "amount": [10.0, 20, 30, 40, 50, 60.5],
    }  # fmt: skip
    return pd.DataFrame(made | columns)


def roster(*names: Any) -> pd.DataFrame:
    return pd.DataFrame({"merchant_id": list(names or ("m0", "m1")), "category": ["beauty", "toys"]})


def framed(order_lines: pd.DataFrame, merchants: pd.DataFrame | None = None, **others: Any) -> sk.Dataset:
    given = roster() if merchants is None else merchants
    return sk.dataset_from_frames(order_lines, given, timezone="Asia/Shanghai", currency="CNY", **others)


def filed(folder: Path, pattern: str, merchants: pd.DataFrame | None = None) -> sk.Dataset:
    """Open the data set of a folder whose order lines are there already."""
    (folder / "dataset.toml").write_text(HEAD.format(pattern), encoding="utf-8")
    (roster() if merchants is None else merchants).to_parquet(folder / "m.parquet")
    return sk.open_dataset(folder)


def totals(shop: sk.Dataset, *metrics: str) -> list[Any]:
    return list(sk.kpi.table(shop, by=[], metrics=list(metrics or ("gmv", "orders", "active_merchants"))).iloc[0, :-1])


WHOLE = [210.5, 6, 2]


def test_long_identifiers_are_told_apart(tmp_path: Path) -> None:
    numbers = [decimal.Decimal(LONG + n % 2) for n in range(6)]
    orders = [decimal.Decimal(10**17 + n) for n in range(6)]
    ids = lines(merchant_id=numbers, order_id=orders)
    assert totals(framed(ids, roster(*numbers[:2]))) == WHOLE
    wide = pa.decimal128(20, 0)  # as databases export a NUMBER
    for name, frame in (("l.parquet", ids), ("m.parquet", roster(*numbers[:2]))):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        at = table.schema.get_field_index("merchant_id")
        pq.write_table(table.set_column(at, "merchant_id", pa.array(numbers[: len(frame)], wide)), tmp_path / name)
    (tmp_path / "dataset.toml").write_text(HEAD.format("l.parquet"), encoding="utf-8")
    shop = sk.open_dataset(tmp_path)
    assert totals(shop) == WHOLE
    by = sk.kpi.table(shop, by=["merchant_id"], metrics=["gmv"])
    assert by["merchant_id"].tolist() == [LONG, LONG + 1]
    assert by["gmv"].tolist() == [90.0, 120.5]


def test_long_numbers_of_csv_are_texts(tmp_path: Path) -> None:
    lines(order_id=[f"20250106220014{n:014d}" for n in range(6)]).to_csv(tmp_path / "l.csv", index=False)
    assert totals(filed(tmp_path, "l.csv")) == WHOLE


def test_identifiers_that_a_double_confuses_are_refused(tmp_path: Path) -> None:
    for name, kind in (("a", "int64"), ("b", "float64")):  # as pandas writes whole numbers beside a missing one
        lines(order_id=np.arange(LONG, LONG + 6).astype(kind)).to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(
        ContractError, match=r"order_lines.order_id holds DOUBLE, in which 12 rows are no whole numbers"
    ):
        filed(tmp_path, "[ab].parquet")
    assert totals(framed(lines(order_id=np.arange(6.0)))) == WHOLE, "those that it tells apart are whole numbers"
    with pytest.raises(ContractError, match="1 row is no whole number"):
        framed(lines(order_id=[0.0, 1, 2, 3, 4, 5.5]))


@pytest.mark.parametrize("statistics", [True, False])
def test_nan_is_missing_wherever_it_stands(tmp_path: Path, statistics: bool) -> None:
    """Parquet's statistics leave NaN out, so that a comparison with it is skipped."""
    odd = lines(quantity=[1.0, np.nan, 2, 2, 2, 2], refund_amount=[0.0, np.nan, 0, 0, 0, 0])
    odd.loc[0, "amount"] = np.nan
    table = pa.Table.from_pandas(odd, preserve_index=False)
    kept = [column.fill_null(float("nan")) if pa.types.is_floating(column.type) else column for column in table.columns]
    pq.write_table(pa.table(kept, names=table.column_names), tmp_path / "l.parquet", write_statistics=statistics)
    shop = filed(tmp_path, "l.parquet")
    assert totals(shop, "gmv", "units") == [200.5, 9.0]
    found = shop.check().set_index("check")["rows"]
    assert found["amount is never missing"] == 1


def test_a_rate_that_is_no_number_is_refused() -> None:
    odd = lines(currency=["USD", *["CNY"] * 5], fx_rate=[np.nan, *[1.0] * 5])
    with pytest.raises(ContractError, match="1 lines in USD beside CNY without a positive fx_rate"):
        framed(odd)


@pytest.mark.parametrize("name", ["category=old", "amount=5", "a[1]b", "what?", "it's"])
def test_what_a_folder_is_called_changes_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    lines().to_parquet(tmp_path / name / "l.parquet")
    shop = filed(tmp_path / name, "l.parquet")
    assert totals(shop) == WHOLE
    assert sk.kpi.table(shop, by=["category"], metrics=["gmv"])["category"].tolist() == ["beauty", "toys"]


def test_a_download_made_twice_is_read_twice_from_its_own_file(tmp_path: Path) -> None:
    lines().to_parquet(tmp_path / "lines1.parquet")
    lines(order_id=[f"p{n}" for n in range(6)], amount=1.0).to_parquet(tmp_path / "lines[1].parquet")
    assert totals(filed(tmp_path, "lines*.parquet"))[:2] == [216.5, 12]


def test_partitions_below_the_folder_are_columns(tmp_path: Path) -> None:
    for status, rows in lines().groupby(np.array(["paid", "paid", "paid", "cancelled", "paid", "paid"])):
        (tmp_path / f"status={status}").mkdir()
        rows.to_parquet(tmp_path / f"status={status}" / "l.parquet")
    assert totals(filed(tmp_path, "status=*/l.parquet"))[:2] == [170.5, 5]
    (tmp_path / "category=old").mkdir()
    for kind in ("paid", "cancelled"):
        (tmp_path / f"status={kind}").rename(tmp_path / "category=old" / f"status={kind}")
    with pytest.raises(ContractError, match="below 'category=old', which would be read as a column too; rename"):
        filed(tmp_path / "category=old", "status=*/l.parquet")


def test_dates_that_can_be_read_in_two_ways_are_refused(tmp_path: Path) -> None:
    lines(paid_at="03/02/2025 09:00:00").to_csv(tmp_path / "l.csv", index=False)
    with pytest.raises(ContractError, match=r"writes dates as %d/%m/%Y .* write them as year-month-day"):
        filed(tmp_path, "l.csv")
    lines(paid_at="2025-02-03T09:00:00").to_csv(tmp_path / "l.csv", index=False)
    assert str(filed(tmp_path, "l.csv").data_through) == "2025-02-03"


def test_zones_in_some_files_only_are_refused(tmp_path: Path) -> None:
    lines().to_parquet(tmp_path / "a.parquet")
    lines(paid_at=lines()["paid_at"].dt.tz_localize("Asia/Shanghai")).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ContractError, match="stores paid_at with a time zone in some files and without one in others"):
        filed(tmp_path, "[ab].parquet")


def test_frames_keep_rare_fractions_and_are_refused_in_a_sentence() -> None:
    many = pd.concat([lines(order_id=[f"o{n}-{k}" for n in range(6)]) for k in range(500)], ignore_index=True)
    amounts = pd.Series([1] * 2_999 + [1.5], dtype=object)
    assert totals(framed(many.assign(amount=amounts)), "gmv") == [3_000.5]
    twice = pd.concat([lines(), lines()[["amount"]]], axis=1)
    with pytest.raises(ContractError, match=r"columns \['amount'\] repeat"):
        framed(twice)
    with pytest.raises(ContractError, match="amount must be a number, but the file holds interval"):
        framed(lines(amount=pd.to_timedelta(1, unit="s")))
    with pytest.raises(ContractError, match="table order_lines cannot be read"):
        framed(lines(amount=1j))


def test_an_empty_table_fits_any_roster() -> None:
    empty = pd.DataFrame({"merchant_id": pd.Series([], dtype="int64"), "lever": "", "started_on": pd.NaT})
    shop = framed(lines(), support=empty)
    assert shop.engine.types("support")["merchant_id"] == "VARCHAR"
    check = framed(lines(), roster().assign(home="x")).check()
    assert not (check["severity"].eq("error") & check["rows"].gt(0)).any()


@pytest.mark.parametrize("files", [True, False])
def test_threads_get_their_own_answers(tmp_path: Path, files: bool) -> None:
    lines().to_parquet(tmp_path / "l.parquet")
    shop = filed(tmp_path, "l.parquet") if files else framed(lines())
    asked = [f"select sum(amount) + {n} as y, 'a' as word from order_lines" for n in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda sql: float(shop.engine.frame(sql)["y"][0]), asked))
    assert found == [210.5 + n for n in range(200)]


def test_small_categories_together_count_a_buyer_once_and_unsold_ones_are_no_control() -> None:
    """Two small categories share buyers; a third sells nothing until the data's last, unfinished week."""
    days = pd.date_range("2025-01-06", periods=28, freq="D")
    made = [
        (f"{category}{day.date()}{n}", 1, f"b{n}", "m0" if category == "beauty" else "m1", category, day, amount)
        for category, amount in (("beauty", 500.0), ("toys", 1.0), ("books", 1.0), ("games", 500.0))
        for day in days for n in range(3)
    ]  # fmt: skip
    frame = pd.DataFrame(made, columns=lines().columns)
    late = frame.assign(order_id="late", category="garden").iloc[:1].assign(paid_at=pd.Timestamp("2025-02-03"))
    shop = framed(pd.concat([frame, late], ignore_index=True), pilot={"beauty": dt.date(2025, 1, 20)})
    panel = shop.category_panel("buyers", period="week", pool_below=0.3)
    assert panel.units.tolist() == ["beauty", "all_other"]
    assert panel.outcome[1].tolist() == [3.0] * 4
    assert "garden" not in shop.category_panel("gmv", period="week").units.tolist()


def test_what_duckdb_cannot_answer_is_a_sentence(tmp_path: Path) -> None:
    lines(quantity=[2**62] * 6).to_parquet(tmp_path / "l.parquet")
    shop = filed(tmp_path, "l.parquet")
    with pytest.raises(ContractError, match=r"cannot be answered from these data: .*repair the file or the column"):
        totals(shop, "units")
    (tmp_path / "l.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ContractError, match="table order_lines cannot be read"):
        totals(shop)


@pytest.mark.spark
@pytest.mark.slow
def test_spark_reads_odd_files_alike(tmp_path: Path, spark: Any) -> None:
    numbers = [LONG + n % 2 for n in range(6)]
    odd = lines(merchant_id=numbers, quantity=[1.0, np.nan, 2, 2, 2, 2], status=["paid"] * 5 + ["cancelled"])
    for status, rows in odd.groupby("status"):
        folder = tmp_path / "market" / f"status={status}"
        folder.mkdir(parents=True)
        table = pa.Table.from_pandas(rows.drop(columns="status"), preserve_index=False)
        at = table.schema.get_field_index("merchant_id")
        wide = table.set_column(at, "merchant_id", table["merchant_id"].cast(pa.decimal128(20, 0)))
        pq.write_table(wide, folder / "l[1].parquet")
    here = filed(tmp_path / "market", "status=*/l*.parquet", roster(*numbers[:2]))
    there = sk.open_dataset(tmp_path / "market", engine=spark)
    assert totals(here) == [150.0, 5, 2]
    for by in ([], ["category"], ["merchant_id"]):
        ours, theirs = (sk.kpi.table(shop, by=by, metrics=["gmv", "orders", "units"]) for shop in (here, there))
        pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)
    lines(order_id=[f"20250106220014{n:014d}" for n in range(6)]).to_csv(tmp_path / "l.csv", index=False)
    filed(tmp_path, "l.csv")
    assert totals(sk.open_dataset(tmp_path, engine=spark)) == WHOLE


@pytest.mark.parametrize("empty", [None, np.nan])
@pytest.mark.parametrize("rated", [False, True])
def test_a_currency_column_without_any_value_is_the_data_s_own(empty: float | None, rated: bool) -> None:
    order_lines = lines(currency=empty) if not rated else lines(currency=empty, fx_rate=empty)
    assert totals(framed(order_lines)) == WHOLE


def test_money_that_four_decimals_cannot_hold_is_refused() -> None:
    with pytest.raises(
        ContractError, match=r"order_lines\.amount keeps 4 decimals, which would lose 100\.0% of these amounts"
    ):
        framed(lines(amount=0.00004))
    assert totals(framed(lines(amount=[0.00004, *[10.0] * 5])), "gmv") == [50.0]  # one crumb is none of the sum
    assert totals(framed(lines(amount=np.float32(0.1))), "gmv") == [0.6]


def test_rows_without_an_identifier_are_no_further_buyer_or_merchant() -> None:
    order_lines = lines(buyer_id=["a", "b", "c", None, None, "d"], merchant_id=["m0", "m1", None, "m0", "m1", None])
    month: Any = {"data_from": dt.date(2025, 1, 1), "data_through": dt.date(2025, 1, 31)}
    shop = framed(order_lines, **month)
    assert totals(shop, "buyers", "repeat_buyers", "repeat_rate", "active_merchants") == [4, 0, 0.0, 2]
    assert totals(shop, "median_gmv_per_active_merchant") == [60.0]  # of 10 + 40 and 20 + 50
    triangle = sk.cohort.triangle(shop, unit="buyer")
    assert triangle["cohort_size"].iloc[0] == 4
    assert sk.cohort.retention(triangle)["value"].iloc[0] == 1.0
    support = pd.DataFrame({"merchant_id": ["m0", None], "lever": "traffic", "started_on": pd.Timestamp("2025-01-06")})
    found = sk.cohort.supported(framed(lines(), support=support, **month), burn_in_days=0)
    assert found.groupby("group")["members"].first().to_dict() == {"supported": 1, "not supported": 1}


def test_long_whole_numbers_beside_a_missing_one_are_told_apart() -> None:
    products = pd.array([LONG, LONG + 1, None] * 2, dtype="Int64")
    shop = framed(lines(sku_id=products))
    found = sk.kpi.table(shop, by=["sku_id", "month"], metrics=["gmv", "new_buyers"])
    assert found["sku_id"].tolist()[:2] == [LONG, LONG + 1]
    assert found["gmv"].tolist() == [50.0, 70.0, 90.5]
    assert found["sku_id"].isna().tolist() == [False, False, True]


def test_a_panel_of_mature_gmv_leaves_out_what_refunds_may_still_change() -> None:
    support = pd.DataFrame({"merchant_id": ["m0"], "lever": "traffic", "started_on": pd.Timestamp("2025-01-13")})
    window = {"data_from": dt.date(2025, 1, 6), "data_through": dt.date(2025, 1, 19)}
    shop = framed(lines(refund_amount=0.0), support=support, pilot={"beauty": dt.date(2025, 1, 13)}, **window)
    shop = replace(shop, description=replace(shop.description, refund_days=5))
    known = sk.kpi.table(shop, by=["merchant_id", "week"], metrics=["mature_gmv"])
    panel = shop.panel("mature_gmv")
    assert panel.outcome.sum() == known["mature_gmv"].sum() == 150.0  # orders up to 14 January
    assert shop.category_panel("mature_gmv").outcome.sum() == 150.0


def test_instants_of_the_old_type_are_instants(tmp_path: Path) -> None:
    """17:00 in Greenwich is 01:00 of the next day in Shanghai, as Spark reads INT96 too."""
    late = lines(paid_at=pd.Timestamp("2025-01-05 17:00", tz="UTC"))
    pq.write_table(pa.Table.from_pandas(late.head(3)), tmp_path / "l1.parquet", use_deprecated_int96_timestamps=True)
    for beside in ("alone", "instants"):
        days = sk.kpi.table(filed(tmp_path, "l*.parquet"), by=["day"], metrics=["orders"])
        assert days.loc[days["orders"] > 0, "day"].dt.strftime("%F").tolist() == ["2025-01-06"], beside
        late.tail(3).to_parquet(tmp_path / "l2.parquet")
    lines().tail(3).to_parquet(tmp_path / "l2.parquet")
    with pytest.raises(ContractError, match="paid_at with a time zone in some files and without one in others"):
        filed(tmp_path, "l*.parquet")


@pytest.mark.parametrize("files", [1, 2])
def test_times_of_a_csv_have_a_zone_all_or_none(files: int, tmp_path: Path) -> None:
    zoned = lines(paid_at=[f"2025-01-0{n + 1}T17:00:00+08:00" for n in range(6)])
    for number, part in enumerate(np.array_split(np.arange(6), files)):
        zoned.iloc[part].to_csv(tmp_path / f"l{number}.csv", index=False)
    first = filed(tmp_path, "l*.csv").engine.frame("select min(paid_at) as first from order_lines")["first"][0]
    assert first == pd.Timestamp("2025-01-01 17:00")
    zoned.loc[5, "paid_at"] = "2025-01-06 17:00:00"
    zoned.iloc[part].to_csv(tmp_path / f"l{number}.csv", index=False)
    with pytest.raises(
        ContractError, match=r"some of paid_at with a time zone and some without .first: 2025-01-06 17:00:00"
    ):
        filed(tmp_path, "l*.csv")


def test_an_identifier_may_begin_with_any_sign(tmp_path: Path) -> None:
    ids = [f"{'#' * (n % 7 == 0)}{n}" for n in range(60)]
    lines().loc[[0] * 60].assign(order_id=ids).to_csv(tmp_path / "l.csv", index=False)
    assert totals(filed(tmp_path, "l.csv"), "orders") == [60]


@pytest.mark.spark
@pytest.mark.slow
def test_spark_reads_odd_csv_alike(tmp_path: Path, spark: Any) -> None:
    """Zeros before identifiers, quoted quotes and line ends, tabs, and columns in another order."""
    odd = lines(
        merchant_id=["007", "07"] * 3, order_id=["1", "001", "2", "3", "4", "5"],
        title=['lamp 12" , black', "two\nlines", "a", "b", "c", "d"],
    )  # fmt: skip
    market = {"one": ("l.csv", odd), "tabs": ("l.tsv", odd), "files": ("l*.csv", odd)}
    for name, (pattern, frame) in market.items():
        folder = tmp_path / name
        folder.mkdir()
        if name == "files":
            frame.head(3).to_csv(folder / "l1.csv", index=False)
            frame.tail(3).iloc[:, ::-1].to_csv(folder / "l2.csv", index=False)
        else:
            frame.to_csv(folder / pattern, index=False, sep="\t" if name == "tabs" else ",")
        here, there = filed(folder, pattern, roster("007", "07")), sk.open_dataset(folder, engine=spark)
        assert totals(here) == totals(there) == WHOLE
        ours, theirs = (sk.kpi.table(shop, by=["merchant_id"], metrics=["gmv", "orders"]) for shop in (here, there))
        pd.testing.assert_frame_equal(ours, theirs)
    mixed = lines(paid_at=[*["2025-01-05T17:00:00+08:00"] * 5, "2025-01-05 17:00:00"])
    mixed.to_csv(tmp_path / "l.csv", index=False)
    with pytest.raises(ContractError, match="some of paid_at with a time zone and some without"):
        filed(tmp_path, "l.csv")
    with pytest.raises(ContractError, match="some of paid_at with a time zone and some without"):
        sk.open_dataset(tmp_path, engine=spark)


@pytest.mark.spark
@pytest.mark.slow
def test_spark_counts_quarters_and_says_what_cannot_be_answered(tmp_path: Path, spark: Any) -> None:
    days = pd.date_range("2024-01-01", "2025-03-31", freq="9D")
    lines().loc[[0, 1] * (len(days) // 2)].assign(
        order_id=range(2 * (len(days) // 2)), paid_at=days[: 2 * (len(days) // 2)]
    ).to_parquet(tmp_path / "l.parquet")
    pd.DataFrame({"merchant_id": ["m0"], "lever": "display", "started_on": dt.date(2024, 7, 1)}).to_parquet(
        tmp_path / "s.parquet"
    )
    (tmp_path / "dataset.toml").write_text(HEAD.format("l.parquet") + 'support = "s.parquet"\n', encoding="utf-8")
    roster().to_parquet(tmp_path / "m.parquet")
    here, there = (sk.open_dataset(tmp_path, engine=engine) for engine in ("duckdb", spark))
    ours, theirs = here.panel(period="quarter"), there.panel(period="quarter")
    np.testing.assert_allclose(ours.moments.mean, theirs.moments.mean)
    growth = [sk.kpi.merchant_growth(shop, period="quarter") for shop in (here, there)]
    pd.testing.assert_frame_equal(*growth)
    odd = sk.Metric("odd", "currency", "sum(cast(category as int))", columns=())
    for shop in (here, there):
        with pytest.raises(ContractError, match="a question cannot be answered from these data"):
            sk.kpi.table(shop, by=[], metrics=[odd])
