"""The Online Retail import: checked by eye on small files, against a slow twin on random and on the published ones."""

from __future__ import annotations

import json
import tomllib
from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import errors
from strategy_kit.cli import main
from strategy_kit.importers import import_online_retail, online_retail

if TYPE_CHECKING:
    from pathlib import Path

EARLIER, LATER = online_retail.STEMS.values()
SECOND = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"
FIRST = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
NAMES = ["invoice", "stock", "description", "quantity", "paid_at", "price", "customer", "country"]
TWICE = "100009,22041,FRAME,2,2010-12-01 08:26:00,3.00,2,EIRE"
EARLY = f"""
100001,22041,FRAME,10,2010-11-01 09:00:00,2.10,1,United Kingdom
100001,22041,FRAME,10,2010-11-01 09:00:00,2.10,1,United Kingdom
100001,22041,FRAME,10,2010-11-01 09:01:00,2.10,1,United Kingdom
100002,22041,FRAME,4,2010-11-02 09:00:00,2.10,1,France
C100003,22041,FRAME,-6,2010-11-03 09:00:00,2.10,1,France
C100004,22041,FRAME,-1,2010-11-04 09:00:00,2.10,1,France
100005,POST,POSTAGE,1,2010-11-05 09:00:00,18.00,1,France
C100006,m,Manual,1,2010-11-05 09:00:00,5.00,,France
100007,22041,,-5,2010-11-05 09:00:00,0.0,,United Kingdom
100007,22041,,5,2010-11-05 09:00:00,0.0,,United Kingdom
100008,15056bl,"PARASOL, BLACK",1,2010-11-06 09:00:00,5.95,,United Kingdom
C100008,15056bl,"PARASOL, BLACK",-1,2010-11-07 09:00:00,5.95,,United Kingdom
{TWICE}
100010,22041,FRAME,1,2010-12-02 09:00:00,7.00,2,EIRE
"""
LATE = f"""
{TWICE}
100011,22041,FRAME,3,2010-12-02 09:00:00,8.00,2,EIRE
C100012,22041,FRAME,-3,2010-12-02 10:00:00,3.00,2,EIRE
C100013,22041,FRAME,-1,2010-12-04 09:00:00,9.00,3,EIRE
100014,22041,FRAME,1,2010-12-05 09:00:00,9.00,3,EIRE
100015,15056BL,PARASOL,2,2010-12-05 09:00:00,5.95,4.0,Unspecified
C100016,15056bl,PARASOL,-2,2010-12-05 09:00:00,5.95,4,Unspecified
100017,PADS,PADS,3,2011-12-09 09:00:00,0.001,4,Unspecified
"""
NOT_SOLD = """POST|DOT|C2|C3|23444|23574|M|BANK CHARGES|AMAZONFEE|CRUK|D|S|ADJUST|ADJUST2|B|GIFT|22016|TEST001|TEST002|\
GIFT_0001_10|GIFT_0001_20|GIFT_0001_30|GIFT_0001_40|GIFT_0001_50|GIFT_0001_60|GIFT_0001_70|GIFT_0001_80|GIFT_0001_90"""
LINES = """
order_id line_id buyer_id amount quantity status refund_amount refunded_at market
100001 1 1 21.00 10 paid 0 . domestic
100001 3 1 21.00 10 paid 6.30 2010-11-04T09:00 domestic
100002 1 1 8.40 4 refunded 8.40 2010-11-03T09:00 France
100008 1 guest-100008 5.95 1 paid 0 . domestic
100009 1 2 6.00 2 refunded 6.00 2010-12-02T10:00 EIRE
100011 1 2 24.00 3 paid 0 . EIRE
100014 1 3 9.00 1 paid 0 . EIRE
100015 1 4 11.90 2 refunded 11.90 2010-12-05T09:00 Unspecified
100017 1 4 0.003 3 paid 0 . Unspecified
"""
REPORT = """
earlier read: 14, 92.70 | later read: 8, 21.00 | left out: overlap: 2, 13.00 | overlap in the earlier file only: 1, 7.00
overlap in the later file only: 1, 24.00 | left out: duplicates: 1, 21.00 | left out: postage and carriage: 1, 18.00
left out: manual entries: 1, 5.00 | left out: stock adjustments: 1, 0.00 | left out: free lines: 1, 0.00
lines written: 9, 107.25 | lines of guests: 1, 5.95 | lines after data_through: 1, 0.00 | cancellations read: 6, -50.55
lines refunded: 3, 26.30 | lines refunded in part: 1, 6.30 | cancellations without a purchase: 3, -17.95
"""


