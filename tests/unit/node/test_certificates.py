"""The certificate profile (RFC 0004, section 3.7)."""

import datetime
import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from intertie.errors import IntertieError
from intertie_node.services.certificates import check_certificates

GRID = "north.example"
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def made(
    *,
    usages: tuple[x509.ObjectIdentifier, ...] = BOTH,
    digest: Any = None,
    ca: bool = False,
    names: tuple[str, ...] = (GRID,),
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hashlib.sha256(spki).hexdigest())])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(key, digest or hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_certificate_of_the_profile_is_taken() -> None:
    check_certificates(GRID, [made(), made()])


@pytest.mark.parametrize(
    "changes",
    [
        {"usages": ()},
        {"usages": BOTH[:1]},
        {"usages": (*BOTH, ExtendedKeyUsageOID.CODE_SIGNING)},
        {"digest": hashes.SHA512()},
        {"ca": True},
        {"names": (GRID, "south.example")},
        {"names": ("south.example",)},
    ],
)
def test_a_certificate_that_breaks_the_profile_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntertieError) as caught:
        check_certificates(GRID, [made(), made(**changes)])
    assert caught.value.reason == "CERTIFICATE_MISMATCH"


def test_a_certificate_that_does_not_parse_is_refused() -> None:
    version_3, version_10 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09"
    with pytest.raises(IntertieError, match="CERTIFICATE_MISMATCH"):
        check_certificates(GRID, [made().replace(version_3, version_10)])
