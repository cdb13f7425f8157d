"""gRPC faces of a node: the peer port (mutual TLS) and the public port (server TLS)."""
