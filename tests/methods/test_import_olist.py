"""The Olist import: exact against the published counts and pandas twins, and safe on hand-made files."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from strategy_kit import errors
from strategy_kit.importers import import_olist, olist
from strategy_kit.importers.files import swap

if TYPE_CHECKING:
    from pathlib import Path

Import = tuple["Path", pd.DataFrame]
KEYS = {
    "apparel": "fashion_bolsas_e_acessorios fashion_calcados fashion_roupa_masculina fashion_roupa_feminina "
    "fashion_roupa_infanto_juvenil fashion_underwear_e_moda_praia",
    "beauty": "beleza_saude perfumaria",
    "sports_outdoors": "esporte_lazer fashion_esporte",
}
PILOT = {published: category for category, keys in KEYS.items() for published in keys.split()}
CSV = {
    "orders": "order_id,customer_id,order_status,order_purchase_timestamp|o1,c1,shipped,2017-06-01 10:00:00",
    "order_items": "order_id,order_item_id,product_id,seller_id,price|o1,1,p1,s1,10.00",
    "customers": "customer_id,customer_unique_id|c1,u1",
    "sellers": 'seller_id,seller_city,seller_state|s1,"são paulo, centro",SP|s2,"x ""y""",RJ',
    "products": '"product_id",product_category_name,"product_name_lenght"|p1,beleza_saude,4|p2,artes,4|p3,,',
    "words": "product_category_name,product_category_name_english|artes,art|beleza_saude,health_beauty",
}


def stem(table: str) -> str:
    return "product_category_name_translation" if table == "words" else f"olist_{table}_dataset"


def counted(report: pd.DataFrame) -> dict[str, int]:
    return dict(zip(report["step"], report["rows"], strict=True))


@pytest.fixture(scope="module")
def published(shared: Path) -> Path:
    folder = shared / "data" / "olist"
    if not folder.is_dir():
        pytest.skip("the published Olist files are not in the shared reference data")
    return folder


@pytest.fixture(scope="module")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Import:
    out = tmp_path_factory.mktemp("data") / "olist"
    return out, import_olist(published, out)


@pytest.fixture(scope="module")
def lines(imported: Import) -> pd.DataFrame:
    return pd.read_parquet(imported[0] / "order_lines.parquet")


@pytest.fixture(scope="module")
def twin(published: Path) -> pd.DataFrame:
    def read(name: str) -> pd.DataFrame:
        return pd.read_parquet(published / f"{name}.parquet")

    names = read("product_category_name_translation").set_index("product_category_name")
    frame = (
        read("olist_order_items_dataset")
        .merge(read("olist_orders_dataset"), on="order_id", validate="m:1")
        .merge(read("olist_customers_dataset"), on="customer_id", validate="m:1")
        .merge(read("olist_products_dataset"), on="product_id", validate="m:1")
    )
    key = frame["product_category_name"]
    frame["category"] = key.map(PILOT).fillna(key.map(names["product_category_name_english"])).fillna(key)
    frame["paid"] = ~frame["order_status"].isin(["canceled", "unavailable"])
    return frame


def test_report_gives_the_published_counts(imported: Import) -> None:
    out, report = imported
    rows = counted(report)
    assert report["rows"].tolist()[:6] == [99_441, 112_650, 99_441, 3_095, 32_951, 71]
    assert (rows["lines written"], rows["merchants written"]) == (112_650, 3_095)
    assert (rows["orders without items"], rows["products without a category"]) == (775, 610)
    assert (rows["categories without a translation"], rows["orders of unpublished status"]) == (2, 0)
    assert sum(count for step, count in rows.items() if step.startswith("lines refused")) == 0
    pd.testing.assert_frame_equal(pd.read_csv(out / "import_report.csv"), report, check_dtype=False)


