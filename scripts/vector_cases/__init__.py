"""The cases of protocol/vectors, one module an area; each has `cases()` and a docstring that describes it."""
