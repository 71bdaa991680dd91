"""The data contract: which tables a data set may have, their columns, and the laws that every row must keep.

A law is an SQL condition that a *broken* row fulfils; the engine counts such rows. Laws name only columns of their own
table, `{...}` stands for an SQL fragment that the check fills in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "number", "integer", "date", "timestamp", "boolean", "key"]
Severity = Literal["error", "warning"]

STATUSES = ("paid", "cancelled", "refunded")
PHASES = ("presale", "deposit", "balance", "spot", "none")


@dataclass(frozen=True, slots=True)
class Law:
    """One rule of a table: its name, the condition of a broken row, the columns it reads, and what to do."""

    check: str
    broken: str
    columns: tuple[str, ...]
    remedy: str
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the contract: key, columns with kinds, and laws beyond key and kinds."""

    key: tuple[str, ...]
    required: dict[str, Kind]
    optional: dict[str, Kind] = field(default_factory=dict)
    nullable: tuple[str, ...] = ()
    laws: tuple[Law, ...] = ()

    @property
    def columns(self) -> dict[str, Kind]:
        """Every column the contract knows for this table, with its kind."""
        return {**self.required, **self.optional}


def _not_negative(*columns: str) -> tuple[Law, ...]:
    remedy = "refunds belong in refund_amount, not in negative values"
    return tuple(Law(f"{c} is not negative", f"{c} < 0", (c,), remedy) for c in columns)


def _among(column: str, values: tuple[str, ...]) -> Law:
    listed = ", ".join(f"'{value}'" for value in values)
    return Law(
        f"{column} is one of {', '.join(values)}", f"{column} not in ({listed})", (column,), f"map it to {listed}"
    )


def _ordered(first: str, second: str) -> Law:
    return Law(
        f"{second} is not before {first}", f"{second} < {first}", (first, second), "exchange or correct the dates"
    )


ON_ROSTER = Law(
    "merchant_id is on the roster",
    "merchant_id not in (select merchant_id from merchants where merchant_id is not null)",
    ("merchant_id",),
    "add the merchant to the merchants table",
)

MONDAY = Law(
    "week is a Monday",
    "cast(week as date) <> cast(date_trunc('week', week) as date)",
    ("week",),
    "name weeks by their Monday: another day meets no week of the orders",
)

TABLES: dict[str, Table] = {
    "order_lines": Table(
        key=("order_id", "line_id"),
        required={
            "order_id": "key",
            "line_id": "key",
            "buyer_id": "key",
            "merchant_id": "key",
            "category": "text",
            "paid_at": "timestamp",
            "amount": "number",
        },
        optional={
            "quantity": "number",
            "status": "text",
            "refund_amount": "number",
            "refunded_at": "timestamp",
            "platform_subsidy": "number",
            "platform_fee": "number",
            "list_amount": "number",
            "market": "text",
            "currency": "text",
            "fx_rate": "number",
            "sku_id": "key",
        },
        nullable=("category",),
        laws=(
            *_not_negative("amount", "quantity", "refund_amount", "platform_subsidy", "platform_fee", "list_amount"),
            _among("status", STATUSES),
            _ordered("paid_at", "refunded_at"),
            ON_ROSTER,
            Law(
                "category is known",
                "category is null",
                ("category",),
                "the lines are shown under 'unknown'; name a category at order time",
                "warning",
            ),
            Law(
                "refund_amount is at most amount",
                "refund_amount > amount",
                ("amount", "refund_amount"),
                "split the refund over the lines it belongs to",
            ),
            Law(
                "a refunded line has its refund_amount",
                "status = 'refunded' and refund_amount is null",
                ("status", "refund_amount"),
                "without it the line counts as kept in full; enter what was given back",
            ),
            Law(
                "paid_at lies within the data set's window",
                "cast(paid_at as date) not between date '{data_from}' and date '{data_through}'",
                ("paid_at",),
                "such lines are kept, but their periods are marked incomplete; correct data_from or data_through",
                "warning",
            ),
        ),
    ),
    "merchants": Table(
        key=("merchant_id",),
        required={"merchant_id": "key", "category": "text"},
        optional={"opened_on": "date", "size_band": "text", "eligible": "boolean", "score": "number", "region": "text"},
    ),
    "support": Table(
        key=("merchant_id", "lever", "started_on"),
        required={"merchant_id": "key", "lever": "text", "started_on": "date"},
        optional={"announced_on": "date", "ended_on": "date", "cost": "number", "dose": "number"},
        laws=(ON_ROSTER, _ordered("started_on", "ended_on"), *_not_negative("cost", "dose")),
    ),
    "targets": Table(
        key=("merchant_id", "period_start"),
        required={
            "merchant_id": "key",
            "period_start": "date",
            "period_end": "date",
            "floor": "number",
            "stretch": "number",
        },
        optional={"set_on": "date"},
        laws=(
            ON_ROSTER,
            _ordered("period_start", "period_end"),
            *_not_negative("floor", "stretch"),
            Law(
                "stretch is not below floor", "stretch < floor", ("floor", "stretch"), "exchange or correct the targets"
            ),
        ),
    ),
    "offplatform_sales": Table(
        key=("merchant_id", "month", "platform"),
        required={"merchant_id": "key", "month": "date", "platform": "text", "gmv": "number"},
        optional={"ad_spend": "number", "source": "text", "confidence": "text"},
        laws=(ON_ROSTER, *_not_negative("gmv", "ad_spend")),
    ),
    "prices": Table(
        key=("sku_id", "week"),
        required={"sku_id": "key", "week": "date", "merchant_id": "key", "category": "text", "price": "number"},
        optional={"market_price": "number", "rating": "number", "return_rate": "number"},
        laws=(ON_ROSTER, MONDAY, *_not_negative("price", "market_price")),
    ),
    "experience": Table(
        key=("merchant_id", "week"),
        required={"merchant_id": "key", "week": "date", "score": "number"},
        optional={"response_minutes": "number", "complaints": "number"},
        laws=(ON_ROSTER, MONDAY, *_not_negative("response_minutes", "complaints")),
    ),
    "traffic": Table(
        key=("merchant_id", "week"),
        required={"merchant_id": "key", "week": "date", "impressions": "number", "clicks": "number"},
        optional={"visits": "number"},
        laws=(
            ON_ROSTER,
            MONDAY,
            *_not_negative("impressions", "clicks", "visits"),
            Law(
                "clicks is at most impressions",
                "clicks > impressions",
                ("impressions", "clicks"),
                "count both of the same surfaces; a click without an impression has no rate",
            ),
        ),
    ),
    "searches": Table(
        key=("category", "week"),
        required={"category": "text", "week": "date", "sessions": "number"},
        optional={"queries": "number", "minutes_to_purchase": "number", "conversions": "number"},
        laws=(MONDAY, *_not_negative("sessions", "queries", "conversions")),
    ),
    "calendar": Table(
        key=("date",),
        required={"date": "date", "festival": "text", "phase": "text"},
        nullable=("festival",),
        laws=(_among("phase", PHASES),),
    ),
    "policies": Table(
        key=("policy",),
        required={"policy": "text", "started_on": "date"},
        optional={"ended_on": "date", "scope": "text", "direction": "text"},
        laws=(_ordered("started_on", "ended_on"),),
    ),
}
