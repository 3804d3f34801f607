"""Starts the instance's processes in order, keeps them running, and stops them in the opposite order."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tools.embedded.server import end_of_log, guard_environment, wait_until_answers
from tools.errors import CommandError
from tools.paths import ROOT
from tools.up.child import Child, ChildSpec
from tools.up.leftovers import record_children
from tools.up.port import is_ready
from tools.up.servers import Embedded

# PostgreSQL's and Valkey's guards go harsher by themselves after 20 s.
_SERVER_GRACE_SECONDS = 30.0
_SERVICE_GRACE_SECONDS = 15.0
_READY_SECONDS = 60.0


class Supervisor:
    """The processes of one instance. `report` gets a line for a person whenever something happens."""

    def __init__(self, data_dir: Path, report: Callable[[str], None]) -> None:
        self.data_dir = data_dir
        self.logs = data_dir / "logs"
        self._report = report
        self._ready = False
        self._stages: list[list[Child]] = []
        # Nobody writes to this pipe. Its end tells every child that we are gone, however we went.
        self._read_end, self._write_end = os.pipe()

    async def start_servers(self, embedded: Sequence[Embedded]) -> None:
        """Start the embedded servers and wait until they answer."""
        for server in embedded:
            spec = server.prepare()
            child = ChildSpec(
                name=server.name,
                command=lambda server=server: server.prepare().guarded_command(),
                environment=guard_environment(),
                directory=spec.directory,
                log_file=self.logs / f"{server.name}.log",
                grace_seconds=_SERVER_GRACE_SECONDS,
                guards_server=True,
            )
            watched = await self._start_stage([child])
            await wait_until_answers(
                spec,
                child.log_file,
                lambda watched=watched: not _any_ended(watched),
                timeout_seconds=_READY_SECONDS,
                log_start=watched[0].log_start,
            )

    async def start_services(self, stages: Sequence[Sequence[str]], environment: Mapping[str, str]) -> None:
        """Start `python -m services.<name>` for every name, one stage after the other."""
        for stage in stages:
            await self._start_stage([self._service(name, environment) for name in stage])

    async def wait_ready(self, host: str, port: int) -> None:
        """Wait until the gateway is ready. Raises CommandError when a process ends before that."""
        deadline = time.monotonic() + _READY_SECONDS
        while not await is_ready(host, port):
            for child in self._children():
                if child.ended_by_itself.is_set():
                    log = end_of_log(child.spec.log_file, child.log_start)
                    raise CommandError(f"{child.spec.name} ended while starting; the end of its log:\n{log}")
            if time.monotonic() > deadline:
                gateway = self._stages[-1][0]
                log = end_of_log(gateway.spec.log_file, gateway.log_start)
                raise CommandError(f"the gateway was not ready within {_READY_SECONDS:g} s:\n{log}")
            await asyncio.sleep(0.05)
        self._ready = True

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop everything: what was started last goes first."""
        for stage in reversed(self._stages):
            await asyncio.gather(*(child.stop(hurry) for child in stage))
        self._stages.clear()
        os.close(self._read_end)
        os.close(self._write_end)

    async def _start_stage(self, specs: Sequence[ChildSpec]) -> list[Child]:
        stage = [Child(spec, self._read_end, self._on_child_event, self._record) for spec in specs]
        self._stages.append(stage)
        for child in stage:
            await child.start()
        return stage

    def _service(self, name: str, environment: Mapping[str, str]) -> ChildSpec:
        return ChildSpec(
            name=name.replace("_", "-"),
            command=lambda: [sys.executable, "-m", f"services.{name}"],
            environment=environment,
            directory=ROOT,
            log_file=self.logs / f"{name.replace('_', '-')}.log",
            grace_seconds=_SERVICE_GRACE_SECONDS,
        )

    def _on_child_event(self, text: str) -> None:
        # Until everything is ready, the end of a process is the end of the start, which says why itself.
        if self._ready:
            self._report(text)

    def _children(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]

    def _record(self) -> None:
        record_children(self.data_dir, [child.pid for child in self._children() if child.pid])


def _any_ended(children: Sequence[Child]) -> bool:
    return any(child.ended_by_itself.is_set() for child in children)
