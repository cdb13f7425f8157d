"""The target as the suite meets it: its descriptor, its ports, its process if the suite has started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import ssl
from collections.abc import Callable
from typing import Any, Final

import grpc
import msgspec

from intertie.v1 import descriptor_pb2 as ds
from intertie.v1 import directory_pb2 as dr
from intertie.v1 import directory_pb2_grpc
from intertie_conformance.config import Config, TargetTable
from intertie_conformance.grid.identity import Identity
from intertie_conformance.grid.ports import peer_channel
from intertie_conformance.grid.streams import OPTIONS
from intertie_conformance.wire.certificates import grid_of, to_der, to_pem
from intertie_conformance.wire.descriptors import Described, read_chain
from intertie_conformance.wire.refusal import Refusal

STOP_S: Final = 10.0
DYING_S: Final = 0.5
MEET_S: Final = 10.0
"""How long the first answer may take."""


class Unreachable(Exception):
    """The target cannot be met: no check can be run."""


class Target:
    """One target."""

    def __init__(self, config: Config) -> None:
        self.table = config.target
        self.suite = config.suite
        self.certificate = b""
        """What the public port has shown (DER)."""
        self.chain: list[bytes] = []
        self.described: Described
        self._process: asyncio.subprocess.Process | None = None
        self._channels: list[grpc.aio.Channel] = []
        self._public: grpc.aio.Channel | None = None
        self.ends: list[Callable[[], Any]] = []
        """What is awaited when the run is over."""
        self._consumer: grpc.aio.Channel | None = None
        self.second_account = asyncio.Lock()
        """Held by the check that uses the second consumer's account."""

    @property
    def grid(self) -> str:
        """The target's name."""
        return self.described.grid

    async def ended(self, within_s: float = 0.0) -> str:
        """How the process that the suite has started has ended, "" if it runs; waits a little for its end."""
        if self._process is None:
            return ""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), within_s)
        status = self._process.returncode
        return "" if status is None else f"the target's process has ended with status {status}"

    @property
    def peer_address(self) -> str:
        """Its peer port."""
        return next(iter(self.described.addresses(ds.ENDPOINT_KIND_PEER)), "")

    # -- meeting ----------------------------------------------------------------------------------

    async def meet(self) -> None:
        """Start the target if it is ours to start, and read its descriptor. Raises: Unreachable."""
        if self.table.command:
            await self._start()
        self.certificate = await self._shown()
        try:
            answer = await self.directory().GetDescriptor(dr.GetDescriptorRequest(), timeout=MEET_S)
            self.chain = list(answer.descriptors)
            self.described = read_chain(self.chain)
        except grpc.aio.AioRpcError as error:
            raise Unreachable(f"GetDescriptor at {self.table.public}: {error.code().name} {error.details()}") from None
        except Refusal as refusal:
            raise Unreachable(f"the descriptor at {self.table.public} is not sound: {refusal}") from None
        if not self.peer_address:
            raise Unreachable(f"the descriptor at {self.table.public} names no peer endpoint")

    async def _start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *shlex.split(self.table.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Unreachable(f"the command {self.table.command!r} cannot be run: {error}") from None
        assert self._process.stdout is not None
        line = b""
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), self.table.start_s)
            said = msgspec.json.decode(line, type=dict[str, Any])
            self.table = msgspec.convert({**msgspec.structs.asdict(self.table), **said}, TargetTable)
        except TimeoutError:
            await self.stop()
            raise Unreachable(f"the command did not say within {self.table.start_s:g} s how it is reached") from None
        except msgspec.MsgspecError as error:
            ended = await self.ended(DYING_S)
            await self.stop()
            shown, why = line.decode(errors="replace")[:200], error if line else ended
            raise Unreachable(f"how it is reached: the command's first line is {shown!r}: {why}") from None

    async def _shown(self) -> bytes:
        host, _, port = self.table.public.rpartition(":")
        if not host or not port.isdigit():
            raise Unreachable(f"target.public is {self.table.public!r}; host:port is expected")
        end = asyncio.get_running_loop().time() + self.suite.answer_s
        while True:
            try:
                fetch = asyncio.to_thread(ssl.get_server_certificate, (host.strip("[]"), int(port)), timeout=2.0)
                return to_der((await asyncio.wait_for(fetch, self.suite.answer_s)).encode())
            except (OSError, TimeoutError, ValueError) as error:
                if asyncio.get_running_loop().time() > end:
                    raise Unreachable(f"no TLS server at {self.table.public}: {error}") from None
                await asyncio.sleep(0.1)

    # -- calling ----------------------------------------------------------------------------------

    def public(self) -> grpc.aio.Channel:
        """A channel to the public port, which must show what it has shown before."""
        if self._public is None:
            credentials = grpc.ssl_channel_credentials(to_pem([self.certificate]))
            options = (*OPTIONS, ("grpc.ssl_target_name_override", grid_of(self.certificate)))
            self._public = grpc.aio.secure_channel(self.table.public, credentials, options=options)
            self._channels.append(self._public)
        return self._public

    def directory(self) -> Any:
        """DirectoryService at the public port."""
        return directory_pb2_grpc.DirectoryServiceStub(self.public())

    def consumer(self) -> grpc.aio.Channel:
        """A channel to the consumer face."""
        if not self.table.consumer:
            return self.public()
        if self._consumer is None:
            self._consumer = grpc.aio.insecure_channel(self.table.consumer, options=OPTIONS)
            self._channels.append(self._consumer)
        return self._consumer

    def channel(self, me: Identity) -> grpc.aio.Channel:
        """A channel to the peer port as one of the suite's grids."""
        channel = peer_channel(self.peer_address, me, self.grid, list(self.described.message.certificates))
        self._channels.append(channel)
        return channel

    async def stop(self) -> None:
        """Close what was opened; end the process that was started."""
        for end in self.ends:
            await end()
        for channel in self._channels:
            await channel.close()
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
                return
