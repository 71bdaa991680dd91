"""A week is published whole or not at all, each notebook in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import papermill
import pytest

import strategy_kit as sk
from strategy_kit.description import WEEKLY
from strategy_kit.errors import ContractError, DesignError, NotebookError, ParameterError
from strategy_kit.report.batch import parameters_of, planned, run_week
from strategy_kit.report.jobs import Job, make, make_apart
from strategy_kit.report.ledger import read_ledger
from strategy_kit.report.run import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Tree, Write

CLAIM = """\
from IPython.display import display
display({"application/vnd.strategy-kit.claim+json": {"headline": f"GMV in {language}", "language": language,
         "metric": "gmv", "estimate": 0.1, "verb": "rose", "decision": "hold", "week": week}}, raw=True)
f"{language} {week}"
"""
ASKS = "data: str = ''\nweek: str | None = None\nlanguage: str = 'en'\ntranslation: str | None = None\nledger: str | None = None"
SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"


def plan(shop: Path, monkeypatch: pytest.MonkeyPatch, **weekly: list[str]) -> dict[str, Any]:
    """Let the data set's week be these notebooks, found in notebooks/ beside it; return what every run takes."""
    listed = "".join(f"{name} = {json.dumps(languages)}\n" for name, languages in weekly.items())
    with (shop / "dataset.toml").open("a", encoding="utf-8") as file:
        file.write(f"[weekly]\n{listed}")
    monkeypatch.chdir(shop.parent)
    return {"data": shop, "out": shop.parent / "reports", "week": "2025-W30"}


def test_the_plan_is_that_of_the_data_set(sample: Path) -> None:
    shop = sk.open_dataset(sample)
    pages, left_out = planned(shop, {})
    assert [(page.name, page.language, page.translation) for page in pages] == [
        ("weekly_report", "en", "weekly_report.zh.html"),
        ("weekly_report.zh", "zh", "weekly_report.html"),
        ("pilot_effect", "en", None),
        ("kpi_review", "en", None),
        ("merchant_cohorts", "en", None),
        ("data_check", "en", None),
    ]
    assert left_out == {}
    assert [(page.name, page.language) for page in planned(shop, {"language": "zh"})[0]] == [
        (name, None) for name in WEEKLY
    ]
    assert {"weeks_before", "language", "outcome"} <= set(parameters_of(shop))


def test_without_a_pilot_what_needs_one_is_left_out_and_named(shop: Path) -> None:
    pages, left_out = planned(sk.open_dataset(shop), {})
    assert [page.name for page in pages] == ["kpi_review", "merchant_cohorts", "data_check"]
    assert left_out == dict.fromkeys(["weekly_report", "pilot_effect"], "the data set has no pilot")


