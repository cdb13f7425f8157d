"""The pure core: state machines and rules. Time, ids and keys are arguments; nothing here does I/O."""
