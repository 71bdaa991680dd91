"""The plan: its laws, its fingerprint, and the seal that shows a later change."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import fields, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.cli import main
from strategy_kit.errors import ContractError, ParameterError
from strategy_kit.plan import Plan, Seal, plan_laws, read_seal, write_seal

if TYPE_CHECKING:
    from pathlib import Path

PLAN = Plan(
    metric="orders",
    threshold=0.03,
    chance_needed=0.8,
    level=0.9,
    horizon=26,
    looks=(13, 26),
    families={"sales": ("gmv", "units"), "buyers": ("buyers",)},
    next_decision=dt.date(2025, 8, 11),
    owner="Head of category operations",
)
STARTS = {"apparel": dt.date(2025, 5, 19), "beauty": dt.date(2025, 5, 26)}
TEXT = """\
metric = "orders"
threshold = 0.03
chance_needed = 0.8
level = 0.9
horizon = 26
looks = [13, 26]
next_decision = 2025-08-11
owner = "Head of category operations"
[families]
sales = ["gmv", "units"]
buyers = ["buyers"]
"""
# A value other than PLAN's for each key that binds.
OTHER: dict[str, Any] = {
    "metric": "active_merchants",
    "threshold": 0.031,
    "chance_needed": 0.81,
    "level": 0.95,
    "horizon": 27,
    "looks": (12, 26),
    "families": {"sales": ("gmv",), "buyers": ("buyers", "units")},
}
FREE: dict[str, Any] = {"next_decision": None, "owner": None, "declared": False}


@pytest.fixture
def folder(sample: Path, tmp_path: Path) -> Path:
    """The sample data set in a folder that may be written to, without its plan and seal."""
    copy = tmp_path / "sample"
    shutil.copytree(sample, copy, ignore=shutil.ignore_patterns("plan.seal"))
    text = (copy / "dataset.toml").read_text(encoding="utf-8")
    start, stop = text.index("[plan]"), text.index("[tables]")
    (copy / "dataset.toml").write_text(text[:start] + text[stop:], encoding="utf-8")
    return copy


def last_line(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    out, err = capsys.readouterr()
    return json.loads(out.splitlines()[-1]), err


def test_a_plan_file_is_read_and_one_in_the_head_says_the_same(folder: Path) -> None:
    assert not sk.open_dataset(folder).plan.declared
    (folder / "plan.toml").write_text(TEXT, encoding="utf-8")
    assert sk.open_dataset(folder).plan == PLAN
    (folder / "plan.toml").unlink()
    head = folder / "dataset.toml"
    nested = "[plan]\n" + TEXT.replace("[families]", "[plan.families]")
    head.write_text(head.read_text(encoding="utf-8").replace("[tables]", nested + "[tables]"), encoding="utf-8")
    assert sk.open_dataset(folder).plan == PLAN
    (folder / "plan.toml").write_text(TEXT, encoding="utf-8")
    with pytest.raises(ContractError, match=r"stands twice, in plan\.toml and as \[plan\]; keep one"):
        sk.open_dataset(folder)


def test_frames_take_a_plan_as_keys_or_made() -> None:
    lines = pd.DataFrame({"order_id": [1], "line_id": 1, "buyer_id": "a", "merchant_id": "m", "category": "beauty",
                          "paid_at": pd.to_datetime(["2025-01-06"]), "amount": [10.0]})  # fmt: skip
    roster = pd.DataFrame({"merchant_id": ["m"], "category": ["beauty"]})
    keys = {field.name: getattr(PLAN, field.name) for field in fields(Plan) if field.name != "declared"}
    for plan in (PLAN, keys):
        shop = sk.dataset_from_frames(lines, roster, timezone="UTC", currency="CNY", plan=plan)
        assert shop.plan == PLAN
        assert shop.plan_seal == "unsealed"
    with pytest.raises(ContractError, match="plan must be a table"):
        sk.dataset_from_frames(lines, roster, timezone="UTC", currency="CNY", plan="orders")


def test_looks_are_every_week_up_to_the_horizon_where_none_are_given() -> None:
    assert Plan(horizon=4).looks == (1, 2, 3, 4)
    assert Plan().looks == ()
    assert Plan(horizon=4).fingerprint == Plan(horizon=4, looks=(1, 2, 3, 4)).fingerprint


# Keys of a plan -> words of the message.
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt": ({"treshold": 0.1}, r"plan\.treshold is not a key \(did you mean 'threshold'"),
    "kind": ({"horizon": 26.0}, r"plan\.horizon must be a whole number, not 26\.0"),
    "truth value": ({"level": True}, r"plan\.level must be a number or a whole number, not True"),
    "threshold": ({"threshold": -1.0}, r"threshold is a share of the metric above -1, not -1"),
    "no number": ({"threshold": float("nan")}, "threshold is a share of the metric above -1, not nan"),
    "endless": ({"threshold": float("inf")}, "threshold is a share of the metric above -1, not inf"),
    "chance": ({"chance_needed": 1.0}, r"chance_needed lies between 0 and 1, not 1\.0"),
    "level": ({"level": 0.999}, r"level lies between 0\.5 and 0\.99, not 0\.999"),
    "low level": ({"level": 0.05}, r"level lies between 0\.5 and 0\.99, not 0\.05"),
    "no horizon": ({"horizon": 0}, r"horizon is a number of weeks from 1 to 156, not 0"),
    "far horizon": ({"horizon": 157}, r"horizon is a number of weeks from 1 to 156, not 157"),
    "looks alone": ({"looks": [4]}, r"looks needs plan\.horizon"),
    "no looks": ({"horizon": 4, "looks": []}, r"looks are whole weeks after the start, 1 or more, not \[\]"),
    "look 0": ({"horizon": 4, "looks": [0, 4]}, r"looks are whole weeks after the start, 1 or more, not \[0, 4\]"),
    "true look": ({"horizon": 4, "looks": [True, 4]}, "looks are whole weeks"),
    "half look": ({"horizon": 4, "looks": [1.5, 4]}, "looks are whole weeks"),
    "descending": ({"horizon": 4, "looks": [2, 1, 4]}, "looks ascend, each week once"),
    "twice": ({"horizon": 4, "looks": [2, 2, 4]}, "looks ascend, each week once"),
    "beyond": ({"horizon": 4, "looks": [2, 5]}, r"looks end with plan\.horizon, .* with 4, not 5"),
    "short of it": ({"horizon": 4, "looks": [2, 3]}, r"looks end with plan\.horizon, .* with 4, not 3"),
    "metric": ({"metric": "gvm"}, r"plan\.metric 'gvm' is not a metric \(did you mean 'gmv'"),
    "ratio": ({"metric": "average_order_value"}, "is no sum or count over the lines paid in a week"),
    "family": ({"families": {"a": "gmv"}}, r"families\.a is a list of metrics, not 'gmv'"),
    "empty family": ({"families": {"a": []}}, r"families\.a is a list of metrics, not \[\]"),
    "member": ({"families": {"a": ["oders"]}}, r"families\.a: 'oders' is not a metric \(did you mean 'orders'"),
    "two families": ({"families": {"a": ["orders"], "b": ["orders"]}}, "'orders' stands in one place only"),
    "primary again": ({"families": {"a": ["gmv"]}}, "'gmv' stands in one place only"),
    "all at once": (
        {"threshold": -2, "level": 2.0, "looks": [3, 2], "metric": "x", "families": {"a": ["y"]}},
        r"breaks 6 laws: .*threshold.*level.*ascend.*needs plan\.horizon.*'x'.*'y'",
    ),
}


def toml(value: Any) -> str:
    """Write a value as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(part)}" for key, part in value.items()) + "}"
    return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")


