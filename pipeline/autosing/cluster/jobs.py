"""Jobs on a Ray cluster, through the job server of its head: they go on when nobody looks."""

import asyncio
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from autosing.cluster.session import shipped_code
from autosing.signal.errors import DataError, UsageError

ADDRESS, MODE, TOKENS = "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Environment variables of Ray: where the job server is, whether it wants a token, and the token or its file."""
STOPPED = 130
"""The exit code of a job that was stopped, as of a command that was."""
PATIENCE_S, LOOK_EVERY_S = 300.0, 5.0
"""How long a head may be out of reach while a log is followed, and how often it is looked for."""


class JobServer:
    """The job server of a cluster's head.

    Args:
        address: of its dashboard, as http://head:8265.
        patience_s: how long it may be out of reach while a log is followed.

    Raises:
        UsageError: the address is none.
        DataError: the head can't be reached, or wants a token.
    """

    def __init__(self, address: str, patience_s: float = PATIENCE_S) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"the address {address!r} is no head's dashboard; give one as http://HEAD:8265")
        # Ray's own variables win over the argument.
        os.environ[ADDRESS] = address
        if any(os.environ.get(name) for name in TOKENS):
            os.environ.setdefault(MODE, "token")
        from ray.job_submission import JobSubmissionClient

        self.address = address
        self._patience_s = patience_s
        with self._explained():
            self._client: Any = JobSubmissionClient(address)

    def submit(
        self, arguments: Sequence[str], settings: str, variables: Mapping[str, str], wheel: Path | None = None
    ) -> str:
        """Starts `autosing ARGUMENTS` on the head with this package's code, and returns the job's id.

        Args:
            arguments: of the command.
            settings: text of the `datasets.yaml` that the command finds.
            variables: environment variables of the command and its workers.
            wheel: whose code is shipped; None ships the code that runs here.
        """
        with tempfile.TemporaryDirectory(prefix="autosing-") as scratch, self._explained():
            here, code = Path(scratch, "settings"), Path(scratch, "code")
            here.mkdir()
            code.mkdir()
            (here / "datasets.yaml").write_text(settings, encoding="utf-8")
            environment = {
                "working_dir": str(here),
                "py_modules": shipped_code(code, wheel),
                "env_vars": dict(variables),
            }
            id: str = self._client.submit_job(
                entrypoint=shlex.join(["python", "-m", "autosing.cli.main", *arguments]),
                submission_id=f"autosing-{arguments[0]}-{uuid4().hex[:8]}",
                runtime_env=environment,
            )
        return id

    def status(self, id: str) -> tuple[str, str]:
        """Returns the state of a job (PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED), and what Ray says of it."""
        with self._explained():
            found = self._client.get_job_info(id)
        return found.status.value, found.message or ""

    def stop(self, id: str) -> bool:
        """Stops a job; returns whether it was running."""
        with self._explained():
            return bool(self._client.stop_job(id))

    def follow(self, id: str, write: Callable[[str], object]) -> int:
        """Writes the log of a job, what is there and what comes, and returns the job's exit code at its end.

        Raises:
            DataError: there is no such job, or the head stays out of reach.
        """
        self.status(id)
        log = _Log(self._client, id, write)
        lost: float | None = None
        with self._explained():
            while True:
                try:
                    asyncio.run(log.follow())
                    found = self._client.get_job_info(id)
                    if found.status.is_terminal():
                        return _exit_code(found)
                    lost = None
                except (OSError, RuntimeError) as error:
                    # A head that was started anew knows nothing of the job.
                    if "does not exist" in str(error):
                        raise
                    # A connection that breaks was there until now, however long nothing was told.
                    if lost is None or log.heard > lost:
                        lost = time.monotonic()
                    if time.monotonic() - lost > self._patience_s:
                        raise DataError(
                            f"{self.address} is out of reach since {self._patience_s:.0f} s ({error}); while it lives "
                            f"the job goes on: autosing submit --attach {id} --address {self.address}"
                        ) from error
                time.sleep(LOOK_EVERY_S)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what Ray's client raises into one message."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise DataError(
                f"{self.address} wants a token, and the one given is "
                f"{'wrong' if 'Forbidden' in str(error) else 'missing'}; set {MODE}=token and {TOKENS[0]}, or "
                f"{TOKENS[1]} to a file with it; `ray get-auth-token` on the head tells it"
            ) from error
        except OSError as error:
            raise DataError(
                f"{self.address} can't be reached ({type(error).__name__}); is it the dashboard of a Ray head that "
                "runs, and is its port open or forwarded to here?"
            ) from error
        except RuntimeError as error:
            raise DataError(f"{self.address} refuses: {error}") from error


class _Log:
    """A job's log, of which a part was written already.

    Attributes:
        heard: when something was told last, by `time.monotonic`.
    """

    def __init__(self, client: Any, id: str, write: Callable[[str], object]) -> None:
        self._client, self._id, self._write = client, id, write
        self._written = 0
        self.heard = float("-inf")

    async def follow(self) -> None:
        """Writes what is new until the log ends or the connection does; the server tells a log from its beginning."""
        from aiohttp import ClientError

        seen = 0
        try:
            async for text in self._client.tail_job_logs(self._id):
                self.heard = time.monotonic()
                new = text[max(self._written - seen, 0) :]
                seen += len(text)
                self._written = max(self._written, seen)
                if new:
                    self._write(new)
        except ClientError as error:
            raise OSError(str(error)) from error


def _exit_code(found: Any) -> int:
    """Returns the exit code of a job that has ended.

    Raises:
        DataError: it never ran, or its node went.
    """
    if found.status.value == "SUCCEEDED":
        return 0
    if found.status.value == "STOPPED":
        return STOPPED
    code = found.driver_exit_code
    if code is None:
        raise DataError(f"{found.submission_id} failed: {found.message}; run the same command again to go on")
    return int(code) if code > 0 else 128 - int(code)
