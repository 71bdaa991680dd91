"""Turn both years of the published Online Retail files into one data set that keeps the contract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from strategy_kit.importers.files import Source

if TYPE_CHECKING:
    import pandas as pd
# Stock codes that are no goods, by kind.
NO_GOODS = {"postage and carriage": "POST|DOT|C[23]|23444|23574", "manual entries": "M", "bank charges": "BANK CHARGES",
    "fees and commission": "AMAZONFEE|CRUK", "discounts": "D", "samples": "S", "adjustments and bad debt": "ADJUST2?|B",
    "gift vouchers": "GIFT(_.*)?|22016", "test articles": "TEST[0-9]+"}  # fmt: skip
STEMS = {"earlier": "uci_online_retail_II_2009_2010", "later": "uci_online_retail_2010_2011"}
_COLUMNS = """Invoice|InvoiceNo, StockCode, Description, Quantity, InvoiceDate, Price|UnitPrice, Customer ID|CustomerID, \
Country"""
_TIME = "try_strptime(InvoiceDate, ['%Y-%m-%d %X', '%m/%d/%Y %H:%M'])"
_IN_ORDER = f"{_TIME} >= coalesce((select min({_TIME}) from earlier), {_TIME})"
_LAWS = f"""
InvoiceNo | regexp_full_match(InvoiceNo, '[A-Z]?[0-9]+') | numbers like 536365 or C536379
StockCode | StockCode is not null | filled
Quantity | regexp_full_match(Quantity, '-?[0-9]{{1,9}}') | whole numbers
InvoiceDate | isfinite({_TIME}) and {_IN_ORDER} | times like 2010-12-01 08:26:00, from the start of the earlier file on
UnitPrice | regexp_full_match(UnitPrice, '-?[0-9]{{1,9}}([.][0-9]{{1,4}})?') | amounts like 2.55
CustomerID | CustomerID is null or regexp_full_match(CustomerID, '[0-9]+([.]0)?') | whole numbers or empty
Country | Country is not null | filled
""".strip().splitlines()

# A line's `step` says what becomes of it. `move` stacks the pieces that a buyer keeps of a stock code at a price: a sale
# lifts the stack to `after`, a cancellation takes from the top; `lowest` is how far it falls from then on.
_KINDS = " ".join(f"when regexp_full_match(stock, '{codes}') then '{kind}'" for kind, codes in NO_GOODS.items())
_SAME = "InvoiceNo, StockCode, nullif(Description, 'nan'), Quantity, paid_at, price, customer, Country"
_KEPT = "kept as (partition by buyer_id, stock, price order by paid_at, cancels, place)"
_BUILD = f"""
create temp table line as
with read as (select rowid as place, true as early, * from earlier
    union all select rowid + (select count(*) from earlier), false, * from later),
typed as (select * replace (cast(Quantity as integer) as Quantity), {_TIME} as paid_at, upper(StockCode) as stock,
    cast(UnitPrice as decimal(13, 4)) as price, split_part(CustomerID, '.', 1) as customer, InvoiceNo like 'C%' as cancels,
    coalesce(customer, 'guest-' || InvoiceNo) as buyer_id from read),
dated as (select *, early and paid_at >= (select min(paid_at) from typed where not early) as twice from typed)
select *, price * Quantity as value, row_number() over (partition by twice, InvoiceNo order by place) as line_id,
    case when twice then 'overlap' when row_number() over (partition by twice, {_SAME} order by place) > 1 then 'duplicate'
    {_KINDS} when not if(cancels, Quantity < 0, Quantity > 0) then 'stock' when price <= 0 then 'free'
    when cancels then 'cancellation' else 'sale' end as step from dated;
create temp table move as
with summed as (select *, cast(sum(Quantity) over kept as bigint) as total
    from line semi join (from line where step = 'cancellation') using (buyer_id, stock, price)
    where step in ('sale', 'cancellation') window {_KEPT}),
stacked as (select *, total - least(0, min(total) over kept) as after from summed window {_KEPT})
select *, lag(after, 1, 0) over kept as before, row_number() over kept as turn,
    min(after) over (kept rows between current row and unbounded following) as lowest from stacked window {_KEPT};
create temp table sale as
with emptied as (select s.place, min(c.paid_at) as refunded_at from move s join move c using (buyer_id, stock, price)
    where s.step = 'sale' and s.after > s.lowest and c.turn > s.turn and c.after <= greatest(s.before, s.lowest) group by 1)
