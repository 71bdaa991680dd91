"""Run notebooks and publish their pages, or fail with a reason and change nothing that readers see."""

from __future__ import annotations

import datetime as dt
import secrets
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from strategy_kit import errors
from strategy_kit.errors import BusyError, ParameterError, StrategyKitError
from strategy_kit.report.failures import file_failure, named
from strategy_kit.report.jobs import Job, Made, make, stoppable
from strategy_kit.report.manifest import describe, files_of, sha256
from strategy_kit.report.notebooks import find, load
from strategy_kit.report.parameters import declared, redacted, resolve
from strategy_kit.report.publish import LEDGER, TOTALS, Desk, opened, publish, repaired, totals_before

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from nbformat import NotebookNode

    from strategy_kit.dataset import Dataset

SCHEMA = 1
"""Of run.json; a change that could break its readers makes it 2."""
_OURS = ("ledger", "previous", "translation")  # what the runner fills in, and no page tells at its foot


@dataclass(frozen=True, slots=True)
class Run:
    """What was published: files in the week's folder, the claim and week, if any, and what was left out and why."""

    html: Path
    notebook: Path
    manifest: Path
    headline: str | None
    week: str | None
    seconds: float
    run_id: str
    pages: tuple[Path, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command asks for; `week` and `parameters` as `run` takes them."""

    command: str
    data: Path
    out: Path
    week: str | None
    parameters: dict[str, Any]
    timeout: float

    def __post_init__(self) -> None:
        """Refuse a time of nothing, and what is given in two ways."""
        if not self.timeout > 0:
            raise ParameterError(f"timeout must be more than 0 seconds, not {self.timeout!r}")
        if "data" in self.parameters or ("week" in self.parameters and self.week is not None):
            raise ParameterError("data and week are given once: as data=... and week=..., or week as a parameter")


@dataclass(frozen=True, slots=True)
class Page:
    """A page to make: its notebook, and where its language is the command's choice, which, and the other page's file."""

    source: Path
    node: NotebookNode
    name: str
    language: str | None = None
    translation: str | None = None

    @classmethod
    def of(cls, notebook: str | Path) -> Page:
        """Return the page of a notebook, given by path or by bare name; ParameterError if it cannot be run."""
        source = find(notebook)
        return cls(source, load(source), source.stem)


def run(
    notebook: str | Path,
    *,
    data: str | Path,
    out: str | Path = "reports",
    week: str | None = None,
    parameters: Mapping[str, object] | None = None,
    timeout: float = 600.0,
) -> Run:
    """Run a notebook on a data set and publish its page under `out`.

    Parameters
    ----------
    notebook
        A file, or the bare name of a notebook in the folder notebooks/.
    data
        The data set's folder; handed to the notebook when it declares `data`.
    week
        "2025-W30" or a date of that week; the last complete week by default.
    parameters
        Values for what the notebook declares in its cell tagged `parameters`.
    timeout
        Seconds that all cells together may take.

    Raises
    ------
    ParameterError, ContractError, LateData, ClockError, StorageError, BusyError
        Before a kernel starts: a name, week, type or table is wrong, data or room are missing, the clock is behind, or
        another run makes the same report.
    NotebookError, RunTimeout, KernelDied, ExportError, Stopped
        The run failed, as by any error of this package that a cell raises. What was published stays, and the
        message ends with the folder of the unfinished notebook.

    Examples
    --------
    >>> page = run("weekly_report", data="data/sample", week="2025-W30").html  # doctest: +SKIP
    """
    asked = Asked("run", Path(data), Path(out), week, values_of(parameters), timeout)
    Thread(target=import_module, args=("papermill",), daemon=True).start()  # while the data are read
    return produce(asked, lambda _: ([Page.of(notebook)], {}), lambda jobs: [make(job) for job in jobs])


def values_of(parameters: object) -> dict[str, Any]:
    """Return the parameters that were given, by name."""
    if parameters is not None and not isinstance(parameters, Mapping):
        raise ParameterError(f"parameters is a mapping of names to values, not {parameters!r}; give it as one")
    return dict(parameters or {})


def produce(
    asked: Asked,
    choose: Callable[[Dataset], tuple[Sequence[Page], dict[str, str]]],
    make_all: Callable[[Sequence[Job]], Sequence[Made]],
) -> Run:
    """Choose the pages, make them all and publish them together, or file the failure and raise it."""
    started = dt.datetime.now(dt.UTC)
    edition = Edition(asked, started, f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}")
    with ExitStack() as held:
        try:
            with stoppable():
                edition.settle(choose)
                held.enter_context(opened(edition.desk))
                edition.prepare(repaired(edition.desk))
                edition.made = list(make_all(edition.jobs))
            edition.judge()
            with _undisturbed():
                edition.put()
        except BusyError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            problem = named(error)
            filed = file_failure(edition.failed, problem, edition.record(problem), edition.unfinished())
            if isinstance(error, KeyboardInterrupt) and not error.args:
                raise
            raise filed from error
    return edition.published()


class Edition:
    """One run on its way: what it was asked, what it makes, and what became of it."""

    def __init__(self, asked: Asked, started: dt.datetime, run_id: str) -> None:
        self.asked, self.started, self.run_id = asked, started, run_id
        self.clock, self.failed = time.monotonic(), asked.out / "failed" / run_id
        self.pages: Sequence[Page] = ()
        self.left_out: dict[str, str] = {}
        self.values: list[dict[str, Any]] = []
        self.jobs: list[Job] = []
        self.made: list[Made] = []
        self.entries: dict[str, Any] = {}
        self.label: str | None = None

    def settle(self, choose: Callable[[Dataset], tuple[Sequence[Page], dict[str, str]]]) -> None:
        """Settle data set, pages, week and values, before anything is written."""
        from strategy_kit.opening import open_dataset
        from strategy_kit.periods import week_label

        self.shop = shop = open_dataset(self.asked.data)
        if shop.name == "failed":
            raise ParameterError("'failed' is no name for a data set with reports; rename it in dataset.toml")
        self.pages, self.left_out = choose(shop)
        known = [declared(page.node) for page in self.pages]
        given, week = dict(self.asked.parameters), self.asked.week
        dated = any("week" in parameters for parameters in known)
        week = given.pop("week", None) if dated and week is None else week
        several = len(self.pages) > 1
        for page, parameters in zip(self.pages, known, strict=True):
            ours = self._ours(page) | ({"week": week or ""} if week is not None or "week" in parameters else {})
            kept = {name: value for name, value in given.items() if not several or name in parameters}
            filled = {name: ours[name] for name in ours if name in parameters or (name == "week" and not several)}
            self.values.append(resolve(parameters, filled | kept))
        self._refuse_unknown(given, known)
        check_clock(shop, None)
        self.label = week_label(week_of(shop, week)) if dated else None
        before = totals_before(self.asked.out / shop.name, self.label) or None
        for values in self.values:
            if "previous" in values and values["previous"] is None:
                values["previous"] = before
            if "week" in values:
                values["week"] = self.label
        self.desk = Desk(self.asked.out, shop.name, self.label, [page.name for page in self.pages], self.run_id)

    def _ours(self, page: Page) -> dict[str, Any]:
        ledger = self.asked.out / self.shop.name / LEDGER
        told = {"language": page.language, "translation": page.translation, "ledger": str(ledger) * ledger.is_file()}
        return {"data": str(self.asked.data)} | {name: value for name, value in told.items() if value}

    def _refuse_unknown(self, given: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> None:
        every = {name: parameter for parameters in known for name, parameter in parameters.items()}
        if strange := {name: value for name, value in given.items() if name not in every}:
            resolve(every, strange)

    def prepare(self, ledger: pd.DataFrame) -> None:
        """Describe what each page is made from, and write its job down, and what later weeks are compared with."""
        check_clock(self.shop, ledger)
        if self.label:
            self.shop.totals().to_csv(self.desk.staging / TOTALS, index=False, lineterminator="\n")
        files = files_of(self.asked.data, self.shop.files)
        for page, values in zip(self.pages, self.values, strict=True):
            entry = describe(page.source, files) | {"plan": self.shop.plan.fingerprint}
            shown = {name: value for name, value in redacted(values).items() if name not in _OURS}
            self.entries[page.name] = entry | {
                "run_id": self.run_id,
                "week": self.label,
                "parameters": redacted(values),
            }
            about = entry | {"parameters": shown}
            staging, timeout = self.desk.staging, self.asked.timeout
            self.jobs.append(Job(page.source, page.name, values, staging, timeout, self.asked.data, about))

    def judge(self) -> None:
        """Raise what went wrong with the first page that was not made, naming all of them."""
        problems = {job.name: made.problem for job, made in zip(self.jobs, self.made, strict=True) if made.problem}
        if not problems:
            return
        first, told = (
            next(iter(problems.values())),
            [f"{name}: {str(error).rstrip('.;, ')}" for name, error in problems.items()],
        )
        if len(self.jobs) > 1:
            raise type(first)(f"{len(told)} of the {len(self.jobs)} pages were not made: {'; '.join(told)}")
        raise first

    def put(self) -> None:
        """Publish."""
        for job, made in zip(self.jobs, self.made, strict=True):
            entry = {"headline": _headline([made]), "html_sha256": sha256(job.page), "seconds": made.seconds["total"]}
            self.entries[job.name] |= {"started": _written(self.started), **entry}
        files = [dict(file) for file in next(iter(self.entries.values()))["data"]]
        told = {"published_at": _written(dt.datetime.now(dt.UTC)), "week": self.label}
        told |= {"data_through": str(self.shop.data_through), "plan_fingerprint": self.shop.plan.fingerprint}
        told |= {"data_fingerprint": _fingerprint(files)}
        publish(self.desk, self.entries, self.record(None), told)

    def published(self) -> Run:
        """Return what was published."""
        folder = self.desk.link
        pages = tuple(folder / job.page.name for job in self.jobs)
        seconds = round(time.monotonic() - self.clock, 3)
        draft, manifest = folder / self.jobs[0].draft.name, folder / "manifest.json"
        head = _headline(self.made)
        return Run(pages[0], draft, manifest, head, self.label, seconds, self.run_id, pages, self.left_out)

    def unfinished(self) -> list[Job]:
        """Return the jobs that were not made to their end."""
        bad = [bool(made.error) for made in self.made] or [True] * len(self.jobs)
        good = not any(bad)
        return [job for job, failed in zip(self.jobs, bad, strict=True) if failed or good]

    def record(self, problem: StrategyKitError | None) -> dict[str, Any]:
        """Return run.json."""
        shop, asked = getattr(self, "shop", None), self.asked
        ended = dt.datetime.now(dt.UTC)
        record = {"schema": SCHEMA, "run_id": self.run_id, "command": asked.command, "week": self.label or asked.week}
        record |= {"started": _written(self.started), "ended": _written(ended)}
        record |= {"seconds": round(time.monotonic() - self.clock, 3), "exit_code": problem.exit_code if problem else 0}
        if shop is not None:
            about = shop.description
            record |= {"data": shop.name, "title": about.title or shop.name, "synthetic": about.synthetic}
            record |= {"placebo": bool(about.pilot and about.pilot.placebo), "data_through": str(shop.data_through)}
        record["left_out"] = self.left_out
        made = [*self.made, *([None] * (len(self.pages) - len(self.made)))]
        record["notebooks"] = [self._told(*pair, good=problem is None) for pair in enumerate(made)]
        return record

    def _told(self, number: int, made: Made | None, *, good: bool) -> dict[str, Any]:
        page = self.pages[number]
        values = self.values[number] if number < len(self.values) else {}
        status = "not_made" if made is None else "failed" if made.error else "published" if good else "withheld"
        told: dict[str, Any] = {"notebook": page.source.stem, "language": values.get("language") or page.language or ""}
        told |= {"page": f"{page.name}.html", "run_id": self.run_id, "status": status}
        if made is None:
            return told
        told |= {"attempts": made.attempts, "seconds": made.seconds, "sections": made.sections, "claims": made.claims}
        if made.error:
            return told | {"error": made.error, "message": made.message}
        file = self.jobs[number].page
        return told | ({"sha256": sha256(file), "bytes": file.stat().st_size} if file.is_file() else {})


def week_of(shop: Dataset, text: str | None) -> dt.date:
    """Return the week's Monday as `Dataset.week` does; LateData where the week is over and its data have not arrived."""
    from strategy_kit.periods import last_complete, parse_week, week_label

    if text is not None:
        monday, last = parse_week(text), last_complete(shop.settled_through, "week")
        sunday = monday + dt.timedelta(days=6)
        if monday > last and sunday < _today(shop):
            law = (
                f"week {week_label(monday)} is not complete: it ended on {sunday}, and the data of {shop.name!r} reach"
            )
            wait = (
                f"{shop.data_through} (settled {shop.settled_through}), so the last complete week is {week_label(last)}"
            )
            raise errors.LateData(f"{law} {wait}; wait for the data")
    return shop.week(text)


def check_clock(shop: Dataset, ledger: pd.DataFrame | None) -> None:
    """Raise ClockError where the machine's clock is before the data's last day, or before the newest published claim."""
    if ledger is None:
        if (today := _today(shop)) < shop.data_through:
            law = f"the machine's clock says {today}, and the data of {shop.name!r} reach {shop.data_through} already"
            raise errors.ClockError(f"{law}; set the clock, or correct data_through in dataset.toml")
        return
    newest = None if ledger.empty else ledger["published_at"].max().to_pydatetime()
    if newest is not None and dt.datetime.now(dt.UTC) < newest:
        law = f"the machine's clock says {_written(dt.datetime.now(dt.UTC))}, before the newest claim of {_written(newest)}"
        raise errors.ClockError(f"{law} in the ledger of {shop.name!r}; set the clock")


def _today(shop: Dataset) -> dt.date:
    return dt.datetime.now(ZoneInfo(shop.description.timezone)).date()


def _headline(made: Sequence[Made]) -> str | None:
    claims = next((page.claims for page in made if page.claims), [])
    return str(claims[-1].get("headline")) if claims else None


def _fingerprint(files: Sequence[Mapping[str, Any]]) -> str:
    from strategy_kit.plan import fingerprint

    return fingerprint(sorted([file["table"], file["sha256"]] for file in files))


def _written(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let a stop from outside wait: what takes milliseconds is done, or undone, as a whole."""
    with ExitStack() as undo:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # only the main thread may listen to signals
                before = signal.signal(number, signal.SIG_IGN)
                undo.callback(signal.signal, number, before or signal.SIG_DFL)
        yield