@pytest.mark.parametrize("case", BROKEN)
def test_a_plan_that_breaks_a_law_is_refused(folder: Path, case: str) -> None:
    keys, words = BROKEN[case]
    (folder / "plan.toml").write_text("".join(f"{key} = {toml(value)}\n" for key, value in keys.items()), "utf-8")
    with pytest.raises(ContractError, match=words) as raised:
        sk.open_dataset(folder)
    assert "\n" not in str(raised.value)
    if keys.get("looks") != [] and "treshold" not in keys:  # a plan made without looks is read every week
        with pytest.raises(ContractError, match=words):
            Plan(**keys)


def test_laws_name_all_that_is_wrong_and_nothing_that_is_right() -> None:
    assert plan_laws({}) == []
    assert (
        plan_laws({field.name: getattr(PLAN, field.name) for field in fields(Plan) if field.name != "declared"}) == []
    )


def test_a_broken_plan_file_is_named_with_the_head(folder: Path) -> None:
    (folder / "plan.toml").write_text("threshold = 7e400\nlevel = 3\n", encoding="utf-8")
    with pytest.raises(ContractError, match=r"dataset\.toml with plan\.toml breaks 2 laws"):
        sk.open_dataset(folder)
    (folder / "plan.toml").write_text("threshold = ", encoding="utf-8")
    with pytest.raises(ContractError, match=r"plan\.toml is not valid TOML"):
        sk.open_dataset(folder)


