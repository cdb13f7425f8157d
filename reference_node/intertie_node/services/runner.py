"""Runs backends for started invocations and turns what they do into steps (design §9)."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from intertie.errors import IntertieError, to_problem
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Progress
from intertie.v1.metering_pb2 import Energy
from intertie_node.core import executing
from intertie_node.core.effects import Effects
from intertie_node.core.frames import INLINE_BYTES
from intertie_node.core.grid import Grid
from intertie_node.core.invocations import Invocation
from intertie_node.core.work import GiveInput, StartWork, StopWork
from intertie_node.core.world import problem
from intertie_node.ports import Backend, RefuseWork, WorkResult

log = logging.getLogger(__name__)
Submit = Callable[[Callable[[Effects], None]], None]
Act = Callable[[Invocation, Effects], None]


class ActiveRun:
    """One running invocation, as its backend sees it (`ports.Run`)."""

    def __init__(self, grid: Grid, submit: Submit, work: StartWork) -> None:
        self._grid = grid
        self._submit = submit
        self.invocation = work.invocation
        self.input = work.input
        self.media_type = work.media_type
        self.deadline = work.deadline
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        """Whether the task has taken its first step."""
        self._replies: asyncio.Queue[bytes] | None = None

    def step(self, act: Act) -> None:
        """Have `act` happen to the invocation, if it still is in memory; if not, what still runs is stopped."""

        def run(fx: Effects) -> None:
            inv = self._grid.by_key(self.invocation)
            if inv is not None:
                act(inv, fx)
            else:
                fx.reply(self._forgotten, None)

        self._submit(run)

    def _forgotten(self, _: None) -> None:
        if self.task is not None:
            self.task.cancel("CANCELED")

    async def meter(self, unit: str, quantity: int) -> None:
        """Add atoms of a unit (see `ports.Run`)."""
        await self._metered({unit: quantity}, None)

    async def chunk(self, data: bytes, media_type: str = "text/plain", usage: Mapping[str, int] | None = None) -> None:
        """Send a durable piece of output (see `ports.Run`)."""
        await self._metered(usage or {}, Payload(media_type=media_type, data=data))

    async def _metered(self, usage: Mapping[str, int], piece: Payload | None) -> None:
        if any(quantity < 0 for quantity in usage.values()):
            raise IntertieError("INVALID_ARGUMENT", "A backend metered a negative quantity.")
        waiter: asyncio.Future[IntertieError | None] = asyncio.get_running_loop().create_future()

        def done(error: IntertieError | None) -> None:
            if not waiter.done():
                waiter.set_result(error)

        self.step(lambda inv, fx: executing.metered(self._grid.world, inv, usage, piece, done, fx))
        error = await waiter
        if error is not None:
            raise error

    def progress(self, done: int, total: int = 0, comment: str = "") -> None:
        """Send ephemeral progress (see `ports.Run`)."""
        message = Progress(done=done, total=total, comment=comment[:1024])
        self.step(lambda inv, fx: executing.progressed(self._grid.world, inv, message, fx))

    async def ask(self, prompt: str, schema: bytes = b"") -> bytes:
        """Ask the caller for input (see `ports.Run`)."""
        if len(prompt.encode()) + len(schema) > INLINE_BYTES:
            raise IntertieError("PAYLOAD_TOO_LARGE", f"Prompt and schema may have {INLINE_BYTES} bytes together.")

        def act(inv: Invocation, fx: Effects) -> None:
            if not executing.asked(self._grid.world, inv, prompt, schema, fx):
                fx.reply(self._forgotten, None)

        self._replies = self._replies or asyncio.Queue()
        self.step(act)
        return await self._replies.get()

    def give(self, data: bytes) -> None:
        """Hand over an input reply that was asked for."""
        if self._replies is not None:
            self._replies.put_nowait(data)


class Runner:
    """Starts, stops and feeds runs."""

    def __init__(self, grid: Grid, submit: Submit) -> None:
        self._grid = grid
        self._submit = submit
        self._backends: dict[str, Backend] = {}
        self._runs: dict[str, ActiveRun] = {}

    def serve(self, offer: str, backend: Backend) -> None:
        """Have `backend` do the work of an own offer, by name."""
        self._backends[offer] = backend

    @property
    def running(self) -> int:
        """Number of running invocations."""
        return len(self._runs)

    def start(self, work: StartWork) -> None:
        """Start a run."""
        run = ActiveRun(self._grid, self._submit, work)
        self._runs[work.invocation] = run
        run.task = asyncio.create_task(self._work(run, work))

    def stop(self, work: StopWork) -> None:
        """Cancel a run; its end is reported as a failure with the reason, unless the core has ended it already."""
        run = self._runs.get(work.invocation)
        if run is None or run.task is None:
            log.info("nothing runs for %s", work.invocation)
            return
        run.task.cancel(work.reason)
        if not run.begun:  # a task that is cancelled before its first step runs nothing, not even its handlers
            del self._runs[work.invocation]
            self._stopped(run, work.reason)

    def _stopped(self, run: ActiveRun, reason: str) -> None:
        stopped = problem(reason, "The work was stopped.")
        run.step(lambda inv, fx: executing.failed(self._grid.world, inv, stopped, fx))

    def give(self, work: GiveInput) -> None:
        """Hand an input reply to a run."""
        run = self._runs.get(work.invocation)
        if run is not None:
            run.give(work.data)

    async def drain(self, seconds: float) -> None:
        """Wait for what runs, at most `seconds`; what is left is cancelled and will be recovered."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel("NODE_DRAINING")

    async def _work(self, run: ActiveRun, work: StartWork) -> None:
        world, run.begun = self._grid.world, True
        try:
            result = await self._bounded(run, work)
        except RefuseWork as error:
            refusal = to_problem(error.error)
            run.step(lambda inv, fx: executing.refused(world, inv, refusal, fx))
        except IntertieError as error:
            failure = to_problem(error)
            run.step(lambda inv, fx: executing.failed(world, inv, failure, fx))
        except asyncio.CancelledError as error:
            reason = str(error.args[0]) if error.args else "CANCELED"
            if reason != "NODE_DRAINING":
                self._stopped(run, reason)
        except Exception:
            log.exception("backend of %s failed", work.offer)
            broken = problem("EXECUTION_FAILED", "The backend failed unexpectedly; its operator's log says how.")
            run.step(lambda inv, fx: executing.failed(world, inv, broken, fx))
        else:
            output = Payload(media_type=result.media_type, data=result.output)
            energy: Energy | None = result.energy
            run.step(lambda inv, fx: executing.completed(world, inv, output, result.is_error, energy, fx))
        finally:
            self._runs.pop(work.invocation, None)

    async def _bounded(self, run: ActiveRun, work: StartWork) -> WorkResult:
        backend = self._backends.get(work.offer)
        if backend is None:
            raise IntertieError("BACKEND_UNAVAILABLE", f"No backend serves {work.offer} any more.")
        return await backend.run(work.offer, run)
