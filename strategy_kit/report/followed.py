"""The cohort review: who stays, what they bring, who is gone, and supported merchants beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from strategy_kit import charts, cohort, formats
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks, common_figures
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.common_figures import cohort_table

if TYPE_CHECKING:
    from strategy_kit.report.blocks import Block
    from strategy_kit.report.review import Review

COHORTS, KEPT_AGE = 13, 3


def _triangle(review: Review, unit: Literal["merchant", "buyer"], value: str = "active") -> pd.DataFrame:
    """Return the cohorts of enough members whose first sale is inside the data, as known by the review's week."""
    frame = cohort.triangle(review.shop, unit=unit, period=review.period, value=value)
    last = pd.Timestamp(review.pair[1])
    known = cohort.by_calendar(frame, period=review.period)["period"].to_numpy() <= last
    frame = frame.assign(observed=frame["observed"] & known, value=frame["value"].where(known))
    frame = frame[(frame["cohort_size"] >= FEWEST) & ~frame["left_censored"] & (frame["cohort"] <= last)]
    return frame.reset_index(drop=True)


def merchants_head(review: Review) -> Block:
    """Return the head of the merchants' section, which says how cohorts are formed."""
    say = review.words
    return blocks.section_head(say("section_kept"), say("question_kept"), say("cohorts_head"), say("cohorts_head_note"))


def buyers_head(review: Review) -> Block:
    """Return the head of the buyers' section."""
    say = review.words
    return blocks.section_head(say("section_buyers"), say("question_buyers"), say("buyers_head"))


def retention_map(review: Review, unit: Literal["merchant", "buyer"] = "merchant") -> Any:
    """Draw the share of each cohort that is active again, by age, as a heat map with its numbers."""
    say = review.words
    frame = _triangle(review, unit)
    frame = frame[frame["observed"] & (frame["age"] < COHORTS)]
    frame = frame[frame["cohort"].isin(np.sort(frame["cohort"].unique())[-COHORTS:])]
    ages = frame.loc[frame["age"] > 0, "age"]
    if ages.empty:
        return blocks.line(say(f"kept_absent_{unit}"))
    age = int(min(KEPT_AGE, ages.max()))
    share = (frame["value"] / frame["cohort_size"])[frame["age"] == age]
    low, high = formats.percent(float(share.min()), 0), formats.percent(float(share.max()), 0)
    words = {
        "age": formats.Count(age),
        "low": low,
        "high": high,
        "step": say(f"step_{review.period}", n=formats.Count(age)),
    }
    labels = {"age": say(f"ages_{review.period}"), "value": say("cohort_value")}
    labels["cohort"] = f"{say('cohort_cohort')} · {say(f'heads_{unit}')}"
    table = cohort_table(say, frame, say(f"heads_{unit}"), "%Y-%m-%d")
    title = say(f"kept_title_{unit}", **words)
    note = say("kept_note", n=formats.Count(len(table)), fewest=FEWEST)
    chart = charts.triangle(frame, share=True, labels=labels)
    return review.figure("kept", chart, table, note, title=title, subtitle=say(f"kept_subtitle_{unit}"))


def retention_curves(review: Review, unit: Literal["merchant", "buyer"] = "merchant") -> Any:
    """Draw the share that is active again by age, each cohort thin, the average over cohorts heavy."""
    shares = cohort.retention(_triangle(review, unit))
    return _curves(review, shares, ("curves", unit), percent=True)


def value_curves(review: Review, unit: Literal["merchant", "buyer"] = "merchant") -> Any:
    """Draw the running GMV per member of the cohort by age, gone members counted with nothing."""
    return _curves(review, cohort.cumulative_per_member(_triangle(review, unit, "gmv")), ("value", unit), percent=False)


