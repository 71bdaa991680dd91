"""Doors from published data to the data contract."""

from __future__ import annotations

from strategy_kit.importers.olist import import_olist

__all__ = ["import_olist"]
