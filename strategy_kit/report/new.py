"""An analyst's own notebook, made from a template that the runner accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path

from strategy_kit.errors import ParameterError, StorageError, refuse

TEMPLATE = Path(__file__).with_name("notebook.ipynb")
LONGEST = 60
RESERVED = ("failed", "index", "latest", "ledger", "manifest", "notebook", "run", "runs", "undated")
"""Names of files and folders that a run writes beside its pages."""
_DEVICES = ("aux", "con", "nul", "prn")  # which Windows keeps for itself


def new_notebook(name: str, folder: Path) -> Path:
    """Write `folder`/`name`.ipynb: parameters, a check of the data, a measure by week, what the pilots tell, provenance.

    It runs as it is on every data set, in JupyterLab and by `report.run`, and is there to be changed.

    Parameters
    ----------
    name
        Small letters, digits and underscores, a letter first; the page's title is made from it.
    folder
        Where the notebook is to lie, such as notebooks/.

    Raises
    ------
    ParameterError
        Naming at once all that is wrong: the name's form, one that is taken or kept for the kit, a folder that is none.
        Nothing is ever overwritten.
    StorageError
        If the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     new_notebook("refunds_by_size", Path(folder)).name
    'refunds_by_size.ipynb'
    """
    refuse(ParameterError, "new", _laws(name, folder))
    text = TEMPLATE.read_text(encoding="utf-8")
    title = name.replace("_", " ").capitalize()
    notebook = json.loads(text.replace("TITLE", title))
    notebook["metadata"]["strategy_kit"]["title"] = title
    path = folder / f"{name}.ipynb"
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    except FileExistsError:
        raise ParameterError(f"{path} was made by somebody else just now; choose another name") from None
    except OSError as problem:
        raise StorageError(f"{path} cannot be written: {problem}; choose a folder that you may write to") from problem
    return path


def _laws(name: str, folder: Path) -> list[str]:
    laws = []
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
        laws.append(
            f"a name has small letters, digits and underscores, a letter first, like refunds_by_size, not {name!r}."
        )
    elif len(name) > LONGEST:
        laws.append(f"a name has at most {LONGEST} letters, and {name!r} has {len(name)}; shorten it.")
    known = {file.stem.lower() for file in (TEMPLATE.parents[2] / "notebooks").glob("*.ipynb")}
    if str(name).lower() in {*known, *RESERVED, *_DEVICES}:
        laws.append(f"{name!r} is a name that the kit keeps for itself; choose another one.")
    if not folder.is_dir():
        laws.append(f"{folder} is no folder; make it first.")
    elif str(name).lower() in {file.name.lower().removesuffix(".ipynb") for file in folder.iterdir()}:
        laws.append(f"{folder / f'{name}.ipynb'} is there already and is never overwritten; choose another name.")
    return laws
