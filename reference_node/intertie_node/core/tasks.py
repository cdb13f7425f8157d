"""The states of an invocation, as A2A names them, and what moves them (design §9)."""

from collections.abc import Mapping
from enum import StrEnum

from intertie.v1.task_pb2 import TaskState as T


class TaskSignal(StrEnum):
    """What can happen to an invocation at one node."""

    STARTED = "work started"
    ASKED = "input asked"
    ANSWERED = "input given"
    DONE = "work done"
    FAILED = "work failed or outcome unknown"
    STOPPED = "work stopped on request"
    REJECTED = "refused before any work"


_SUB, _WORK, _ASK, _AUTH = (
    T.TASK_STATE_SUBMITTED,
    T.TASK_STATE_WORKING,
    T.TASK_STATE_INPUT_REQUIRED,
    T.TASK_STATE_AUTH_REQUIRED,
)
TERMINAL = frozenset({T.TASK_STATE_COMPLETED, T.TASK_STATE_FAILED, T.TASK_STATE_CANCELED, T.TASK_STATE_REJECTED})
_ENDS = {
    TaskSignal.DONE: T.TASK_STATE_COMPLETED,
    TaskSignal.FAILED: T.TASK_STATE_FAILED,
    TaskSignal.STOPPED: T.TASK_STATE_CANCELED,
}

TASK_TABLE: Mapping[tuple[int, TaskSignal], int | None] = {
    (_SUB, TaskSignal.STARTED): _WORK,
    (_SUB, TaskSignal.ASKED): None,
    (_SUB, TaskSignal.ANSWERED): None,
    (_SUB, TaskSignal.REJECTED): T.TASK_STATE_REJECTED,
    (_WORK, TaskSignal.STARTED): None,
    (_WORK, TaskSignal.ASKED): _ASK,
    (_WORK, TaskSignal.ANSWERED): None,
    (_WORK, TaskSignal.REJECTED): T.TASK_STATE_REJECTED,
    (_ASK, TaskSignal.STARTED): None,
    (_ASK, TaskSignal.ASKED): None,
    (_ASK, TaskSignal.ANSWERED): _WORK,
    (_ASK, TaskSignal.REJECTED): None,
    (_AUTH, TaskSignal.STARTED): None,
    (_AUTH, TaskSignal.ASKED): None,
    (_AUTH, TaskSignal.ANSWERED): _WORK,
    (_AUTH, TaskSignal.REJECTED): None,
    **{(state, signal): end for state in (_SUB, _WORK, _ASK, _AUTH) for signal, end in _ENDS.items()},
    **{(state, signal): None for state in TERMINAL for signal in TaskSignal},
}
"""(state, signal) → next state, or None where the signal has no effect: the first terminal one decides."""

SIGNAL_OF_END: Mapping[int, TaskSignal] = {
    T.TASK_STATE_COMPLETED: TaskSignal.DONE,
    T.TASK_STATE_FAILED: TaskSignal.FAILED,
    T.TASK_STATE_CANCELED: TaskSignal.STOPPED,
    T.TASK_STATE_REJECTED: TaskSignal.REJECTED,
}
