"""Spark says what DuckDB says: every question of every notebook, every panel, every estimator that moments serve."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import did, kpi
from strategy_kit.engine import DuckDBEngine
from strategy_kit.errors import ContractError, DesignError, ParameterError
from strategy_kit.metrics import METRICS, parts

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.spark, pytest.mark.slow]
NOTEBOOKS = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
MONTHS = {"before": dt.date(2025, 5, 1), "after": dt.date(2025, 6, 1)}


def sorted_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in an order of their own: SQL without `order by` promises none. Whole numbers first, and numbers as doubles."""
    counted = {name: frame[name].astype(float) for name in frame.select_dtypes("number")}
    exact = [name for name in frame if name not in counted] or list(frame)
    size = frame.assign(**{name: values.round(4) for name, values in counted.items()})
    order = size.sort_values([*exact, *(name for name in counted if name not in exact)], kind="stable").index
    return frame.assign(**counted).loc[order].reset_index(drop=True)


def assert_same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Counts equal, money to the cent and all else to 1e-10: sums of doubles depend on their order by less."""
    assert list(ours.columns) == list(theirs.columns)
    assert len(ours) == len(theirs)
    pd.testing.assert_frame_equal(sorted_rows(ours), sorted_rows(theirs), check_dtype=False, rtol=1e-10, atol=1e-9)


def measurable(shop: sk.Dataset) -> list[str]:
    known = set(shop.columns("order_lines"))
    return [name for name, metric in METRICS.items() if all(known.issuperset(part.columns) for part in parts(metric))]


QUESTIONS: dict[str, Callable[[sk.Dataset], pd.DataFrame]] = {
    "kpi by category and month": lambda s: kpi.table(s, by=["category", "month"], metrics=measurable(s)),
    "kpi by pilot and week": lambda s: kpi.table(s, by=["pilot", "week"], metrics=measurable(s)),
    "kpi by merchant and quarter": lambda s: kpi.table(s, by=["merchant_id", "quarter"], metrics=["gmv", "buyers"]),
    "kpi over trailing weeks": lambda s: kpi.table(s, by=["market", "week"], metrics=["gmv", "buyers"], trailing=4),
    "change with intervals": lambda s: kpi.change(s, metrics=["gmv", "refund_rate"], period="month", **MONTHS),
    "yardsticks": lambda s: kpi.yardsticks(s, period="month", by=["category"], **MONTHS),
    "drivers": lambda s: kpi.drivers(s, period="month", **MONTHS),
    "cohorts of merchants": lambda s: sk.cohort.triangle(s, unit="merchant", period="month", value="active"),
    "cohorts of buyers": lambda s: sk.cohort.triangle(s, unit="buyer", period="month", value="gmv"),
    "checks": lambda s: s.check(s.totals()),
    "totals": lambda s: s.totals(),
    "category totals": lambda s: s.category_panel().moments.tidy(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_functions_answer_alike(question: str, here: sk.Dataset, there: sk.Dataset) -> None:
    ours, theirs = (QUESTIONS[question](shop) for shop in (here, there))
    assert len(ours)
    assert_same(ours, theirs)


class Recorder(DuckDBEngine):
    """DuckDB that keeps what it was asked and what it said."""

    def __init__(self, engine: DuckDBEngine) -> None:
        super().__init__((engine._connection, engine._spill))
        self.asked: dict[str, tuple[dict[str, object], pd.DataFrame]] = {}

    def beside(self) -> None:
        return None

    def frame(self, sql: str, values: Any = None) -> pd.DataFrame:
        answer = super().frame(sql, values)
        self.asked.setdefault(sql, (dict(values or {}), answer.copy()))
        return answer


@pytest.fixture(scope="module")
def asked(folder: Path) -> dict[str, dict[str, tuple[dict[str, object], pd.DataFrame]]]:
    """What each notebook asks of the tables, each question once."""
    result, known = {}, set()
    for name in NOTEBOOKS:
        recorder = run_recorded(name, folder)
        result[name] = {sql: said for sql, said in recorder.asked.items() if sql not in known}
        known |= set(result[name])
    return result


def run_recorded(name: str, folder: Path) -> Recorder:
    """Run a notebook's cells in this process over a data set whose engine keeps what it is asked."""
    recorders, open_dataset = [], sk.open_dataset

    def opened(path: str) -> sk.Dataset:
        shop = open_dataset(path)
        recorders.append(Recorder(shop.engine))  # type: ignore[arg-type]
        object.__setattr__(shop, "engine", recorders[-1])
        return shop

    path = Path(__file__).resolve().parents[2] / "notebooks" / f"{name}.ipynb"
    spoken: dict[str, Any] = {"display": lambda *_: None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sk, "open_dataset", opened)
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            exec("".join(cell["source"]), spoken)  # noqa: S102  # the kit's own notebooks
            if "parameters" in cell["metadata"].get("tags", []):
                spoken |= {"data": str(folder)} | ({"week": "2025-W30"} if "week" in spoken else {})
    return recorders[0]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_question_of_a_notebook_has_the_same_answer(name: str, asked: Any, there: sk.Dataset) -> None:
    for sql, (values, answer) in asked[name].items():
        assert_same(answer, there.engine.frame(sql, values))