def test_the_fingerprint_is_the_hash_of_all_that_binds() -> None:
    # written out by hand: a change of this text would break every seal that exists
    text = (
        '{"chance_needed": 0.8, "families": {"buyers": ["buyers"], "sales": ["gmv", "units"]}, "horizon": 26, '
        '"level": 0.9, "looks": [13, 26], "metric": "orders", "threshold": 0.03}'
    )
    assert PLAN.fingerprint == sha256(text.encode()).hexdigest()


def test_every_field_of_a_plan_binds_or_is_free() -> None:
    assert {field.name for field in fields(Plan)} == set(OTHER) | set(FREE)


@pytest.mark.parametrize("key", OTHER)
def test_whatever_binds_changes_the_fingerprint(key: str) -> None:
    change = {key: OTHER[key]} | ({"looks": (13, 27)} if key == "horizon" else {})
    assert replace(PLAN, **change).fingerprint != PLAN.fingerprint
    if key == "horizon":  # the looks moved with it: the horizon alone must count too
        assert Plan(horizon=26).fingerprint != Plan().fingerprint
        assert PLAN.binding["horizon"] == 26


@pytest.mark.parametrize("key", FREE)
def test_what_is_free_does_not(key: str) -> None:
    assert replace(PLAN, **{key: FREE[key]}).fingerprint == PLAN.fingerprint


def test_the_order_and_form_of_writing_do_not_bind() -> None:
    turned = {"buyers": ["buyers"], "sales": ["units", "gmv"]}
    assert replace(PLAN, families=turned).fingerprint == PLAN.fingerprint  # type: ignore[arg-type]
    assert Plan(threshold=0, level=0.9).fingerprint == Plan(threshold=0.0, level=0.9).fingerprint


# Data's end at sealing, plan and starts later -> state.
STATES: list[tuple[dt.date, Plan, dict[str, dt.date], str]] = [
    (dt.date(2025, 5, 18), PLAN, STARTS, "sealed_before"),
    (dt.date(2025, 5, 19), PLAN, STARTS, "sealed_after"),
    (dt.date(2025, 5, 18), replace(PLAN, owner=None), STARTS, "sealed_before"),
    (dt.date(2025, 5, 18), replace(PLAN, threshold=0.02), STARTS, "changed"),
    (dt.date(2025, 5, 18), PLAN, STARTS | {"beauty": dt.date(2025, 5, 27)}, "changed"),
    (dt.date(2025, 5, 18), PLAN, {"apparel": STARTS["apparel"]}, "changed"),
    (dt.date(2025, 5, 18), PLAN, {}, "changed"),
]


@pytest.mark.parametrize(("through", "plan", "starts", "state"), STATES)
def test_a_seal_tells_before_after_and_changed(
    through: dt.date, plan: Plan, starts: dict[str, dt.date], state: str
) -> None:
    assert Seal.of(PLAN, STARTS, through).state(plan, starts) == state


