"""The suite's configuration: one TOML file, every key explained by `intertie-conformance init`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=600)]


class ConfigError(Exception):
    """The configuration cannot be used; the text says which key and what is expected."""


class TargetTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the target is reached."""

    public: str = ""
    """host:port of its public port."""
    command: str = ""
    """Starts the target; its first line on stdout is a JSON object with the keys of this table."""
    consumer: str = ""
    """host:port of its consumer face in plaintext on loopback; empty: on the public port."""
    token: str = ""
    """A consumer's bearer token with budget; empty: checks that need one are not run."""
    other_token: str = ""
    """A second consumer's, of an account of its own."""
    accept: str = "auto"
    """What accepts proposals: "auto", or a command."""
    start_s: Seconds = 60.0


class SuiteTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the suite behaves."""

    host: str = "127.0.0.1"
    """Where the suite's own grids listen, as the target reaches them."""
    answer_s: Seconds = 5.0
    """How long the suite waits for an answer that should come at once."""
    limit_s: Seconds = 300.0
    """After so long, checks that have not begun fail."""
    peers: Annotated[int, Meta(ge=1, le=32)] = 16
    """Peerings that are proposed at a time."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    target: TargetTable = TargetTable()
    suite: SuiteTable = SuiteTable()


def load(path: Path) -> Config:
    """Read a configuration. Raises: ConfigError."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Config)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from None


TEMPLATE: Final = """\
# Configuration of intertie-conformance. Unknown keys are errors; every key shown has its default value
# unless it is set here.

[target]
public = "127.0.0.1:7460"   # host:port of the target's public port (descriptor, proposals)
# Instead, a command that starts the target; its first line on stdout must be a JSON object with the keys of this
# table that it knows and no others, e.g. {"public": "127.0.0.1:40123", "token": "…"}.
# command = "./start-my-node"
consumer = ""               # host:port of the consumer face in plaintext on loopback; "": on the public port
token = ""                  # bearer token of a consumer with a budget of 1,000,000,000 minor units or more, none spent
other_token = ""            # that of a second consumer with an account of its own and such a budget
accept = "auto"             # how proposals of the suite's grids are accepted:
                            #   "auto"  the target accepts them by itself, within 10 s
                            #   a command with {digest}, {fingerprint} or {grid}: run once for each proposal, e.g.
                            #     "intertie peer accept {digest} --fingerprint {fingerprint} --dir north"
                            #   a command without them: run once for a batch; reads one JSON object a line on stdin,
                            #     {"digest": …, "fingerprint": …, "grid": …}, until the end of its input
start_s = 60.0              # how long the command may take until it serves

[suite]
host = "127.0.0.1"          # where the suite's own grids listen, as the target reaches them
answer_s = 5.0              # how long the suite waits for an answer that should come at once
limit_s = 300.0             # after so long, checks that have not begun fail
peers = 16                  # peerings that are proposed at a time; the target must take so many pending proposals
"""
