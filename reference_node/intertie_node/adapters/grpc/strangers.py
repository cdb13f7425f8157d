"""Asking grids that are not peers yet: server TLS towards a certificate that only their descriptor vouches for."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from cryptography import x509

from intertie.descriptors import verify_chain
from intertie.errors import IntertieError
from intertie.grpc_status import from_rpc_error
from intertie.names import is_grid
from intertie.v1 import directory_pb2 as dr
from intertie.v1 import directory_pb2_grpc
from intertie_node.adapters.grpc.tls import to_pem
from intertie_node.ports import Reach

TIMEOUT_S = 5.0


class DirectoryCalls:
    """Calls of DirectoryService (`ports.StrangerCalls`)."""

    async def descriptors(self, address: str) -> list[bytes]:
        """Descriptor chain of the grid at an address; what the TLS handshake showed must stand in it."""
        certificate = await _presented(address)
        grid = _named(certificate, address)
        reach = Reach(grid, (address,), (certificate,))
        answer = await _call(reach, lambda stub: stub.GetDescriptor(dr.GetDescriptorRequest(), timeout=TIMEOUT_S))
        chain = list(answer.descriptors)
        described = verify_chain(chain)
        if certificate not in described.certificates or described.grid != grid:
            raise IntertieError("CERTIFICATE_MISMATCH", f"The certificate at {address} is not in {grid}'s descriptor.")
        return chain

    async def propose(self, reach: Reach, request: dr.ProposeRequest) -> dr.ProposeResponse:
        """Send a proposal, or ask how it stands."""
        answer: dr.ProposeResponse = await _call(reach, lambda stub: stub.Propose(request, timeout=TIMEOUT_S))
        return answer


async def _presented(address: str) -> bytes:
    """The certificate (DER) that a TLS server shows; nothing is trusted yet."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise IntertieError("INVALID_ARGUMENT", f"{address} is not host:port.", field="address")
    try:
        pem = await asyncio.wait_for(asyncio.to_thread(_fetch, host.strip("[]"), int(port)), TIMEOUT_S)
    except (OSError, TimeoutError, ssl.SSLError) as error:
        raise IntertieError("PEER_UNAVAILABLE", f"{address} does not answer: {type(error).__name__} {error}") from error
    return ssl.PEM_cert_to_DER_cert(pem)


def _named(certificate: bytes, address: str) -> str:
    """The grid that a certificate (DER) names (RFC 0004, section 3.7). Raises: IntertieError CERTIFICATE_MISMATCH."""
    try:
        stated = x509.load_der_x509_certificate(certificate).extensions
        names = stated.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except Exception as error:  # those of `cryptography` for what does not parse have no base of their own
        message = f"The certificate at {address} is no grid's: {type(error).__name__} {error}"
        raise IntertieError("CERTIFICATE_MISMATCH", message) from error
    if len(names) != 1 or not is_grid(names[0]):
        raise IntertieError("CERTIFICATE_MISMATCH", f"The certificate at {address} does not name one grid.")
    return names[0]


def _fetch(host: str, port: int) -> str:
    return ssl.get_server_certificate((host, port), timeout=TIMEOUT_S)


async def _call(reach: Reach, ask: Callable[[Any], Any]) -> Any:
    problem = "The grid names no public endpoint."
    for address in reach.addresses:
        async with _channel(address, reach.grid, reach.certificates) as channel:
            try:
                return await ask(directory_pb2_grpc.DirectoryServiceStub(channel))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise from_rpc_error(error) from error
                problem = f"{address} does not answer: {error.details()}"
    raise IntertieError("PEER_UNAVAILABLE", problem)


def _channel(address: str, grid: str, certificates: Sequence[bytes]) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(to_pem(certificates))
    options = (("grpc.ssl_target_name_override", grid), ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.secure_channel(address, credentials, options=options)