class Files:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.write(EARLIER, SECOND, EARLY)
        self.write(LATER, FIRST, LATE)

    def write(self, stem: str, header: str, rows: str) -> None:
        (self.folder / f"{stem}.csv").write_text(f"{header}\n{rows.strip()}\n", encoding="utf-8")

    def change(self, stem: str, old: str, new: str) -> None:
        path = self.folder / f"{stem}.csv"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "src [b]*")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'my "retail" [a]*'


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def written(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "order_lines.parquet")


def counted(report: pd.DataFrame) -> dict[str, tuple[int, str]]:
    worth = report["meaning"].str.extract(r"; worth (\S+) GBP$")[0].str.replace(",", "")
    return dict(zip(report["step"], zip(report["rows"], worth, strict=True), strict=True))


def refusal(kind: type[errors.StrategyKitError], files: Files, out: Path) -> str:
    with pytest.raises(kind) as caught:
        import_online_retail(files.folder, out)
    return str(caught.value)


def test_every_line_by_eye(files: Files, out: Path) -> None:
    import_online_retail(files.folder, out)
    lines = written(out).sort_values(["order_id", "line_id"])
    head, *rows = (row.split() for row in LINES.strip().splitlines())
    expected = pd.DataFrame(rows, columns=head).astype(
        {"line_id": int, "amount": float, "quantity": int, "refund_amount": float}
    )
    expected["refunded_at"] = pd.to_datetime(expected["refunded_at"], errors="coerce", format="ISO8601")
    pd.testing.assert_frame_equal(lines[head].reset_index(drop=True), expected, check_dtype=False)
    assert written(out)["paid_at"].is_monotonic_increasing
    seller = [{"merchant_id": "online-retail", "category": "giftware"}]
    assert pd.read_parquet(out / "merchants.parquet").to_dict("records") == seller
    assert lines[["merchant_id", "category"]].drop_duplicates().to_dict("records") == seller


def test_every_count_by_eye(files: Files, out: Path) -> None:
    found = counted(import_online_retail(files.folder, out))
    told = [text.rpartition(": ") for row in REPORT.strip().splitlines() for text in row.split(" | ")]
    expected = {step: (int(pair.split(", ")[0]), pair.split(", ")[1]) for step, _, pair in told}
    assert found == {f"left out: {kind}": (0, "0.00") for kind in online_retail.NO_GOODS} | expected
    assert pd.read_csv(out / "import_report.csv")["rows"].tolist() == [rows for rows, _ in found.values()]


def test_the_data_set_opens_and_keeps_the_contract(files: Files, out: Path) -> None:
    import_online_retail(files.folder, out)
    described = tomllib.loads((out / "dataset.toml").read_text(encoding="utf-8"))
    assert described.pop("source").endswith("one merchant), licence CC BY 4.0.")
    assert described.pop("tables") == {table: f"{table}.parquet" for table in ("order_lines", "merchants")}
    assert (described.pop("name"), described.pop("synthetic")) == ("online-retail", False)
    assert described.pop("title") == "Online Retail (one giftware shop, United Kingdom)"
    assert (described.pop("currency"), described.pop("timezone")) == ("GBP", "Europe/London")
    assert (described.pop("data_from"), described.pop("data_through")) == (date(2009, 12, 1), date(2011, 12, 8))
    assert described == {"refund_days": 90}
    assert sk.open_dataset(out).check().query("severity == 'error'")["rows"].sum() == 0


def test_either_style_of_names_and_of_file_gives_the_same_bytes(files: Files, out: Path) -> None:
    import_online_retail(files.folder, out)
    before = snapshot(out)
    assert set(before) == online_retail.ONLINE_RETAIL.written
    files.write(EARLIER, FIRST, EARLY.replace("2010-11-02 09:00:00", "11/2/2010 9:00"))
    files.write(LATER, f"\ufeff{SECOND}", LATE)
    import_online_retail(files.folder, out)
    assert snapshot(out) == before
    for stem in (EARLIER, LATER):
        frame = pd.read_csv(files.folder / f"{stem}.csv", encoding="utf-8-sig")
        frame["InvoiceDate"] = pd.to_datetime(frame["InvoiceDate"], format="mixed")
        frame["Description"] = frame["Description"].fillna("nan")
        frame.to_parquet(files.folder / f"{stem}.parquet")
        (files.folder / f"{stem}.csv").unlink()
    import_online_retail(files.folder, out)
    assert snapshot(out) == before