ESTIMATORS: dict[str, Callable[[sk.Panel], pd.DataFrame]] = {
    **{
        f"group_time {control} {base} {ahead}": lambda p, c=control, b=base, a=ahead: did.group_time(
            p, control=c, base=b, anticipation=a
        ).tidy()
        for control in ("never", "not_yet")
        for base in ("varying", "universal")
        for ahead in (0, 2)
    },
    "event_study": lambda p: did.event_study(did.group_time(p)).tidy(),
    "overall": lambda p: did.overall(did.group_time(p)).glance(),
    "by_cohort": lambda p: did.by_cohort(did.group_time(p)).tidy(),
    "by_period": lambda p: did.by_period(did.group_time(p)).tidy(),
    "two_way": lambda p: did.two_way(p).tidy(),
    "two_way_event_study": lambda p: did.two_way_event_study(p).tidy(),
    "sun_abraham": lambda p: did.sun_abraham(p).tidy(),
    "saturated": lambda p: did.saturated(p).tidy(),
    "imputation": lambda p: did.imputation(p).tidy(),
    "bacon": lambda p: did.bacon(p).tidy(),
    "stacked": lambda p: did.stacked(p).tidy(),
    "poisson": lambda p: did.poisson(p).tidy(),
    "poisson_saturated": lambda p: did.poisson_saturated(p).tidy(),
}


@pytest.fixture(scope="module")
def panels(here: sk.Dataset, there: sk.Dataset) -> tuple[sk.Panel, sk.Panel]:
    """Merchants and weeks: their units in memory, and only their moments."""
    return here.panel(), there.panel()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_say_the_same_of_moments_that_came_from_executors(
    estimator: str, panels: tuple[sk.Panel, sk.Panel]
) -> None:
    ours, theirs = (ESTIMATORS[estimator](panel) for panel in panels)
    bands = [name for name in ours if name.startswith("band")]
    # labels and counts are equal; estimates and errors to 1e-10 of themselves, or of a cent where they are nothing
    pd.testing.assert_frame_equal(ours.drop(columns=bands), theirs.drop(columns=bands), rtol=1e-10, atol=1e-8)
    # the critical value comes from draws through a root of the covariance; a root of rounding is as large as 1e-8
    pd.testing.assert_frame_equal(ours[bands], theirs[bands], rtol=1e-6, atol=1e-3)  # of thousands in a week


