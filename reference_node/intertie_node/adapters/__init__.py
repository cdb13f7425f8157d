"""What connects the engine to the world: each folder implements ports and knows no other folder."""
