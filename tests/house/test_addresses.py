"""The project works on any machine: no file names somebody's folder or a package index."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MACHINE_PATH = re.compile(r"(?<![\w.~:/-])/(?:work|root|home|Users)/\w|\b[A-Z]:\\+Users\b")
PACKAGE_INDEX = re.compile(r"(?i)\b(?:py[p]i\.org|python[h]osted|an[a]conda\.org|registry\.np[m]js|deb\.deb[i]an)")
IGNORED = {".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


def tracked() -> list[Path]:
    """Files that git has or would take; in a copy without git, all but caches and made folders."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not IGNORED & set(path.relative_to(ROOT).parts)]
        paths = [path for path in paths if not _made(path.relative_to(ROOT).parts)]
    return sorted(path for path in paths if path.is_file())


def _made(parts: tuple[str, ...]) -> bool:
    return parts[0] in {"data", "reports"} and len(parts) > 1 and parts[1] not in {"README.md", "sample"}


def violations(text: str, name: str) -> list[str]:
    """Name each line that holds a machine's path or a package index."""
    found = []
    for law, pattern in (("a machine's path", MACHINE_PATH), ("a package index", PACKAGE_INDEX)):
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            seen = text[match.start() :].split("\n", 1)[0][:40]
            found.append(f"{name}:{line} names {law}: {seen!r}")
    return found


def test_no_file_names_a_machine_or_an_index() -> None:
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            found += violations(content.decode("utf-8", errors="replace"), path.relative_to(ROOT).as_posix())
    assert not found


def test_the_lock_and_the_environment_hold_no_address() -> None:
    for name in ("requirements.lock", "environment.yml"):
        found = re.findall(r"\S*(?:://|index-url|find-links| @ )\S*", (ROOT / name).read_text(encoding="utf-8"))
        assert not found, f"{name} holds an address"


def test_what_may_not_be_named_is_seen() -> None:
    folder, index = "/ho" + "me/ana/data", "https://py" + "pi.org/simple"
    seen = violations(f"a\nb = '{folder}'", "x.py")
    assert [law.split(": ")[0] for law in seen] == ["x.py:2 names a machine's path"]
    assert len(violations(index, "x.py")) == 1
    assert violations("reports/home/page.html, https://example.org/root/a, ../shared/work/b", "x.md") == []
