"""Runs commands in forks of a process that has imported everything, so that a case takes a tenth of a second.

``python -m tests.commands.server`` reads one request (JSON) per line of its standard input and answers with one line.
Each command has a process group of its own: what crashes, hangs or takes all memory ends with it, and changes nothing
in the next command.

A request with ``start`` is answered with the process id as soon as the command has begun; one with ``wait`` and this id
is answered when it has ended.  In between the command can get signals, and other commands can run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import resource
import runpy
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

PRELOADED = (
    "torch", "torch_geometric", "pytorch_lightning", "matplotlib.pyplot", "dpdata", "ase.io.extxyz",
    "calorine.calculators", "safetensors.torch", "scipy.optimize", "elmlff_core.meta.training.loop",
    "elmlff_core.meta.conservative", "elmlff_core.workflows.stack.workflow", "elmlff_core.workflows.sweep.workflow",
    "elmlff_core.report.plots", "elmlff_core.cli.console", "elmlff_core.cli.tables",
)  # fmt: skip

MORE = ("schnetpack", "elmlff_plugins.schnetpack.training", "deepmd.pt.infer.deep_eval")


def serve() -> None:
    """Answer requests until the input ends."""
    for name in (*PRELOADED, *(MORE if "more" in sys.argv else ())):
        importlib.import_module(name)
    import torch

    from elmlff_core.cli.main import COMMANDS
    from elmlff_core.plugins.registry import registry
    from elmlff_core.report.figures import as_svg, new_figure

    torch.set_num_threads(1)
    for name in COMMANDS:
        importlib.import_module(f"elmlff_core.cli.{name.replace('-', '_')}_command")
    registry()
    figure = new_figure(2, 2)  # the first one takes half a second more than others
    figure.subplots()
    as_svg(figure)
    gc.freeze()  # a fork would search millions of objects for cycles, and so copy their memory
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run one command in a fork; return how it ended, and how long it took."""
    started = time.perf_counter()
    child = request.get("wait") or os.fork()
    if child == 0:
        _run(request)
    if request.get("start"):
        return {"process": child}
    descriptor = os.pidfd_open(child)
    try:
        hangs = not _ends(child, descriptor, request["cpu"], request["clock"])
        if hangs:
            os.kill(child, signal.SIGUSR1)  # says where it is
            select.select([descriptor], [], [], 1.0)
    finally:
        os.close(descriptor)
        _kill_group(child)
    _, status = os.waitpid(child, 0)
    code = None if hangs else os.waitstatus_to_exitcode(status)
    return {"code": code, "seconds": time.perf_counter() - started}


def _ends(child: int, descriptor: int, cpu: float, clock: float) -> bool:
    """Wait until the command ends; return False if it has taken `cpu` or `clock` seconds before."""
    deadline = time.monotonic() + clock
    while time.monotonic() < deadline:
        if select.select([descriptor], [], [], 1.0)[0]:
            return True
        fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
        if sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") > cpu:
            return False
    return False


def _kill_group(child: int) -> None:
    """End the command and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


def _run(request: dict[str, Any]) -> None:
    """Become the command, or the Python script that the first argument names."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    output, errors = (os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in ("stdout", "stderr"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    if request["memory"] is not None:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + request["memory"]
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    code = 70
    try:
        if request["script"]:
            sys.argv = request["arguments"]
            sys.path.insert(0, request["folder"])
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            from elmlff_core.cli.main import main

            main(request["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # `main` lets nothing through: this is a failure of its own
        import traceback

        traceback.print_exc()
        print("elmlff: unexpected exception that main() let through", file=sys.stderr)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
