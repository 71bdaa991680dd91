"""Around a papermill that somebody else runs: admit the parameters before it, judge the notebook and write the page after.

judge.py admit NOTEBOOK NAME=VALUE ...    refuses parameters that the notebook does not declare, or of the wrong type
judge.py judge EXECUTED PAGE              writes PAGE only if every cell ran to its end and every section was shown

Exit codes are those of strategy-kit; the reason is one sentence on stderr.
"""  # noqa: INP001

from __future__ import annotations

import sys
from pathlib import Path

from strategy_kit.errors import ParameterError, StrategyKitError
from strategy_kit.report.export import export
from strategy_kit.report.notebooks import judge, load, read
from strategy_kit.report.parameters import declared, parse, resolve


def main(*given: str) -> None:
    """Admit or judge one notebook."""
    match given:
        case "admit", file, *values if all("=" in text for text in values):
            known = declared(load(Path(file)))
            resolve(known, parse(known, dict(text.split("=", 1) for text in values)))
        case "judge", file, page:
            judge(read(Path(file)), Path(file).name)
            export(Path(file), Path(page))
        case _:
            raise ParameterError(f"the work is 'admit NOTEBOOK NAME=VALUE ...' or 'judge EXECUTED PAGE', not {given!r}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except StrategyKitError as reason:
        sys.stderr.write(f"judge: {reason}\n")
        sys.exit(reason.exit_code)
