"""A market so small that a run on it costs a kernel's start and nothing else, and notebooks for it."""

from __future__ import annotations

import hashlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Write = Callable[..., Path]
    Tree = Callable[[Path], dict[str, str]]

PARAMETERS = "data: str = ''\nweek: str | None = None\nlanguage: str = 'en'\napi_token: str = ''"
TOML = """\
name = "shop"
title = "Corner shop"
synthetic = true
currency = "CNY"
timezone = "Asia/Shanghai"
data_from = 2025-07-07
data_through = 2025-07-27
[tables]
order_lines = "o.csv"
merchants = "m.csv"
"""


@pytest.fixture(scope="session")
def new_shop() -> Callable[[Path], Path]:
    """Write shop/ into a folder: a data set of three weeks, 2025-W28 to 2025-W30."""

    def made(where: Path) -> Path:
        folder = where / "shop"
        folder.mkdir()
        (folder / "dataset.toml").write_text(TOML, encoding="utf-8")
        lines = [f"o{n},1,b{n % 3},m{n % 2},beauty,2025-07-{7 + n:02d},{n + 5}" for n in range(21)]
        head = "order_id,line_id,buyer_id,merchant_id,category,paid_at,amount"
        (folder / "o.csv").write_text("\n".join([head, *lines, ""]), encoding="utf-8")
        (folder / "m.csv").write_text("merchant_id,category\nm0,beauty\nm1,beauty\n", encoding="utf-8")
        return folder

    return made


@pytest.fixture(scope="session")
def new_book() -> Callable[[Path], Write]:
    """Write notebooks/NAME.ipynb into a folder: a parameters cell, then these sources, and this metadata of the kit."""

    def made(where: Path) -> Write:
        folder = where / "notebooks"
        folder.mkdir()

        def write(name: str, *sources: str, parameters: str = PARAMETERS, **metadata: object) -> Path:
            cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(new_code_cell, sources)]
            path = folder / f"{name}.ipynb"
            nbformat.write(new_notebook(cells=cells, metadata={"strategy_kit": metadata} if metadata else {}), path)
            return path

        return write

    return made


@pytest.fixture
def shop(tmp_path: Path, new_shop: Callable[[Path], Path]) -> Path:
    return new_shop(tmp_path)


@pytest.fixture
def book(tmp_path: Path, new_book: Callable[[Path], Write]) -> Write:
    return new_book(tmp_path)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let what is started hear SIGINT, also where these tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def tree() -> Tree:
    """List every file, link and folder below a folder, with what it holds."""

    def listed(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): str(path.readlink())
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            for path in sorted(folder.rglob("*"))
        }  # fmt: skip

    return listed


@pytest.fixture(scope="session")
def gone() -> Callable[[int], bool]:
    """Whether a process ends within ten seconds, as an orphan does when it misses its parent."""

    def ended(pid: int) -> bool:
        for _ in range(200):
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return True
            if state == "Z":
                return True
            time.sleep(0.05)
        return False

    return ended
