"""One page of a run: its notebook executed, judged and exported; here, or in a worker process that may die alone.

A worker reads its job from standard input, so that no secret stands among its arguments, and ends with its parent.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

from strategy_kit import errors
from strategy_kit.errors import StrategyKitError
from strategy_kit.report.meanwhile import Meanwhile
from strategy_kit.report.notebooks import CLAIM, emitted, judge, load
from strategy_kit.report.secrets import clean, injected, scrubbed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from nbformat import NotebookNode


STARTS = 2
"""How often a kernel is started at most; only one that never answered is started again."""
_LONGEST_SOCKET_FOLDER = 95  # bytes, of the 107 that the path of a Unix socket may have
_THREADS = tuple(f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "STRATEGY_KIT"))
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Job:
    """What one page is made from: a notebook, its values, and where it is worked on.

    Attributes
    ----------
    name
        Of the page's file: the notebook's, followed by ".zh" where it is the second language.
    data
        The data set's folder: no merchant, buyer or order of it may be named on the page.
    about
        What the page prints at its foot; as `export` takes it.
    """

    source: Path
    name: str
    values: dict[str, Any]
    staging: Path
    timeout: float
    data: Path
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def draft(self) -> Path:
        """The notebook as it runs."""
        return self.staging / f"{self.name}.ipynb"

    @property
    def page(self) -> Path:
        """The page to be made."""
        return self.staging / f"{self.name}.html"


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a job: its claims and seconds by share, or its error.

    Attributes
    ----------
    seconds
        start_up (imports and kernel), data (cells that show nothing), estimation (cells that show something),
        export, and total.
    sections
        Seconds of the cells of each section.
    """

    attempts: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    sections: dict[str, float] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    message: str = ""

    @property
    def problem(self) -> StrategyKitError | None:
        """The error, None where the page was made."""
        kind = errors.error_named(self.error) or StrategyKitError
        return kind(self.message) if self.error else None


def make(job: Job) -> Made:
    """Execute, judge and export; whatever goes wrong is returned, but a stop from outside, which is raised."""
    began, attempts = time.monotonic(), 0
    try:
        with closing(Meanwhile(job.data)) as meanwhile, _one_thread():
            while True:
                attempts += 1
                try:
                    executed = _execute(job, meanwhile)
                    break
                except errors.KernelDied:
                    if attempts == STARTS or _answered(job):
                        raise
            judge(executed, job.name)
            seconds = _shares(executed, time.monotonic() - began)
            _export(executed, job, meanwhile)
    except Exception as error:  # noqa: BLE001  # a worker has nobody to raise to
        problem = _named(error, job)
        return Made(attempts, error=type(problem).__name__, message=scrubbed(str(problem), job.values))
    seconds["total"] = round(time.monotonic() - began, 3)
    seconds["export"] = round(seconds["total"] - sum(seconds[part] for part in ("start_up", "data", "estimation")), 3)
    return Made(attempts, seconds, _sections(executed), emitted(executed, CLAIM))


def make_apart(jobs: Sequence[Job], processes: int) -> list[Made]:
    """Make each page in a process of its own, at most `processes` at a time; all end before this returns or raises."""
    waiting, running = list(enumerate(jobs)), dict[int, _Worker]()
    done: dict[int, Made] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                number, job = waiting.pop(0)
                running[number] = _worker(job)
            time.sleep(0.02)
            for number in [number for number, worker in running.items() if worker.process.poll() is not None]:
                done[number] = _outcome(running.pop(number), jobs[number])
    finally:
        for worker in running.values():
            worker.process.terminate()
        for worker in running.values():
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(10)
            worker.process.kill()
    return [done[number] for number in range(len(jobs))]


class _Worker(NamedTuple):
    """A process, and the file that it tells its outcome to: a pipe that nobody reads meanwhile would hold it up."""

    process: subprocess.Popen[str]
    told: IO[str]


def _worker(job: Job) -> _Worker:
    command = [sys.executable, "-c", "from strategy_kit.report.jobs import work; work()"]
    # a session of its own: what is typed at the keyboard stops the run, which then stops its workers
    told = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed with the outcome
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, encoding="utf-8", start_new_session=True)
    assert process.stdin is not None  # noqa: S101  # asked for above
    with suppress(BrokenPipeError):  # a worker that is dead already is judged by its exit
        process.stdin.write(json.dumps(asdict(job), default=str) + "\n")
        process.stdin.flush()
    return _Worker(process, told)


def _outcome(worker: _Worker, job: Job) -> Made:
    assert worker.process.stdin is not None  # noqa: S101  # asked for by _worker
    with worker.told as told, suppress(BrokenPipeError), worker.process.stdin:
        told.seek(0)
        last = told.read().rpartition("\n{")
    try:
        return Made(**json.loads("{" + last[2]))
    except (ValueError, TypeError):
        law = f"the process that made {job.name} ended with {worker.process.returncode} and without a word"
        return Made(1, error="KernelDied", message=f"{law}, as one does that is killed; give it more memory")


