"""Platform health: revenue and payback, consumers' search cost, merchants' trust."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.platform_health.bridge import BRIDGE, bridge_parts, pass_through, revenue_panels, take_rate_bridge
from strategy_kit.platform_health.exits import exit_effect
from strategy_kit.platform_health.repayment import Scenario, cost_by_age, net_contribution, payback
from strategy_kit.platform_health.search import search_cost, search_panel
from strategy_kit.platform_health.trust import complaints, complaints_panel, experience_panel, lead_lag

__all__ = [
    "BRIDGE", "Scenario", "bridge_parts", "complaints", "complaints_panel", "cost_by_age", "exit_effect", "experience_panel",
    "lead_lag", "net_contribution", "pass_through", "payback", "revenue_panels", "search_cost", "search_panel",
    "take_rate_bridge"
]  # fmt: skip

hold_arguments(globals())