def test_report_counts_equal_the_twin(imported: Import, twin: pd.DataFrame) -> None:
    rows = counted(imported[1])
    day = twin["order_purchase_timestamp"].dt.date
    assert rows["lines cancelled"] == (~twin["paid"]).sum()
    assert rows["lines before data_from"] == (day < date(2017, 1, 2)).sum() > 0
    assert rows["lines after data_through"] == (day > date(2018, 8, 19)).sum() > 0
    assert rows["lines of uncategorised products"] == twin["category"].isna().sum() > 0
    untranslated = ["pc_gamer", "portateis_cozinha_e_preparadores_de_alimentos"]
    assert rows["lines in untranslated categories"] == twin["category"].isin(untranslated).sum() > 0
    assert rows["merchants without a sale"] == 3_095 - twin.loc[twin["paid"], "seller_id"].nunique()


def test_order_lines_equal_the_twin_row_by_row(lines: pd.DataFrame, twin: pd.DataFrame) -> None:
    renamed = {
        "order_item_id": "line_id",
        "customer_unique_id": "buyer_id",
        "seller_id": "merchant_id",
        "order_purchase_timestamp": "paid_at",
        "price": "amount",
    }
    status = twin["paid"].map({True: "paid", False: "cancelled"})
    expected = twin.assign(status=status).rename(columns=renamed)
    columns = ["order_id", *renamed.values(), "category", "status"]
    ordered = [frame.sort_values(columns[:2], ignore_index=True)[columns] for frame in (lines, expected)]
    pd.testing.assert_frame_equal(*ordered, check_dtype=False)
    assert (lines["quantity"] == 1).all()
    assert (lines["market"] == "domestic").all()
    assert not {"refund_amount", "freight_value"} & set(lines)


def test_facts_of_the_data_page(lines: pd.DataFrame, twin: pd.DataFrame) -> None:
    assert (lines.groupby("order_id")["merchant_id"].nunique() >= 2).sum() == 1_278
    assert lines["buyer_id"].nunique() == twin["customer_unique_id"].nunique() < lines["order_id"].nunique()
    paid = lines.loc[lines["status"] == "paid", "amount"].sum()
    # Sums of 112,101 doubles in two orders differ by rounding only, far below a centavo.
    assert paid == pytest.approx(twin.loc[twin["paid"], "price"].sum(), abs=0.005)
    assert paid > 13_000_000

    written = lines["category"].value_counts()
    published = twin["product_category_name"].map(PILOT).value_counts()
    assert written[list(KEYS)].to_dict() == published[list(KEYS)].to_dict()
    assert {"health_beauty", "perfumery", "sports_leisure", "fashion_shoes"}.isdisjoint(written.index)


def test_merchants_equal_the_twin(imported: Import, twin: pd.DataFrame, published: Path) -> None:
    merchants = pd.read_parquet(imported[0] / "merchants.parquet").set_index("merchant_id")
    paid = twin[twin["paid"]]
    before = paid[(paid["order_purchase_timestamp"] < "2018-02-05") & paid["category"].notna()]
    before = before.assign(cents=(before["price"] * 100).round().astype("int64"))
    share = before.groupby(["seller_id", "category"])["cents"].agg(["sum", "size"]).reset_index()
    share = share.sort_values(["sum", "size", "category"], ascending=[False, False, True])
    frozen = share.drop_duplicates("seller_id").set_index("seller_id")["category"]
    sellers = pd.read_parquet(published / "olist_sellers_dataset.parquet").set_index("seller_id")
    assert sorted(merchants.index) == sorted(sellers.index)
    assert merchants["category"].to_dict() == frozen.reindex(sellers.index).fillna("unknown").to_dict()
    assert counted(imported[1])["merchants of unknown category"] == len(sellers) - len(frozen) > 0
    assert merchants["region"].to_dict() == sellers["seller_state"].to_dict()
    opened = paid.groupby("seller_id")["order_purchase_timestamp"].min().dt.date
    assert merchants["opened_on"].dropna().to_dict() == opened.to_dict()


def test_same_files_give_the_same_bytes(published: Path, imported: Import, tmp_path: Path) -> None:
    import_olist(published, tmp_path / "olist")
    assert set(snapshot(imported[0])) == olist.OLIST.written
    assert snapshot(tmp_path / "olist") == snapshot(imported[0])


