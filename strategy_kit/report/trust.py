"""The checks that every claim rests on, each with what it measured and whether it limits the claim."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np

from strategy_kit import formats
from strategy_kit.did import pilot_contrast
from strategy_kit.health import LATE, RESTATED
from strategy_kit.overseas import LEVER as OVERSEAS
from strategy_kit.planning.power import FOUND
from strategy_kit.report.claims import Check, in_percent
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    import pandas as pd

    from strategy_kit.dataset import Dataset
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel
    from strategy_kit.planning import ReadingWidth
    from strategy_kit.report.words import Words

LATE_SHARE = 0.01
"""Share of late lines, in the weeks they came to, above which the newest week must be taken for as incomplete as those."""
VOLATILITY = (0.5, 2.0)
"""Ratio of the pilots' weekly noise to the others' outside which the claim is limited; fixed before outcomes are seen."""
_LEVEL = 0.95
_TO_SUNDAY = dt.timedelta(days=6)
_LEAST_WEEKS = 4
MORE_WEEKS = 13


def trust_checks(shop: Dataset, panel: Panel, contrast: Estimates, laws: pd.DataFrame, words: Words) -> list[Check]:
    """Measure every check for the weeks of `panel`, the log category totals.

    Parameters
    ----------
    laws
        From `Dataset.check`.

    Returns
    -------
    list of Check
        In the order of the trust strip; the words are in the language of `words`.
    """
    after = len(panel.periods) - int(panel.starts.min())
    balance = contrast.details["balance"].set_index("measure")["value"]
    return [
        _data(shop, laws, words),
        _through(shop, after, laws, words),
        Check(
            words("check_comparison"),
            words("check_comparison_value", pilots=contrast.clusters[0], others=contrast.clusters[1]),
            words(
                "check_comparison_note", p=f"{balance['smallest_p_value']:.2g}", size=formats.number(_size(panel), 2)
            ),
        ),
        *panel_checks(panel, contrast, words),
        _policies(shop, panel, words),
        _contamination(shop, panel, words),
    ]


def design_checks(
    shop: Dataset, after: int, width: ReadingWidth | None, power: pd.DataFrame | None, words: Words
) -> list[Check]:
    """Tell what such a pilot can show, for how many looks the interval is made, and whether the plan was sealed.

    Parameters
    ----------
    after
        Weeks since the start.
    width
        From `planning.reading_width`; None where it cannot tell.
    power
        From `planning.what_if`; None where the weeks before the start are too few.
    """
    return [_power(power, words), _reading(width, shop, after, words), _plan(shop, words)]


def _size(panel: Panel) -> float:
    """How much a pilot sold before the start, against another category, on average."""
    sold, treated = np.exp(panel.outcome[:, : int(panel.starts.min())]).mean(axis=1), panel.cohort >= 0
    return float(sold[treated].mean() / sold[~treated].mean())


def panel_checks(panel: Panel, contrast: Estimates, words: Words) -> list[Check]:
    """Measure the checks that need nothing but the categories' paths: the weeks before, and the pilots' noise."""
    balance = contrast.details["balance"].set_index("measure")["value"]
    return [_past(panel, words), _volatility(float(balance["volatility_ratio"]), words)]


def _power(rows: pd.DataFrame | None, words: Words) -> Check:
    """Tell which effect such a pilot can show, by the weeks before it alone."""
    label = words("check_power", found=f"{100 * FOUND:.0f}")
    if rows is None:
        return Check(label, "–", words("check_power_short"))
    found = rows.set_index(["pilots", "weeks"])
    pilots, weeks = found.index[0]
    sizes = [in_percent(found.loc[at, "detectable_effect"], signed=False) for at in
             ((pilots, weeks), (pilots + 1, weeks), (pilots, weeks + MORE_WEEKS))]  # fmt: skip
    note = words("check_power_note", pilot=sizes[1], weeks=sizes[2], n=formats.Count(MORE_WEEKS))
    return Check(label, sizes[0], note)


def _reading(width: ReadingWidth | None, shop: Dataset, after: int, words: Words) -> Check:
    """Tell for how many looks the interval is made, and which of them this is."""
    if width is None:
        return Check(
            words("check_reading"), words("check_reading_unknown"), words("check_reading_unknown_note"), "limits"
        )
    value = words(f"check_reading_{width.kind}", n=formats.Count(width.looks))
    look = sum(planned <= after for planned in shop.plan.looks) if width.kind == "declared" else after
    widening = formats.number(width.factor, 2)
    note = words(f"check_reading_{width.kind}_note", look=formats.Count(look), widening=widening)
    return Check(words("check_reading"), value, note)


def _plan(shop: Dataset, words: Words) -> Check:
    state = shop.plan_seal if shop.plan.declared or shop.plan_seal == "changed" else "none"
    note = words(f"check_plan_{state}_note", fingerprint=shop.plan.fingerprint[:12])
    return Check(words("check_plan"), words(f"check_plan_{state}"), note, "limits" if state == "changed" else "holds")


def _data(shop: Dataset, laws: pd.DataFrame, words: Words) -> Check:
    broken = laws[laws["rows"] > 0]["severity"].value_counts()
    rows = shop.engine.frame(
        f"""select count(*) as lines, count(*) filter (where not ({sold_lines(shop)})) as cancelled,
                   count(distinct merchant_id) filter (where merchant_id not in (
                       select merchant_id from merchants where merchant_id is not null)) as stray
            from order_lines"""
    ).iloc[0]
    return Check(
        words("check_data"),
        words("check_data_value", kept=int((laws["rows"] == 0).sum()), all=len(laws)),
        words(
            "check_data_note",
            **{name: formats.number(int(rows[name])) for name in ("lines", "cancelled", "stray")},
            warnings=int(broken.get("warning", 0)),
            errors=int(broken.get("error", 0)),
        ),
        "blocks" if broken.get("error", 0) else "holds",
    )


def _through(shop: Dataset, after: int, laws: pd.DataFrame, words: Words) -> Check:
    """Tell how far the data reach, and how much of the weeks that were reported before arrived after that."""
    note = words("check_through_note", weeks=after, start=formats.day(shop.pilot.starts_on, words.language))
    late, found = words("check_late_unknown"), laws.set_index("check")
    share = float(found["share"].get(LATE, 0.0))
    if LATE in found.index:
        changed = formats.Count(int(found["rows"][RESTATED]))
        counts = {"lines": formats.Count(int(found["rows"][LATE])), "weeks": changed}
        late = words("check_late" if changed else "check_late_none", share=formats.percent(share), **counts)
    value = formats.day(shop.data_through, words.language)
    return Check(words("check_through"), value, words.prose(note, late), "limits" if share > LATE_SHARE else "holds")


def _past(panel: Panel, words: Words) -> Check:
    """Ask the pilots' question of the weeks before, split in half, where the answer should be nothing."""
    first = int(panel.starts.min())
    if first < _LEAST_WEEKS:
        return Check(words("check_past"), "–", words("check_past_short", weeks=first), "limits")
    past = panel.restarted(first // 2, first)
    row = pilot_contrast(past).glance(_LEVEL).iloc[0]
    low, high = (in_percent(row[end]) for end in ("conf_low", "conf_high"))
    return Check(
        words("check_past"),
        in_percent(row["estimate"]),
        words("check_past_note", level="95%", low=low, high=high, weeks=first),
        "limits" if row["conf_low"] > 0 or row["conf_high"] < 0 else "holds",
    )


def _volatility(ratio: float, words: Words) -> Check:
    low, high = VOLATILITY
    return Check(
        words("check_volatility"),
        words("check_volatility_value", ratio=formats.number(ratio, 2)),
        words("check_volatility_note", low=low, high=high),
        "holds" if low <= ratio <= high else "limits",
    )


def _compared(panel: Panel) -> dict[str, dt.date]:
    return {"since": panel.periods[0].date(), "last": panel.periods[-1].date() + _TO_SUNDAY}


def _policies(shop: Dataset, panel: Panel, words: Words) -> Check:
    """List the policies that were in force in part of the compared weeks only."""
    label = words("check_policies")
    if "policies" not in shop.tables:
        return Check(label, words("check_policies_none"), words("check_policies_absent"))
    found = shop.engine.frame(
        """select policy from policies where started_on <= $last and coalesce(ended, $last) >= $since
           and not (started_on <= $since and coalesce(ended, $last) >= $last) order by started_on""".replace(
            "ended", "ended_on" if "ended_on" in shop.columns("policies") else "null"
        ),
        _compared(panel),
    )["policy"].to_list()
    if not found:
        return Check(label, "0", words("check_policies_clear"))
    listed = {"en": ", ", "zh": "、"}[words.language].join(words.label(str(policy)) for policy in found)
    return Check(label, str(len(found)), words("check_policies_note", listed=listed), "limits")


def _contamination(shop: Dataset, panel: Panel, words: Words) -> Check:
    """Count merchants outside the pilots with support in the compared weeks; the overseas programme is open to all."""
    label = words("check_contamination")
    if "support" not in shop.tables:
        return Check(label, words("check_contamination_absent"), words("check_contamination_absent_note"))
    ended = "ended_on" if "ended_on" in shop.columns("support") else "null"
    outside = shop.engine.frame(
        f"""select count(distinct merchant_id) as n from support join merchants using (merchant_id)
            where not list_contains($pilots, category) and lever <> $other
            and started_on <= $last and coalesce({ended}, $last) >= $since""",
        {**_compared(panel), "pilots": shop.pilot.categories, "other": OVERSEAS},
    )["n"][0]
    return Check(
        label, formats.number(int(outside)), words("check_contamination_note"), "limits" if outside else "holds"
    )
