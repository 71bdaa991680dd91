"""The sections of the weekly report that describe: measures, the pilots' path, targets, overseas, what changed, roles."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from math import expm1, log1p
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import did, formats, kpi, targets
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.metrics import METRICS
from strategy_kit.overseas import among_joiners, joiners_panel
from strategy_kit.report import Audience, blocks, measures, page, path, programmes, weekly
from strategy_kit.report.audience import ALWAYS, CHOSEN
from strategy_kit.report.claims import Spread
from strategy_kit.report.ledger import extended
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.report import Reading
    from strategy_kit.report.sections import Section

MONDAY = dt.date(2025, 7, 21)


@pytest.fixture(scope="module")
def reading(sample: Path) -> Reading:
    return sk.report.read_week(sk.open_dataset(sample))


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """A market with targets and an overseas programme."""
    world = World.of({"overseas": 1.0, "target_bunching": 1.0})
    folder = simulate(tmp_path_factory.mktemp("rich") / "market", seed=3, merchants=600, weeks=60, world=world)
    return sk.report.read_week(sk.open_dataset(folder))


def figures(section: Section) -> list[Any]:
    return [part for part in section.parts if not isinstance(part, blocks.Block)]


def words(figure: Any) -> dict[str, Any]:
    return dict(figure.to_dict()["usermeta"]["strategy_kit"])


def test_limits_are_those_of_process_control_before_the_pilot(reading: Reading) -> None:
    for name in reading.controls:
        if isinstance(reading.controls[name], str):  # both of them have too few weeks
            continue
        found = kpi.process_control(reading.shop, metric=name, by=["pilot"])
        pilots = found[found["pilot"]].drop(columns="pilot").reset_index(drop=True)
        pd.testing.assert_frame_equal(reading.controls[name], pilots)


def test_the_title_counts_what_the_rows_say(reading: Reading) -> None:
    out = measures.signalled(reading)
    rows = measures.table(reading).html
    said = sum(rows.count(f"<strong>{plain}") for plain in ("Beyond", "Eight", "Six", "Two of three"))
    assert said == len(out)
    assert str(measures.head(reading)).endswith(
        f"{len(out)} of {len(reading.controls)} measures {'has' if len(out) == 1 else 'have'} a special cause"
    )


def test_a_measure_whose_refunds_may_still_come_is_not_judged(reading: Reading) -> None:
    assert measures.last_signal(reading, "refund_rate") == "unknown"
    settled = replace(reading, shop=replace_refund_days(reading.shop))
    assert measures.last_signal(settled, "refund_rate") != "unknown"


def replace_refund_days(shop: Any) -> Any:
    about = replace(shop.description, refund_days=0)
    return replace(shop, description=about)


def test_a_festival_week_is_told_as_one(sample: Path) -> None:
    read = sk.report.read_week(sk.open_dataset(sample), "2025-W24")
    assert measures.last_signal(read, "gmv") == "festival"
    assert "618" in measures.table(read).html
    assert measures.signalled(read) == []


def test_the_path_is_that_of_pilot_path_in_percent(reading: Reading) -> None:
    found = did.pilot_path(reading.totals).tidy(level=0.95)
    table = words(path.pilot_path(reading))["table"]["rows"]
    assert [row[1] for row in table] == [formats.percent(expm1(v), signed=True) for v in found["estimate"]]
    ends = [f"{formats.percent(expm1(row.band_low), signed=True)} … {formats.percent(expm1(row.band_high), signed=True)}"
            for row in found.itertuples() if np.isfinite(row.band_low)]  # fmt: skip
    assert [row[2] for row in table if row[2] != "– … –"] == ends


def test_the_title_of_the_path_counts_weeks_beyond_the_band(reading: Reading) -> None:
    shifted = reading.totals.outcome.copy()
    after = len(reading.totals.periods) - reading.weeks_after
    shifted[reading.totals.cohort >= 0, after:] += 3.0
    moved = replace(reading, totals=replace(reading.totals, outcome=shifted))
    counted = did.pilot_path(moved.totals).tidy(level=0.95)
    beyond = int(((counted["band_low"] > 0) & (counted["age"] >= 0)).sum())
    assert beyond > 0
    assert (
        words(path.pilot_path(moved))["title"] == f"The gap is beyond chance in {beyond} of {reading.weeks_after} weeks"
    )


def test_events_lie_where_the_tables_say(reading: Reading) -> None:
    events = path.timeline_events(reading).set_index("label")
    start = pd.Timestamp(reading.shop.pilot.starts_on)
    policies = reading.shop.engine.frame("select * from policies").set_index("policy")
    rules = events.loc["Stricter refund rules"]
    begun = pd.Timestamp(policies.loc["stricter_refund_rules", "started_on"])
    assert rules["kind"] == "limiting"
    assert rules["first"] == (begun - start).days / 7 - 0.5
    assert rules["last"] == (pd.Timestamp(MONDAY) + pd.Timedelta(weeks=1) - start).days / 7 - 0.5
    assert "Service fee cut" not in events.index  # in force in all of the weeks
    assert events.loc["Support of the pilots", "first"] == -0.5
    assert events.loc["618", "kind"] == "festival"


def test_attainment_is_sums_of_what_was_sold(rich: Reading) -> None:
    shop = rich.shop
    frame = shop.engine.frame
    given, lines, roster = (
        frame("select * from targets"),
        frame("select * from order_lines"),
        frame("select * from merchants"),
    )
    lines = lines[lines["status"] != "cancelled"]
    expected = []
    for row in given.itertuples():
        if pd.Timestamp(row.period_end) > pd.Timestamp(shop.data_through):
            continue
        own = lines[(lines["merchant_id"] == row.merchant_id) & (lines["paid_at"] >= pd.Timestamp(row.period_start))]
        own = own[own["paid_at"] < pd.Timestamp(row.period_end) + pd.Timedelta(days=1)]
        expected.append(
            (row.period_start, row.merchant_id, float(own["amount"].sum()), float(row.floor), float(row.stretch))
        )
    twin = pd.DataFrame(expected, columns=["period_start", "merchant_id", "sold", "floor", "stretch"])
    twin = twin.merge(roster[["merchant_id", "size_band"]], on="merchant_id")
    # sums of fen as doubles: half a fen tells equal amounts from unequal ones
    twin = twin.assign(
        met_floor=twin["sold"] >= twin["floor"] - 0.005, met_stretch=twin["sold"] >= twin["stretch"] - 0.005
    )
    groups = twin.assign(merchants=1).groupby(["period_start", "size_band"])
    by_hand = groups[["merchants", "sold", "met_floor", "met_stretch"]].sum()
    found = targets.attainment(shop).set_index(["period_start", "size_band"]).loc[by_hand.index]
    assert (found["merchants"] == by_hand["merchants"]).all()
    assert (found["met_floor"] == by_hand["met_floor"]).all()
    assert (found["met_stretch"] == by_hand["met_stretch"]).all()
    np.testing.assert_allclose(found["sold"], by_hand["sold"], rtol=1e-9)


def test_bins_of_attainment_add_up_and_start_at_the_targets(rich: Reading) -> None:
    found = targets.attainment(rich.shop)
    last = found[found["period_start"] == found["period_start"].max()]
    bins = targets.attainment_bins(rich.shop, last["period_start"].iloc[0])
    assert bins["merchants"].sum() == last["merchants"].sum()
    assert bins.loc[bins["low"] >= 1, "merchants"].sum() == last["met_stretch"].sum()
    assert (bins["floor"] - 0.75).abs().max() < 1e-3  # the simulator's floor, in whole fen


def test_periods_that_have_not_ended_are_not_judged(rich: Reading) -> None:
    early = targets.attainment(rich.shop, through=dt.date(2025, 3, 1))
    ends = rich.shop.engine.frame("select period_start, max(period_end) as ends from targets group by 1").set_index(
        "period_start"
    )
    assert (ends.loc[early["period_start"], "ends"] <= pd.Timestamp("2025-03-01")).all()


def test_the_section_of_targets_tells_the_last_period(rich: Reading) -> None:
    section = programmes.target_section(rich)
    last = targets.attainment(rich.shop)
    last = last[last["period_start"] == last["period_start"].max()]
    met = [formats.percent(last[name].sum() / last["merchants"].sum(), 0) for name in ("met_floor", "met_stretch")]
    assert str(section.parts[0]).endswith(f"{met[0]} of merchants met the floor, {met[1]} the stretch")
    sold = formats.percent(last["sold"].sum() / last["stretch"].sum())
    assert words(figures(section)[0])["title"] == f"Together they sold {sold} of the stretch"


def test_no_cell_of_targets_shows_fewer_than_ten_merchants(rich: Reading) -> None:
    section = programmes.target_section(rich)
    cells = [row[1] for row in words(figures(section)[0])["table"]["rows"]]
    assert "< 10" in cells
    assert all(cell == "< 10" or int(cell) >= 10 for cell in cells)
    drawn = [
        row["merchants"] for data in figures(section)[0].to_dict()["datasets"].values() for row in data if "met" in row
    ]
    assert drawn
    assert all(n == 0 or n >= 10 for n in drawn)


def test_without_their_tables_programmes_are_one_line(reading: Reading) -> None:
    section = programmes.target_section(reading)
    assert len(section.parts) == 1
    assert "no targets table" in str(section)
    with pytest.raises(DesignError, match="no targets table"):
        targets.attainment(reading.shop)
    assert "No merchant has joined" in str(programmes.overseas_section(reading))


def test_joiners_are_compared_without_other_levers(rich: Reading) -> None:
    since = rich.totals.periods[0].date()
    panel = joiners_panel(rich.shop, since=since, through=MONDAY)
    levers = rich.shop.engine.frame("select distinct merchant_id, lever from support")
    other = set(levers.loc[levers["lever"] != "overseas", "merchant_id"])
    assert not other & set(panel.units)
    joined = set(levers.loc[levers["lever"] == "overseas", "merchant_id"]) - other
    assert set(panel.units[panel.cohort >= 0]) <= joined
    assert str(len(other & set(rich.shop.panel(since=since, through=MONDAY).units))) in panel.notes[-1]
    study = did.event_study(did.group_time(among_joiners(panel), control="not_yet"))
    average = formats.money(study.average[0], "CNY", "en", signed=True,
                            like=replace(spread_of(rich, study)).interval(rich.level))  # fmt: skip
    assert f"Average after the start: {average}" in str(programmes.overseas_section(rich))
    drawn = programmes.overseas_section(rich).parts[-1]
    assert "against merchants that join later" in str(drawn.to_dict())


def spread_of(reading: Reading, study: Any) -> Any:
    return sk.report.reading.Spread(*study.average, np.inf, reading.widening)


def claim(reading: Reading, weeks_ago: int, percent: float, decision: str = "hold") -> dict[str, Any]:
    week = MONDAY - dt.timedelta(weeks=weeks_ago)
    return {
        "published_at": f"{week + dt.timedelta(days=8)}T06:00:00Z", "run_id": f"r{weeks_ago}", "edition": 1, "week": str(week),
        "notebook": "weekly_report", "language": "en", "headline": "said", "decision": decision, "metric": "gmv",
        "estimate": log1p(percent / 100), "std_error": 0.05, "degrees_of_freedom": 8.0, "widening": 1.0, "level": 0.95,
        "conf_low": -0.1, "conf_high": 0.3, "weeks_after": reading.weeks_after - weeks_ago, "horizon": 26,
    }  # fmt: skip


def with_ledger(reading: Reading, folder: Path, *rows: dict[str, Any]) -> Reading:
    file = folder / "ledger.csv"
    file.write_text(extended("", rows), encoding="utf-8")
    return replace(reading, audience=Audience(ledger=str(file)))


def again(reading: Reading) -> float:
    assert reading.again is not None
    return float(100 * expm1(reading.again.glance()["estimate"].iloc[0]))


def test_the_first_report_says_that_it_is_the_first(reading: Reading, tmp_path: Path) -> None:
    assert "first report" in str(weekly.changed(reading))
    own_week = with_ledger(reading, tmp_path, claim(reading, 0, 5.0))
    assert str(weekly.changed(own_week)) == str(weekly.changed(reading))  # the page reads alike when made again


def test_the_week_before_on_todays_data_is_what_that_week_would_say(reading: Reading) -> None:
    last = sk.report.read_week(reading.shop, "2025-W29")
    assert again(reading) == pytest.approx(100 * expm1(last.spread.estimate), rel=1e-12)


@pytest.mark.parametrize("restated", [False, True])
def test_a_change_is_split_into_restated_data_and_a_further_week(
    reading: Reading, tmp_path: Path, restated: bool
) -> None:
    said = 3.0 if restated else again(reading)
    shown = str(weekly.changed(with_ledger(reading, tmp_path, claim(reading, 1, said))).parts[1].html)
    assert ("earlier weeks were restated" in shown) == restated
    assert "one more week of data" in shown
    cells = [formats.percent(value / 100, signed=True) for value in (said, again(reading))]
    assert all(f">{cell}<" in shown for cell in cells)


def test_a_week_without_report_is_not_compared_week_by_week(reading: Reading, tmp_path: Path) -> None:
    shown = str(weekly.changed(with_ledger(reading, tmp_path, claim(reading, 3, 3.0))).parts[1].html)
    assert "further weeks of data" in shown


def test_another_measure_or_another_plan_is_told_as_such(reading: Reading, tmp_path: Path) -> None:
    other = with_ledger(reading, tmp_path, claim(reading, 1, 3.0) | {"metric": "orders"})
    assert "told of another measure" in str(weekly.changed(other))
    plans = {"f" * 64: "the plan is another one than then", reading.shop.plan.fingerprint: "a check limits the claim"}
    for fingerprint, reason in plans.items():
        row = claim(reading, 1, 3.0, decision="extend") | {"plan_fingerprint": fingerprint}
        assert reason in str(weekly.changed(with_ledger(reading, tmp_path, row)).parts[1].html)


def test_earlier_intervals_are_counted(reading: Reading, tmp_path: Path) -> None:
    rows = [claim(reading, weeks, percent) for weeks, percent in ((4, -20.0), (3, 9.0), (2, 11.0), (1, 10.0))]
    assert "Of 3 earlier 80% intervals, 2" in str(weekly.changed(with_ledger(reading, tmp_path, *rows)))


@pytest.mark.parametrize("role", CHOSEN)
def test_a_role_gets_its_sections_and_what_the_claim_rests_on(reading: Reading, role: str) -> None:
    own = replace(reading, audience=Audience(role))
    every = (*ALWAYS, *CHOSEN["analyst"])
    shown = {name for name in every if getattr(weekly, name)(own).parts}
    assert shown == {*ALWAYS, *CHOSEN[role]}
    assert "weekly report for" in str(weekly.masthead(own).parts[0].html)


def test_wrong_audiences_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"role is one of executive, .*, not 'exec'"):
        Audience("exec")
    with pytest.raises(ParameterError, match="page in the same folder"):
        Audience(translation="../other.html")


def test_languages_are_linked_where_both_are_made(reading: Reading) -> None:
    linked = replace(reading, audience=Audience(translation="weekly_report.zh.html"))
    head = weekly.masthead(linked).parts[0].html
    assert '<a href="weekly_report.zh.html" lang="zh-Hans"' in head
    assert '<strong aria-current="page">English</strong>' in head
    assert "<nav" not in weekly.masthead(reading).parts[0].html


def test_the_statement_carries_the_numbers_of_the_headline(reading: Reading) -> None:
    told = page.statement(reading)._repr_mimebundle_()["application/vnd.strategy-kit.claim+json"]
    low, high = reading.spread.interval(reading.level)
    assert (told["estimate"], told["conf_low"], told["conf_high"]) == (reading.spread.estimate, low, high)
    assert told["last_week_again"] == pytest.approx(log1p(again(reading) / 100), rel=1e-12)
    assert (told["week"], told["metric"], told["weeks_after"]) == ("2025-W30", "gmv", reading.weeks_after)
    assert told["chance"] == reading.claim.chance


def test_the_method_note_is_short(reading: Reading) -> None:
    assert len(str(page.method(reading)[1]).split()) <= 150
    assert set(reading.controls) <= set(METRICS)


def test_a_placebo_silences_every_part_of_every_page(reading: Reading) -> None:
    clear = Spread(0.1, 0.01, np.inf)
    pilot = replace(reading.shop.pilot, placebo=True)
    shop = replace(reading.shop, description=replace(reading.shop.description, pilot=pilot))
    assert reading.verb(clear) != "cannot_tell"
    assert replace(reading, shop=shop).verb(clear) == "cannot_tell"