def test_the_seal_cycle(folder: Path) -> None:
    (folder / "plan.toml").write_text(TEXT, encoding="utf-8")
    assert sk.open_dataset(folder).plan_seal == "unsealed"
    shop = sk.open_dataset(folder)
    write_seal(folder, shop.plan, shop.pilot.starts, dt.date(2025, 5, 1))
    kept = (folder / "plan.seal").read_bytes()
    assert sk.open_dataset(folder).plan_seal == "sealed_before"
    write_seal(folder, shop.plan, shop.pilot.starts, dt.date(2025, 7, 1))
    assert (folder / "plan.seal").read_bytes() == kept, "sealing again changes nothing"
    (folder / "plan.toml").write_text(TEXT.replace("0.03", "0.02"), encoding="utf-8")
    changed = sk.open_dataset(folder)
    assert changed.plan_seal == changed.description.plan_seal == "changed"
    with pytest.raises(ContractError, match=r"the plan was other when .* up to 2025-05-01; .* or delete plan\.seal"):
        write_seal(folder, changed.plan, changed.pilot.starts, dt.date(2025, 7, 1))
    with pytest.raises(ContractError, match="the pilots' categories or starts were other"):
        write_seal(folder, shop.plan, STARTS, dt.date(2025, 7, 1))
    assert (folder / "plan.seal").read_bytes() == kept
    assert sorted(path.name for path in folder.glob("*plan*")) == ["plan.seal", "plan.toml"]


def test_what_is_no_seal_is_refused(folder: Path) -> None:
    assert read_seal(folder) is None
    (folder / "plan.seal").write_text('plan = 3\nday = "x"\n', encoding="utf-8")
    with pytest.raises(ContractError, match=r"not as it was sealed breaks 4 laws: .*day.*plan must.*'pilot'.*'data_th"):
        sk.open_dataset(folder)


def test_nothing_to_seal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"nothing to seal: add plan\.toml"):
        write_seal(tmp_path, Plan(declared=False), STARTS, dt.date(2025, 5, 1))
    with pytest.raises(ParameterError, match=r"nothing to seal: add \[pilot\]"):
        write_seal(tmp_path, PLAN, {}, dt.date(2025, 5, 1))
    assert not list(tmp_path.iterdir())


def test_the_command_shows_seals_and_refuses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(folder), "--json"]) == 0
    found, err = last_line(capsys)
    assert (found["declared"], found["seal"], err) == (False, "unsealed", "")
    assert main(["plan", str(folder), "--seal", "--json"]) == 2
    assert last_line(capsys)[0] == {"command": "plan", "error": "ParameterError", "exit_code": 2}
    (folder / "plan.toml").write_text(TEXT, encoding="utf-8")
    assert main(["plan", str(folder), "--seal", "--json"]) == 0
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])
    assert f"fingerprint     {PLAN.fingerprint}\n" in out
    assert "sealed when outcomes could be known already: its looks buy no narrower interval" in out
    assert {name: found[name] for name in PLAN.binding} == PLAN.binding
    # the sample's data reach beyond the pilots' start
    assert (found["seal"], found["sealed_through"], found["next_decision"]) == (
        "sealed_after", "2025-07-30", "2025-08-11",
    )  # fmt: skip
    kept = (folder / "plan.seal").read_bytes()
    assert main(["plan", str(folder), "--seal"]) == 0
    (folder / "plan.toml").write_text(TEXT.replace("26", "25"), encoding="utf-8")
    assert main(["plan", str(folder), "--json"]) == 0
    out = capsys.readouterr().out
    assert "not the one that was sealed: its looks buy no narrower interval" in out
    assert json.loads(out.splitlines()[-1])["seal"] == "changed"
    assert main(["plan", str(folder), "--seal"]) == 4
    assert "delete plan.seal, seal anew" in capsys.readouterr().err
    assert (folder / "plan.seal").read_bytes() == kept
