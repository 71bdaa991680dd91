"""The script beside somebody else's papermill says in one sentence what it was not given."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "words", [[], ["admit"], ["admit", "nb.ipynb", "data"], ["judge", "nb.ipynb"], ["judge", "no.ipynb", "p"]]
)
def test_the_judge_says_in_a_sentence_what_it_was_not_given(words: list[str], root: Path) -> None:
    asked = [sys.executable, str(root / "docs" / "schedules" / "judge.py"), *words]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("judge: ")
    assert len(done.stderr.splitlines()) == 1
