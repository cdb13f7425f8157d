"""The reference node of Intertie."""
