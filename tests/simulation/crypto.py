"""Signatures of simulated worlds are real; each is verified at most once, and one that was made here not at all.

A verification is a pure function of key, message and signature, and advertisements repeat the same ones over
and over: its result is kept. A wrong signature stays wrong.
"""

from __future__ import annotations

from functools import lru_cache

from intertie.descriptors import VerifiedDescriptor, verify_chain
from intertie.keys import PrivateKey, PublicKey
from intertie_node.core import routing

MAX_KEPT = 200_000
_plain, _made = PublicKey.verify, PrivateKey.sign
_kept: dict[tuple[bytes, bytes, bytes], bool] = {}


def _verify(key: PublicKey, signature: bytes, data: bytes) -> bool:
    question = (key.spki, signature, data)
    answer = _kept.get(question)
    if answer is None:
        answer = _plain(key, signature, data)
        _keep(question, answer)
    return answer


def _sign(key: PrivateKey, data: bytes) -> bytes:
    signature = _made(key, data)
    _keep((key.public.spki, signature, data), True)
    return signature


def _keep(question: tuple[bytes, bytes, bytes], answer: bool) -> None:
    if len(_kept) > MAX_KEPT:
        _kept.clear()
    _kept[question] = answer


@lru_cache(4096)
def _chain(documents: tuple[bytes, ...]) -> VerifiedDescriptor:
    return verify_chain(documents)


def keep_verifications() -> None:
    """From now on in this process, verify nothing twice: neither signatures nor chains of descriptors."""
    PublicKey.verify = _verify  # type: ignore[method-assign]
    PrivateKey.sign = _sign  # type: ignore[method-assign]
    routing.verify_chain = lambda documents: _chain(tuple(documents))  # type: ignore[attr-defined]
