"""Run a notebook and publish its page, or fail with a reason and change nothing that readers see.

The executed cells are the only witnesses: a run is good when every code cell ran to its end without an error.
What the notebook's metadata says of the whole is not believed: it says "completed" after a killed kernel too.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import secrets
import signal
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from strategy_kit import errors
from strategy_kit.errors import NotebookError, ParameterError, StrategyKitError
from strategy_kit.report.parameters import declared, redacted, resolve
from strategy_kit.report.publish import Desk, clean, describe, file_failure, injected, opened, publish, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from nbformat import NotebookNode

CLAIM = "application/vnd.strategy-kit.claim+json"
_REFUSED_TAGS = ("raises-exception", "skip-execution", "injected-parameters")
_LONGEST_SOCKET_FOLDER = 95  # bytes, of the 107 that the path of a Unix socket may have


@dataclass(frozen=True, slots=True)
class Run:
    """A published report: its files in the week's folder, and the claim and week of it, if any."""

    html: Path
    notebook: Path
    manifest: Path
    headline: str | None
    week: str | None
    seconds: float
    run_id: str


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
    ParameterError, ContractError, BusyError
        Before a kernel starts: a name, week, type or table is wrong, or another run makes the same report.
    NotebookError, RunTimeout, KernelDied, ExportError
        The run failed, as by any error of this package that a cell raises. What was published stays, and the
        message ends with the folder of the unfinished notebook.

    Examples
    --------
    >>> page = run("weekly_report", data="data/sample", week="2025-W30").html  # doctest: +SKIP
    """
    started, clock = dt.datetime.now(dt.UTC), time.monotonic()
    if not timeout > 0:
        raise ParameterError(f"timeout must be more than 0 seconds, not {timeout!r}")
    node = load(source := find(notebook))
    values, label, shop = _settled(node, Path(data), week, dict(parameters or {}))
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    desk = Desk(Path(out), shop.name, label or "undated", source.stem, run_id)
    with opened(desk):
        try:
            entry = describe(source, Path(data), shop.files) | {"run_id": run_id, "week": label}
            entry |= {"started": f"{started:%Y-%m-%dT%H:%M:%SZ}", "parameters": redacted(values)}
            with _stoppable():
                executed = _execute(node, values, desk, timeout)
                entry |= {"headline": _headline(executed), "html_sha256": _export(executed, values, desk)}
            entry["seconds"] = round(time.monotonic() - clock, 3)
            week_folder = publish(desk, entry)
        except (Exception, KeyboardInterrupt) as error:
            filed = file_failure(desk, _problem(error, desk), values)
            if isinstance(error, KeyboardInterrupt) and not error.args:
                raise
            raise filed from error
    files = [week_folder / name for name in (f"{source.stem}.html", desk.draft.name, "manifest.json")]
    return Run(files[0], files[1], files[2], entry["headline"], label, entry["seconds"], run_id)


def find(notebook: str | Path) -> Path:
    """Return the file of a notebook, given by path or by bare name; ParameterError if there is none."""
    path = Path(notebook)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    folders = (Path(__file__).resolve().parents[2], Path())
    known = {file.stem: file for folder in folders for file in folder.glob("notebooks/*.ipynb")}
    name = path.name.removesuffix(".ipynb")
    if path.parent == Path() and name in known:
        return known[name]
    hint = errors.nearest(name, known)
    raise ParameterError(f"no notebook {str(notebook)!r}{hint}; by name there are: {', '.join(sorted(known))}")


def judge(executed: NotebookNode, name: str) -> None:
    """Raise NotebookError, or what of this package a cell raised, unless each code cell ran to its end."""
    cells = [cell for cell in executed.cells if cell.cell_type == "code" and cell.source.strip()]
    for cell, output in [(c, o) for c in cells for o in c.outputs if o.output_type == "error"]:
        law, own = f"cell [{cell.execution_count}] of {name}", errors.error_named(output.ename)
        if own is not None:
            raise own(output.evalue)
        law += f" stopped with {output.ename}: {output.evalue or 'no message'}"
        raise NotebookError(f"{law}; correct that cell, or the data that it reads")
    status = [cell.metadata.get("papermill", {}).get("status") for cell in cells]
    bad = [c for c, s in zip(cells, status, strict=True) if c.execution_count is None or s != "completed"]
    if bad:
        law = f"{len(bad)} of the {len(cells)} code cells of {name} did not run to their end"
        raise NotebookError(f"{law}, first {bad[0].source!r}; run the notebook in Jupyter and correct it")


def _settled(node: NotebookNode, data: Path, week: Any, given: dict[str, Any]) -> tuple[Any, str | None, Any]:
    """Return the values, the week's label and the data set, before a kernel starts."""
    known = declared(node)
    if "data" in given or ("week" in given and week is not None):
        raise ParameterError("data and week are given once: as data=... and week=..., or week as a parameter")
    week = given.pop("week", None) if "week" in known and week is None else week
    ours = {"data": str(data)} if "data" in known else {}
    ours |= {"week": week or ""} if week is not None or "week" in known else {}
    values = resolve(known, {**given, **ours})

    from strategy_kit.dataset import open_dataset
    from strategy_kit.periods import week_label

    shop = open_dataset(data)
    if shop.name == "failed":
        raise ParameterError("'failed' is no name for a data set with reports; rename it in dataset.toml")
    label = week_label(shop.week(week)) if "week" in known else None
    return values | ({"week": label} if label else {}), label, shop


