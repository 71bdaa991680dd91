"""Charts as SVG pictures, drawn by processes of their own while the caller does other work, and the script of Vega."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast

from strategy_kit.errors import ExportError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTHS = (720, 350)
VEGA_LITE = "6.4"
"""Version that Altair writes, which would take half a second to say so."""
MEASURED = "Arial"
"""Font whose widths place the words of a picture, which readers see in their own: the drawing library carries it, so that
pictures are the same on every machine; reading a Chinese font of the machine for each word takes six times as long."""
_TAKEN_OUT = ("title", "usermeta", "$schema")
_WORKER = """
import json, os, sys, vl_convert
for line in sys.stdin:
    task, given = json.loads(line)
    try:
        answer = {"made": getattr(vl_convert, task)(**given)}
    except ValueError as problem:
        answer = {"problem": (str(problem).strip() or "no reason was given").splitlines()[0][:200]}
    try:
        print(json.dumps(answer), flush=True)
    except BrokenPipeError:  # whoever asked was killed
        os._exit(1)
"""


class Pictures:
    """Draws charts for a wide and a narrow page in processes of its own, each chart and width once.

    The processes start at once, so that a chart asked for seconds later finds them warm; they end with
    `close`, with the `with` block, or with the process that made them. Who draws makes no difference to the bytes.

    Parameters
    ----------
    workers
        Processes that draw at the same time.

    Examples
    --------
    >>> spec = {"data": {"values": [{"x": 1}]}, "mark": "point", "encoding": {"x": {"field": "x"}}}
    >>> with Pictures(workers=1) as pictures:
    ...     pictures.draw_soon(spec)
    ...     wide, narrow = pictures.get(spec)
    >>> wide.startswith("<svg")
    True
    """

    def __init__(self, workers: int = 2) -> None:
        if workers < 1:
            raise ParameterError(f"workers must be at least 1, not {workers!r}")
        self._made: dict[str, Future[str]] = {}
        self._own = threading.local()
        self._processes: list[subprocess.Popen[str]] = []
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pictures")
        blank = {"data": {"values": []}, "mark": "point"}
        self._warm = [self._pool.submit(self._ask, "vegalite_to_svg", _drawn(blank, 350)) for _ in range(workers)]

    def draw_soon(self, spec: Mapping[str, Any]) -> None:
        """Start drawing a chart, as its notebook output holds it, for both widths; return at once."""
        for width in WIDTHS:
            self._picture(spec, width)

    def get(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the chart's SVG for each of `WIDTHS`, drawn now where it was not before.

        Raises
        ------
        ExportError
            If Vega-Lite refuses the chart, with its reason, or if the process that drew it was killed.
        """
        return tuple(picture.result() for picture in [self._picture(spec, width) for width in WIDTHS])

    def close(self) -> None:
        """End the processes; pictures already drawn stay."""
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            with suppress(OSError):
                process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def script(self) -> tuple[str, str]:
        """Return Vega, Vega-Lite and Vega-Embed as one script, and the same packed: gzip in base 64.

        It is kept in the user's cache folder if that is writable.
        """
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "strategy-kit"
        kept = folder / f"vega-{version('vl-convert-python')}-{VEGA_LITE}.js"
        opening, closing = "(()=>{", "})();"
        script = ""
        with suppress(OSError, UnicodeDecodeError):
            script = kept.read_text(encoding="utf-8")
        if not (script.startswith(opening) and script.endswith(closing)):
            made = self._pool.submit(self._ask, "javascript_bundle", {"vl_version": VEGA_LITE}).result()
            script = opening + made.replace("\r\n", "\n").replace("\r", "\n") + closing
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                replace(kept, script)
        return script, base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()

    def _picture(self, spec: Mapping[str, Any], width: int) -> Future[str]:
        given = _drawn(spec, width)
        key = json.dumps(given, sort_keys=True)
        if key not in self._made:
            self._made[key] = self._pool.submit(self._ask, "vegalite_to_svg", given)
        return self._made[key]

    def _ask(self, task: str, given: Mapping[str, Any]) -> str:
        try:
            process = self._started()
            asked, told = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
            asked.write(json.dumps([task, given], sort_keys=True) + "\n")
            asked.flush()
            answer = json.loads(told.readline())
        except (OSError, ValueError) as error:
            self._own.process = None
            raise ExportError("the process that draws charts was killed; free memory and run again") from error
        if "problem" in answer:
            raise ExportError(answer["problem"])
        return str(answer["made"])

    def _started(self) -> subprocess.Popen[str]:
        """Return the process of this thread."""
        if (process := getattr(self._own, "process", None)) is None:
            # a session of its own: what stops the run from the keyboard reaches the run, and not its helpers first
            self._own.process = process = subprocess.Popen(
                [sys.executable, "-c", _WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                start_new_session=True,
            )
            self._processes.append(process)
        return cast("subprocess.Popen[str]", process)


def bare(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a specification without the words that the page sets as text."""
    return {name: part for name, part in spec.items() if name not in _TAKEN_OUT}


def slim(svg: str, prefix: str) -> str:
    """Leave out what the page around a picture says already, round to 0.01 px, and make its names its own."""
    svg = re.sub(r' (?:aria-[a-z]+|role|xmlns:xlink|font-family)="[^"]*"', "", svg)
    geometry = re.compile(r' (?:d|transform|[xy][12]?|width|height)="[^"]*"')
    svg = geometry.sub(lambda found: re.sub(r"(\d\.\d\d)\d+", r"\1", found[0]), svg)
    for number, name in enumerate(dict.fromkeys(re.findall(r'<[^>]*\sid="([^"]+)"', svg))):
        svg = re.sub(rf"""((?:\sid="|url\(#|href="#)){re.escape(name)}(?=["')])""", rf"\g<1>{prefix}{number}", svg)
    return svg


def _drawn(spec: Mapping[str, Any], width: int) -> dict[str, Any]:
    sized = {"width": width} if "width" in spec else {}
    config = spec.get("config", {})
    fonts = {"font": MEASURED, "text": {**config.get("text", {}), "font": MEASURED}}
    return {"vl_spec": {**bare(spec), **sized, "config": {**config, **fonts}}, "vl_version": VEGA_LITE}


def replace(target: Path, text: str) -> None:
    """Write beside the target, then switch: a reader sees the old file or the new one."""
    import tempfile

    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
