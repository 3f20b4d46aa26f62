"""The driver of a farm: it opens the jobs, gives their segments to workers, and outlives every worker."""

from __future__ import annotations

import logging
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vmatte.cluster.connection import Share, connected, nodes_of, share
from vmatte.cluster.events import Event, Failed, Finished, Frames, Joined, Left, Note, OnEvent
from vmatte.cluster.worker import Hello, Remarks, Worker
from vmatte.delivery import RenderReport, published
from vmatte.errors import JobError, VmatteError
from vmatte.fingerprint import sha256_of_program
from vmatte.job import RenderJob
from vmatte.jobfile import Entry
from vmatte.kept_mattes import KeptMattes
from vmatte.models.weights import cache_folder
from vmatte.planning import Plan, kept_mattes_of
from vmatte.render import Task, todo
from vmatte.segments import Segment
from vmatte.workdir import WorkFolder, make_folders, open_work_folder

logger = logging.getLogger(__name__)

_AHEAD = 2
"""Errands that a worker has at once: one that it does, one that it goes on with while the driver hears of the first."""
_ATTEMPTS = 3
"""Workers that may die of one errand, or before their first word, until it is taken for the cause."""
_MOST_OPEN = 100
"""Jobs that are open at once: each holds two locks, and a system lets a process have some hundred files."""
_TICK_S = 0.5
"""How long the driver sleeps where nobody says anything, and between two questions how far a worker is."""
_HIRING_S = 5
"""Between two looks at what nodes there are."""
_PATIENCE_S = 60
"""Until a farm without a worker is worth a word."""
_DYING_S = 20
"""For workers that were told to stop."""


def render_on_cluster(entries: Sequence[Entry], address: str, on_event: OnEvent, *, workers: int | None = None) -> None:
    """Render jobs on a Ray cluster, with segments of several jobs at once.

    `address` is HOST:PORT, or `auto`: the cluster that RAY_ADDRESS names, else a Ray of one's own on this machine;
    `workers` is how many, None for one on each GPU, or on each four cores where there is none. What jobs read and
    write must lie where all nodes see it, under the same name. A job that fails does not stop the others: each ends in
    Failed or Finished. Whatever ends this function, no worker is left, and what is finished of a job stays for the next
    run. Raises JobError where the cluster cannot be used.
    """
    with connected(address) as ray, _token_in_cache() as token:
        driver = _Driver(ray, entries, on_event, token)
        try:
            driver.work(workers)
        finally:
            driver.stop()


def _absolute(job: RenderJob) -> RenderJob:
    """The job with paths that mean the same on every node: workers have current folders of their own."""
    return job.relocated(Path.absolute)


@contextmanager
def _token_in_cache() -> Iterator[Path | None]:
    """A file by which workers know whether they share the driver's cache; None where that cannot be written."""
    with ExitStack() as stack:
        token = None
        with suppress(OSError):
            cache_folder().mkdir(parents=True, exist_ok=True)
            token = Path(stack.enter_context(tempfile.NamedTemporaryFile(prefix=".farm-", dir=cache_folder())).name)
        yield token


@dataclass(frozen=True, slots=True)
class _Errand:
    """What a worker is asked to do for a job."""

    kind: Literal["plan", "analyse", "render", "finish"]
    number: int
    segments: tuple[Segment, ...] = ()
    recalled: bool = False


_Ask = _Errand | Literal["hello", "progress"]


@dataclass(slots=True, eq=False)
class _Hand:
    """A worker, seen from the driver."""

    actor: Any
    joins: bool
    """Whether it joins segments, instead of rendering them."""
    hello: Hello | None = None
    errands: list[_Errand] = field(default_factory=list)
    """In the order in which it does them."""
    asked: bool = False
    """How far it is."""
    cause: _Errand | None = None
    """What it was at when it died."""


@dataclass(slots=True, eq=False)
class _Job:
    """A job that is being rendered; its folders are locked."""

    plan: Plan
    shared_plan: Any
    """Ray's reference to it: a plan has the times of all frames, which need to reach a node only once."""
    work: WorkFolder
    kept: KeptMattes | None
    locks: ExitStack
    left: set[_Errand]
    waiting: list[_Errand]
    """Those of them that nobody may begin before the clip is analysed."""
    frames: dict[int, int]
    """By the first segment of each errand: frames that are done."""
    started: float = field(default_factory=time.perf_counter)
    failed: bool = False


class _Abandoned(BaseException):
    """Leaves a work folder as an interrupted render does: what is finished stays."""


