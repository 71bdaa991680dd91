"""A week: every notebook of the data set's plan side by side, one process each, and all of them published or none."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.report.jobs import make_apart
from strategy_kit.report.notebooks import needs
from strategy_kit.report.parameters import declared
from strategy_kit.report.run import Asked, Page, Run, produce, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strategy_kit.dataset import Dataset
    from strategy_kit.report.parameters import Parameter


def run_week(
    *,
    data: str | Path,
    out: str | Path = "reports",
    week: str | None = None,
    parameters: Mapping[str, object] | None = None,
    timeout: float = 600.0,
) -> Run:
    """Run all notebooks of a data set's weekly plan, as many at a time as there are cores, and publish them together.

    The plan is `[weekly]` of dataset.toml. Nothing is published unless every notebook ran to its end and every page
    passed its verification. A notebook that needs what the data set does not have, such as a pilot, is left out and
    named in `left_out`. The second language of a notebook is published as NAME.zh.html beside NAME.html.

    Parameters
    ----------
    data, out, week
        As `run` takes them.
    parameters
        Each goes to the notebooks that declare it; one that none declares is refused. With `language`, every notebook
        is made in that language alone.
    timeout
        Seconds that the cells of one notebook may take together.

    Raises
    ------
    StrategyKitError
        As `run` raises them; with several pages that failed, of the kind of the first, naming all.

    Examples
    --------
    >>> pages = run_week(data="data/sample", week="2025-W30").pages  # doctest: +SKIP
    """
    asked = Asked("weekly", Path(data), Path(out), week, values_of(parameters), timeout)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return produce(asked, lambda shop: planned(shop, asked.parameters), lambda jobs: make_apart(jobs, cores))


def planned(shop: Dataset, given: Mapping[str, Any]) -> tuple[list[Page], dict[str, str]]:
    """Return the pages of the data set's weekly plan, and why notebooks were left out, by name.

    Raises
    ------
    DesignError
        If the data set leaves out every notebook.
    """
    pages, left_out = list[Page](), dict[str, str]()
    have = {*shop.tables, *(["pilot"] if shop.description.pilot else [])}
    for name, languages in shop.description.weekly.items():
        page = Page.of(name)
        if lacking := [need for need in needs(page.node) if need not in have]:
            left_out[page.name] = f"the data set has no {' and no '.join(lacking)}"
            continue
        asks = "language" in declared(page.node)
        if len(languages) > 1 and not asks:
            raise ParameterError(
                f"{page.name} declares no language, so that weekly.{name} is one language, not {languages}"
            )
        if not asks or "language" in given:
            pages.append(page)
            continue
        first, *others = languages
        beside = {language: f"{page.name}.{language}" for language in others}
        second = f"{next(iter(beside.values()))}.html" if others else None
        pages.append(replace(page, language=first, translation=second))
        pages += [
            replace(page, name=stem, language=language, translation=f"{page.name}.html")
            for language, stem in beside.items()
        ]
    if not pages:
        told = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DesignError(f"no notebook of the weekly plan can be run on {shop.name!r}: {told or '[weekly] is empty'}")
    return pages, left_out


def parameters_of(shop: Dataset) -> dict[str, Parameter]:
    """Return every parameter that a notebook of the data set's weekly plan declares; the first notebook's where several do."""
    pages, _ = planned(shop, {})
    return {name: parameter for page in reversed(pages) for name, parameter in declared(page.node).items()}
