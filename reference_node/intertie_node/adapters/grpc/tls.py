"""The certificate profile and the credentials made of it (design §6, certificate).

Self-signed P-256, CA:FALSE, subject CN = hex SHA-256 of the public key, SAN = grid name. A peer is whoever
presents exactly a certificate of its descriptor; names and chains of other authorities mean nothing here.
"""

import datetime
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KeyPair = tuple[bytes, bytes]
"""Private key (PEM), certificate (DER)."""
LIFETIME = datetime.timedelta(days=365)
BACKDATE = datetime.timedelta(hours=1)


def make_certificate(grid: str, now: datetime.datetime) -> tuple[bytes, bytes]:
    """A new key and certificate for a grid: (private key PEM, certificate DER), valid for a year from `now`."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hashlib.sha256(spki).hexdigest())])
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(grid)]), critical=False)
        .add_extension(usages, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, certificate.public_bytes(Encoding.DER)


def to_pem(certificates: Iterable[bytes]) -> bytes:
    """Certificates (DER) as one PEM text."""
    return b"".join(x509.load_der_x509_certificate(c).public_bytes(Encoding.PEM) for c in certificates)


def to_der(pem: bytes) -> bytes:
    """The first certificate of a PEM text as DER."""
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


class PeerCredentials:
    """Credentials of the peer port; newly peered grids are admitted without a restart."""

    def __init__(
        self,
        own: KeyPair,
        peers: Callable[[], Sequence[bytes]],
        overlap: Callable[[], KeyPair | None] = lambda: None,
    ) -> None:
        self._own = own
        self._peers = peers
        """The certificates (DER) of all grids that may connect."""
        self._overlap = overlap
        """What is presented to peers instead of the own pair, while they may not know that yet."""
        self._served: tuple[KeyPair, tuple[bytes, ...]] = (own, ())

    def server(self) -> grpc.ServerCredentials:
        """Mutual TLS; the set of admitted certificates is asked for at each handshake."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(), cast(Any, self._changed), require_client_authentication=True
        )

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair, peers = self._served = self._wanted()
        # An empty set of roots would let gRPC fall back to the system's; the own certificate admits nobody else.
        roots = to_pem(peers or (pair[1],))
        return grpc.ssl_server_certificate_configuration([_pem(pair)], root_certificates=roots)

    def _wanted(self) -> tuple[KeyPair, tuple[bytes, ...]]:
        return self._overlap() or self._own, tuple(self._peers())

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        return self._configuration() if self._wanted() != self._served else None

    def public(self) -> grpc.ServerCredentials:
        """Server TLS for the public port."""
        return grpc.ssl_server_credentials([_pem(self._own)])

    def client(self, certificates: Sequence[bytes]) -> grpc.ChannelCredentials:
        """Mutual TLS towards a peer that must present one of `certificates`."""
        return grpc.ssl_channel_credentials(to_pem(certificates), *_pem(self._overlap() or self._own))


def _pem(pair: KeyPair) -> KeyPair:
    """A pair as gRPC wants it: both PEM."""
    return pair[0], to_pem([pair[1]])
