"""A Spark of this machine with two executors, each a process of its own, and one market opened in both engines."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

import strategy_kit as sk
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

PROGRAMMES = ("advertising", "hollow_growth", "lever_funnel", "multi_homing", "overseas", "price_drift", "search_cost")
SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.executor.memory": "640m",
    "spark.executorEnv.OMP_NUM_THREADS": "1",
    "spark.sql.shuffle.partitions": "2",
    "spark.log.level": "OFF",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.adaptive.enabled": "false",
    # queries live for a second: the first compiler is quick enough
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


@pytest.fixture(scope="session")
def spark_here() -> None:
    """Skip where pyspark or Java is missing, unless the run requires both."""
    lacking = [] if importlib.util.find_spec("pyspark") else ["pyspark"]
    lacking += [] if shutil.which("java") or os.environ.get("JAVA_HOME") else ["Java"]
    if lacking and os.environ.get("STRATEGY_KIT_SPARK") == "required":
        pytest.fail(f"STRATEGY_KIT_SPARK=required, and {' and '.join(lacking)} is not installed")
    if lacking:
        pytest.skip(f"{' and '.join(lacking)} is not installed")


@pytest.fixture(scope="session")
def spark(spark_here: None) -> Iterator[SparkSession]:  # asked for what it requires
    """A session with two executors."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local-cluster[2,1,700]").appName("tests")
    for key, value in SETTINGS.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market in which every programme is at work."""
    world = World.of(dict.fromkeys(PROGRAMMES, 1.0) | {"target_bunching": 1.0})
    return simulate(tmp_path_factory.mktemp("spark") / "market", seed=5, merchants=300, weeks=60, world=world)


@pytest.fixture(scope="session")
def here(folder: Path) -> sk.Dataset:
    """The market in DuckDB."""
    return sk.open_dataset(folder)


@pytest.fixture(scope="session")
def there(folder: Path, spark: SparkSession) -> sk.Dataset:
    """The market in Spark."""
    return sk.open_dataset(folder, engine=spark)
