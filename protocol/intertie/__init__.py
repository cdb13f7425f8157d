"""Intertie: the open protocol between AI power grids, as a Python package."""
