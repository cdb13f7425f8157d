"""The passive rules, one module an area (see `passive`)."""
