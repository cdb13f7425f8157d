"""The conformance suite of Intertie: a black box that plays grids against one target.

Of the project's code it imports only the generated messages (`intertie.v1`); registries and requirements are
read as data. Encodings, signatures, logs, amounts and certificates are its own, so that an error in the
reference implementation cannot hide in the suite.
"""
