"""How a run is told: on a terminal, as JSON, as JUnit, as one HTML page."""
