"""`python -m intertie_conformance`."""

from intertie_conformance.cli import main

main()