class Files:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for table, rows in CSV.items():
            self.add(table, *rows.split("|"))

    def path(self, table: str) -> Path:
        return self.folder / f"{stem(table)}.csv"

    def add(self, table: str, *rows: str) -> None:
        with self.path(table).open("a", encoding="utf-8") as file:
            file.writelines(f"{row}\n" for row in rows)

    def change(self, table: str, old: str, new: str) -> None:
        text = self.path(table).read_text(encoding="utf-8")
        assert old in text
        self.path(table).write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "src [b]*")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'my "olist" [a]*'


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(kind: type[errors.StrategyKitError], files: Files, out: Path) -> str:
    with pytest.raises(kind) as caught:
        import_olist(files.folder, out)
    return str(caught.value)


def test_the_description_is_the_plan(files: Files, out: Path) -> None:
    import_olist(files.folder, out)
    described = tomllib.loads((out / "dataset.toml").read_text(encoding="utf-8"))
    assert described.pop("source").endswith("CC BY-NC-SA 4.0: not to be committed or published.")
    pilot = {"categories": list(KEYS), "starts_on": date(2018, 2, 5), "placebo": True}
    assert described.pop("pilot") == pilot
    assert described.pop("plan") == {"threshold": 0.03, "chance_needed": 0.9}
    tables = ("order_lines", "merchants", "calendar", "policies")
    assert described.pop("tables") == {table: f"{table}.parquet" for table in tables}
    assert (described["name"], described["title"]) == ('my "olist" [a]*', "Olist marketplace (Brazil)")
    assert (described["currency"], described["timezone"]) == ("BRL", "America/Sao_Paulo")
    assert (described["data_from"], described["data_through"]) == (date(2017, 1, 2), date(2018, 8, 19))
    assert described["synthetic"] is False
    merchants = pd.read_parquet(out / "merchants.parquet")
    assert merchants["category"].tolist() == ["beauty", "unknown"]
    assert merchants["opened_on"].tolist() == [date(2017, 6, 1), None]


def test_calendar_and_policies(files: Files, out: Path) -> None:
    import_olist(files.folder, out)
    calendar = pd.read_parquet(out / "calendar.parquet")
    days = pd.date_range("2016-09-01", "2018-10-31")
    assert pd.to_datetime(calendar["date"]).tolist() == days.tolist()
    spot = calendar[calendar["phase"] == "spot"]
    assert spot["festival"].value_counts().to_dict() == {"Mother's Day": 14, "Black Friday": 4}
    festive = {pd.Timestamp(day).date() for day in spot["date"]}
    assert {date(2017, 11, 24), date(2017, 11, 27), date(2017, 5, 14), date(2018, 5, 13)} <= festive
    assert calendar.loc[calendar["phase"] == "none", "festival"].isna().all()
    policies = pd.read_parquet(out / "policies.parquet")
    assert [str(day)[:10] for day in policies["started_on"]] == ["2018-03-06", "2018-05-21"]
    assert policies["ended_on"].isna().tolist() == [True, False]


def test_byte_order_mark_is_read_over(files: Files, out: Path) -> None:
    words = files.path("words")
    words.write_bytes(b"\xef\xbb\xbf" + words.read_bytes())
    files.change("order_items", "p1", "p2")
    assert counted(import_olist(files.folder, out))["words read"] == 2
    assert pd.read_parquet(out / "order_lines.parquet")["category"].tolist() == ["art"]


def test_csv_and_parquet_give_the_same_bytes(files: Files, out: Path) -> None:
    files.add("order_items", "o1,2,p3,s1,0.1")
    import_olist(files.folder, out)
    before = snapshot(out)
    for path in sorted(files.folder.iterdir()):
        frame = pd.read_csv(path)
        if "order_purchase_timestamp" in frame:
            frame["order_purchase_timestamp"] = pd.to_datetime(frame["order_purchase_timestamp"])
        frame.to_parquet(path.with_suffix(".parquet"))
        path.unlink()
    import_olist(files.folder, out)
    assert snapshot(out) == before


