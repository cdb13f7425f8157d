"""What both logs of an exported link rest on: two descriptor chains and an agreement (design §6, §7)."""

from collections.abc import Sequence

from msgspec import Struct

from intertie import agreements
from intertie.agreements import VerifiedAgreement
from intertie.descriptors import VerifiedDescriptor, verify_history
from intertie.errors import IntertieError
from intertie.v1 import export_pb2 as xp
from intertie_node.core.export_file import VERSION, malformed
from intertie_node.core.ledger import LinkTerms
from intertie_node.core.link_report import SIDE_NAMES
from intertie_node.core.peering import link_terms


class Basis(Struct, frozen=True):
    """A verified header."""

    exporter: bytes
    grids: tuple[VerifiedDescriptor, VerifiedDescriptor]
    """Proposer and acceptor, with the signing keys of all their versions."""
    agreement: VerifiedAgreement

    @property
    def terms(self) -> LinkTerms:
        """The agreement's terms, by (proposer, acceptor)."""
        return link_terms(self.agreement, self.agreement.proposer.fingerprint)


def verify_header(header: xp.ExportHeader) -> Basis:
    """Return what a header proves.

    Raises: IntertieError EXPORT_MALFORMED for another version or an exporter who is no party, and what
    `verify_chain` and `agreements.verify` raise.
    """
    if header.version != VERSION:
        raise malformed(f"The file's format version is {header.version}; this program reads version {VERSION}.")
    chains = (header.proposer_descriptors, header.acceptor_descriptors)
    proposer, acceptor = (_grid(chain, name) for chain, name in zip(chains, SIDE_NAMES, strict=True))
    agreement = agreements.verify(header.agreement, proposer, acceptor)
    if agreement.version != 1:
        raise malformed(f"The file's agreement has version {agreement.version}; the first one makes the genesis.")
    if header.exporter not in (proposer.fingerprint, acceptor.fingerprint):
        raise malformed("The file's exporter is neither of the two parties.")
    return Basis(header.exporter, (proposer, acceptor), agreement)


def _grid(chain: Sequence[bytes], name: str) -> VerifiedDescriptor:
    """The last descriptor of a chain, with the signing keys of every version.

    Signatures of a long log were made with keys that later versions no longer list.
    """
    try:
        return verify_history(chain)
    except IntertieError as error:
        raise IntertieError(error.reason, f"The {name}'s descriptor chain: {error.message}") from error