def work() -> None:
    """Do the job that standard input holds, and end when standard input does."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no outcome
    given = json.loads(sys.stdin.readline())
    paths = {name: Path(given[name]) for name in ("source", "staging", "data")}
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with stoppable(), suppress(KeyboardInterrupt):  # whoever stopped it tells why
        made = make(Job(**{**given, **paths}))
        told.write("\n" + json.dumps(asdict(made)))
    told.close()


def _end_with_parent() -> None:
    os.read(0, 1)  # not by sys.stdin, whose lock a thread would hold while the process ends
    os.kill(os.getpid(), signal.SIGTERM)


def _execute(job: Job, meanwhile: Meanwhile) -> NotebookNode:
    import nbformat
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from zmq import ZMQError

    node = load(job.source)
    cell = nbformat.v4.new_code_cell(injected(job.values), metadata={"tags": ["injected-parameters"]})
    place = ["parameters" in other.metadata.get("tags", []) for other in node.cells].index(True) + 1
    node.cells.insert(place, cell)
    nbformat.write(node, job.draft)
    try:
        return _executed(job, meanwhile)
    except CellTimeoutError as error:
        law = f"{job.name} ran longer than the {job.timeout:g} seconds that it may take"
        raise errors.RunTimeout(f"{law}; allow more, or give it less to do") from error
    except (DeadKernelError, RuntimeError, ZMQError) as error:
        law = f"the process that ran {job.name} was killed or never answered ({error})"
        raise errors.KernelDied(f"{law}, often for want of memory; give it more, or fewer rows") from error
    except NoSuchKernel as error:
        raise errors.KernelDied(f"no kernel python3 for {job.name}; install ipykernel in {sys.prefix}") from error


def _executed(job: Job, meanwhile: Meanwhile) -> NotebookNode:
    """Execute the draft and write down what ran, whatever came of it.

    Papermill would write it twice a cell, while the kernel waits.
    """
    import nbformat
    import papermill
    from traitlets.config import Config

    for name in ("papermill", "asyncio"):  # also what nbclient leaves unheard when its kernel is stopped
        logging.getLogger(name).addHandler(logging.NullHandler())
    path = str(job.draft).replace("{", "{{").replace("}", "}}")  # papermill formats the paths it is given
    stop_at, running = time.monotonic() + job.timeout, [nbformat.read(job.draft, as_version=4)]

    def begun(notebook: NotebookNode) -> None:
        running.append(notebook)
        meanwhile.begin()

    # Unless told otherwise, kernels that start together in one folder share their sockets and talk to each other.
    with TemporaryDirectory(prefix="sk-") as sockets:
        short = len(os.fsencode(sockets)) <= _LONGEST_SOCKET_FOLDER
        try:
            papermill.execute_notebook(
                path,
                None,
                kernel_name="python3",
                language="python",
                progress_bar=sys.stderr.isatty(),
                extra_arguments=["--IPKernelApp.log_level=50"],  # what a dying kernel has to say is said by the judge
                timeout_func=lambda _: max(stop_at - time.monotonic(), 0.01),
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/k"} if short else {}}),
                shutdown_kernel="immediate",
                on_notebook_start=begun,
                on_cell_executed=lambda cell, **_: meanwhile.draw(cell),
            )
        except papermill.PapermillExecutionError:
            pass  # told by the cells
        finally:
            nbformat.write(running[-1], job.draft)
    return running[-1]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let kernels sum in one thread, where the environment says nothing else.

    Threads add up in the order in which they end, which moves the last digit: the same inputs would not give the same
    bytes. And as many kernels run at a time as there are cores.
    """
    absent = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(absent, "1"))
    try:
        yield
    finally:
        for name in absent:
            os.environ.pop(name, None)


def _answered(job: Job) -> bool:
    """Whether the kernel lived to begin with a cell; if not, starting it again repeats nothing."""
    import nbformat

    draft = nbformat.read(job.draft, as_version=4)
    return any(cell.metadata.get("papermill", {}).get("start_time") for cell in draft.cells)


def _export(executed: NotebookNode, job: Job, meanwhile: Meanwhile) -> None:
    import nbformat

    from strategy_kit.report.export import export

    nbformat.write(clean(executed, job.values), job.draft)
    export(job.draft, job.page, pictures=meanwhile.pictures, about=job.about, never=meanwhile.never)
    if not job.page.is_file():
        raise errors.ExportError(f"{job.name} was exported, and no page is there")


def _named(error: Exception, job: Job) -> StrategyKitError:
    """Return the error as one of this package's."""
    if isinstance(error, StrategyKitError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        return errors.StorageError(f"{job.name} could not be written: {error}; free space or choose another folder")
    return errors.ExportError(f"{job.name} could not be published: {type(error).__name__}: {error}")


def _shares(executed: NotebookNode, elapsed: float) -> dict[str, float]:
    """Split the time up to the last cell into start_up, data and estimation."""
    spent = {"start_up": elapsed, "data": 0.0, "estimation": 0.0}
    for cell in executed.cells:
        seconds = float(cell.metadata.get("papermill", {}).get("duration") or 0.0)
        spent["estimation" if cell.get("outputs") else "data"] += seconds
        spent["start_up"] -= seconds
    return {part: round(max(seconds, 0.0), 3) for part, seconds in spent.items()}


def _sections(executed: NotebookNode) -> dict[str, float]:
    from strategy_kit.report.sections import SECTION

    spent = dict[str, float]()
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            if SECTION in output.get("data", {}):
                told = cell.metadata.get("papermill", {})
                spent[str(output["data"][SECTION]["name"])] = round(float(told.get("duration") or 0.0), 3)
    return spent


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that kernels are shut down and the failure filed."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt("SIGTERM")  # which asyncio lets through

    with ExitStack() as undo:
        with suppress(ValueError):  # only the main thread may listen to signals
            before = signal.signal(signal.SIGTERM, stop)
            undo.callback(signal.signal, signal.SIGTERM, before or signal.SIG_DFL)
        yield
