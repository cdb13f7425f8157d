"""What operators and consumers type: `intertie`. Exit status 0: done; 1: refused or failed, by name; 2: wrong usage."""

import os
import sys


def main() -> None:
    """Run the command line and exit."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        from intertie_node.cli.commands import app
    except ModuleNotFoundError as error:
        sys.exit(f"intertie: {error.name} is not installed: pip install 'intertie[node]'")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from intertie_node.cli.failing import report

        sys.exit(report(error, as_json="--json" in sys.argv))
