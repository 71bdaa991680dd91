"""Sums over units' paths, made where the rows are and added up exactly: numpy and pyarrow are all that an executor needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Array = np.ndarray
WHOLE = -1
"""Code of all categories together; only their sums hold products."""
SCHEMA = pa.schema(
    [
        ("start", pa.int32()),
        ("category", pa.int32()),
        ("count", pa.int64()),
        ("mean", pa.list_(pa.float64())),
        ("cross", pa.list_(pa.float64())),
        ("first_sold", pa.list_(pa.int64())),
        ("empty", pa.int64()),
        ("negative", pa.int64()),
        ("least", pa.float64()),
        ("most", pa.float64()),
    ]
)

SPARK_SCHEMA = (
    "start int, category int, count bigint, mean array<double>, cross array<double>, first_sold array<bigint>, empty bigint, "
    "negative bigint, least double, most double"
)


@dataclass(frozen=True)
class Sums:
    """What is kept of units of one start (and one category).

    Attributes
    ----------
    count
        Units.
    mean
        (T + 1,): mean path less each unit's own mean, then the mean of the own means.
    cross
        (T + 1, T + 1) products of the deviations from `mean`, added up; empty where nobody asks for them.
    first_sold
        (T + 1,) units whose first outcome above 0 is in each period, then those that have none.
    empty, negative
        Units with an outcome of 0 or less, or below 0, in some period.
    least, most
        Smallest and largest outcome.
    """

    count: int
    mean: Array
    cross: Array
    first_sold: Array
    empty: int
    negative: int
    least: float
    most: float

    @classmethod
    def of(cls, paths: Array) -> Sums:
        """Sum up (n, T) paths.

        Examples
        --------
        >>> Sums.of(np.array([[1.0, 3.0], [0.0, 2.0]])).mean.tolist()
        [-1.0, 1.0, 1.5]
        """
        own = paths.mean(axis=1, keepdims=True)
        parts = np.hstack([paths - own, own])
        mean = parts.mean(axis=0)
        parts -= mean
        sold = paths.cumsum(axis=1) > 0
        first = np.where(sold.any(axis=1), sold.argmax(axis=1), paths.shape[1])
        least = paths.min(axis=1)
        return cls(
            len(paths),
            mean,
            parts.T @ parts,
            np.bincount(first, minlength=paths.shape[1] + 1),
            int((least <= 0).sum()),
            int((least < 0).sum()),
            float(least.min()),
            float(paths.max()),
        )

    def without_cross(self) -> Sums:
        """Return the sums without products."""
        return replace(self, cross=np.zeros((0, 0)))

    def __add__(self, other: Sums) -> Sums:
        """Add the sums of other units; the deviation of both means makes it exact.

        References
        ----------
        Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", equation 2.1.
        """
        count = self.count + other.count
        gap = other.mean - self.mean
        cross = self.cross + other.cross
        if len(cross):
            cross += np.outer(gap, gap) * (self.count * other.count / count)
        return Sums(
            count,
            self.mean + gap * (other.count / count),
            cross,
            self.first_sold + other.first_sold,
            self.empty + other.empty,
            self.negative + other.negative,
            min(self.least, other.least),
            max(self.most, other.most),
        )


Kept = dict[tuple[int, int], Sums]


def summing(periods: int, *, logs: bool) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that sums up batches of units, for an executor.

    A batch has start and category (codes) and sold: a list of {position, y} a unit, positions counted from 1; a unit without
    a position in the list was observed with 0.
    """

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        kept: Kept = {}
        for batch in batches:
            paths = _paths(batch, periods)
            codes = [batch.column(name).to_numpy(zero_copy_only=False) for name in ("start", "category")]
            _add(kept, np.log(paths) if logs else paths, *codes)
        yield batch_of(kept)

    return run


def combining(table: pa.Table) -> pa.Table:
    """Add up the sums of one start and category, in a fixed order of the parts that does not depend on who came first."""
    kept: Kept = {}
    order = sorted(range(table.num_rows), key=lambda row: (table["count"][row].as_py(), table["most"][row].as_py()))
    for key, sums in (read(table.slice(row, 1)) for row in order):
        kept[key] = kept[key] + sums if key in kept else sums
    return pa.Table.from_batches([batch_of(kept)])


def read(row: pa.Table) -> tuple[tuple[int, int], Sums]:
    """Read one row of a table of sums."""
    flat = {name: row[name].combine_chunks().flatten().to_numpy() for name in ("mean", "cross", "first_sold")}
    size = int(np.sqrt(len(flat["cross"])))
    scalar = {name: row[name][0].as_py() for name in ("count", "empty", "negative", "least", "most")}
    key = (row["start"][0].as_py(), row["category"][0].as_py())
    return key, Sums(**scalar, **(flat | {"cross": flat["cross"].reshape(size, size)}))


def received(table: pa.Table) -> tuple[dict[int, Sums], dict[tuple[int, int], Sums]]:
    """Read sums: of each start, then of each start and category."""
    found = dict(read(table.slice(row, 1)) for row in range(table.num_rows))
    whole = {start: sums for (start, category), sums in found.items() if category == WHOLE}
    return whole, {key: sums for key, sums in found.items() if key[1] != WHOLE}


def batch_of(kept: Kept) -> pa.RecordBatch:
    """Write sums as rows."""
    rows = [
        {
            "start": start,
            "category": category,
            **{name: getattr(sums, name) for name in SCHEMA.names[2:]},
            "cross": sums.cross.ravel(),
        }
        for (start, category), sums in kept.items()
    ]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def _paths(batch: pa.RecordBatch, periods: int) -> Array:
    sold = batch.column("sold")
    paths = np.zeros((batch.num_rows, periods))
    row = np.repeat(np.arange(batch.num_rows), _numpy(pc.list_value_length(sold)))
    cells = sold.flatten()
    position = _numpy(pc.struct_field(cells, "position")).astype(int)
    held = position > 0
    paths[row[held], position[held] - 1] = _numpy(pc.struct_field(cells, "y"))[held]
    return paths


def _numpy(values: pa.Array) -> Array:
    result: Array = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    return result


def _add(kept: Kept, paths: Array, start: Array, category: Array) -> None:
    for one in np.unique(start):
        own = start == one
        groups = [(WHOLE, own), *((int(code), own & (category == code)) for code in np.unique(category[own]))]
        for code, held in groups:
            sums = Sums.of(paths[held])
            sums = sums if code == WHOLE else sums.without_cross()
            key = (int(one), code)
            kept[key] = kept[key] + sums if key in kept else sums
