"""Proposals to the target, sound ones and others, through its public port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from intertie.v1 import descriptor_pb2 as ds
from intertie.v1 import directory_pb2 as dr
from intertie.v1.agreement_pb2 import Agreement
from intertie_conformance.grid.identity import Identity
from intertie_conformance.grid.terms import terms
from intertie_conformance.roles.operator import FULL
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import Slip, fail
from intertie_conformance.wire import agreements, descriptors
from intertie_conformance.wire.status import Said, said


async def propose(stage: Stage, chain: Sequence[bytes], sealed: bytes) -> dr.ProposeResponse | Said:
    """Send a proposal: the answer, or what it was refused with. Raises: Slip if the target has no room for it."""
    stage.trace.note("stranger", f"→ Propose, {len(chain)} descriptors, an agreement of {len(sealed)} bytes")
    request = dr.ProposeRequest(descriptors=chain, agreement=sealed)
    try:
        answer: dr.ProposeResponse = await stage.target.directory().Propose(request, timeout=stage.patience)
    except grpc.aio.AioRpcError as error:
        told = said(error)
        stage.trace.note("stranger", f"← {told}")
        if told.reason == "NODE_BUSY":
            raise Slip(FULL) from None
        return told
    stage.trace.note("stranger", f"← state {answer.state}")
    return answer


async def refused(stage: Stage, chain: Sequence[bytes], sealed: bytes, *reasons: str) -> Said:
    """Send a proposal that must be refused with one of these reasons."""
    answer, wanted = await propose(stage, chain, sealed), " or ".join(reasons)
    if not isinstance(answer, Said):
        fail(f"Propose refused with {wanted}", f"state {answer.state}")
    if answer.reason not in reasons:
        fail(f"Propose refused with {wanted}", answer)
    stage.saw(f"the proposal was refused with {answer.reason}")
    return answer


async def taken(stage: Stage, chain: Sequence[bytes], sealed: bytes) -> dr.ProposeResponse:
    """Send a proposal that must be taken: the positive control."""
    answer = await propose(stage, chain, sealed)
    if isinstance(answer, Said):
        fail("a sound proposal is taken", answer)
    stage.saw("a sound proposal was taken")
    return answer


def sound(stage: Stage, me: Identity | None = None, **changes: Any) -> tuple[Identity, bytes]:
    """A grid and its signed proposal, with terms changed."""
    who = me or stage.peerings.identity()
    return who, agreements.propose(terms(who, stage.target.described, **changes), who.key)


def bent_terms(stage: Stage, me: Identity, bend: Callable[[Agreement], object]) -> bytes:
    """A signed proposal whose terms were changed by `bend`."""
    message = terms(me, stage.target.described)
    bend(message)
    return agreements.propose(message, me.key)


def bent_chain(me: Identity, bend: Callable[[ds.Descriptor], object]) -> list[bytes]:
    """A descriptor chain of one version, its statement changed by `bend` before it was signed."""
    message = me.statement()
    bend(message)
    return [descriptors.issue([], message, me.root)]
