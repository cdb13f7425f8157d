"""What vectors cannot show of signed documents: validity in time, succession, caching (design §6, §9)."""

from __future__ import annotations

import msgspec
import pytest

from intertie import agreements, descriptors, envelope, records, registry
from intertie.errors import IntertieError
from intertie.keys import PrivateKey
from intertie.names import is_address, is_grid
from intertie.v1 import entry_pb2 as pb
from intertie.v1.descriptor_pb2 import Descriptor
from intertie.v1.descriptor_pb2 import SigningKey as SigningKeyMessage
from intertie.v1.envelope_pb2 import Envelope
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED

ROOT, NEW_ROOT, SIGNER = (PrivateKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
SOUTH_ROOT, SOUTH_SIGNER = (PrivateKey.from_seed(bytes([number]) * 32) for number in (4, 5))


def grid(name: str, root: PrivateKey, signer: PrivateKey) -> descriptors.VerifiedDescriptor:
    keys = (descriptors.SigningKey(signer.public, 100, 200),)
    statement = descriptors.Statement(grid=name, issued_at=1, signing_keys=keys)
    return descriptors.verify_chain([descriptors.issue([], statement, root)])


NORTH, SOUTH = grid("north.example", ROOT, SIGNER), grid("south.example", SOUTH_ROOT, SOUTH_SIGNER)


@pytest.mark.parametrize(("time", "valid"), [(99, False), (100, True), (200, True), (201, False)])
def test_signing_keys_are_valid_from_their_first_to_their_last_millisecond(time: int, valid: bool) -> None:
    assert (SIGNER.public.key_id in descriptors.signing_keys_at(NORTH, time)) is valid


def test_the_fingerprint_stays_when_the_root_changes() -> None:
    statement = descriptors.Statement(grid="north.example", issued_at=1, signing_keys=NORTH.signing_keys)
    first = descriptors.issue([], statement, ROOT)
    second = descriptors.issue([first], statement, NEW_ROOT, ROOT)
    latest = descriptors.verify_chain([first, second])
    assert (latest.fingerprint, latest.root_key) == (ROOT.public.key_id, NEW_ROOT.public)
    assert latest.history[0] == descriptors.verify_chain([first]).digest
    with pytest.raises(IntertieError, match="SIGNATURE_INVALID"):
        descriptors.issue([first, second], statement, ROOT)


def test_a_chain_of_257_is_refused_before_any_signature_is_checked() -> None:
    with pytest.raises(IntertieError, match="DESCRIPTOR_INVALID"):
        descriptors.verify_chain([b"\xff"] * 257)


def test_signing_keys_of_unknown_algorithms_are_left_to_newer_readers() -> None:
    def sealed(*keys: bytes) -> bytes:
        signing = [SigningKeyMessage(public_key=key, not_before=1, not_after=2) for key in keys]
        message = Descriptor(grid="a.example", version=1, root_key=ROOT.public.spki, signing_keys=signing)
        return envelope.seal(envelope.DESCRIPTOR, message.SerializeToString(), [ROOT])

    mixed = descriptors.verify_chain([sealed(b"post-quantum", SIGNER.public.spki)])
    assert [signing.key for signing in mixed.signing_keys] == [SIGNER.public]
    with pytest.raises(IntertieError, match="DESCRIPTOR_INVALID"):
        descriptors.verify_chain([sealed(b"post-quantum")])


@pytest.mark.parametrize("name", ["north.example", "a", "xn--bcher-kva.example", "1.a", "a-b.c", "a." * 126 + "a"])
def test_grid_names(name: str) -> None:
    assert is_grid(name)


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", "-a", "a-", "A", "a_b", "10.0.0.1", "a/b", "a\n", "b" * 64, "é"]
)
def test_other_names(name: str) -> None:
    assert not is_grid(name)


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("north.example:443", True),
        ("127.0.0.1:65535", True),
        ("[::1]:7443", True),
        ("north.example:65536", False),
        ("north.example:0", False),
        ("::1:7443", False),
        ("north.example:443/", False),
        ("user@north.example:443", False),
        (":443", False),
    ],
)
def test_addresses(address: str, good: bool) -> None:
    assert is_address(address) is good


TERMS = agreements.Terms(
    proposer=agreements.Party(NORTH.fingerprint, NORTH.grid, bytes(16), 10, 1),
    acceptor=agreements.Party(SOUTH.fingerprint, SOUTH.grid, bytes(16), 20, 2),
    asset="XTS",
    scale=6,
    claim_window_ms=1000,
    max_skew_ms=1000,
    max_open_holds=1,
    max_hold_ms=1000,
    proposed_at=150,
)


def changed(terms: agreements.Terms, **changes: object) -> agreements.Terms:
    return msgspec.structs.replace(terms, **changes)


@pytest.mark.parametrize("field", ["credit_limit", "max_unagreed"])
def test_an_amount_that_no_agreement_can_state_is_refused(field: str) -> None:
    agreements.propose(changed(TERMS, proposer=msgspec.structs.replace(TERMS.proposer, **{field: 2**63 - 1})), SIGNER)
    with pytest.raises(IntertieError, match="AMOUNT_INVALID"):
        agreements.propose(changed(TERMS, acceptor=msgspec.structs.replace(TERMS.acceptor, **{field: 2**63})), SIGNER)


def test_an_agreement_keeps_its_bytes_and_names_both_sides() -> None:
    proposal = agreements.propose(TERMS, SIGNER)
    both = agreements.countersign(proposal, NORTH, SOUTH, SOUTH_SIGNER)
    verified = agreements.verify(both, NORTH, SOUTH)
    assert verified.payload == agreements.verify(proposal, NORTH).payload
    assert (verified.envelope, verified.countersigned) == (both, True)
    assert verified.party(SOUTH.fingerprint).credit_limit == 20
    assert verified.counterparty(SOUTH.fingerprint).credit_limit == 10
    with pytest.raises(KeyError):
        verified.counterparty(bytes(34))


