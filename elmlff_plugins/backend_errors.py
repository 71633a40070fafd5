"""What goes wrong inside a backend, told with the model's and the adapter's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from elmlff_core.errors import ElmlffError, ForceFieldError


@contextmanager
def backend_errors(model: str, adapter: str, action: str) -> Iterator[None]:
    """Turn any exception of a backend into a ForceFieldError.

    Parameters
    ----------
    model : name of the model
    adapter : name of the adapter
    action : what was being done, as in "cannot `load model.pth`"

    Raises
    ------
    ForceFieldError
        With the backend's exception as its cause; elmlff's own errors pass unchanged.
    """
    try:
        yield
    except ElmlffError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise ForceFieldError(
            f"model '{model}' (adapter '{adapter}') cannot {action}: {type(error).__name__}: {reason}"
        ) from error
