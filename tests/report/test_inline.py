"""The rows of a chart's data against Altair's own conversion, for every kind of column that a frame can have."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from strategy_kit.report.sections import inline

DAYS = pd.to_datetime(["2025-07-21", None, "2025-07-23 10:00:01.5"], format="ISO8601")
COLUMNS = {
    "numbers": pd.Series([1.5, np.nan, np.inf]),
    "small numbers": pd.Series([1.5, -np.inf, 2.0], dtype="float32"),
    "counts": pd.Series([1, 2, 3]),
    "unsigned": pd.Series([1, 2, 3], dtype="uint8"),
    "truth": pd.Series([True, False, True]),
    "nullable counts": pd.Series([1, None, 3], dtype="Int64"),
    "nullable numbers": pd.Series([1.5, None, 3], dtype="Float64"),
    "nullable truth": pd.Series([True, None, False], dtype="boolean"),
    "texts": pd.Series(["a", None, "商家"], dtype="str"),
    "nullable texts": pd.Series(["a", None, "b"], dtype="string"),
    "objects": pd.Series(["a", None, 2.5], dtype=object),
    "missing objects": pd.Series([pd.NA, np.nan, pd.NaT], dtype=object),
    "lists": pd.Series([["a", "b"], [], ["c"]], dtype=object),
    "arrays": pd.Series([np.array(["a"]), np.array([1, 2]), np.array([])], dtype=object),
    "kinds": pd.Series(["a", None, "b"], dtype="category"),
    "days": pd.Series(DAYS),
    "days of a zone": pd.Series(DAYS.tz_localize("Asia/Shanghai")),
    "seconds": pd.Series(DAYS).astype("datetime64[s]"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_becomes_what_altair_makes_of_it(name: str) -> None:
    frame = pd.DataFrame({name: COLUMNS[name], "row": [0, 1, 2]})
    mine, theirs = inline(frame)["values"], alt.to_values(frame)["values"]
    assert repr(mine) == repr(theirs)
    assert inline(frame.head(0)) == {"values": []}


def test_other_data_and_refusals_are_altairs() -> None:
    assert inline(pa.table({"a": [1]})) == {"values": [{"a": 1}]}
    with pytest.raises(ValueError, match="timedelta"):
        inline(pd.DataFrame({"a": pd.to_timedelta([1], unit="D")}))
    assert inline(pd.DataFrame([[1]])) == alt.to_values(pd.DataFrame([[1]]))
