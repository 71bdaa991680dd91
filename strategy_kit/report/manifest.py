"""What a report is made of, for whoever makes it again: notebook, code, data and packages, each by its fingerprint."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PACKAGES = "strategy-kit altair duckdb ipykernel nbconvert numpy pandas papermill pyarrow scipy statsmodels"


def describe(source: Path, data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say what a report is made of, as the manifest holds it: notebook, code, packages, and the data's files."""
    entry: dict[str, Any] = {"python": platform.python_version(), "packages": {}}
    entry["notebook"] = {"name": source.name, "sha256": sha256(source)}
    entry["data"] = [dict(file) for file in data]
    for package in _PACKAGES.split():
        with suppress(importlib.metadata.PackageNotFoundError):
            entry["packages"][package] = importlib.metadata.version(package)
    git = ["git", "--no-optional-locks", "-C", str(source.parent), "status", "--porcelain=v2", "--branch"]
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout
        head, changes = re.findall(r"^# branch.oid (.*)", told), re.findall(r"^[^#]", told, re.MULTILINE)
        entry["git"] = {"commit": head[0], "dirty": bool(changes)}
    return entry


def files_of(data: Path, tables: Mapping[str, Sequence[Path]]) -> list[dict[str, Any]]:
    """Return table, name, bytes and sha256 of each file of a data set; it reads them all."""
    return [
        {"table": table, "name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
        for table, paths in {"dataset": [data / "dataset.toml"], **tables}.items()
        for path in paths
    ]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
