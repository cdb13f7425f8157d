"""Messages and services of intertie.v1, generated from protocol/proto by `make proto`."""