def test_what_is_no_good_is_left_out_by_kind(files: Files, out: Path) -> None:
    goods = ["DCGS0058", "PADS", "SP1002", "85123A", "47503J ", "20668"]
    codes = [*NOT_SOLD.lower().split("|"), *goods]
    rows = [f"{200_000 + n},{code},X,1,2011-01-04 09:00:00,1.00,1,France" for n, code in enumerate(codes)]
    files.write(LATER, FIRST, "\n".join(rows))
    files.write(EARLIER, SECOND, "")
    found = counted(import_online_retail(files.folder, out))
    assert [found[f"left out: {kind}"][0] for kind in online_retail.NO_GOODS] == [6, 1, 1, 2, 1, 1, 3, 11, 2]
    assert written(out)["order_id"].tolist() == [row[:6] for row in rows[-6:]]


@pytest.mark.parametrize("column", range(8))
def test_only_wholly_equal_lines_are_repeated(files: Files, out: Path, column: int) -> None:
    line = ["100018", "22041", "FRAME", "1", "2010-12-06 09:00:00", "2.10", "5", "France"]
    change = ["100019", "22042", "", "2", "2010-12-06 09:01:00", "2.11", "6", "Spain"][column]
    rows = (line, line, [*line[:column], change, *line[column + 1 :]])
    files.write(LATER, FIRST, "\n".join(",".join(row) for row in rows))
    assert counted(import_online_retail(files.folder, out))["left out: duplicates"][0] == 2


def refunds(goods: pd.DataFrame) -> pd.DataFrame:
    """Take every cancelled piece, one line after the other, from the latest purchase that is left; by row label."""
    kept: dict[tuple[str, str, float], list[list[int]]] = defaultdict(list)
    taken: dict[int, int] = defaultdict(int)
    when: dict[int, pd.Timestamp] = {}
    unmatched: dict[int, int] = {}
    ordered = goods.assign(cancels=goods["quantity"] < 0).sort_values(["paid_at", "cancels"], kind="stable")
    touched = ordered.groupby(["buyer", goods["stock"].str.upper(), "price"])["cancels"].transform("any")
    for line in ordered[touched].itertuples():
        pile = kept[line.buyer, line.stock.upper(), line.price]
        if line.quantity > 0:
            pile.append([line.Index, line.quantity])
            continue
        left = -line.quantity
        while left and pile:
            pieces = min(left, pile[-1][1])
            pile[-1][1] -= pieces
            left -= pieces
            taken[pile[-1][0]] += pieces
            when[pile[-1][0]] = line.paid_at
            if not pile[-1][1]:
                pile.pop()
        unmatched |= {line.Index: left} if left else {}
    columns = {"refunded": pd.Series(taken), "refunded_at": pd.Series(when), "unmatched": pd.Series(unmatched)}
    return pd.DataFrame(columns).reindex(goods.index)


@pytest.mark.parametrize("seed", range(6))
def test_refunds_equal_a_pile_of_pieces(files: Files, out: Path, seed: int) -> None:
    rng, size = np.random.default_rng(seed), 400
    frame = pd.DataFrame({
        "invoice": [f"{200_000 + n}" for n in range(size)],
        "stock": rng.choice(["22041", "15056bl", "15056BL"], size),
        "description": "",
        "quantity": rng.integers(1, 9, size) * np.where(rng.random(size) < 0.4, -1, 1),
        "paid_at": pd.Timestamp("2011-03-01") + pd.to_timedelta(rng.integers(0, 300, size), "min"),
        "price": rng.choice([1.5, 2.5], size),
        "customer": rng.integers(1, 4, size),
        "country": "France",
    })  # fmt: skip
    frame.loc[frame["quantity"] < 0, "invoice"] = "C" + frame["invoice"]
    files.write(LATER, FIRST, frame.to_csv(index=False, header=False))
    files.write(EARLIER, SECOND, "")
    found = counted(import_online_retail(files.folder, out))
    twin = refunds(frame.assign(buyer=frame["customer"])).join(frame)
    lines = written(out).set_index("order_id").sort_index()
    expected = twin[twin["quantity"] > 0].set_index("invoice").sort_index()
    assert lines["refund_amount"].tolist() == (expected["refunded"].fillna(0) * expected["price"]).tolist()
    assert lines["refunded_at"].astype("str").tolist() == expected["refunded_at"].astype("str").tolist()
    count, lost = twin["unmatched"].count(), (twin["unmatched"] * twin["price"]).sum()
    assert found["cancellations without a purchase"] == (count, f"{-lost:.2f}")
    assert count > 0


