"""What Alembic runs for a command: it migrates over the caller's connection, in the caller's transaction."""

from alembic import context

from intertie_node.adapters.storage.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
