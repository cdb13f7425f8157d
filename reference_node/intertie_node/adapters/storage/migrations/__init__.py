"""Migrations of the database, run by `intertie_node.adapters.storage.migrate`."""
