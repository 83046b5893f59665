"""What the address of a bucket and the environment say of how it is reached."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow.fs as pafs

from autosing.signal.errors import UsageError

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

PARAMETERS = (
    "scheme",
    "endpoint_override",
    "region",
    "access_key",
    "secret_key",
    "session_token",
    "anonymous",
    "retry_s",
)
IGNORED = ("allow_delayed_open", "allow_bucket_creation", "allow_bucket_deletion", "background_writes")
"""What pyarrow's addresses may say beside, which means nothing here."""
RETRY_S = 180.0
"""How long a request is repeated."""
PAUSE_S, LONGEST_PAUSE_S = 0.1, 15.0


@dataclass(frozen=True)
class BucketAddress:
    """A bucket, by the address of something in it.

    Args:
        url: `s3://bucket/path`, and after `?` what the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`,
            `AWS_ACCESS_KEY_ID`, ...) does not say: see `PARAMETERS`.

    Raises:
        UsageError: the address is none of a bucket, or says something unknown.
    """

    url: str
    _told: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        told = dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))
        if unknown := sorted(told.keys() - {*PARAMETERS, *IGNORED}):
            raise UsageError(f"{self._shown}: {unknown[0]!r} is unknown; there are: {', '.join(PARAMETERS)}")
        if not self.name:
            raise UsageError(f"{self._shown}: the name of a bucket is missing; write s3://BUCKET/FOLDER")
        object.__setattr__(self, "_told", told)

    @property
    def name(self) -> str:
        """The bucket's name."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def folder(self) -> str:
        """Bucket and folder, as paths begin."""
        return f"{self.name}/{unquote(urlsplit(self.url).path).strip('/')}".rstrip("/")

    @property
    def _shown(self) -> str:
        """The address without what may be secret."""
        return f"s3://{self.name}{urlsplit(self.url).path}"

    @property
    def retry_s(self) -> float:
        """For how many seconds a request is repeated."""
        try:
            return float(self._told.get("retry_s", RETRY_S))
        except ValueError as error:
            raise UsageError(f"{self._shown}: retry_s must be a number of seconds") from error

    def connect(self, timeout_s: float) -> "S3Store":
        """Returns a new client."""
        from obstore.store import S3Store

        told = self._told
        endpoint = self._endpoint()
        config: S3Config = {"region": self._region(endpoint)}
        if endpoint:
            config["endpoint"] = endpoint
        user, _, _ = urlsplit(self.url).netloc.rpartition("@")
        key, _, secret = user.partition(":")
        if key := told.get("access_key", unquote(key)):
            config["access_key_id"] = key
            config["secret_access_key"] = told.get("secret_key", unquote(secret))
        if token := told.get("session_token"):
            config["session_token"] = token
        if told.get("anonymous", "").lower() in ("true", "1"):
            config["skip_signature"] = True
        return S3Store(
            self.name,
            config=config,
            client_options={
                "timeout": timedelta(seconds=timeout_s),
                "connect_timeout": timedelta(seconds=10),
                "allow_http": (endpoint or "").startswith("http://"),
            },
            retry_config={
                "max_retries": 1000,
                "retry_timeout": timedelta(seconds=self.retry_s),
                "backoff": {
                    "init_backoff": timedelta(seconds=PAUSE_S),
                    "max_backoff": timedelta(seconds=LONGEST_PAUSE_S),
                    "base": 2,
                },
            },
        )

    def _endpoint(self) -> str | None:
        if (endpoint := self._told.get("endpoint_override")) is None:
            return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return endpoint if "://" in endpoint else f"{self._told.get('scheme', 'https')}://{endpoint}"

    def _region(self, endpoint: str | None) -> str:
        told = self._told.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if told or endpoint:
            return told or "us-east-1"
        try:
            return str(pafs.resolve_s3_region(self.name))
        except OSError as error:
            raise UsageError(f"{self._shown}: its region is unknown ({error}); set AWS_REGION") from error
