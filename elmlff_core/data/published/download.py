"""Download one file over HTTP, with one line of explanation for each kind of failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from elmlff_core.errors import DataError

if TYPE_CHECKING:
    from requests import Response

TIMEOUT = 30.0  # s without data
CHUNK = 1 << 16  # bytes between reports
KEPT = "finished files are kept, and the same command gets the rest"


class _ByteCounter:
    """A progress bar for pooch that counts the bytes of one file and reports them."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self.total = 0  # pooch sets it to the length that the server announces, which may be that of compressed content
        self.done = 0
        self.report = report

    def update(self, n_bytes: int) -> None:
        self.done += n_bytes
        self.report(self.done)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None: ...


def download(url: str, target: Path, size: int | None, report: Callable[[int], None]) -> None:
    """Download `url` to `target`; the caller must check the contents.

    Parameters
    ----------
    url : address of one file
    target : file to write; it is incomplete if the connection breaks
    size : expected size, bytes, for messages; None if it is not known
    report : called with the number of bytes received so far

    Raises
    ------
    DataError
        There is no connection, the server refuses the request, or the connection breaks.
    """
    import pooch  # takes 0.2 s with requests, and only downloads need it
    import requests

    counter = _ByteCounter(report)
    expected = "" if size is None else f", expected {size} bytes"
    try:
        pooch.HTTPDownloader(progressbar=counter, chunk_size=CHUNK, timeout=TIMEOUT)(url, str(target), None)
    except requests.HTTPError as error:
        raise DataError(f"{url}: {_refusal(error.response)}{expected}; {_remedy(error.response)}") from error
    except requests.exceptions.ChunkedEncodingError as error:
        received = _n_received(error, target)
        of_all = "" if size is None else f" of {size}"
        raise DataError(f"{url}: the connection broke after {received}{of_all} bytes; {KEPT}") from error
    except requests.RequestException as error:
        raise DataError(
            f"cannot reach {urlsplit(url).netloc} for {url}{expected}: {_reason(error)}; check the network, or name a "
            f"folder that has the data with --from; {KEPT}"
        ) from error


def _refusal(response: Response | None) -> str:
    if response is None:
        return "no answer"
    return f"the server answers {response.status_code} {response.reason}".strip()


def _remedy(response: Response | None) -> str:
    if response is None or response.status_code == 429 or response.status_code >= 500:
        return f"try again later; {KEPT}"
    return "it may have been moved or withdrawn: name a folder that has the data with --from"


def _n_received(error: BaseException, target: Path) -> int:
    """Return the number of bytes received: the count of urllib3, because the file lacks the last incomplete chunk."""
    for inner in error.args:
        for detail in getattr(inner, "args", ()):
            if isinstance(count := getattr(detail, "partial", None), int):
                return count
    return target.stat().st_size


def _reason(error: BaseException) -> str:
    """Return the message of the innermost error: requests and urllib3 add texts with addresses of objects to it."""
    while inner := getattr(error, "reason", None) or next(iter(error.args), None):
        if not isinstance(inner, BaseException):
            break
        error = inner
    return str(error).rpartition(": ")[2] or type(error).__name__
