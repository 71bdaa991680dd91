"""What a reading and a review have in common: one week of a data set told in one language, with its words around figures."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit import formats

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset
    from strategy_kit.report.words import Words


class Week:
    """A data set up to a week, told in one language."""

    shop: Dataset
    monday: dt.date
    words: Words

    @property
    def sunday(self) -> dt.date:
        """The last day of the week."""
        return self.monday + dt.timedelta(days=6)

    @property
    def unit(self) -> str:
        """The currency, as an axis names it."""
        return formats.currency_unit(self.shop.description.currency, self.words.language)

    def amount(self, value: float, *, signed: bool = False, like: tuple[float, ...] = ()) -> str:
        """Write money; in the unit of the largest of `like`, where these stand beside it."""
        return formats.money(value, self.shop.description.currency, self.words.language, signed=signed, like=like)

    def amounts(self, low: float, high: float) -> str:
        """Write a range of money."""
        return formats.money_range(low, high, self.shop.description.currency, self.words.language)

    def scale(self, largest: float) -> tuple[float, str]:
        """Return what amounts of a chart are divided by, and the unit that its axis names."""
        scale = 1e4 if self.words.language == "zh" else 1e6 if largest >= 1e6 else 1e3
        return scale, self.words(f"axis_{scale:.0f}", unit=self.unit)

    @property
    def marks(self) -> list[str]:
        """What sets the data apart, such as that they are invented."""
        return [self.words("synthetic")] * self.shop.description.synthetic

    def caption(self, note: str) -> str:
        """Write the line under a chart: marks of the data, data set, week, and a note such as n."""
        say, about = self.words, self.shop.description
        mark, week = "".join(f"{word} · " for word in self.marks), formats.week_span(self.monday, say.language)
        return say("caption", mark=mark, dataset=say.label(about.title or about.name), week=week, n=note)

    def figure(self, key: str, chart: Any, table: pd.DataFrame | None, note: str, **values: Any) -> Any:
        """Put the words of a key around a chart, and fold its table beneath it.

        Parameters
        ----------
        key
            Of the words: `key_figure` is the title, `key_subtitle` the subtitle if there is one, and `key_alt` the
            description; where there is none, it is the title.
        note
            End of the caption.
        values
            What fills the words; `title`, `subtitle` and `description` stand in the place of the key's words.
        """
        from strategy_kit import charts  # a page is read before it is drawn

        say, words = self.words, dict[str, str]()
        for name, ending in (("title", "figure"), ("subtitle", "subtitle"), ("description", "alt")):
            at = f"{key}_{ending}"
            words[name] = values.get(name) or (say(at, **values) if at in say else "")
        words["description"] = words["description"] or words["title"]
        words["caption"] = self.caption(note)
        if table is None:
            return charts.figure(chart, **words, table=None)
        return charts.figure(chart, **words, table=table, table_label=say("table_behind"))


def until(shop: Dataset, monday: dt.date, measures: pd.DataFrame) -> pd.DataFrame:
    """Leave out weeks after the report's, except the unfinished ones after the last complete week."""
    return measures if monday == shop.week() else measures[measures["week"] <= pd.Timestamp(monday)]


def known_by(day: dt.date, cohorts: pd.DataFrame) -> pd.DataFrame:
    """Mark as not observed the months of a triangle that had not ended by a day."""
    month = cohorts["cohort"].dt.year * 12 + cohorts["cohort"].dt.month + cohorts["age"]
    return cohorts.assign(observed=cohorts["observed"] & (month < day.year * 12 + day.month))