def test_panels_agree_in_all_that_is_told_of_them(panels: tuple[sk.Panel, sk.Panel]) -> None:
    ours, theirs = panels
    assert type(theirs).__name__ == "MomentPanel"
    assert repr(ours).removeprefix("Panel") == repr(theirs).removeprefix("MomentPanel")
    for name in ("n_units", "scale", "negative", "assigned_at", "uneven", "step"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("units_by_cohort", "starts_by_category", "selling", "ages", "starts"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert theirs._repr_html_().replace("MomentPanel", "Panel") == ours._repr_html_()


def test_units_come_over_when_asked_and_are_refused_when_not(panels: tuple[sk.Panel, sk.Panel]) -> None:
    ours, theirs = panels
    with pytest.raises(
        DesignError, match=r"stay in their database, and outcome would need them; .* panel.collected\(\)"
    ):
        theirs.outcome  # noqa: B018
    with pytest.raises(DesignError, match=r"panel\.collected"):
        theirs.winsorised(0.99)
    np.testing.assert_array_equal(theirs.collected().outcome, ours.outcome)
    some = theirs.unmoved(3)
    np.testing.assert_array_equal(some.collected().outcome, ours.unmoved(3).outcome)
    assert some.notes == ours.unmoved(3).notes == some.collected().notes


def test_pilots_are_judged_alike(here: sk.Dataset, there: sk.Dataset) -> None:
    """The category contrast of totals, and of merchants' means where whole categories start."""
    ours, theirs = (did.pilot_contrast(shop.category_panel(pool_below=0.01).logs()).tidy() for shop in (here, there))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-10)


def test_logs_are_taken_where_the_rows_are(here: sk.Dataset, there: sk.Dataset, spark: Any, tmp_path: Path) -> None:
    said = []
    for shop in (here, there):
        with pytest.raises(DesignError, match="a log of zero was refused") as refused:
            shop.panel(transform="log")
        said.append(str(refused.value).split(" units have")[0])
    assert said[0] == said[1]  # the same units; only units in memory have names to tell
    busy(tmp_path)
    ours, theirs = (sk.open_dataset(tmp_path, engine=engine).panel(transform="log") for engine in ("duckdb", spark))
    assert ours.name == theirs.name == "log gmv"
    # merchants without a category are of none that is asked for
    some = [sk.open_dataset(tmp_path, engine=engine).panel(categories=["toys"]) for engine in ("duckdb", spark)]
    assert some[0].n_units == some[1].n_units == some[1].collected().n_units == 4
    assert some[0].notes == some[1].notes
    assert repr(ours.starts_by_category) == repr(theirs.starts_by_category)
    np.testing.assert_allclose(theirs.moments.mean, ours.moments.mean, rtol=1e-12)
    np.testing.assert_allclose(theirs.moments.covariance, ours.moments.covariance, rtol=1e-9, atol=1e-12)


def busy(folder: Path) -> None:
    """Write twelve merchants that sell in each of ten weeks; two join in the middle, one has no category."""
    rng = np.random.default_rng(1)
    merchant, week = (axis.ravel() for axis in np.indices((12, 10)))
    first = dt.date(2025, 1, 6)
    paid = pd.Timestamp(first) + pd.to_timedelta(7 * week + 2, unit="D")
    names = np.array([f"m{i:02}" for i in range(12)])
    tables = {
        "order_lines": pd.DataFrame(
            {"order_id": np.arange(120), "line_id": 1, "buyer_id": "b", "merchant_id": names[merchant], "category": "toys",
             "paid_at": paid, "amount": rng.uniform(1, 99, 120).round(2)}
        ),
        "merchants": pd.DataFrame({"merchant_id": names, "category": ["toys", "books", None] * 4}),
        "support": pd.DataFrame({"merchant_id": names[:2], "lever": "display", "started_on": [dt.date(2025, 2, 3)] * 2}),
    }  # fmt: skip
    for name, frame in tables.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    listed = "".join(f'{name} = "{name}.parquet"\n' for name in tables)
    head = (
        f'name = "busy"\ncurrency = "CNY"\ntimezone = "Asia/Shanghai"\ndata_from = {first}\ndata_through = 2025-03-16\n'
    )
    (folder / "dataset.toml").write_text(f"{head}[tables]\n{listed}", encoding="utf-8")


def test_two_data_sets_share_a_session_without_meeting(there: sk.Dataset, sample: Path, spark: Any) -> None:
    """Views carry a name of their own, and nothing of the session's settings or tables is touched."""
    zone, tables = spark.conf.get("spark.sql.session.timeZone"), {table.name for table in spark.catalog.listTables()}
    lines = "select count(*) as n from order_lines"
    before = there.engine.frame(lines)["n"][0]
    other = sk.open_dataset(sample, engine=spark)
    assert other.engine.frame(lines)["n"][0] == sk.open_dataset(sample).engine.frame(lines)["n"][0] != before
    assert there.engine.frame(lines)["n"][0] == before
    assert spark.conf.get("spark.sql.session.timeZone") == zone
    assert {table.name for table in spark.catalog.listTables()} == tables


def test_tables_of_the_catalogue_and_addresses_are_read(
    folder: Path, here: sk.Dataset, spark: Any, tmp_path: Path
) -> None:
    spark.sql("create database if not exists lake")
    spark.read.parquet(str(folder / "order_lines.parquet")).write.mode("overwrite").saveAsTable("lake.lines")
    try:
        text = (folder / "dataset.toml").read_text(encoding="utf-8")
        text = text.replace('order_lines = "order_lines.parquet"', 'order_lines = "lake.lines"')
        text = text.replace('"merchants.parquet"', f'"{(folder / "merchants.parquet").as_uri()}"')
        text = (
            text.split("[tables]")[0]
            + "[tables]\n"
            + "\n".join(
                line for line in text.split("[tables]")[1].splitlines() if line.startswith(("order_lines", "merchants"))
            )
        )
        (tmp_path / "dataset.toml").write_text(text, encoding="utf-8")
        law = r"'lake\.lines' is no Parquet or CSV file .*merchants\.parquet' is no Parquet or CSV file of this folder"
        with pytest.raises(ContractError, match=law):
            sk.open_dataset(tmp_path)
        shop = sk.open_dataset(tmp_path, engine=spark)
        question = {"by": ["category", "month"], "metrics": ["gmv", "orders"]}
        assert_same(kpi.table(here, **question), kpi.table(shop, **question))
    finally:
        spark.sql("drop database lake cascade")


def test_what_spark_cannot_read_is_a_sentence(spark: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_bytes((folder / "dataset.toml").read_bytes())
    for path in folder.glob("*.parquet"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "merchants.parquet").write_text("no parquet at all", encoding="utf-8")
    with pytest.raises(ContractError, match="table merchants cannot be read"):
        sk.open_dataset(tmp_path, engine=spark)
    own = sk.Metric("odd", "count", "sum(no_such_column)", columns=())
    with pytest.raises(ParameterError, match="a metric's SQL does not fit the data set"):
        kpi.table(sk.open_dataset(folder, engine=spark), by=["month"], metrics=[own])