class _Driver:
    """The loop that listens to the workers, and what it has to remember."""

    def __init__(self, ray: Any, entries: Sequence[Entry], on_event: OnEvent, token: Path | None) -> None:
        self._ray, self._tell, self._token = ray, on_event, token
        self._jobs = [_absolute(entry.job) for entry in entries]
        self._runtimes = [entry.runtime for entry in entries]
        self._actor_class = ray.remote(concurrency_groups={"progress": 1})(Worker)
        self._unsettled = set(range(len(entries)))
        self._waiting = deque(range(len(entries)))
        """Jobs without a plan that nobody is planning."""
        self._planned: dict[int, Plan] = {}
        self._open: dict[int, _Job] = {}
        self._ready: deque[_Errand] = deque()
        """Segments that nobody is rendering."""
        self._to_join: deque[_Errand] = deque()
        self._hands: list[_Hand] = []
        self._calls: dict[Any, tuple[_Hand, _Ask]] = {}
        self._deaths: Counter[_Errand] = Counter()
        self._stillborn = 0

    def work(self, wanted: int | None) -> None:
        """Until each job is finished or has failed."""
        gpus = any(runtime.device not in ("cpu", "mps") for runtime in self._runtimes)
        each = share(nodes_of(self._ray), wanted, gpus=gpus)
        next_hiring = next_question = 0.0
        silent_since = time.monotonic()
        while self._unsettled:
            now = time.monotonic()
            if now >= next_hiring or not self._hands:
                self._hire(each, wanted)
                next_hiring = now + _HIRING_S
            if now >= next_question:
                self._ask_how_far()
                next_question = now + _TICK_S
            if not self._greeted() and now > silent_since + _PATIENCE_S:
                logger.warning(
                    "no worker could be started for %d s: others use the cluster, or it is small", _PATIENCE_S
                )
                silent_since = now
            self._give()
            if not self._calls:
                time.sleep(_TICK_S)
                continue
            heard, _ = self._ray.wait(list(self._calls), timeout=_TICK_S)
            for ref in heard:
                self._hear(ref)

    def stop(self) -> None:
        """Kill all workers; once they are dead, leave the jobs that are not finished for the next run."""
        for hand in self._hands:
            self._ray.kill(hand.actor)
        if self._calls:
            self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=_DYING_S)
        for job in self._open.values():
            _abandon(job.locks)

    # Workers

    def _greeted(self) -> list[_Hand]:
        return [hand for hand in self._hands if hand.hello is not None and not hand.joins]

    def _hire(self, each: Share, wanted: int | None) -> None:
        """As many workers as there are to be and nodes have room for; nodes may come and go."""
        if self._stillborn >= _ATTEMPTS:
            return
        renderers = sum(not hand.joins for hand in self._hands)
        for _ in range((wanted or each.fitting(nodes_of(self._ray))) - renderers):
            self._begin(self._actor_class.options(num_cpus=each.cores, num_gpus=each.gpus), each.cores, joins=False)
        if not any(hand.joins for hand in self._hands):
            # A process, unlike a thread, can be stopped; it takes no GPU or core from the others, for it only copies.
            # Beside the driver, because that is where the shared folder usually is.
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=True)
            self._begin(self._actor_class.options(num_cpus=0, num_gpus=0, scheduling_strategy=here), 1, joins=True)

    def _begin(self, actor_class: Any, cores: int, *, joins: bool) -> None:
        hand = _Hand(actor_class.remote(cores), joins)
        self._hands.append(hand)
        self._calls[hand.actor.hello.remote(self._token)] = hand, "hello"

    def _ask_how_far(self) -> None:
        for hand in self._greeted():
            if hand.errands and not hand.asked:
                ref = hand.actor.frames_done.options(concurrency_group="progress").remote()
                hand.asked, self._calls[ref] = True, (hand, "progress")

    def _hear(self, ref: Any) -> None:
        hand, ask = self._calls.pop(ref)
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(ref)
        except errors.RayTaskError as error:
            self._hear_of_failure(ask, error.cause)
        except errors.RayError as error:
            self._hear_of_death(hand, ask, str(error).splitlines()[-1].strip())
        else:
            self._hear_answer(hand, ask, answer)
        if isinstance(ask, _Errand):
            if ask in hand.errands:
                hand.errands.remove(ask)
            self._close_if_idle(ask.number)

    def _hear_answer(self, hand: _Hand, ask: _Ask, answer: Any) -> None:
        match ask:
            case "hello":
                self._welcome(hand, answer)
            case "progress":
                hand.asked = False
                self._note_progress(hand, *answer)
            case _Errand("plan", number):
                self._planned[number], remarks = answer
                self._note(number, remarks)
            case _Errand("analyse", number):
                self._note(number, answer)
                self._begin_waiting(number)
            case _Errand("render", number):
                self._note(number, answer)
                self._rendered(ask)
            case _Errand("finish", number):
                report, remarks = answer
                self._note(number, remarks)
                self._finish(number, report)

    def _hear_of_failure(self, ask: _Ask, cause: Exception) -> None:
        if isinstance(ask, _Errand):
            text = " ".join(str(cause).split())
            at_fault = f"vmatte is at fault: {type(cause).__name__}: {text}"
            self._fail(ask.number, text if isinstance(cause, VmatteError) else at_fault)
        else:
            raise JobError(f"a worker cannot be started: {cause}; is vmatte installed on all nodes?") from cause

    def _hear_of_death(self, hand: _Hand, ask: _Ask, reason: str) -> None:
        if hand in self._hands:
            self._hands.remove(hand)
            self._ray.kill(hand.actor)  # where it only could not be reached, it must not go on
            hand.cause = hand.errands[0] if hand.errands else None
            if hand.hello is not None:
                self._tell(Left(hand.hello.node, hand.hello.pid, reason))
        if ask == "hello":
            self._stillborn += 1
            if self._stillborn >= _ATTEMPTS and len({one.joins for one in self._hands}) < 2:
                raise JobError(f"no worker can be started: {reason}; each node needs vmatte[ray]")
        if not isinstance(ask, _Errand):
            return
        if ask == hand.cause:
            self._deaths[ask] += 1
        if self._deaths[ask] < _ATTEMPTS:
            self._take_back(ask)
            return
        frames = f" on frames {ask.segments[0].frames.start}–{ask.segments[-1].frames.stop - 1}" if ask.segments else ""
        node = "" if hand.hello is None else f", the last one on {hand.hello.node}"
        self._fail(ask.number, f"{_ATTEMPTS} workers died{frames}{node}: {reason}")

    def _take_back(self, errand: _Errand) -> None:
        """Somebody else has to do it."""
        if errand.kind == "plan":
            self._waiting.appendleft(errand.number)
            return
        job = self._open[errand.number]
        if job.failed:
            return
        if errand.kind == "finish":
            self._to_join.appendleft(errand)
            return
        if errand.kind == "analyse":
            self._ready.appendleft(errand)
            return
        # Of several segments the first ones may be finished.
        left = tuple(segment for segment in errand.segments if job.work.segments.written(segment.number) is None)
        if not left:
            self._rendered(errand)
            return
        again = replace(errand, segments=left)
        job.left.remove(errand)
        job.left.add(again)
        del job.frames[errand.segments[0].number]
        job.frames[left[0].number] = 0
        job.frames[_BEFORE] += _frames_in(errand.segments) - _frames_in(left)
        self._deaths[again] = self._deaths[errand]
        self._ready.appendleft(again)

    def _welcome(self, hand: _Hand, hello: Hello) -> None:
        if hello.program != sha256_of_program():
            raise JobError(f"vmatte on {hello.node} is another version than here; install the same one on all nodes")
        hand.hello, self._stillborn = hello, 0
        if hand.joins:
            return
        self._tell(Joined(hello.node, hello.pid))
        if not hello.shares_cache:
            logger.info("%s does not see %s: mattes are not kept there", hello.node, cache_folder())

    # Errands

    def _give(self) -> None:
        """To each worker as much as it may have, to the idlest first."""
        for joins in (False, True):
            hands = [hand for hand in self._hands if hand.hello is not None and hand.joins == joins]
            while hands:
                hand = min(hands, key=lambda one: len(one.errands))
                if len(hand.errands) >= _AHEAD:
                    break
                errand = self._next_join() if joins else self._next_errand(len(hands))
                if errand is None:
                    break
                self._send(hand, errand)

    def _next_join(self) -> _Errand | None:
        return self._to_join.popleft() if self._to_join else None

    def _next_errand(self, hands: int) -> _Errand | None:
        while not self._ready and self._open_next():
            pass
        planning = sum(errand.kind == "plan" for hand in self._hands for errand in hand.errands)
        # Before the segments run out, so that nobody waits for the next job's.
        if self._waiting and len(self._ready) < hands and planning + len(self._planned) < hands:
            return _Errand("plan", self._waiting.popleft())
        return self._ready.popleft() if self._ready else None

    def _send(self, hand: _Hand, errand: _Errand) -> None:
        number, actor = errand.number, hand.actor
        if errand.kind == "plan":
            job = self._jobs[number]
            try:
                make_folders([output.path for output in job.outputs])
            except JobError as error:
                self._fail(number, str(error))
                return
            ref = actor.plan.remote(job, self._runtimes[number])
        else:
            opened = self._open[number]
            plan, work = opened.shared_plan, opened.work
            if errand.kind == "finish":
                ref = actor.finish.remote(plan, work.path, time.perf_counter() - opened.started)
            else:
                method = actor.analyse if errand.kind == "analyse" else actor.render
                ref = method.remote(number, plan, errand.segments, work.path, errand.recalled, opened.kept)
        hand.errands.append(errand)
        self._calls[ref] = hand, errand

    # Jobs

    def _open_next(self) -> bool:
        """Open a planned job, whose segments are ready from then on; False where none can be opened now."""
        if len(self._open) >= _MOST_OPEN:
            return False
        # A clip's second job waits for the mattes of its first.
        made = {job.plan.matte_fingerprint for job in self._open.values() if job.kept is not None}
        number = next((n for n, plan in self._planned.items() if plan.matte_fingerprint not in made), None)
        if number is None:
            return False
        plan = self._planned.pop(number)
        locks = ExitStack()
        try:
            work = locks.enter_context(open_work_folder(plan.output_paths, plan.fingerprint))
            report = published(plan, work)
            if report is not None:
                locks.close()
                self._settle(number, Finished(number, report))
                return True
            shared = all(hand.hello.shares_cache for hand in self._greeted() if hand.hello is not None)
            kept = locks.enter_context(kept_mattes_of(plan)) if shared else None
        except VmatteError as error:
            _abandon(locks)
            self._fail(number, " ".join(str(error).split()))
            return True
        except BaseException:
            _abandon(locks)
            raise
        tasks = todo(plan, work, kept)
        errands = [errand for task in tasks for errand in _errands_of(number, task)]
        before = plan.clip.frames - sum(_frames_in(errand.segments) for errand in errands)
        frames = {_BEFORE: before} | {errand.segments[0].number: 0 for errand in errands}
        self._open[number] = _Job(plan, self._ray.put(plan), work, kept, locks, set(errands), errands, frames)
        # By one worker, before the others begin: two devices need not agree to the last bit.
        unknown = [] if work.analysis.exists() else [task for task in tasks if task.needs_analysis]
        if unknown:
            self._ready.append(_Errand("analyse", number, recalled=unknown[0].recalled))
        else:
            self._begin_waiting(number)
        self._tell(Frames(number, before, plan.clip.frames))
        if not errands:
            self._to_join.append(_Errand("finish", number))
        return True

    def _begin_waiting(self, number: int) -> None:
        """A job's segments can be rendered from now on."""
        job = self._open[number]
        if not job.failed:
            self._ready.extend(job.waiting)
        job.waiting = []

    def _rendered(self, errand: _Errand) -> None:
        job = self._open[errand.number]
        if job.failed:
            return
        self._note_frames(errand.number, errand.segments[0].number, _frames_in(errand.segments))
        job.left.discard(errand)
        if not job.left:
            self._to_join.append(_Errand("finish", errand.number))

    def _finish(self, number: int, report: RenderReport) -> None:
        self._open.pop(number).locks.close()
        self._settle(number, Finished(number, report))

    def _fail(self, number: int, error: str) -> None:
        job = self._open.get(number)
        if job is None:
            self._settle(number, Failed(number, error))
        elif not job.failed:  # two of its segments may fail
            job.failed = True
            self._ready = deque(errand for errand in self._ready if errand.number != number)
            self._tell(Failed(number, error))

    def _close_if_idle(self, number: int) -> None:
        """A failed job's folder is left only when nobody writes into it any more."""
        job = self._open.get(number)
        if job is None or not job.failed:
            return
        if not any(errand.number == number for hand in self._hands for errand in hand.errands):
            _abandon(self._open.pop(number).locks)
            self._unsettled.discard(number)

    def _settle(self, number: int, event: Event) -> None:
        self._unsettled.discard(number)
        self._tell(event)

    # What the user hears

    def _note(self, number: int, remarks: Remarks) -> None:
        for remark in remarks:
            self._tell(Note(number, remark.text, remark.warning))

    def _note_progress(self, hand: _Hand, number: int, first: int, frames: int) -> None:
        begun = [errand.segments[0].number for errand in hand.errands if errand.number == number and errand.segments]
        if first in begun:
            self._note_frames(number, first, frames)

    def _note_frames(self, number: int, first: int, frames: int) -> None:
        job = self._open[number]
        if not job.failed and job.frames[first] != frames:
            job.frames[first] = frames
            self._tell(Frames(number, sum(job.frames.values()), job.plan.clip.frames))


_BEFORE = -1
"""Stands for what an earlier run has done, among the numbers of segments."""


def _errands_of(number: int, task: Task) -> list[_Errand]:
    """A segment each; of a network that has to see the clip from its start, what follows each other stays together."""
    parts = [task.segments]
    if task.recalled or task.plan.choice.spec.warm_up is not None:
        parts = [(segment,) for segment in task.segments]
    return [_Errand("render", number, part, task.recalled) for part in parts]


def _frames_in(segments: Sequence[Segment]) -> int:
    return sum(len(segment.frames) for segment in segments)


def _abandon(locks: ExitStack) -> None:
    with suppress(_Abandoned), locks:
        raise _Abandoned
