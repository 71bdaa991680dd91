"""requirements.lock and environment.yml are in step with pyproject.toml; no network is needed to know."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}
HASH = re.compile(r"sha256:[0-9a-f]{64}")
MARKER_WORDS = {
    *("python_version", "python_full_version", "sys_platform", "platform_machine", "platform_system"),
    *("platform_python_implementation", "implementation_name", "os_name", "and", "or", "in", "not"),
}


LOCKS = ("requirements.lock", ".ci/spark.lock")
"""What everyone installs, and what only the tests of one extra need."""
SPARK = "spark"


def lock(name: str = LOCKS[0]) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def entries(text: str) -> list[tuple[Requirement, list[str]]]:
    """Each package of a lock file, with its hashes."""
    bare = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    rows = [line.split("--hash=") for line in bare.splitlines() if line.strip()]
    return [(Requirement(row[0]), [digest.strip() for digest in row[1:]]) for row in rows]


def wanted(name: str = LOCKS[0]) -> list[Requirement]:
    """What pyproject.toml asks of a lock file: all but the extra for Spark, or that alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *(extras[extra] for extra in extras if extra != SPARK)]
    return [Requirement(line) for group in (groups if name == LOCKS[0] else [extras[SPARK]]) for line in group]


def holds(marker: Marker | None, python: str, system: str) -> bool:
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_system": SYSTEMS[system],
        "os_name": "nt" if system == "win32" else "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    return marker is None or marker.evaluate(environment)


def out_of_step(needs: list[Requirement], text: str, python: str, system: str) -> list[str]:
    """Name what pyproject asks for and a lock file does not give, on one Python and system."""
    pins: dict[str, list[str]] = {}
    for pin, _ in entries(text):
        if holds(pin.marker, python, system):
            pins.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier).removeprefix("=="))
    found = [f"{name} has {len(versions)} pins" for name, versions in pins.items() if len(versions) > 1]
    for need in needs:
        versions = pins.get(canonicalize_name(need.name), [])
        if holds(need.marker, python, system) and not any(need.specifier.contains(v) for v in versions):
            found.append(f"pyproject wants {need}, the lock gives {versions or 'nothing'}: run make lock")
    return found


@pytest.mark.parametrize("name", LOCKS)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_lock_gives_what_pyproject_wants(name: str, python: str, system: str) -> None:
    assert not out_of_step(wanted(name), lock(name), python, system)


def test_the_locks_agree() -> None:
    """Spark is added to what is installed already."""
    pins = {(pin.name, str(pin.marker)): str(pin.specifier) for pin, _ in entries(lock())}
    both = [pin for pin, _ in entries(lock(LOCKS[1])) if (pin.name, str(pin.marker)) in pins]
    assert both
    assert not [str(pin) for pin in both if str(pin.specifier) != pins[pin.name, str(pin.marker)]]


def test_the_lock_holds_nothing_that_pyproject_no_longer_wants() -> None:
    direct = re.findall(r"(?m)^(\S+)==(?:.|\n(?! *\S+==))*?strategy-kit \(pyproject\.toml\)", lock())
    assert {canonicalize_name(name) for name in direct} == {canonicalize_name(need.name) for need in wanted()}


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_hashes(name: str) -> None:
    pins = entries(lock(name))
    assert len(pins) > len(wanted(name))
    assert not [str(pin) for pin, _ in pins if not re.fullmatch(r"==[^*,]+", str(pin.specifier)) or pin.url]
    assert not [pin.name for pin, hashes in pins if not hashes or not all(map(HASH.fullmatch, hashes))]


def test_markers_speak_of_python_and_platform_only() -> None:
    markers = [re.sub(r"\"[^\"]*\"", "", str(pin.marker)) for pin, _ in entries(lock()) if pin.marker]
    assert markers
    assert {word for marker in markers for word in re.findall(r"[a-z_]+", marker)} <= MARKER_WORDS


def test_a_lock_out_of_step_is_seen() -> None:
    text = "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:00\n    # via x\npandas==2.9\n"
    needs = [Requirement(line) for line in ("numpy>=2.1", "pandas>=3", "colorama; sys_platform == 'win32'")]
    assert [pin.name for pin, _ in entries(text)] == ["numpy", "pandas"]
    older, newer = (out_of_step(needs, text, python, "linux") for python in ("3.11", "3.12"))
    assert [law.split(",")[0] for law in older] == ["pyproject wants pandas>=3"]
    assert [law.split(",")[0] for law in newer] == ["pyproject wants numpy>=2.1", "pyproject wants pandas>=3"]
    assert "colorama" in out_of_step(needs[2:], text, "3.11", "win32")[0]


def test_the_conda_environment_is_made_from_pyproject() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "environment.py"), "--check"]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr


def test_the_conda_environment_names_every_package() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in project["dependencies"] + project["optional-dependencies"]["lab"]:
        name = re.escape(Requirement(line).name)
        assert re.search(rf'- "(?:python-)?{name}(?:-core)?[>=<]', text), f"environment.yml lacks {line}"
    assert '- "python>=3.11,<3.14"' in text