def _curves(review: Review, frame: pd.DataFrame, kind: tuple[str, str], *, percent: bool) -> Any:
    say, (name, unit) = review.words, kind
    seen = frame[frame["observed"] & frame["value"].notna() & (frame["age"] < COHORTS)]
    if seen.empty or not (seen["age"] > 0).any():
        return blocks.line(say(f"kept_absent_{unit}"))
    mean = cohort.average(frame) if percent else cohort.average(frame, "common", through_age=_common_age(seen))
    mean = mean[mean["age"].isin(seen["age"])]
    lines = seen[["age", "value"]].assign(series=seen["cohort"].dt.strftime("%Y-%m-%d"))
    last = mean.iloc[-1]
    rows = pd.concat([mean[["age", "value"]].assign(series="average"), lines], ignore_index=True)
    value = formats.percent(last["value"], 0) if percent else review.told("gmv", float(last["value"]))
    age = formats.Count(int(last["age"]))
    title = say(f"{name}_title_{unit}", value=value, step=say(f"step_{review.period}", n=age))
    table = pd.DataFrame(
        {
            say("column_ages"): [str(a) for a in mean["age"]],
            say("average_line"): [formats.percent(v) if percent else review.told("gmv", v) for v in mean["value"]],
            say("column_cohorts"): [formats.number(n) for n in mean["cohorts"]],
            say(f"heads_{unit}"): [formats.number(n) for n in mean["members"]],
        }
    )
    labels = {"value": say(f"{name}_axis_{unit}"), "age": say(f"ages_{review.period}"), "average": say("average_line")}
    chart = charts.retention_curves(rows, percent=percent, labels=labels)
    return review.figure(name, chart, table, say(f"{name}_note"), title=title)


def _common_age(seen: pd.DataFrame) -> int:
    """Return the highest age that half of the cohorts have reached: an average of running sums over fewer could fall."""
    reached = seen.groupby("age")["cohort"].nunique()
    return int(reached.index[reached >= reached.max() / 2].max())


def survival(review: Review) -> Any:
    """Draw how many merchants still sell by age, with its interval, and say what counting only survivors would say."""
    say, shop = review.words, review.shop
    if review.monday != shop.week():
        return blocks.line(say("latest_only"))
    try:
        found = cohort.survival(shop, period=review.period)
    except DesignError:
        return blocks.line(say("kept_absent_merchant"))
    found = found[(found["at_risk"] >= FEWEST) & found["survival"].notna()]
    if len(found) <= 1:
        return blocks.line(say("kept_absent_merchant"))
    last = found.iloc[-1]
    step = say(f"step_{review.period}", n=formats.Count(int(last["age"])))
    title = say("survival_title", share=formats.percent(last["survival"], 0), step=step)
    money = {name: [review.told("gmv", v) for v in found[f"value_per_{name}"]] for name in ("member", "survivor")}
    labels = {"value": say("survival_axis"), "age": say(f"ages_{review.period}"), "average": say("survival_line")}
    chart, table = common_figures.survival(review, found, labels)
    table = table.assign(**{say(f"column_per_{name}"): told for name, told in money.items()})
    both = {"member": money["member"][-1], "survivor": money["survivor"][-1], "step": step}
    return review.figure("survival", chart, table, say("survival_note"), title=title, **both)


def supported(review: Review) -> Any:
    """Draw supported merchants beside the others by age; the title says that this is no effect."""
    say, shop = review.words, review.shop
    if "support" not in shop.tables:
        return blocks.line(say("supported_absent"))
    if review.monday != shop.week():
        return blocks.line(say("latest_only"))
    try:
        found = cohort.supported(shop, period=review.period)
    except DesignError:
        return blocks.line(say("supported_few"))
    found = found[(found["age"] < COHORTS) & (found["members"] >= FEWEST)]
    heads = found[found["age"] == 0].set_index("group")["members"]
    if len(heads) <= 1:
        return blocks.line(say("supported_few"))
    scale = 1e4 if say.language == "zh" and found["value"].max() >= 1e4 else 1.0
    unit = review.unit
    unit = say("axis_10000", unit=unit) if scale > 1 else unit
    labels = {"supported": say("supported_line"), "not supported": say("others_line")}
    labels |= {"value": say("with_unit", name=say("supported_axis"), unit=unit), "age": say(f"ages_{review.period}")}
    wide = found.pivot_table(index="age", columns="group", values="value")
    table = pd.DataFrame({say("column_ages"): [str(age) for age in wide.index]})
    for group in ("supported", "not supported"):
        table[labels[group]] = [review.told("gmv", value) for value in wide[group]]
    rows = found.assign(series=found["group"], value=found["value"] / scale)[["age", "value", "series"]]
    chart = charts.retention_curves(rows, percent=False, labels=labels)
    note = say("supported_note", n=formats.Count(heads["supported"]), m=formats.Count(heads["not supported"]))
    return review.figure("supported", chart, table, note)
