"""`python -m intertie_node.cli`."""

from intertie_node.cli import main

main()