def test_what_cannot_be_mapped_is_counted_and_never_lost(files: Files, out: Path) -> None:
    files.add("products", "p4,pc_gamer,")
    files.add("orders", "o2,nobody,delivered,2017-06-01 10:00:00", "o3,c1,unavailable,2017-06-01 10:00:00")
    files.add("orders", "o4,c1,delivered,2018-08-20 00:00:00", "o5,c1,lost,2017-06-01 10:00:00")
    files.add("order_items", "o1,2,p3,s1,1", "o1,3,x,s1,1", "o1,4,p4,s1,1", "o3,5,p1,s1,1", "o4,6,p1,s1,1")
    files.add("order_items", "x,7,p1,s1,1", "o2,8,p1,x,1", "o1,9,p1,x,1")
    rows = counted(import_olist(files.folder, out))
    lines = pd.read_parquet(out / "order_lines.parquet").sort_values("line_id")
    assert lines["line_id"].tolist() == [1, 2, 3, 4, 5, 6]
    assert lines["category"].fillna("-").tolist() == ["beauty", "-", "-", "pc_gamer", "beauty", "beauty"]
    assert lines["status"].tolist() == ["paid", "paid", "paid", "paid", "cancelled", "paid"]
    assert (rows["items read"], rows["lines written"], rows["lines before data_from"]) == (9, 6, 0)
    once = """lines refused: order missing | lines refused: customer missing | lines refused: seller missing |
        lines cancelled | lines after data_through | lines of missing products | orders without items |
        lines of uncategorised products | lines in untranslated categories | orders of unpublished status |
        products without a category | categories without a translation | merchants without a sale"""
    for step in once.split("|"):
        assert rows[step.strip()] == 1, step


@pytest.mark.parametrize(
    ("items", "category", "ties"),
    [
        (["o1,2,p2,s1,9.99"], "beauty", [0, 0]),
        (["o1,2,p2,s1,10.3", "o1,3,p1,s1,0.1", "o1,4,p1,s1,0.2"], "beauty", [1, 0]),
        (["o1,2,p2,s1,10"], "art", [1, 1]),
        (["late,1,p2,s1,99"], "beauty", [0, 0]),
        (["void,1,p2,s1,99"], "beauty", [0, 0]),
        (["o1,2,p3,s1,99"], "beauty", [0, 0]),
    ],
    ids=["value", "tie: lines", "tie: alphabet", "pilot day", "cancelled", "uncategorised"],
)
def test_frozen_category(files: Files, out: Path, items: list[str], category: str, ties: list[int]) -> None:
    files.add("orders", "late,c1,delivered,2018-02-05 00:00:00", "void,c1,canceled,2017-06-01 10:00:00")
    files.add("order_items", *items)
    rows = counted(import_olist(files.folder, out))
    assert pd.read_parquet(out / "merchants.parquet")["category"].tolist() == [category, "unknown"]
    assert [rows[f"merchants tied on {what}"] for what in ("value", "value and lines")] == ties


def test_every_missing_file_is_named_at_once(files: Files, out: Path) -> None:
    files.path("sellers").unlink()
    files.path("orders").unlink()
    files.path("customers").with_suffix(".parquet").touch()
    message = refusal(errors.ParameterError, files, out)
    assert message.startswith("import olist breaks 3 laws")
    for table, fault in {"sellers": "missing", "orders": "missing", "customers": "there twice"}.items():
        assert f"{stem(table)}.csv or .parquet in {files.folder} is {fault}" in message


def test_missing_columns_are_named_with_the_nearest(files: Files, out: Path) -> None:
    files.change("order_items", ",price", ",prices")
    files.change("sellers", "seller_state", "uf")
    message = refusal(errors.ContractError, files, out)
    assert "olist_order_items_dataset.csv has no column price (did you mean 'prices'?)" in message
    assert "olist_sellers_dataset.csv has no column seller_state" in message


