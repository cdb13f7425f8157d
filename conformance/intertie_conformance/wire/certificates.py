"""The certificate of a grid: self-signed P-256, CA:FALSE, CN = hex SHA-256 of its key, SAN = its name (RFC 0004)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USAGES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def make_certificate(
    grid: str,
    *,
    p384: bool = False,
    ca: bool = False,
    common_name: str = "",
    usages: bool = True,
    names: Sequence[str] = (),
    key: bytes = b"",
) -> tuple[bytes, bytes]:
    """A key (PEM; a new one if none is given) and a certificate (DER), valid for a week.

    The other options break the profile one by one.
    """
    made = (
        load_pem_private_key(key, None) if key else ec.generate_private_key(ec.SECP384R1() if p384 else ec.SECP256R1())
    )
    assert isinstance(made, ec.EllipticCurvePrivateKey)
    return _sign(grid, made, ca, common_name, usages, names or (grid,))


def _sign(
    grid: str, key: ec.EllipticCurvePrivateKey, ca: bool, common_name: str, usages: bool, names: Sequence[str]
) -> tuple[bytes, bytes]:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or sha256(spki).hexdigest())])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, certificate.public_bytes(Encoding.DER)


def to_pem(certificates: Iterable[bytes]) -> bytes:
    """Certificates (DER) as one PEM text."""
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in certificates)


def to_der(pem: bytes) -> bytes:
    """The first certificate of a PEM text."""
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def key_of(certificate: bytes) -> bytes:
    """The public key (SubjectPublicKeyInfo, DER) of a certificate (DER)."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def grid_of(certificate: bytes) -> str:
    """The DNS name that a certificate (DER) bears, "" if it bears none."""
    try:
        names = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except (ValueError, x509.ExtensionNotFound):
        return ""
    return next(iter(names.value.get_values_for_type(x509.DNSName)), "")


def fault_of(grid: str, certificate: bytes) -> str:
    """What breaks the profile in a certificate (DER) of `grid`, "" if nothing does."""
    try:
        read = x509.load_der_x509_certificate(certificate)
        key = read.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            return "its key is not P-256"
        read.verify_directly_issued_by(read)
        if read.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "it is a CA"
        if set(read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) != set(USAGES):
            return "it is for another usage"
        stated = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception as error:
        return f"it cannot be used: {type(error).__name__}"
    names = [attribute.value for attribute in read.subject]
    if names != [sha256(spki).hexdigest()]:
        return "its subject is not the digest of its key"
    return "" if list(stated) == [x509.DNSName(grid)] else f"it does not name {grid} alone"