def test_an_agreement_that_fits_no_entry_is_refused() -> None:
    """A stranger's signatures are ignored, not weighed: 1 MiB of them is more than its proposer can write down."""
    both = Envelope.FromString(agreements.countersign(agreements.propose(TERMS, SIGNER), NORTH, SOUTH, SOUTH_SIGNER))
    ballast = both.signatures.add(key_id=b"nobody")
    ballast.value = bytes(agreements.MAX_BYTES - both.ByteSize() - 8)
    assert agreements.verify(both.SerializeToString(), NORTH, SOUTH).countersigned
    entry = pb.Entry(kind=pb.ENTRY_KIND_AGREEMENT, seen=2**63 - 1, at=2**63 - 1)
    entry.agreement.agreement = both.SerializeToString()
    assert entry.ByteSize() <= registry.LIMITS["entry_bytes"].maximum
    ballast.value += bytes(9)
    with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
        agreements.verify(both.SerializeToString(), NORTH, SOUTH)


def test_a_later_version_makes_no_genesis() -> None:
    first = agreements.verify(agreements.propose(TERMS, SIGNER), NORTH)
    second = agreements.propose(changed(TERMS, version=2, previous=first.digest), SIGNER)
    with pytest.raises(ValueError, match="first version"):
        _ = agreements.verify(second, NORTH).genesis


def test_countersigning_with_a_key_of_someone_else_is_refused() -> None:
    with pytest.raises(IntertieError, match="SIGNATURE_INVALID"):
        agreements.countersign(agreements.propose(TERMS, SIGNER), NORTH, SOUTH, SIGNER)


def test_terms_out_of_range_are_not_proposed() -> None:
    with pytest.raises(IntertieError, match="AGREEMENT_INVALID"):
        agreements.propose(changed(TERMS, scale=10), SIGNER)


def test_either_party_may_propose_the_next_version() -> None:
    first = agreements.verify(agreements.propose(TERMS, SIGNER), NORTH)
    following = changed(TERMS, version=2, previous=first.digest)
    agreements.check_successor(first, first.digest, following)
    swapped = changed(following, proposer=TERMS.acceptor, acceptor=TERMS.proposer)
    agreements.check_successor(first, first.digest, swapped)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 3),
        ("previous", b""),
        ("asset", "EUR"),
        ("scale", 5),
        ("suite", "other"),
        ("acceptor", agreements.Party(ROOT.public.key_id, "south.example", bytes(16), 1, 1)),
        ("acceptor", agreements.Party(SOUTH.fingerprint, "east.example", bytes(16), 1, 1)),
    ],
)
def test_what_may_not_change_in_the_next_version(field: str, value: object) -> None:
    following = changed(TERMS, version=2, previous=bytes(34))
    agreements.check_successor(TERMS, bytes(34), following)
    with pytest.raises(IntertieError, match="AGREEMENT_INVALID"):
        agreements.check_successor(TERMS, bytes(34), changed(following, **{field: value}))


def record(number: int) -> bytes:
    digest = b"\x12\x20" + bytes(32)
    return ExecutionRecord(
        executor=NORTH.fingerprint,
        nonce=number.to_bytes(16, "big"),
        offer_digest=digest,
        input_digest=digest,
        state=TASK_STATE_COMPLETED,
    ).SerializeToString()


def test_a_root_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    unseal = envelope.unseal
    monkeypatch.setattr(envelope, "unseal", lambda *args: calls.append(1) or unseal(*args))
    proofs = records.prove([record(number) for number in range(9)], NORTH.fingerprint, 150, SIGNER)
    cache = records.RootCache()
    nonces = [records.verify_proof(proof, NORTH, cache).nonce[-1] for proof in proofs]
    assert (nonces, len(calls)) == (list(range(9)), 1)


def test_the_cache_is_bounded_and_drops_what_was_used_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    unseal = envelope.unseal
    monkeypatch.setattr(envelope, "unseal", lambda sealed, *rest: opened.append(sealed) or unseal(sealed, *rest))
    cache = records.RootCache(2)
    first, second, third = (records.prove([record(number)], NORTH.fingerprint, 150, SIGNER)[0] for number in range(3))
    for proof in (first, second, first, third, first, second):
        records.verify_proof(proof, NORTH, cache)
        assert len(cache) <= 2
    assert opened == [first.root, second.root, third.root, second.root]


def test_a_cached_root_is_not_believed_of_another_grid_or_a_newer_descriptor() -> None:
    proof = records.prove([record(1)], NORTH.fingerprint, 150, SIGNER)[0]
    cache = records.RootCache()
    records.verify_proof(proof, NORTH, cache)
    statement = descriptors.Statement(grid=NORTH.grid, issued_at=1, signing_keys=SOUTH.signing_keys)
    first = descriptors.issue([], statement, ROOT)
    for executor in (SOUTH, descriptors.verify_chain([first])):
        with pytest.raises(IntertieError, match="CHARGE_UNPROVEN"):
            records.verify_proof(proof, executor, cache)


def test_a_refused_root_is_not_cached() -> None:
    proof = records.prove([record(1)], NORTH.fingerprint, 201, SIGNER)[0]
    cache = records.RootCache()
    for _ in range(2):
        with pytest.raises(IntertieError, match="CHARGE_UNPROVEN"):
            records.verify_proof(proof, NORTH, cache)
    assert len(cache) == 0
