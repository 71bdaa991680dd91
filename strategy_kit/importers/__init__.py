"""Doors from published data to the data contract."""

from __future__ import annotations

from strategy_kit.importers.olist import import_olist
from strategy_kit.importers.online_retail import import_online_retail

__all__ = ["import_olist", "import_online_retail"]
