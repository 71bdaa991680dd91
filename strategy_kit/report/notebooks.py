"""Notebooks as files: found by name, admitted to a run, and judged from their cells once they have run.

The executed cells are the only witnesses: a run is good when every code cell ran to its end without an error and
every promised section was shown. What the notebook's metadata says of the whole is not believed: it says "completed"
after a killed kernel too.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from strategy_kit import errors
from strategy_kit.errors import NotebookError, ParameterError
from strategy_kit.report.sections import SECTION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbformat import NotebookNode

CLAIM = "application/vnd.strategy-kit.claim+json"
_REFUSED_TAGS = ("raises-exception", "skip-execution", "injected-parameters")


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


def read(source: Path) -> NotebookNode:
    """Read a notebook as it is; ParameterError if it is none."""
    import nbformat

    try:
        return cast("NotebookNode", nbformat.read(source, as_version=4))
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise ParameterError(f"{source} cannot be read as a notebook: {error}; save it in Jupyter") from error


def load(source: Path) -> NotebookNode:
    """Read a notebook; ParameterError if it is none, or if a cell of it would not run, or be judged, as it reads."""
    import nbformat

    node = read(source)
    laws = [*_kernel_laws(node), *(law for number, cell in enumerate(node.cells, 1) for law in _skips(number, cell))]
    errors.refuse(ParameterError, source.name, laws)
    return cast("NotebookNode", nbformat.v4.upgrade(node) or node)


def _kernel_laws(node: NotebookNode) -> Iterator[str]:
    told = node.metadata.get("kernelspec", {})
    language = str(told.get("language") or "python").lower()
    name = str(told.get("name") or "python3")
    if language != "python":
        yield f"its kernel speaks {language}, and reports are Python; choose the kernel python3 in Jupyter and save it."
    elif name != "python3":
        from jupyter_client.kernelspec import KernelSpecManager

        if name not in KernelSpecManager().find_kernel_specs():
            yield f"its kernel {name!r} is not installed here; choose the kernel python3 in Jupyter and save it."


def _skips(number: int, cell: NotebookNode) -> Iterator[str]:
    """Say how a cell escapes being run or being judged."""
    for tag in cell.metadata.get("tags", []):
        if tag in _REFUSED_TAGS:
            yield f"cell {number} is tagged {tag!r}, so that no run could be judged; take the tag or the cell away."
    if cell.cell_type == "raw" and cell.source.strip():
        yield f"cell {number} is raw and would never run; make it code or text again, or take it away."
    if cell.cell_type == "code" and (magic := re.match(r"\s*(%%\w+)", cell.source)):
        yield f"cell {number} opens with {magic[1]}, which takes it out of the notebook's Python; take that line away."


def judge(executed: NotebookNode, name: str) -> None:
    """Raise NotebookError, or what of this package a cell raised, unless each code cell ran and each section stands."""
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
    promised = [str(section) for section in executed.metadata.get("strategy_kit", {}).get("sections", [])]
    shown = Counter(str(output["name"]) for output in emitted(executed, SECTION))
    if missing := [section for section in promised if shown[section] != 1]:
        how = ", ".join(f"{section} ({shown[section]} times)" for section in missing)
        raise NotebookError(f"{name} promises to show each of its sections once, and not so {how}; restore their cells")


def emitted(executed: NotebookNode, mime: str) -> list[dict[str, Any]]:
    """Return what the cells showed of one kind that machines read: claims, or marks of sections."""
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    return [dict(output["data"][mime]) for output in outputs if mime in output.get("data", {})]


def needs(node: NotebookNode) -> list[str]:
    """Return what of a data set a notebook cannot do without, by its metadata: "pilot", or names of tables."""
    return [str(need) for need in node.metadata.get("strategy_kit", {}).get("needs", [])]
