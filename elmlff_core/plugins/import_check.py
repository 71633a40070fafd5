"""Import a module, or make a meta-model, in a separate process, so that a crash can be reported."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

TIMEOUT = 300.0  # s; importing TensorFlow on a cold network disk has taken more than a minute

# Programs of the child process.  The answer is a marked line of its own, because backends print to standard output.
_FRAME = """
import json, sys, traceback
if sys.path[:1] == [""]:
    del sys.path[0]  # the current folder may hold a file named like a package
try:
{body}
except BaseException as error:
    traceback.print_exc()
    answer = {{"failure": type(error).__name__ + ": " + " ".join(str(error).split())[:300]}}
print("\\nelmlff-answer:" + json.dumps(answer))
"""
_IMPORT = """
    import importlib
    importlib.import_module(sys.argv[1])
    root = sys.modules[sys.argv[1].partition(".")[0]]
    answer = {"version": str(getattr(root, "__version__", "")), "torch": None, "cuda": None}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda"):
        answer["torch"] = str(torch.__version__)
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        answer["cuda"] = [torch.cuda.get_device_name(i) for i in range(n_devices)]
"""
_MAKE = """
    from elmlff_core.plugins.registry import registry
    plugin = registry().meta_model(sys.argv[1])
    plugin.make(plugin.options())
    answer = {}
"""
_MARK = "elmlff-answer:"


@dataclass(frozen=True)
class ImportCheck:
    """The result of an import.

    Attributes
    ----------
    module : the imported module
    failure : "" or the reason in one line
    version : version of the module, "" if it has none
    torch : version of PyTorch that the module imports, None if it does not use PyTorch
    cuda : names of the GPUs that PyTorch finds, None if the module does not use PyTorch
    traceback : standard error of the child process
    """

    module: str
    failure: str = ""
    version: str = ""
    torch: str | None = None
    cuda: tuple[str, ...] | None = None
    traceback: str = ""


def check_import(module: str, python: str = sys.executable) -> ImportCheck:
    """Import `module` with the interpreter `python` in a separate process."""
    failure, answer, errors = _run(_IMPORT, module, python)
    if failure:
        return ImportCheck(module, failure, traceback=errors)
    cuda = answer["cuda"]
    return ImportCheck(module, "", answer["version"], answer["torch"], None if cuda is None else tuple(cuda), errors)


def check_meta_model(name: str) -> ImportCheck:
    """Make the meta-model `name` with default options in a separate process."""
    failure, _, errors = _run(_MAKE, name, sys.executable)
    return ImportCheck(name, failure, traceback=errors)


def _run(body: str, argument: str, python: str) -> tuple[str, dict[str, Any], str]:
    """Run a program; return the failure in one line or "", the answer of the child, and its standard error."""
    command = [python, "-c", _FRAME.format(body=body.strip("\n")), argument]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, errors="replace")
    except subprocess.TimeoutExpired:
        return f"not finished after {TIMEOUT:.0f} s", {}, ""
    except OSError as error:
        return f"cannot start {python}: {error}", {}, ""
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if lines:
        answer = json.loads(lines[-1].removeprefix(_MARK))
        return answer.get("failure", ""), answer, done.stderr
    # After os._exit, a signal or a lack of memory, only the exit code is known.
    ending = f"crashed with signal {-done.returncode}" if done.returncode < 0 else f"ended with code {done.returncode}"
    return f"Python {ending}", {}, done.stderr
