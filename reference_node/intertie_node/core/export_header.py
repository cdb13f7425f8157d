"""What both logs of an exported link rest on: two descriptor chains and an agreement (design §6, §7)."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from intertie import agreements, envelope
from intertie.agreements import VerifiedAgreement
from intertie.descriptors import SigningKey, VerifiedDescriptor, verify_chain
from intertie.errors import IntertieError
from intertie.keys import PublicKey, is_ed25519
from intertie.v1 import descriptor_pb2 as dp
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
    """The last descriptor of a chain, with the signing keys of every version, each with its own validity.

    Signatures of a long log were made with keys that later versions no longer list.
    """
    try:
        latest = verify_chain(chain)
    except IntertieError as error:
        raise IntertieError(error.reason, f"The {name}'s descriptor chain: {error.message}") from error
    keys = {key: None for sealed in chain for key in _keys(envelope.peek_unverified(sealed)[1])}
    return msgspec.structs.replace(latest, signing_keys=tuple(keys))


def _keys(verified_payload: bytes) -> list[SigningKey]:
    listed = dp.Descriptor.FromString(verified_payload).signing_keys
    return [
        SigningKey(PublicKey.from_spki(key.public_key), key.not_before, key.not_after)
        for key in listed
        if is_ed25519(key.public_key)
    ]
