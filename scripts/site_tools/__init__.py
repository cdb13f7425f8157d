"""The site of the standard, generated from RFCs, registries, protos and what the suite has seen."""
