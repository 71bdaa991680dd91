"""Write environment.yml from pyproject.toml, or with --check say whether it is in step."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

# conda-forge's own names, where they differ.
CONDA_NAMES = {"duckdb": "python-duckdb", "nbconvert": "nbconvert-core", "tzdata": "python-tzdata"}
# conda-forge has these not at all, or only releases older than pyproject allows.
FROM_PIP = {"latex2mathml"}


def environment(pyproject: str) -> str:
    """Return the text of environment.yml: what the reports and JupyterLab need, and the package itself."""
    project = tomllib.loads(pyproject)["project"]
    needed = [Requirement(line) for line in project["dependencies"] + project["optional-dependencies"]["lab"]]
    conda = [need for need in needed if canonicalize_name(need.name) not in FROM_PIP]
    pip = [need for need in needed if canonicalize_name(need.name) in FROM_PIP]
    lines = [
        "# Made from pyproject.toml by .ci/environment.py; `make lock` makes it again.",
        f"name: {project['name']}",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        f'  - "python{_versions(project["requires-python"])}"',
        *sorted(f'  - "{_pin(CONDA_NAMES.get(need.name, need.name), need)}"' for need in conda),
        "  - pip",
        "  - pip:",
        *sorted(f'      - "{_pin(need.name, need)}"' for need in pip),
        '      - "-e ."',
    ]
    return "\n".join(lines) + "\n"


def _pin(name: str, need: Requirement) -> str:
    return name + _versions(str(need.specifier))


def _versions(specifier: str) -> str:
    return ",".join(sorted(specifier.split(","), key=lambda part: not part.startswith(">")))


def main(arguments: list[str]) -> int:
    """Write the file, or compare."""
    target = ROOT / "environment.yml"
    text = environment((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if arguments == ["--check"]:
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write("environment.yml is not in step with pyproject.toml; run .ci/environment.py\n")
        return 1
    target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
