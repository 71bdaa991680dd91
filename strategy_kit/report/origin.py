"""What a page was made from, told at its foot: parameters, data, plan, notebook, code and versions."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from strategy_kit import formats
from strategy_kit.report.blocks import provenance
from strategy_kit.report.parameters import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strategy_kit.report.words import Words


def origin(about: Mapping[str, Any], say: Words) -> str:
    """Write the entry of a run's manifest as the last block of a page, without the clock, run or folders.

    Examples
    --------
    >>> from strategy_kit.report.words import Words
    >>> "Parameters" in origin({"parameters": {"data": "data/sample", "api_key": "x"}}, Words("en"))
    True
    """
    return provenance(say("made_heading"), list(_entries(about, say)), "").html


def _entries(about: Mapping[str, Any], say: Words) -> Iterator[tuple[str, str]]:
    join = "；" if say.language == "zh" else "; "
    if values := about.get("parameters"):
        kept = {name: _base(value) for name, value in redacted(values).items() if value is not None}
        yield say("made_parameters"), " · ".join(f"{name} = {value}" for name, value in kept.items())
    if files := about.get("data"):
        size = formats.number(sum(file["bytes"] for file in files) / 1e6, 1)
        told = [say("made_files", n=formats.Count(len(files)), size=size, fingerprint=_fingerprint(files))]
        rows = sum(file.get("rows") or 0 for file in files)
        yield say("made_data"), join.join(told + [say("made_rows", rows=formats.number(rows))] * bool(rows))
    if plan := about.get("plan"):
        yield say("made_plan"), say("made_fingerprint", fingerprint=str(plan)[:12])
    if book := about.get("notebook"):
        yield say("made_notebook"), f"{book['name']}, {say('made_fingerprint', fingerprint=book['sha256'][:12])}"
    if git := about.get("git"):
        key = "made_changed" if git.get("dirty") else "made_commit"
        yield say("made_code"), say(key, commit=git["commit"][:12])
    if packages := about.get("packages"):
        versions = {"python": about.get("python", ""), **packages}
        yield say("made_versions"), " · ".join(f"{name} {number}" for name, number in versions.items() if number)


def _base(value: object) -> object:
    """Last part of what may be a path; anything else as it is."""
    if isinstance(value, str) and ("/" in value or "\\" in value):
        return (PureWindowsPath if "\\" in value else PurePath)(value).name
    return value


def _fingerprint(files: list[dict[str, Any]]) -> str:
    """One fingerprint of all files: of their tables and contents, not of where they lie."""
    told = sorted((file["table"], file["sha256"]) for file in files)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]
