"""What a head signature may hold."""

import pytest

from intertie.chain import link_signature_bytes
from intertie.keys import PrivateKey
from intertie.v1 import link_pb2 as lk
from intertie_node.core.pair import signed_by

KEY = PrivateKey.from_seed(bytes(32))
GENESIS, HEAD, SESSION = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
KEYS = {KEY.public.key_id: KEY.public}


def signature(count: int = 1) -> lk.HeadSignature:
    made = lk.HeadSignature(seq=1, head=HEAD, acked=0, acked_head=GENESIS, agreed_total=bytes(16), session=SESSION)
    value = KEY.sign(link_signature_bytes(GENESIS, SESSION, 1, HEAD, 0, GENESIS, 0))
    for _ in range(count):
        made.signatures.add(key_id=KEY.public.key_id, value=value)
    return made


@pytest.mark.parametrize(("count", "holds"), [(0, False), (1, True), (8, True), (9, False)])
def test_a_head_signature_holds_one_to_eight(count: int, holds: bool) -> None:
    assert signed_by(GENESIS, signature(count), KEYS) is holds


@pytest.mark.parametrize("field", ["head", "acked_head", "session", "agreed_total"])
@pytest.mark.parametrize("size", [0, 1, 31, 33])
def test_fields_of_other_sizes_are_signed_by_nobody(field: str, size: int) -> None:
    made = signature()
    setattr(made, field, bytes(size))
    assert signed_by(GENESIS, made, KEYS) is False