select line.*, least(Quantity, coalesce(taken, 0)) as refunded, refunded * price as refund, refunded_at
from line left join (select place, after - lowest as taken from move) using (place) left join emptied using (place)
where step = 'sale';
create temp view unmatched as select (Quantity + before - after) * price as value from move where step = 'cancellation';
"""
OUTPUTS = {
    "order_lines": """
        select InvoiceNo as order_id, line_id, buyer_id, 'online-retail' as merchant_id, 'giftware' as category, paid_at,
            cast(value as double) as amount, Quantity as quantity, if(refunded = Quantity, 'refunded', 'paid') as status,
            cast(refund as double) as refund_amount, refunded_at,
            if(Country = 'United Kingdom', 'domestic', Country) as market from sale order by paid_at, order_id, line_id""",
    "merchants": "select 'online-retail' as merchant_id, 'giftware' as category",
}
_BOOKS = (
    """select count(*), coalesce(sum(cast(UnitPrice as decimal(13, 4)) * cast(Quantity as integer)), 0)
    from (from earlier union all from later)""",
    """select count(*), coalesce(sum(value), 0) from (
        select cast(amount as decimal(18, 4)) - cast(refund_amount as decimal(18, 4)) as value from read_parquet(?)
        union all select value from unmatched
        union all select value from line where step not in ('sale', 'cancellation'))""",
)
_COUNTS = [
    *(f"{table} read | rows of {stem} | line where early = {table == 'earlier'}" for table, stem in STEMS.items()),
    "left out: overlap | in both files, taken from the later one | line where step = 'overlap'",
    f"""overlap in the earlier file only | left out all the same | (select {_SAME}, value from line where twice
        except all select {_SAME}, value from line where not early)""",
    f"""overlap in the later file only | kept | (select {_SAME}, value from line where not early and paid_at <=
        (select max(paid_at) from line where early) except all select {_SAME}, value from line where twice)""",
    "left out: duplicates | all columns equal, kept once | line where step = 'duplicate'",
    *(f"left out: {kind} | stock codes {codes} | line where step = '{kind}'" for kind, codes in NO_GOODS.items()),
    "left out: stock adjustments | sign of quantity against the kind of invoice | line where step = 'stock'",
    "left out: free lines | price of zero or below | line where step = 'free'",
    "lines written | goods sold | sale",
    "lines of guests | no customer: the invoice is the buyer | sale where customer is null",
    "lines after data_through | kept | sale where paid_at >= '2011-12-09'",
    "cancellations read | goods on invoices with a C | line where step = 'cancellation'",
    "lines refunded | status refunded | (select refund as value from sale where refunded = Quantity)",
    "lines refunded in part | status paid | (select refund as value from sale where refunded > 0 and refunded < Quantity)",
    "cancellations without a purchase | in whole or in part | unmatched where value < 0",
]
_FILES = {table: (stem, _COLUMNS) for table, stem in STEMS.items()}
_EVERY_LAW = [f"{table} | {law}" for table in STEMS for law in _LAWS]
ONLINE_RETAIL = Source("Online Retail", "GBP", _FILES, _EVERY_LAW, OUTPUTS, _BOOKS)
_HEAD = f"""\
name = "online-retail"
title = "Online Retail (one giftware shop, United Kingdom)"
synthetic = false
currency = "GBP"
timezone = "Europe/London"
data_from = 2009-12-01
data_through = 2011-12-08
refund_days = 90
source = "{ONLINE_RETAIL.origin} (D. Chen, UCI Machine Learning Repository; one merchant), licence CC BY 4.0."
"""


def import_online_retail(source: str | Path, out: str | Path) -> pd.DataFrame:
    """Write UCI Online Retail I and II as one data set, and count what became of every line and every penny.

    One shop sells, so there is one merchant, of category "giftware"; countries are the markets, the United Kingdom is
    "domestic". `amount` is quantity times unit price. A line without a customer has its invoice for a buyer
    ("guest-536544"), for nobody knows who it was: guests never come back. Both files hold 1 to 9 December 2010; the
    later one counts. Left out are postage, fees and the like (`NO_GOODS`), stock adjustments, free and repeated lines.

    A line on an invoice with a C takes each piece from the latest earlier line of the same buyer, stock code and unit
    price that still has one; `refunded_at` is the last such cancellation. What finds no line is only counted: it was
    bought before the data or at another price, or the customer is not known. Nine in ten refunds come within 90 days,
    so `refund_days` is 90. The window ends on 2011-12-08: on the 9th the invoices stop at 12:50, on every other day after
    15:30; it starts on 2009-12-01, whose first invoice is of 7:45.

    Parameters
    ----------
    source
        Folder with `uci_online_retail_II_2009_2010` (Online Retail II, sheet "Year 2009-2010") and
        `uci_online_retail_2010_2011` (Online Retail), CSV or Parquet, columns named as in either of them.
    out
        Folder to write; an earlier import is replaced once the new one is complete.

    Returns
    -------
    One row per count: `step`, `rows`, `meaning` with the worth in GBP; also written to `import_report.csv`.

    Raises
    ------
    ParameterError
        A file is missing, or `out` holds something that this import did not make.
    ContractError
        A column is missing, or an invoice, stock code, number, time or country cannot be read.

    Examples
    --------
    >>> import_online_retail("nowhere", "retail")
    Traceback (most recent call last):
    strategy_kit.errors.ParameterError: import online-retail: nowhere does not exist; name the folder of the downloaded files.
    """
    out = Path(out).resolve()
    files = ONLINE_RETAIL.find(Path(source), out)
    with duckdb.connect() as connection:
        ONLINE_RETAIL.load(connection, files)
        connection.execute(_BUILD)
        report = ONLINE_RETAIL.counted(connection, _COUNTS, valued=True)
        ONLINE_RETAIL.write(connection, out, report, _HEAD)
    return report
