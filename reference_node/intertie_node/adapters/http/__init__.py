"""HTTP: the operator API on a unix socket, metrics and health."""
