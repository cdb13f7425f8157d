"""Grids that break RFC 0004."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable, Mapping, Sequence

from intertie.v1 import descriptor_pb2 as ds
from intertie_conformance.grid.identity import DAY_MS, Identity, now_ms
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import certificates, descriptors
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.refusal import Refusal


def restate(me: Identity, message: ds.Descriptor) -> list[bytes]:
    """A chain of one version that says something else."""
    return [descriptors.issue([], message, me.root)]


@mutant("IT-IDN-001")
class IsItsRootKey(Rules):
    """Takes a grid with a new root key for another one."""

    def same_grid(self, held: Described, described: Described) -> bool:
        return held.message.root_key == described.message.root_key


@mutant("IT-IDN-002")
class SharesItsName(Rules):
    """Peers with a grid of its own name."""

    def named(self, described: Described, own: str, pinned: Iterable[str], heard: Iterable[str]) -> None:
        super().named(described, "", pinned, heard)


@mutant("IT-IDN-062")
class SharesNames(Rules):
    """Peers with two grids of one name."""

    def named(self, described: Described, own: str, pinned: Iterable[str], heard: Iterable[str]) -> None:
        super().named(described, own, (), heard)


@mutant("IT-IDN-063")
class KeepsHeardNames(Rules):
    """Keeps a name for a grid that it only knows from advertisements."""

    def named(self, described: Described, own: str, pinned: Iterable[str], heard: Iterable[str]) -> None:
        super().named(described, own, {*pinned, *heard}, ())


@mutant(
    "IT-IDN-010",
    also=(
        "IT-IDN-011",
        "IT-IDN-021",
        "IT-IDN-030",
        "IT-IDN-033",
        "IT-IDN-050",
        "IT-IDN-053",
        "IT-IDN-055",
        "IT-IDN-063",
        "IT-LNK-015",
    ),
)
class SomewhereInGermany(Rules):
    """States a place that is no code in a newer version that its Open carries."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        message = link.me.statement(*link.me.addresses)
        message.place = "Germany"
        chain = [*link.me.chain, descriptors.issue(link.me.chain, message, link.me.root)]
        return {**fields, "descriptors": chain, "descriptor_version": len(chain)}


@mutant(
    "IT-IDN-011",
    also=(
        "IT-IDN-010",
        "IT-IDN-021",
        "IT-IDN-030",
        "IT-IDN-033",
        "IT-IDN-050",
        "IT-IDN-053",
        "IT-IDN-055",
        "IT-IDN-063",
        "IT-LNK-015",
    ),
)
class NewRootAlone(Rules):
    """Signs a new version that its Open carries with the new root key alone."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        message = link.me.statement(*link.me.addresses)
        chain = [*link.me.chain, descriptors.issue(link.me.chain, message, Key())]
        return {**fields, "descriptors": chain, "descriptor_version": len(chain)}


@mutant(
    "IT-IDN-021",
    also=(
        "IT-IDN-030",
        "IT-IDN-033",
        "IT-IDN-050",
        "IT-IDN-053",
        "IT-IDN-055",
        "IT-IDN-063",
        "IT-LNK-015",
    ),
)
class SaysAnother(Rules):
    """Tells another version 1 in its Open than it serves."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        message = link.me.statement(*link.me.addresses)
        message.place = "AQ"
        return {**fields, "descriptors": restate(link.me, message)}


@mutant("IT-IDN-012", also=("IT-IDN-014",))
class FormBeforeSignature(Rules):
    """Names a wrong signature as a fault of form."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        try:
            return super().read_chain(chain)
        except Refusal as refusal:
            raise Refusal("DESCRIPTOR_INVALID", refusal.message) from None


@mutant("IT-IDN-013")
class AnyChainLength(Rules):
    """Takes chains of any length."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        return descriptors.read_chain(chain, ("length",))


@mutant("IT-IDN-014")
class OneRootSigns(Rules):
    """Is content with one of the two root keys."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        return descriptors.read_chain(chain, ("signers",))


@mutant("IT-IDN-015")
class AnyVersionOfChain(Rules):
    """Does not look at the numbers of versions."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        return descriptors.read_chain(chain, ("version", "previous"))


@mutant("IT-IDN-015")
class UnlinkedChain(Rules):
    """Does not look at the digest of the version before."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        return descriptors.read_chain(chain, ("previous",))


@mutant("IT-IDN-016")
class ChangingName(Rules):
    """Lets the name change."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        return descriptors.read_chain(chain, ("grid",))


@mutant("IT-IDN-017")
class FearsUnknownKeys(Rules):
    """Refuses a descriptor that lists a key of an unknown algorithm."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        read = super().read_chain(chain)
        if not all(descriptors.is_known(key.public_key) for key in read.message.signing_keys):
            raise Refusal("DESCRIPTOR_INVALID", "A signing key is of an unknown algorithm.")
        return read


@mutant("IT-IDN-017")
class NoKnownKey(Rules):
    """Takes a descriptor without any key that it knows."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        return descriptors.read_chain(chain, ("known keys",))


