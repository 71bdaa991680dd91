"""The same calls through Spark Connect, and what is said where Spark cannot be had; each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import strategy_kit as sk

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.spark, pytest.mark.slow]

ASKED = """
import json, sys, warnings
import strategy_kit as sk
shop = sk.open_dataset(sys.argv[1], engine="spark")
from pyspark.sql.utils import is_remote
table = sk.kpi.table(shop, by=["category", "month"], metrics=["gmv", "orders", "buyers"])
panel = shop.panel()
effects = sk.did.group_time(panel, inference="none").tidy()
print(json.dumps({"remote": is_remote(), "gmv": table["gmv"].tolist(), "buyers": table["buyers"].tolist(),
                  "kind": type(panel).__name__, "estimates": effects["estimate"].tolist()}))
"""


def surroundings(tmp_path: Path) -> dict[str, str]:
    """What keeps a Spark of a test small and on loopback."""
    defaults = (
        "spark.ui.enabled false",
        "spark.driver.memory 1g",
        "spark.sql.shuffle.partitions 2",
        "spark.log.level OFF",
        "spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    )
    (tmp_path / "spark-defaults.conf").write_text("\n".join(defaults), encoding="utf-8")
    return {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(tmp_path)}


def asked(folder: Path, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if name not in {"SPARK_REMOTE", "PYSPARK_PYTHON"}}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASKED, str(folder)],
        env={**known, **surroundings(tmp_path), **environment},
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("remote", ["local[2]", ""], ids=["connect", "a session of its own"])
@pytest.mark.usefixtures("spark_here")
def test_a_notebook_says_spark_and_gets_the_same_numbers(remote: str, sample: Path, tmp_path: Path) -> None:
    done = asked(sample, tmp_path, **({"SPARK_REMOTE": remote} if remote else {}))
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    shop = sk.open_dataset(sample)
    table = sk.kpi.table(shop, by=["category", "month"], metrics=["gmv", "orders", "buyers"])
    assert said["remote"] == bool(remote)
    assert said["kind"] == "MomentPanel"
    np.testing.assert_allclose(said["gmv"], table["gmv"], rtol=1e-12)
    assert said["buyers"] == table["buyers"].tolist()
    ours = sk.did.group_time(shop.panel(), inference="none").tidy()["estimate"]
    np.testing.assert_allclose(said["estimates"], ours, rtol=1e-9, atol=1e-9)


def test_without_java_it_says_what_is_missing(sample: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    done = asked(sample, tmp_path, PATH="/nowhere", JAVA_HOME="")
    assert done.returncode != 0
    assert "ParameterError: engine 'spark' needs Java 17 or newer to start a Spark of its own" in done.stderr
    assert "set SPARK_REMOTE" in done.stderr


def test_without_pyspark_it_says_what_to_install(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "pyspark.py").write_text("raise ImportError('no pyspark here')", encoding="utf-8")
    done = asked(sample, tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert "engine 'spark' needs pyspark 4, which is not installed; install strategy-kit[spark]" in done.stderr


@pytest.mark.usefixtures("spark_here")
def test_a_page_from_spark_is_the_page_from_duckdb(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, but for the fingerprint of dataset.toml, in which the engine is named."""
    for name, value in surroundings(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    shop, pages = tmp_path / "shop", []
    shutil.copytree(sample, shop)
    told = (shop / "dataset.toml").read_text(encoding="utf-8")
    for engine in ("duckdb", "spark"):
        (shop / "dataset.toml").write_text(f'engine = "{engine}"\n{told}', encoding="utf-8")
        page = sk.report.run("data_check", data=shop, week="2025-W30", out=tmp_path / engine).html
        pages.append(re.sub(r"fingerprint [0-9a-f]+", "", page.read_text(encoding="utf-8")))
    assert pages[0] == pages[1]
