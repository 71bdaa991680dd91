"""How every benchmark measures: a process an answer, ways in turns, medians; what fails or costs too much is told, not raised.

A script that measures calls itself with `--ask`. The process of an answer times its work alone: imports, loading and a first
small call lie before the clock. CPU seconds and peak memory count child processes. Medians go to `results/`, from which
`page.py` writes docs/benchmarks.md. Needs Linux (/proc) and runs in the environments of the peers too.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import platform
import re
import resource
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PEERS_HOME = HERE.parent / ".peers"
PEERS_PYTHON = str(PEERS_HOME / "bin" / "python")
COSTS = ("wall", "cpu", "peak", "added")
TICK = os.sysconf("SC_CLK_TCK")
GIGABYTE = 2**20  # of the kilobytes in /proc
Answer = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """What one answer may cost, in CPU seconds and GiB of the whole process, and how often it is asked for.

    An answer above `slow` CPU seconds is asked for once.
    """

    rounds: int = 3
    slow: float = 30.0
    seconds: float = 120.0
    gigabytes: float = 10.0


def asked() -> list[str] | None:
    """Return the words behind `--ask`, or None where this process is the one that asks."""
    return sys.argv[2:] if sys.argv[1:2] == ["--ask"] else None


def timed(work: Callable[[], Any], limits: Limits, warm: Callable[[], Any] | None = None) -> tuple[Answer, Any]:
    """In the process of an answer: do the work within the limits; return its cost and what it found."""
    for clock, seconds in ((signal.ITIMER_PROF, limits.seconds), (signal.ITIMER_REAL, 3 * limits.seconds)):
        signal.setitimer(clock, seconds)
    if warm is not None:
        warm()
    for process in family(os.getpid()):
        with contextlib.suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before, spent = held("VmRSS"), cpu()
    for clock, seconds in ((signal.ITIMER_PROF, limits.seconds), (signal.ITIMER_REAL, 3 * limits.seconds)):
        signal.setitimer(clock, seconds)
    began = time.perf_counter()
    found = work()
    cost = {"wall": time.perf_counter() - began, "cpu": cpu() - spent}
    cost["peak"] = max(held("VmHWM"), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / GIGABYTE)
    for clock in (signal.ITIMER_PROF, signal.ITIMER_REAL):
        signal.setitimer(clock, 0)
    return {**cost, "added": cost["peak"] - before}, found


def told(cost: Answer, answer: Any) -> None:
    """Print what the process of an answer found, for the one that asked."""
    print("\n" + json.dumps({**cost, "answer": answer}))


def family(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [process]
    for one in found:
        found += parents.get(one, [])
    return found


def cpu() -> float:
    """Return the CPU seconds of this process and of all that it started, ended ones included."""
    total = time.process_time()
    for process in family(os.getpid()):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            total += sum(map(int, fields[13:15] if process == os.getpid() else fields[11:15])) / TICK
    return total


def held(field: str, process: int | None = None) -> float:
    """Return VmRSS or VmHWM of a process and its descendants in GiB; 0 for those that have ended."""
    total = 0
    for one in family(process or os.getpid()):
        with contextlib.suppress(OSError):
            found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{one}/status").read_text(encoding="utf-8"))
            total += int(found[1]) if found else 0
    return total / GIGABYTE


def run(call: Sequence[str], limits: Limits, settings: Mapping[str, str] | None = None) -> Answer:
    """Ask for one answer in a process of its own, which is ended beyond the limits."""
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONWARNINGS": "ignore", **(settings or {})}
    with subprocess.Popen(call, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as job:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, errors = job.communicate(timeout=0.1)
                break
            if held("VmRSS", job.pid) > limits.gigabytes:
                job.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)  # what it started and left behind
    if job.returncode == 0:
        return json.loads(out.splitlines()[-1])
    over = {
        -signal.SIGPROF: f"over {limits.seconds:g} s of CPU",
        -signal.SIGALRM: f"over {3 * limits.seconds:g} s",
        -signal.SIGKILL: f"over {limits.gigabytes:g} GiB",
    }
    reason = errors.strip().splitlines()[-1][:120] if errors.strip() else f"exit {job.returncode}"
    return {"failed": over.get(job.returncode, f"failed: {reason}")}


def in_turns(asks: Mapping[Any, Callable[[], Answer]], limits: Limits) -> dict[Any, Answer]:
    """Ask every way in turns; return by way the medians of its costs and its answers, or why it failed."""
    rounds = {way: [ask()] for way, ask in asks.items()}
    for _ in range(limits.rounds - 1):
        for way, done in rounds.items():
            if done[-1].get("cpu", limits.slow) < limits.slow:
                done.append(asks[way]())
    return {way: _middle(done) for way, done in rounds.items()}


def _middle(done: list[Answer]) -> Answer:
    if failed := [one for one in done if "failed" in one]:
        return failed[0]
    costs = {name: statistics.median(one[name] for one in done) for name in COSTS if name in done[0]}
    return {**costs, "rounds": len(done), "answer": done[0].get("answer"), "each": [one.get("answer") for one in done]}


def row(case: str, size: int, way: str, found: Answer, answers: str) -> Answer:
    """Lay one way's medians out as a row of results; `answers` says how they stand to the kit's."""
    costs = {name: float(f"{found[name]:.4g}") for name in COSTS if name in found}
    about = {"case": case, "size": size, "way": way, **costs, "rounds": found.get("rounds", 0)}
    return {**about, "answers": found.get("failed", answers), "date": dt.date.today().isoformat()}  # noqa: DTZ011


def show(found: Answer) -> None:
    """Print a row as it is measured."""
    units = {"wall": " s", "cpu": " s CPU", "peak": " GiB"}
    costs = " ".join(f"{found[name]:9.3f}{unit}" for name, unit in units.items() if name in found)
    print(f"{found['case']:24}{found['size']:>12,}  {found['way']:16}{costs}  {found['answers']}", flush=True)


def record(part: str, rows: Iterable[Answer], **about: Any) -> None:
    """Write rows to results/`part`.json, in the place of those of the same case and size; on another machine, of the case."""
    file, here = RESULTS / f"{part}.json", {**machine(), **about}
    rows = [{**one, "processor": here["processor"]} for one in rows]
    fresh, cases = {(one["case"], one["size"]) for one in rows}, {one["case"] for one in rows}
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"machines": [], "rows": []}
    kept = [
        one
        for one in before["rows"]
        if one["case"] not in cases
        or (one["processor"] == here["processor"] and (one["case"], one["size"]) not in fresh)
    ]
    others = {one["processor"] for one in kept} - {here["processor"]}
    machines = [*(one for one in before["machines"] if one["processor"] in others), here]
    listed = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in kept + rows)
    about_them = json.dumps(machines, ensure_ascii=False, indent=1).replace("\n", "\n ")
    RESULTS.mkdir(exist_ok=True)
    file.write_text(f'{{"machines": {about_them},\n "rows": [\n  {listed}\n ]}}\n', encoding="utf-8")
    print(f"{file.relative_to(HERE.parent)} written")


def machine() -> Answer:
    """Describe where the measurements are taken, and with which versions."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    names = ("duckdb", "numpy", "pandas", "pyarrow", "scipy")
    return {
        "processor": model[1] if model else platform.machine(),
        "processors": os.cpu_count(),
        "memory": round(int(memory[1]) / GIGABYTE) if memory else None,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "load": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in names}},
    }


def peers(names: Sequence[str]) -> dict[str, str]:
    """Make the environment of the peers, or bring it up to date with peers.txt; return the versions of the named ones."""
    pins, stamp = (HERE / "peers.txt").read_text(encoding="utf-8"), PEERS_HOME / "peers.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != pins:
        print("Installing the packages to compare with in .peers", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEERS_HOME)], check=True)
        pip = [PEERS_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", str(HERE / "peers.txt")], check=True)
        stamp.write_text(pins, encoding="utf-8")
    about = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    done = subprocess.run([PEERS_PYTHON, "-c", about, *names], check=True, capture_output=True, text=True)
    return dict(zip(names, done.stdout.split(), strict=True))