@mutant("IT-IDN-018")
class AnyKeysListed(Rules):
    """Does not look at the number and times of signing keys."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        return descriptors.read_chain(chain, ("signing_keys", "times of keys"))


@mutant("IT-IDN-018")
class AnyCertificatesListed(Rules):
    """Does not look at the number and sizes of certificates."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        return descriptors.read_chain(chain, ("certificates", "sizes of certificates"))


@mutant("IT-IDN-018")
class AnyEndpoints(Rules):
    """Does not look at endpoints, features and place."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        return descriptors.read_chain(chain, ("endpoints", "addresses", "features", "place"))


@mutant("IT-IDN-020")
class RollbackFirst(Rules):
    """Looks at the length of a chain before it compares what it says."""

    def chain_grows(self, old: Described, new: Described) -> None:
        if new.version < old.version:
            raise Refusal("DESCRIPTOR_ROLLBACK", "A newer descriptor is known.")
        super().chain_grows(old, new)


@mutant("IT-IDN-022")
class TakesEquivocation(Rules):
    """Takes another statement at a version that it knows."""

    def chain_grows(self, old: Described, new: Described) -> None:
        if new.version < old.version:
            super().chain_grows(old, new)


@mutant("IT-IDN-023", also=("IT-IDN-020",))
class TakesRollback(Rules):
    """Takes a shorter chain."""

    def chain_grows(self, old: Described, new: Described) -> None:
        if new.version >= old.version:
            super().chain_grows(old, new)


@mutant(
    "IT-IDN-030",
    also=(
        "IT-IDN-021",
        "IT-IDN-033",
        "IT-IDN-050",
        "IT-IDN-053",
        "IT-IDN-055",
        "IT-IDN-063",
    ),
)
class KeysOfYesterday(Rules):
    """Signs with a key that its descriptor lists until yesterday."""

    def describes(self, me: Identity) -> None:
        message = me.statement(*me.addresses)
        message.signing_keys[0].not_before = now_ms() - 9 * DAY_MS
        message.signing_keys[0].not_after = now_ms() - DAY_MS
        me.chain = restate(me, message)


@mutant("IT-IDN-033")
class StaysWithOldChain(Rules):
    """Goes on with the certificates that it was peered with."""

    def takes_up(self, link: Link, described: Described) -> None:
        return


@mutant("IT-IDN-040", also=("IT-IDN-041",))
class ServesLast(Rules):
    """Serves its last version alone, twice."""

    def serves_chain(self, chain: Sequence[bytes], after_version: int) -> Sequence[bytes]:
        self.asked = getattr(self, "asked", 0) + 1
        return chain[after_version:] if self.asked == 1 else [*chain[-1:], *chain[-1:]]


@mutant("IT-IDN-041")
class ServesAlways(Rules):
    """Serves its whole chain whatever is known."""

    def serves_chain(self, chain: Sequence[bytes], after_version: int) -> Sequence[bytes]:
        return chain


@mutant(
    "IT-IDN-050",
    also=(
        "IT-IDN-010",
        "IT-IDN-011",
        "IT-IDN-021",
        "IT-IDN-030",
        "IT-IDN-033",
        "IT-IDN-051",
        "IT-IDN-053",
        "IT-IDN-055",
        "IT-IDN-063",
    ),
)
class ListsAnother(Rules):
    """Lists another certificate than it presents."""

    def describes(self, me: Identity) -> None:
        message = me.statement(*me.addresses)
        del message.certificates[:]
        message.certificates.append(certificates.make_certificate(me.grid)[1])
        me.chain = restate(me, message)


@mutant("IT-IDN-051")
class ListsAuthority(Rules):
    """Lists a certificate that is a CA."""

    def describes(self, me: Identity) -> None:
        message = me.statement(*me.addresses)
        message.certificates.append(certificates.make_certificate(me.grid, ca=True)[1])
        me.chain = restate(me, message)


@mutant("IT-IDN-052")
class AnyProfile(Rules):
    """Does not look at certificates."""

    def proposal_certificates(self, described: Described) -> None:
        return


@mutant(
    "IT-IDN-053",
    also=(
        "IT-IDN-033",
        "IT-IDN-055",
    ),
)
class NoClientCertificate(Rules):
    """Does not ask for client certificates."""

    def admits_strangers(self) -> bool:
        return True


@mutant("IT-IDN-054")
class TrustsWhoAnswers(Rules):
    """Takes whatever certificate the dialled address presents."""

    def trusted(self, address: str, listed: list[bytes]) -> list[bytes]:
        host, _, port = address.rpartition(":")
        return [certificates.to_der(ssl.get_server_certificate((host, int(port)), timeout=2.0).encode())]


@mutant("IT-IDN-055")
class AdmitsByClosing(Rules):
    """Closes all links when it admits a new peer."""

    def admits(self, links: Collection[Link]) -> None:
        for link in links:
            if link.stream is not None:
                link.refuse(link.stream, Refusal("NODE_DRAINING", "The server begins again."))
