"""Download: one file over HTTP, with failures told apart in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from elmlff_core.errors import DataError

if TYPE_CHECKING:
    from requests import Response

TIMEOUT = 30.0  # s without a byte
CHUNK = 1 << 16  # bytes between reports
KEPT = "finished files are kept, the same command gets the rest"


class _Bytes:
    """What pooch takes for a progress bar: it counts the bytes of one file, and tells."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self.total = 0  # set by pooch to what the server announces, which may be of compressed content
        self.done = 0
        self.report = report

    def update(self, n_bytes: int) -> None:
        self.done += n_bytes
        self.report(self.done)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None: ...


def download(url: str, target: Path, size: int, report: Callable[[int], None]) -> None:
    """Write what `url` serves to `target`; its content is for the caller to check.

    Parameters
    ----------
    url : of one file
    target : to write; left unfinished where the connection breaks
    size : expected, bytes, for messages
    report : called with the bytes that have come

    Raises
    ------
    DataError
        No connection, an answer that is no success, or an answer that ends too early.
    """
    import pooch  # 0.2 s with requests, and only downloads need it
    import requests

    try:
        pooch.HTTPDownloader(progressbar=_Bytes(report), chunk_size=CHUNK, timeout=TIMEOUT)(url, str(target), None)
    except requests.HTTPError as error:
        raise DataError(
            f"{url}: {_refusal(error.response)}, expected {size} bytes; {_remedy(error.response)}"
        ) from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise DataError(f"{url}: the connection broke after {_came(error, target)} of {size} bytes; {KEPT}") from error
    except requests.RequestException as error:
        raise DataError(
            f"cannot reach {urlsplit(url).netloc} for {url}, expected {size} bytes: {_reason(error)}; check the "
            f"network, or name a folder that has the data with --from; {KEPT}"
        ) from error


def _refusal(response: Response | None) -> str:
    return "no answer" if response is None else f"the server answers {response.status_code} {response.reason}".strip()


def _remedy(response: Response | None) -> str:
    if response is None or response.status_code == 429 or response.status_code >= 500:
        return f"try again later; {KEPT}"
    return "it may have been moved or withdrawn: name a folder that has the data with --from"


def _came(error: BaseException, target: Path) -> int:
    """Bytes that came: by urllib3's count, as it keeps back what does not fill a chunk."""
    for inner in error.args:
        for detail in getattr(inner, "args", ()):
            if isinstance(count := getattr(detail, "partial", None), int):
                return count
    return target.stat().st_size


def _reason(error: BaseException) -> str:
    """The innermost reason: requests and urllib3 wrap the system's words in their own, with addresses of objects."""
    while inner := getattr(error, "reason", None) or next(iter(error.args), None):
        if not isinstance(inner, BaseException):
            break
        error = inner
    return str(error).rpartition(": ")[2] or type(error).__name__