def load(source: Path) -> NotebookNode:
    """Read a notebook; ParameterError if it is none, or if a tag in it would keep a run from being judged."""
    # jsonschema, where it finds this module, builds a grammar of international addresses: 1.2 s for nothing
    sys.modules.setdefault("rfc3987_syntax", cast("ModuleType", None))
    import nbformat

    try:
        node = nbformat.read(source, as_version=4)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise ParameterError(f"{source} cannot be read as a notebook: {error}; save it in Jupyter") from error
    tags = [(i, tag) for i, cell in enumerate(node.cells, 1) for tag in cell.metadata.get("tags", [])]
    law = "cell {} is tagged {!r}, so that no run could be judged; take the tag or the cell away."
    errors.refuse(ParameterError, source.name, [law.format(*pair) for pair in tags if pair[1] in _REFUSED_TAGS])
    return cast("NotebookNode", nbformat.v4.upgrade(node) or node)


def _execute(node: NotebookNode, values: dict[str, Any], desk: Desk, timeout: float) -> NotebookNode:
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    logging.getLogger("papermill").addHandler(logging.NullHandler())
    cell = nbformat.v4.new_code_cell(injected(values), metadata={"tags": ["injected-parameters"]})
    place = ["parameters" in other.metadata.get("tags", []) for other in node.cells].index(True) + 1
    node.cells.insert(place, cell)
    nbformat.write(node, desk.draft)
    path = str(desk.draft).replace("{", "{{").replace("}", "}}")  # papermill formats the paths it is given
    stop_at = time.monotonic() + timeout
    try:
        # Unless told otherwise, kernels that start together in one folder share their sockets and talk to each other.
        with TemporaryDirectory(prefix="sk-") as sockets, suppress(papermill.PapermillExecutionError):  # judged below
            short = len(os.fsencode(sockets)) <= _LONGEST_SOCKET_FOLDER
            papermill.execute_notebook(
                path,
                path,
                kernel_name="python3",
                language="python",
                progress_bar=sys.stderr.isatty(),
                extra_arguments=["--IPKernelApp.log_level=50"],  # what a dying kernel has to say is said by the judge
                timeout_func=lambda _: max(stop_at - time.monotonic(), 0.01),
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/k"} if short else {}}),
            )
    except CellTimeoutError as error:
        law = f"{desk.notebook} ran longer than the {timeout:g} seconds that it may take"
        raise errors.RunTimeout(f"{law}; allow more, or give it less to do") from error
    except (DeadKernelError, RuntimeError) as error:
        law = f"the process that ran {desk.notebook} was killed or never answered ({error})"
        raise errors.KernelDied(f"{law}, often for want of memory; give it more, or fewer rows") from error
    executed: NotebookNode = nbformat.read(desk.draft, as_version=4)
    judge(executed, desk.notebook)
    return executed


def _headline(executed: NotebookNode) -> str | None:
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    claims = [output["data"][CLAIM] for output in outputs if CLAIM in output.get("data", {})]
    return str(claims[-1]["headline"]) if claims else None


def _export(executed: NotebookNode, values: dict[str, Any], desk: Desk) -> str:
    import nbformat

    from strategy_kit.report.export import export

    page = desk.draft.with_suffix(".html")
    nbformat.write(clean(executed, values), desk.draft)
    export(desk.draft, page)
    return sha256(page)


def _problem(error: BaseException, desk: Desk) -> StrategyKitError:
    if isinstance(error, KeyboardInterrupt):
        return errors.KernelDied(f"the run of {desk.notebook} was stopped from outside; run it again")
    if isinstance(error, StrategyKitError):
        return error
    return errors.ExportError(f"{desk.notebook} could not be published: {type(error).__name__}: {error}")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that the kernel is shut down and the failure filed."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt("SIGTERM")  # which asyncio lets through

    with ExitStack() as undo:
        with suppress(ValueError):  # only the main thread may listen to signals
            before = signal.signal(signal.SIGTERM, stop)
            undo.callback(signal.signal, signal.SIGTERM, before or signal.SIG_DFL)
        yield
