"""Print what the extra for Spark needs, for the lock file that only the tests install."""

from __future__ import annotations

import tomllib
from pathlib import Path

extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
print("\n".join(extras["optional-dependencies"]["spark"]))
