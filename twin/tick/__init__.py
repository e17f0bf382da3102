"""The tick and the world that it owns: live operation, replay, back-testing and what-if are this one function."""

from twin.tick.checkpoint import encode
from twin.tick.moves import CityEdit, Moved
from twin.tick.tick import Ticked, tick
from twin.tick.view import budgets, expectation, forecast
from twin.tick.world import Ledger, World

__all__ = ["CityEdit", "Ledger", "Moved", "Ticked", "World", "budgets", "encode", "expectation", "forecast", "tick"]