@pytest.mark.parametrize(
    ("lines", "kind", "words"),
    [
        ("[weekly]\n", ContractError, "weekly names no notebook"),
        ('[weekly]\nkpi_review = "en"\n', ContractError, r"weekly.kpi_review lists each of its languages once"),
        ('[weekly]\nkpi_review = ["en", "en"]\n', ContractError, "once"),
        (
            '[weekly]\nkpi_review = ["e", "fr"]\n',
            ContractError,
            r"breaks 2 laws.*'e' is not a language.*; en and zh are",
        ),
        ('[weeky]\nkpi_review = ["en"]\n', ContractError, "weeky is not a key .did you mean 'weekly'"),
        ('[weekly]\nkpi_revew = ["en"]\n', ParameterError, "no notebook 'kpi_revew' .did you mean 'kpi_review'"),
        ('[weekly]\nexplore = ["en", "zh"]\n', ParameterError, "explore declares no language"),
        ('[weekly]\npilot_effect = ["en"]\n', DesignError, "no notebook of the weekly plan .* has no pilot"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(shop: Path, lines: str, kind: type[Exception], words: str) -> None:
    with (shop / "dataset.toml").open("a", encoding="utf-8") as file:
        file.write(lines)
    with pytest.raises(kind, match=words):
        run_week(data=shop, out=shop.parent / "reports")
    assert not (shop.parent / "reports").exists()


@pytest.fixture
def week(shop: Path, book: Write, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two notebooks, one in two languages, which note when they ran."""
    # each waits to see a second one at work: how long a kernel takes to start is not known
    stamp = f"import os, time, pathlib\nbegan, here = time.time(), pathlib.Path({str(shop)!r})\n"
    stamp += "(here / f'{os.getpid()}.began').touch()\n"
    stamp += "while len(list(here.glob('*.began'))) < 2 and time.time() < began + 30: time.sleep(0.05)\n"
    stamp += "time.sleep(1.5)\n"
    stamp += "_ = (here / f'{os.getpid()}.ran').write_text(f'{began} {time.time()}')"
    seen = f"_ = pathlib.Path({str(shop)!r}, 'ledger.seen').write_text(str(ledger))"
    book("look", CLAIM, stamp, seen, "translation", parameters=ASKS, sections=[])
    book("other", "f'other {week}'", stamp, parameters="week: str | None = None")
    return plan(shop, monkeypatch, look=["zh", "en"], other=["en"])


def test_a_week_is_published_whole_side_by_side_and_the_same_again(week: dict[str, Any], shop: Path) -> None:
    done = run_week(**week)
    folder = week["out"] / "shop" / "2025-W30"
    assert done.pages == tuple(folder / name for name in ("look.html", "look.en.html", "other.html"))
    assert (done.headline, done.week, done.left_out) == ("GMV in zh", "2025-W30", {})
    spans = [tuple(map(float, path.read_text().split())) for path in shop.glob("*.ran")]
    assert len(spans) == 3  # a process each
    together = [sum(start <= begin < stop for start, stop in spans) for begin, _ in spans]
    assert max(together) == min(2, len(os.sched_getaffinity(0)))
    shown = [page.read_text(encoding="utf-8") for page in done.pages]
    assert ["look.en.html" in shown[0], "look.html" in shown[1]] == [True, True]
    assert (shop / "ledger.seen").read_text() == "None"
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert [(page["page"], page["status"], page["attempts"]) for page in record["notebooks"]] == [
        ("look.html", "published", 1), ("look.en.html", "published", 1), ("other.html", "published", 1),
    ]  # fmt: skip
    for page in record["notebooks"]:
        assert set(page["seconds"]) == {"start_up", "data", "estimation", "export", "total"}
        assert sum(page["seconds"].values()) == pytest.approx(2 * page["seconds"]["total"], abs=0.01)
        assert page["seconds"]["data"] >= 1.5  # the cell that shows nothing
    ledger = read_ledger(week["out"] / "shop" / "ledger.csv")
    assert ledger[["notebook", "language", "edition", "headline"]].to_numpy().tolist() == [
        ["look", "zh", 1, "GMV in zh"], ["look", "en", 1, "GMV in en"],
    ]  # fmt: skip
    assert len(set(ledger["data_fingerprint"])) == 1
    again = run_week(**week)
    assert (shop / "ledger.seen").read_text() == str(week["out"] / "shop" / "ledger.csv")
    assert [page.read_text(encoding="utf-8") for page in again.pages] == shown
    assert read_ledger(week["out"] / "shop" / "ledger.csv")["edition"].tolist() == [1, 1, 2, 2]


TOLD = "previous: str | None = None\nweek: str | None = None"


def test_each_week_sees_the_totals_of_the_newest_week_before_it(
    shop: Path, book: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = shop.parent / "seen"
    book("look", "f'{week}'", f"_ = open({str(seen)!r}, 'w').write(str(previous))", parameters=TOLD)
    asked = plan(shop, monkeypatch, look=["en"])
    shelf = asked["out"] / "shop"

    def given(week: str, **more: Any) -> str:
        run_week(**(asked | {"week": week} | more))
        return seen.read_text()

    assert given("2025-W28") == "None"
    assert given("2025-W30") == str(shelf / "2025-W28" / "totals.csv")
    assert given("2025-W29") == str(shelf / "2025-W28" / "totals.csv"), "and a week made late none after it"
    assert given("2025-W30") == str(shelf / "2025-W29" / "totals.csv")
    assert given("2025-W30", parameters={"previous": "own.csv"}) == "own.csv", "who names a file is given it"
    text = (shelf / "2025-W30" / "look.html").read_text(encoding="utf-8")
    assert "own.csv" not in text, "no path of a machine on a page"
    totals = pd.read_csv(shelf / "2025-W30" / "totals.csv", parse_dates=["week"])
    pd.testing.assert_frame_equal(totals, sk.open_dataset(shop).totals(), check_dtype=False, check_exact=True)


def test_late_lines_are_told_on_the_trust_strip_of_the_next_week(sample: Path, book: Write, tmp_path: Path) -> None:
    shop = tmp_path / "market"
    shutil.copytree(sample, shop)
    file = shop / "order_lines.parquet"
    lines = pd.read_parquet(file)
    late = lines.index[lines["paid_at"].between("2025-07-14", "2025-07-21", inclusive="left")][:30]
    lines.drop(index=late).to_parquet(file)
    asked: dict[str, Any] = {"data": shop, "out": tmp_path / "reports"}
    run(book("look", "week", parameters="week: str | None = None"), week="2025-W29", **asked)
    lines.to_parquet(file)
    page = run("weekly_report", week="2025-W30", **asked).html.read_text(encoding="utf-8")
    share = 30 / sk.open_dataset(shop).totals()["lines"].iloc[-2]
    assert f"Late since the last edition: 30 lines ({share:.1%} of the weeks concerned); 1 week changed" in page


def test_one_language_asked_for_has_the_plain_name(shop: Path, book: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    book("look", CLAIM)
    done = run_week(**plan(shop, monkeypatch, look=["en", "zh"]), parameters={"language": "zh"})
    assert [page.name for page in done.pages] == ["look.html"]
    assert done.headline == "GMV in zh"
    with pytest.raises(ParameterError, match=r"'langage' is not a parameter .*did you mean 'language'"):
        run_week(data=shop, out=shop.parent / "reports", parameters={"langage": "zh"})


def test_one_page_that_fails_holds_all_back(
    shop: Path, book: Write, monkeypatch: pytest.MonkeyPatch, tree: Tree
) -> None:
    book("good", CLAIM)
    options = plan(shop, monkeypatch, good=["en"])
    run_week(**options)
    before = tree(options["out"] / "shop")
    book("bad", "raise ValueError('no' + ' more' * 20_000)")  # more than a pipe holds that nobody reads
    book("killer", "import os\nos.kill(os.getppid(), 9)")  # its worker, as a native crash would
    text = (shop / "dataset.toml").read_text(encoding="utf-8")
    (shop / "dataset.toml").write_text(text + 'bad = ["en"]\nkiller = ["en"]\n', encoding="utf-8")
    with pytest.raises(
        NotebookError, match=r"2 of the 3 pages were not made: bad: .*ValueError.*; killer: .*-9"
    ) as caught:
        run_week(**options)
    assert tree(options["out"] / "shop") == before
    folder = Path(str(caught.value).rpartition(" in ")[2])
    assert {"bad.ipynb", "error.txt", "run.json"} <= {path.name for path in folder.iterdir()}
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert [(page["notebook"], page["status"]) for page in record["notebooks"]] == [
        ("good", "withheld"), ("bad", "failed"), ("killer", "failed"),
    ]  # fmt: skip
    assert record["notebooks"][2]["error"] == "KernelDied"
    assert (record["exit_code"], record["error"]) == (3, "NotebookError")


@pytest.mark.parametrize(("fails", "attempts"), [(1, 2), (2, 2)])
def test_only_a_kernel_that_never_answered_is_started_again(
    book: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, attempts: int
) -> None:
    true_execute, calls = papermill.execute_notebook, []

    def execute(*given: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) <= fails:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return true_execute(*given, **options)

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    job = Job(book("look", "1 + 1"), "look", {"language": "en"}, tmp_path, 60.0, SAMPLE)
    made = make(job)
    assert (made.attempts, len(calls), made.error) == (attempts, attempts, "KernelDied" if fails > 1 else "")


def test_a_kernel_that_dies_at_work_is_not_started_again(book: Write, tmp_path: Path) -> None:
    job = Job(book("look", "import os; os.kill(os.getpid(), 9)"), "look", {"language": "en"}, tmp_path, 60.0, SAMPLE)
    made = make(job)
    assert (made.attempts, made.error) == (1, "KernelDied")


def test_a_secret_stands_in_no_argument_environment_or_outcome(book: Write, tmp_path: Path) -> None:
    look = "import os, pathlib\nparent = pathlib.Path(f'/proc/{os.getppid()}')\n"
    look += "seen = parent.joinpath('cmdline').read_text() + parent.joinpath('environ').read_text()\n"
    look += 'raise ValueError(f\'{api_token} {"s3cret" + "!" in seen}\')'
    job = Job(book("look", look), "look", {"api_token": "s3cret!"}, tmp_path, 60.0, SAMPLE)
    (made,) = make_apart([job], 1)
    assert made.error == "NotebookError"
    assert "[redacted] False" in made.message


def start(options: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "strategy_kit.cli", "weekly", "--data", str(options["data"])]
    command += ["--out", str(options["out"]), "--week", options["week"], "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_week_leaves_no_process_and_no_page(
    shop: Path, book: Write, monkeypatch: pytest.MonkeyPatch, gone: Callable[[int], bool], number: int
) -> None:
    note = (
        f"import os, time, pathlib\npathlib.Path({str(shop)!r}, f'{{os.getpid()}}.pid').write_text(str(os.getppid()))"
    )
    for name in ("one", "two"):
        book(name, note, "time.sleep(60)")
    options = plan(shop, monkeypatch, one=["en"], two=["en"])
    run = start(options)
    while len(found := [path for path in shop.glob("*.pid") if path.read_text()]) < 2 and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(number)
    out, said = run.communicate(timeout=30)
    processes = [int(pid) for path in found for pid in (path.stem, path.read_text())]
    assert len(processes) == 4
    assert all(map(gone, processes))
    assert not (options["out"] / "shop").exists()
    assert run.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[number], said
    if number == signal.SIGTERM:
        assert json.loads(out.splitlines()[-1])["error"] == "Stopped"
        assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert not list((options["out"] / ".scratch").iterdir())
