"""Grids that break RFC 0005 where descriptor chains change."""

from __future__ import annotations

from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.descriptors import Described


@mutant("IT-LNK-033", also=("IT-LNK-035", "IT-LNK-057"))
class KeepsOldChain(Rules):
    """Goes on with the chain that it was peered with."""

    def open_chain(self, opened: lk.Open, held: Described) -> Described:
        super().open_chain(opened, held)
        return held


@mutant("IT-LNK-034")
class AnyVersion(Rules):
    """Does not look at the stated version."""

    def open_version(self, opened: lk.Open, described: Described) -> None:
        return


@mutant("IT-LNK-035")
class TakesOlder(Rules):
    """Takes a shorter chain back."""

    def open_rollback(self, held: Described, stated: Described) -> None:
        return


@mutant("IT-LNK-035")
class TakesOther(Rules):
    """Takes another statement at a version that it knows."""

    def open_equivocation(self, held: Described, stated: Described) -> None:
        return


@mutant("IT-LNK-036")
class AnyCertificate(Rules):
    """Takes up certificates of any form."""

    def open_certificates(self, described: Described, held: Described) -> None:
        return


@mutant("IT-LNK-057")
class RetiredKeys(Rules):
    """Takes signatures of this session by keys of older versions."""

    def session_key(self, link: Link, signature: lk.HeadSignature) -> None:
        return