@pytest.mark.parametrize(
    ("table", "column", "good", "bad"),
    [
        *(("order_items", "price", "10.00", bad) for bad in ("R$ 12", "", "-1", "nan", "1e300")),
        ("order_items", "order_item_id", ",1,", ",1.5,"),
        ("orders", "order_purchase_timestamp", "2017-06-01 10:00:00", "01/06/2017"),
        ("orders", "order_purchase_timestamp", "10:00:00", "10:00:00+00"),
        ("orders", "order_purchase_timestamp", "2017-06-01 10:00:00", ""),
        ("orders", "order_status", "shipped", ""),
        ("customers", "customer_id", "c1,", ","),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(
    files: Files, out: Path, table: str, column: str, good: str, bad: str
) -> None:
    files.change(table, good, bad)
    message = refusal(errors.ContractError, files, out)
    assert f"{stem(table)}.csv, column {column}: 1 values are not" in message
    assert bad.strip(",") in message.partition("first '")[2]


def test_broken_laws_are_named_at_once_with_the_first_example(files: Files, out: Path) -> None:
    files.add("order_items", "o1,2,p1,s1,free", "o1,2,p1,s1,cheap")
    files.add("sellers", "s1,rio,RJ")
    message = refusal(errors.ContractError, files, out)
    assert "olist_order_items_dataset.csv, column price: 2 values are not amounts" in message
    assert "first 'free'" in message
    assert "column order_id, order_item_id: 2 values are not unique, first 'o1 / 2'" in message
    assert "olist_sellers_dataset.csv, column seller_id: 2 values are not unique, first 's1'" in message


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "has no column customer_id"),
        (b"customer_id;customer_unique_id\nc1;u1\n", "has no column customer_id"),
        (b"customer_id,customer_unique_id\nc1\n", "cannot be read"),
        (b"customer_id,customer_unique_id\nc1,u1,surplus\n", "cannot be read"),
        (b'customer_id,customer_unique_id\n"c1,u1\n', "cannot be read"),
        (b"customer_id,customer_unique_id\n\xff,u1\n", "cannot be read"),
    ],
    ids=["empty", "semicolons", "narrow", "wide", "open quote", "not UTF-8"],
)
def test_a_file_that_is_no_csv_is_refused(files: Files, out: Path, content: bytes, part: str) -> None:
    files.path("customers").write_bytes(content)
    assert f"olist_customers_dataset.csv {part}" in refusal(errors.ContractError, files, out)


@pytest.mark.parametrize("day", [date(2018, 2, 6), date(2017, 1, 2), date(2018, 8, 27), date(2016, 10, 3)])
def test_pilot_date_is_a_monday_within_the_usable_weeks(files: Files, out: Path, day: date) -> None:
    with pytest.raises(errors.ParameterError, match=f"pilot_date {day} is not a Monday after 2017-01-02"):
        import_olist(files.folder, out, pilot_date=day)
    assert not out.exists()


def test_an_empty_folder_and_an_earlier_import_are_replaced(files: Files, out: Path) -> None:
    out.mkdir()
    import_olist(files.folder, out)
    import_olist(files.folder, out, pilot_date=date(2017, 10, 2))
    assert "starts_on = 2017-10-02" in (out / "dataset.toml").read_text(encoding="utf-8")
    assert set(out.parent.iterdir()) == {out, files.folder}
    (out / "support.csv").touch()
    assert "also holds support.csv, which would be lost" in refusal(errors.ParameterError, files, out)
    assert (out / "support.csv").exists()


@pytest.mark.parametrize(
    ("name", "content"), [("notes.txt", b"mine"), ("dataset.toml", b'source = "strategy-kit simulate"\n')]
)
def test_a_folder_that_is_no_import_is_refused(files: Files, out: Path, name: str, content: bytes) -> None:
    out.mkdir()
    (out / name).write_bytes(content)
    assert "is no Olist import" in refusal(errors.ParameterError, files, out)
    assert snapshot(out) == {name: content}


def test_failing_spares_the_previous_import(files: Files, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_olist(files.folder, out)
    before = snapshot(out)
    with monkeypatch.context() as patch:
        patch.setitem(olist.OUTPUTS, "order_lines", olist.OUTPUTS["order_lines"] + " limit 0")
        message = refusal(errors.ContractError, files, out)
    assert "1 lines worth 10.0000 BRL were neither written nor refused" in message
    files.change("order_items", "10.00", "x")
    refusal(errors.ContractError, files, out)
    with pytest.raises(FileNotFoundError):
        swap(out.parent / "absent", out, out.parent / "replaced")
    assert (snapshot(out), set(out.parent.iterdir())) == (before, {out, files.folder})
