"""Nested bands: where they stand, what is cut, what a phone and a reader who cannot see get."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from strategy_kit.charts import nested_forest
from strategy_kit.charts.nested import NARROW
from strategy_kit.errors import ParameterError

ENDS = ("conf_low", "conf_high", "low_80", "high_80", "low_50", "high_50")


def row(name: str, kind: str, estimate: float, half: float, block: str = "") -> dict[str, Any]:
    shares = (-1.0, 1.0, -0.6, 0.6, -0.3, 0.3)
    ends = {end: estimate + share * half for end, share in zip(ENDS, shares, strict=True)}
    return {"block": block, "name": name, "kind": kind, "estimate": estimate, "value": f"{estimate:+.2f}", **ends}


def layers(chart: Any) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    spec = chart.to_dict()
    return [(layer, spec["datasets"].get(layer["data"]["name"], [])) for layer in spec["layer"]]


def bands(chart: Any) -> Any:
    (found,) = [data for layer, data in layers(chart) if layer["encoding"].get("x2", {}).get("field") == "right"]
    return pd.DataFrame(found)


def test_bands_lie_where_the_numbers_are_and_the_widest_is_drawn_first() -> None:
    chart = nested_forest(pd.DataFrame([row("a", "one", 0.1, 0.1), row("b", "one", 0.3, 0.2)]))
    drawn = bands(chart)
    assert len(drawn) == 6
    width = (drawn["right"] - drawn["left"]).to_numpy().reshape(3, 2)
    np.testing.assert_allclose(width[1] / width[0], 0.6)
    np.testing.assert_allclose(width[2] / width[0], 0.3)
    np.testing.assert_allclose(width[:, 1], 2 * width[:, 0])  # both rows are on one scale
    assert drawn[["left", "right"]].to_numpy().min() > 0
    assert drawn[["left", "right"]].to_numpy().max() < 1


def test_a_prediction_is_grey_and_cut_at_the_edge_where_it_reaches_further_than_all_else() -> None:
    near, far = row("seen", "one", 0.1, 0.1), row("new", "prediction", 0.1, 5.0) | {"low_80": 0.0, "high_80": 0.25}
    drawn = bands(chart := nested_forest(pd.DataFrame([near, far])))
    seen, new = (drawn.iloc[at::2].reset_index(drop=True) for at in (0, 1))
    assert new.loc[0, ["left", "right"]].tolist() == [0, 1]
    assert not set(seen["ink"]) & set(new["ink"])
    assert all(len({ink[1:3], ink[3:5], ink[5:7]}) <= 3 for ink in new["ink"])
    assert seen.loc[0, "right"] - seen.loc[0, "left"] > 0.5  # what was seen keeps its room
    arrows = [
        layer["mark"]["text"] for layer, data in layers(chart) if layer["mark"].get("text") in ("◂", "▸") and data
    ]
    assert arrows == ["◂", "▸"]
    assert "reaches further" in str(chart.to_dict())
    whole = nested_forest(pd.DataFrame([near, row("new", "prediction", 0.1, 0.12)]))
    assert not [layer for layer, data in layers(whole) if layer["mark"].get("text") == "◂" and data]
    assert "reaches further" not in str(whole.to_dict())


def test_blocks_share_a_scale_or_have_their_own() -> None:
    rows = pd.DataFrame([row("a", "one", 0.1, 0.1, "small"), row("b", "one", 10.0, 10.0, "large")])
    wide = [(part["right"] - part["left"]).max() for shared in (True, False) for _, part in
            bands(nested_forest(rows, unit="", shared=shared)).groupby("wide")]  # fmt: skip
    assert wide[1] == pytest.approx(100 * wide[0])
    assert wide[2] == pytest.approx(wide[3])


def test_a_row_without_numbers_is_named_and_said_to_lack_them() -> None:
    lost = {
        "block": "",
        "name": "lost",
        "kind": "open",
        "estimate": np.nan,
        "value": "not computed",
        **dict.fromkeys(ENDS),
    }
    chart = nested_forest(pd.DataFrame([row("kept", "clear", 0.1, 0.05), lost]))
    assert chart.description == "kept +0.10; lost not computed."
    assert len(bands(chart)) == 3
    points = [data for layer, data in layers(chart) if layer["mark"].get("shape") == "circle"]
    assert [[cell["name"] for cell in data] for data in points] == [["kept"]]


def test_filled_and_hollow_differ_by_more_than_colour() -> None:
    chart = nested_forest(pd.DataFrame([row("a", "clear", 0.1, 0.05), row("b", "open", 0.0, 0.05)]))
    fills = [layer["mark"]["fill"] for layer, _ in layers(chart) if layer["mark"].get("shape") == "circle"]
    assert len(set(fills)) == 2


def test_names_and_numbers_stand_above_the_bands_on_a_phone_and_beside_them_else() -> None:
    chart = nested_forest(pd.DataFrame([row("a long name of two lines or of more", "one", 0.1, 0.1)]))
    cells = next(data for layer, data in layers(chart) if layer["encoding"].get("text", {}).get("field") == "lines")
    (cell,) = [cell for cell in cells if "narrow" in cell]
    last_line = cell["words"] + 8 * len(cell["lines"])
    assert last_line <= cell["narrow"] - 4  # the band is 8 high
    assert cell["wide"] == pytest.approx((cell["top"] + cell["top"] + cell["tall"]) / 2)
    ends = [layer["encoding"]["x"]["scale"].get("range") for layer, _ in layers(chart) if "x" in layer["encoding"]]
    (room,) = [ends for ends in ends if ends]
    assert all(f"width < {NARROW}" in end["expr"] for end in room)


def test_refusals() -> None:
    good = row("a", "one", 0.1, 0.1)
    for rows, words in (
        ([good | {"kind": "guess"}], "'guess' is none of"),
        ([{name: value for name, value in good.items() if name != "low_50"}], "lacks 'low_50'"),
    ):
        with pytest.raises(ParameterError, match=words):
            nested_forest(pd.DataFrame(rows))
    with pytest.raises(ParameterError, match="no row"):
        nested_forest(pd.DataFrame([good]).iloc[:0])
    with pytest.raises(ParameterError, match="no word is called"):
        nested_forest(pd.DataFrame([good]), labels={"notes": ""})
