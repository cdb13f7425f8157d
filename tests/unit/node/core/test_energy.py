"""core.energy: known only where everything that was used is known."""

from intertie.v1.metering_pb2 import (
    ENERGY_METHOD_ATTRIBUTED,
    ENERGY_METHOD_ESTIMATED,
    ENERGY_METHOD_MEASURED,
    ENERGY_METHOD_UNKNOWN,
    Energy,
    EnergyIntensity,
)
from intertie_node.core.energy import energy_of


def intensity(unit, method=ENERGY_METHOD_ESTIMATED, figures=(2, 1, 5), boundary="server"):
    middle, lower, upper = figures
    per_atom = Energy(method=method, millijoules=middle, lower=lower, upper=upper, boundary=boundary)
    return EnergyIntensity(unit=unit, per_atom=per_atom)


UNKNOWN = Energy(method=ENERGY_METHOD_UNKNOWN)


def test_a_figure_and_its_bounds_grow_with_usage():
    energy = energy_of([intensity("text.output.byte")], {"text.output.byte": 10, "order": 1})
    assert (energy.millijoules, energy.lower, energy.upper) == (20, 10, 50)
    assert energy.method == ENERGY_METHOD_ESTIMATED
    assert energy.boundary == "server"


def test_a_sum_is_known_no_better_than_its_least_known_part():
    stated = [
        intensity("rag.query", ENERGY_METHOD_MEASURED, (7, 7, 7), "index"),
        intensity("mcp.call", ENERGY_METHOD_ATTRIBUTED),
    ]
    energy = energy_of(stated, {"rag.query": 1, "mcp.call": 2})
    assert (energy.method, energy.millijoules) == (ENERGY_METHOD_ATTRIBUTED, 11)


def test_boundaries_stand_in_the_order_of_their_units_whatever_was_metered_first():
    stated = [intensity(unit, boundary=boundary) for unit, boundary in (("b", "two"), ("a", "one"), ("c", "two"))]
    for order in ("abc", "cba", "bca"):
        assert energy_of(stated, dict.fromkeys(order, 1)).boundary == "one; two"


def test_work_without_an_intensity_makes_the_whole_unknown():
    assert energy_of([intensity("rag.query")], {"rag.query": 1, "mcp.call": 1}) == UNKNOWN


def test_nothing_stated_is_unknown_and_not_zero():
    assert energy_of([], {"order": 1}) == UNKNOWN
    assert energy_of([intensity("rag.query")], {"order.canceled": 1}) == UNKNOWN
    assert energy_of([intensity("rag.query")], {"rag.query": 0, "order": 1}) == UNKNOWN


def test_a_figure_beyond_int64_is_unknown():
    assert energy_of([intensity("rag.query", figures=(1, 1, 2**62))], {"rag.query": 2}) == UNKNOWN
