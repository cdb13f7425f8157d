"""The certificate profile of the peer port, checked before a grid is peered with (design §6, certificate).

All admitted certificates are trust anchors of one TLS server. One that is a CA, that bears another's subject
or that is another grid's own would let its owner impersonate or shut out a peer; one that cannot be parsed
would keep everybody out.
"""

import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from intertie.errors import IntertieError

USAGES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def check_certificates(grid: str, certificates: Sequence[bytes]) -> None:
    """Check that certificates (DER) keep the profile and name `grid`. Raises: IntertieError CERTIFICATE_MISMATCH."""
    for data in certificates:
        try:
            fault = _fault(grid, x509.load_der_x509_certificate(data))
        except Exception as error:  # those of `cryptography` for what does not parse have no base of their own
            fault = f"it cannot be used: {type(error).__name__}"
        if fault:
            raise IntertieError("CERTIFICATE_MISMATCH", f"A certificate in {grid}'s descriptor: {fault}.", grid=grid)


def _fault(grid: str, certificate: x509.Certificate) -> str:
    """What breaks the profile, "" if nothing does."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return "its key is not P-256"
    certificate.verify_directly_issued_by(certificate)
    if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        return "it is a CA"
    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if names != [hashlib.sha256(spki).hexdigest()] or len(list(certificate.subject)) != 1:
        return "its subject is not the digest of its key"
    if not isinstance(certificate.signature_hash_algorithm, hashes.SHA256):
        return "it is not signed with SHA-256"
    if set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) != USAGES:
        return "its usages are not those of a server and a client"
    stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if [name.value for name in stated] != [grid]:
        return f"it does not name {grid} alone"
    return ""
