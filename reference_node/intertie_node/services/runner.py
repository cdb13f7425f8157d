"""Runs backends for started invocations and turns what they do into steps (design §9)."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from intertie.errors import IntertieError
from intertie.v1.envelope_pb2 import Payload, Problem
from intertie_node.core import executing
from intertie_node.core.effects import Effects
from intertie_node.core.grid import Grid
from intertie_node.core.invocations import Invocation
from intertie_node.core.work import GiveInput, StartWork, StopWork
from intertie_node.core.world import problem
from intertie_node.ports import Backend, RefuseWork
from intertie_node.services import backend_words as words
from intertie_node.services.backend_words import Finished

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
        await self._metered(words.usage_of({unit: quantity}), None)

    async def chunk(self, data: bytes, media_type: str = "text/plain", usage: Mapping[str, int] | None = None) -> None:
        """Send a durable piece of output (see `ports.Run`)."""
        await self._metered(words.usage_of(usage or {}), words.payload_of(data, media_type))

    async def _metered(self, usage: Mapping[str, int], piece: Payload | None) -> None:
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
        message = words.progress_of(done, total, comment)
        self.step(lambda inv, fx: executing.progressed(self._grid.world, inv, message, fx))

    async def ask(self, prompt: str, schema: bytes = b"") -> bytes:
        """Ask the caller for input (see `ports.Run`)."""
        text, wanted = words.question_of(prompt, schema)

        def act(inv: Invocation, fx: Effects) -> None:
            if not executing.asked(self._grid.world, inv, text, wanted, fx):
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
        self._failed(run, problem(reason, "The work was stopped."))

    def _failed(self, run: ActiveRun, failure: Problem) -> None:
        run.step(lambda inv, fx: executing.failed(self._grid.world, inv, failure, fx))

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
            done = await self._bounded(run, work)
        except RefuseWork as error:
            refusal = words.problem_of(error.error)
            run.step(lambda inv, fx: executing.refused(world, inv, refusal, fx))
        except IntertieError as error:
            self._failed(run, words.problem_of(error))
        except asyncio.CancelledError as error:
            reason = words.stopped_by(error)
            if reason != "NODE_DRAINING":
                self._stopped(run, reason)
        except Exception:
            log.exception("backend of %s failed", work.offer)
            broken = "The backend failed unexpectedly; its operator's log says how."
            self._failed(run, problem("EXECUTION_FAILED", broken))
        else:
            run.step(lambda inv, fx: executing.completed(world, inv, done.output, done.is_error, done.energy, fx))
        finally:
            self._runs.pop(work.invocation, None)

    async def _bounded(self, run: ActiveRun, work: StartWork) -> Finished:
        backend = self._backends.get(work.offer)
        if backend is None:
            raise IntertieError("BACKEND_UNAVAILABLE", f"No backend serves {work.offer} any more.")
        return words.finished_of(await backend.run(work.offer, run))