def test_every_fault_of_the_folders_is_named_at_once(files: Files, out: Path) -> None:
    (files.folder / f"{EARLIER}.csv").unlink()
    (files.folder / f"{LATER}.parquet").touch()
    out.mkdir()
    (out / "notes.txt").touch()
    message = refusal(errors.ParameterError, files, out)
    assert message.startswith("import online-retail breaks 3 laws: (1) ")
    assert f"{out} holds something that is no Online Retail import; name a new or empty folder." in message
    assert f"{EARLIER}.csv or .parquet in {files.folder} is missing; download it." in message
    assert f"{LATER}.csv or .parquet in {files.folder} is there twice; keep one." in message
    assert snapshot(out) == {"notes.txt": b""}


def test_missing_columns_are_named_by_every_name_they_have(files: Files, out: Path) -> None:
    files.change(EARLIER, ",Price,", ",Prices,")
    files.change(LATER, "StockCode", "sku")
    message = refusal(errors.ContractError, files, out)
    assert f"{EARLIER}.csv has no column Price or UnitPrice (did you mean 'Prices'?)." in message
    assert f"{LATER}.csv has no column StockCode." in message


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        *(("Quantity", ",3,2010-12-02", f",{bad},2010-12-02") for bad in ("three", "1.5", "", "1e3", "12345678901")),
        *(("UnitPrice", ",8.00,", f",{bad},") for bad in ("£8", "", "nan", "8.00001", "1e-05")),
        *(("InvoiceDate", "2010-12-04 09:00", bad) for bad in ("4.12.2010", "", "2010-12-04T9", "2009-12-04 09:00")),
        *(("InvoiceNo", "\n100011,", f"\n{bad},") for bad in ("", "c100011", "100011-1")),
        *(("CustomerID", ",8.00,2,", f",8.00,{bad},") for bad in ("x", "2.5")),
        ("StockCode", "100011,22041", "100011,"),
        ("Country", ",4,Unspecified\n100017", ",4,\n100017"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(files: Files, out: Path, column: str, good: str, bad: str) -> None:
    files.change(LATER, good, bad)
    assert f"{LATER}.csv, column {column}: 1 values are not" in refusal(errors.ContractError, files, out)
    assert not out.exists()


def test_exchanged_files_are_refused(files: Files, out: Path) -> None:
    files.write(EARLIER, SECOND, LATE)
    files.write(LATER, FIRST, EARLY)
    assert "InvoiceDate: 12 values are not times like" in refusal(errors.ContractError, files, out)


def test_failing_spares_the_previous_import(files: Files, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_online_retail(files.folder, out)
    before = snapshot(out)
    query = online_retail.OUTPUTS["order_lines"]
    with monkeypatch.context() as patch:
        patch.setitem(online_retail.OUTPUTS, "order_lines", query + " limit 8")
        assert "1 lines worth 0.0030 GBP were neither written nor refused" in refusal(errors.ContractError, files, out)
        patch.setitem(online_retail.OUTPUTS, "order_lines", query.replace("cast(refund as", "cast(0 as"))
        assert "0 lines worth -32.6000 GBP" in refusal(errors.ContractError, files, out)
    files.change(LATER, "8.00", "x")
    refusal(errors.ContractError, files, out)
    assert snapshot(out) == before
    assert set(out.parent.iterdir()) == {out, files.folder}
    (out / "support.csv").touch()
    assert "also holds support.csv, which would be lost" in refusal(errors.ParameterError, files, out)


def test_the_command_imports_and_knows_no_pilot(files: Files, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["import", "online-retail", str(files.folder), str(out), "--json"]
    assert main([*given, "--pilot-date", "2010-11-01"]) == 2
    assert "online-retail ran no pilot, not even a placebo; leave out --pilot-date" in capsys.readouterr().err
    assert main(given) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "command": "import",
        "folder": str(out),
        "exit_code": 0,
    }


@pytest.fixture(scope="module")
def published(shared: Path) -> Path:
    if not (shared / "data" / "retail").is_dir():
        pytest.skip("the published Online Retail files are not in the shared reference data")
    return shared / "data" / "retail"


@pytest.fixture(scope="module")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("data") / "retail"
    return out, import_online_retail(published, out)


@pytest.fixture(scope="module")
def twin(published: Path) -> pd.DataFrame:
    years = [pd.read_parquet(published / f"{stem}.parquet").set_axis(NAMES, axis=1) for stem in (EARLIER, LATER)]
    both = pd.concat([years[0][years[0]["paid_at"] < "2010-12-01"], years[1]], ignore_index=True)
    both["description"] = both["description"].replace("nan", None).str.strip()
    both["stock"] = both["stock"].str.strip()
    both["line_id"] = both.groupby("invoice").cumcount() + 1
    both = both.drop_duplicates(NAMES, ignore_index=True)
    goods = both[~both["stock"].str.upper().isin(NOT_SOLD.split("|")) & (both["price"] > 0)].reset_index(drop=True)
    known = goods["customer"].astype("Int64").astype("str")
    goods["buyer"] = known.where(goods["customer"].notna(), "guest-" + goods["invoice"])
    return goods.join(refunds(goods))


def test_report_gives_the_published_counts(imported: tuple[Path, pd.DataFrame], twin: pd.DataFrame) -> None:
    found = {step: rows for step, (rows, _) in counted(imported[1]).items()}
    assert (found["earlier read"], found["later read"]) == (525_461, 541_909)
    assert [found[f"overlap in the {which} file only"] for which in ("earlier", "later")] == [0, 0]
    assert found["left out: overlap"] == 22_523
    cancelled, refunded = twin["quantity"] < 0, twin["refunded"].fillna(0)
    assert found["lines written"] == (~cancelled).sum() > 1_000_000
    assert found["lines of guests"] == (twin["customer"].isna() & ~cancelled).sum() > 0
    assert found["cancellations read"] == cancelled.sum() > 0
    assert found["cancellations without a purchase"] == twin["unmatched"].notna().sum() > 0
    assert found["lines refunded"] == (refunded == twin["quantity"]).sum() > 0
    assert found["lines refunded in part"] == ((refunded > 0) & (refunded < twin["quantity"])).sum() > 0
    out = sum(rows for step, rows in found.items() if step.startswith("left out"))
    assert out + found["lines written"] + found["cancellations read"] == 525_461 + 541_909


def test_order_lines_equal_the_twin_row_by_row(imported: tuple[Path, pd.DataFrame], twin: pd.DataFrame) -> None:
    lines = written(imported[0]).sort_values(["order_id", "line_id"], ignore_index=True)
    sale = twin[twin["quantity"] > 0].sort_values(["invoice", "line_id"], ignore_index=True)
    assert lines["order_id"].equals(sale["invoice"])
    same = ["line_id", "buyer", "quantity", "paid_at"]
    assert (lines.rename(columns={"buyer_id": "buyer"})[same] == sale[same]).all(axis=None)
    assert (lines["market"] == sale["country"].replace("United Kingdom", "domestic")).all()
    refunded = sale["refunded"].fillna(0)
    # No price has more than three decimals, so a rounded product is the double nearest to the exact one.
    assert (lines["amount"] == (sale["quantity"] * sale["price"]).round(3)).all()
    assert (lines["refund_amount"] == (refunded * sale["price"]).round(3)).all()
    assert ((lines["status"] == "refunded") == (refunded == sale["quantity"])).all()
    assert lines["refunded_at"].astype("str").equals(sale["refunded_at"].astype("str"))


def test_known_orders_and_the_contract(imported: tuple[Path, pd.DataFrame]) -> None:
    shop = sk.open_dataset(imported[0])
    assert shop.check().query("severity == 'error'")["rows"].sum() == 0
    lines = written(imported[0])
    largest = lines.nlargest(2, "quantity")[["order_id", "amount", "status"]].to_numpy().tolist()
    assert largest == [["581483", 168469.60, "refunded"], ["541431", 77183.60, "refunded"]]
    assert lines["market"].nunique() == 43
    kpis = sk.kpi.table(shop, by=["market"], metrics=["gmv", "gmv_net", "orders", "buyers"]).set_index("market")
    exact = lines.eval("net = amount - refund_amount").groupby("market")
    assert kpis["orders"].equals(exact["order_id"].nunique())
    assert kpis["buyers"].equals(exact["buyer_id"].nunique())
    assert kpis["gmv"].round(2).equals(exact["amount"].sum().round(2))
    assert kpis["gmv_net"].round(2).equals(exact["net"].sum().round(2))


def test_same_files_give_the_same_bytes(published: Path, imported: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    import_online_retail(published, tmp_path / "retail")
    assert snapshot(tmp_path / "retail") == snapshot(imported[0])
