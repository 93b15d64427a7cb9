"""S3 as a store."""

import contextlib
import functools
import hashlib
import io
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from ser_tasks.storage.base import GONE, ObjectChangedError, ObjectGoneError, StoreAccessError, StoredObject, check_etag

ATTEMPTS = 5
"""For one S3 request (``AWS_MAX_ATTEMPTS`` says otherwise), and for one download that is cut off. With boto3's pauses, which
double from 1 s, an endpoint may be away for about eight seconds; what fails then, the flow tries again later."""

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 60

UPLOAD_BYTES = 64 << 20
"""Larger objects are uploaded in pieces of this size, each with attempts of its own."""

_REFUSALS = {
    "InvalidAccessKeyId": "the server does not know this access key: check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "the secret key does not fit the access key: check AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
    "RequestTimeTooSkewed": "this machine's clock and the server's are too far apart: set the clock (NTP)",
    "RequestExpired": "this machine's clock and the server's are too far apart: set the clock (NTP)",
    "ExpiredToken": "the credentials have expired: renew them",
    "ExpiredTokenException": "the credentials have expired: renew them",
    "InvalidToken": "the session token is not valid: renew the credentials, or unset AWS_SESSION_TOKEN",
    "NoSuchBucket": "there is no such bucket: check the URI, and AWS_ENDPOINT_URL_S3 for servers other than Amazon's",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
}
"""What a person can do, by the error code of the answer."""


class S3Store:
    """A prefix of a bucket, through boto3. Beside what each verb raises: StoreAccessError, and ConnectionError where the server
    does not answer, or not in time, or only with errors. These two name the server and never a key, which may name a person."""

    local_root: None = None

    def __init__(self, bucket: str, prefix: str):
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")

    @functools.cached_property
    def client(self) -> Any:
        return self._client()

    @functools.cached_property
    def _signer(self) -> Any:
        """Signs links with version 4 and names the region's own server: boto3's default is an older way that some regions refuse."""
        return self._client(signature_version="s3v4", s3={"addressing_style": "virtual"})

    def _client(self, **options: Any) -> Any:
        import boto3
        from botocore.config import Config

        attempts = int(os.environ.get("AWS_MAX_ATTEMPTS") or ATTEMPTS)
        retries = {"mode": "standard", "total_max_attempts": attempts}
        config = Config(retries=retries, connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, **options)
        session = boto3.Session()
        client = session.client("s3", config=config)
        if "amazonaws.com" not in client.meta.endpoint_url:  # other servers have no host name for each bucket
            client = session.client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))
        return client

    def check(self) -> None:
        with self._plain_errors("list"):
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self._plain_errors("list"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self.prefix)
                    if key and not key.endswith("/") and not key.rpartition("/")[2].startswith("."):
                        yield StoredObject(key, item["ETag"].strip('"'), item["Size"], item["LastModified"])

    def read_bytes(self, key: str, limit_bytes: int | None = None, etag: str | None = None) -> bytes:
        span = {} if limit_bytes is None else {"Range": f"bytes=0-{limit_bytes - 1}"}
        match = {} if etag is None else {"IfMatch": f'"{etag}"'}
        try:
            return self._read(key, **span, **match)
        except ObjectChangedError:
            raise ObjectChangedError(f"It changed after it was listed: it no longer has the etag {etag}.") from None

    def tail_bytes(self, key: str, limit_bytes: int) -> bytes:
        return self._read(key, Range=f"bytes=-{limit_bytes}")

    def _read(self, key: str, **arguments: str) -> bytes:
        file = io.BytesIO()
        with self._plain_errors("read"):
            try:
                self._download(key, file, **arguments)
            except self.client.exceptions.ClientError as error:
                if _status(error) == 416:  # an empty object has no first byte
                    return b""
                if _status(error) == 412:
                    raise ObjectChangedError from None
                if self._is_missing(error, key):
                    raise FileNotFoundError(self.url(key)) from None
                raise
        return file.getvalue()

    def write_bytes(self, key: str, data: bytes) -> None:
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(multipart_threshold=UPLOAD_BYTES, multipart_chunksize=UPLOAD_BYTES, use_threads=False)
        with self._plain_errors("write"):
            self.client.upload_fileobj(io.BytesIO(data), self.bucket, self.prefix + key, Config=config)

    def create_bytes(self, key: str, data: bytes) -> bool:
        with self._plain_errors("write"):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, IfNoneMatch="*")
                    return True
                except self.client.exceptions.ClientError as error:
                    if _status(error) == 412:
                        # A retry of our own request, whose first answer was lost, also ends here: the content decides.
                        return self.read_bytes(key) == data
                    if _status(error) != 409 or attempt == ATTEMPTS:
                        raise
                    _pause(attempt)  # another writer is at this key just now: whether it gets it is not known yet
        raise AssertionError("unreachable")

    def delete(self, key: str) -> None:
        with self._plain_errors("delete"):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def exists(self, key: str) -> bool:
        with self._plain_errors("read"):
            try:
                self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
                return True
            except self.client.exceptions.ClientError as error:
                if self._is_missing(error, key):
                    return False
                raise

    def fetch(self, key: str, etag: str, folder: Path) -> tuple[Path, dict[str, str]]:
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        path = folder / f"{name}{Path(key).suffix[:8].lower()}"
        with self._plain_errors("read"), path.open("wb") as file:
            try:
                return path, self._download(key, file, IfMatch=f'"{etag}"')["Metadata"]
            except self.client.exceptions.ClientError as error:
                if _status(error) == 412:
                    raise ObjectChangedError(f"It changed after it was listed: it no longer has the etag {etag}.") from None
                if self._is_missing(error, key):
                    raise ObjectGoneError(GONE) from None
                raise

    def link(self, key: str, etag: str, seconds: int) -> str:
        """A presigned GET. Nothing signs the etag: it is compared now, and an upload within those seconds is not noticed."""
        place = {"Bucket": self.bucket, "Key": self.prefix + key}
        with self._plain_errors("read"):
            try:
                check_etag(etag, self.client.head_object(**place)["ETag"].strip('"'))
            except self.client.exceptions.ClientError as error:
                if self._is_missing(error, key):
                    raise ObjectGoneError(GONE) from None
                raise
            return self._signer.generate_presigned_url("get_object", Params=place, ExpiresIn=seconds)

    @functools.cached_property
    def link_origin(self) -> str:
        with self._plain_errors("read"):
            link = self._signer.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": "any"})
        return "{0.scheme}://{0.netloc}".format(urlsplit(link))

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def _download(self, key: str, file: BinaryIO, **arguments: str) -> dict[str, Any]:
        """Fills the file and returns the answer's head. What is cut off is asked for again: boto3 does that for heads only, not for
        an object's bytes, nor for the text of an error in their place."""
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        for attempt in range(1, ATTEMPTS + 1):
            with contextlib.suppress(HTTPError):
                answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key, **arguments)
                file.seek(0)
                file.truncate()
                with contextlib.suppress(BotoCoreError, ConnectionError):
                    shutil.copyfileobj(answer["Body"], file, 1 << 20)
                    if file.tell() == answer["ContentLength"]:
                        return answer
            if attempt < ATTEMPTS:
                _pause(attempt)
        raise ConnectionError(f"{self._server} cut the download off {ATTEMPTS} times.")

    def _is_missing(self, error: Any, key: str) -> bool:
        """Whether an error says that the key is free. To who may list a prefix but not the bucket, Amazon's server says 403
        for it as for what is forbidden; then the listing decides."""
        code = error.response.get("Error", {}).get("Code")
        if code in ("NoSuchKey", "404"):
            return True
        return code in ("AccessDenied", "403") and all(item.key != key for item in self.list(key))

    @property
    def _server(self) -> str:
        """Scheme, host and port: an endpoint's URL may hold a password."""
        url = urlsplit(self.client.meta.endpoint_url)
        return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")

    @contextlib.contextmanager
    def _plain_errors(self, verb: str) -> Iterator[None]:
        """Turns boto3's errors into Python's own, with what a person can do about them. What has no such error stays as it is."""
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError

        try:
            yield
        except boto.ClientError as error:
            code, status = error.response.get("Error", {}).get("Code", ""), _status(error)
            if code in _REFUSALS:
                raise StoreAccessError(f"{self.uri} at {self._server}: {_REFUSALS[code]} ({code}).") from None
            if status in (401, 403):
                raise StoreAccessError(
                    f"{self.uri} at {self._server}: these credentials may not {verb} there ({code or status}); "
                    "deploy/storage-policy.json has the rights that a night needs."
                ) from None
            if status >= 500 or status in (408, 429) or code in ("SlowDown", "Throttling", "RequestTimeout"):
                raise ConnectionError(
                    f"{self._server} could not {verb} {self.uri} just now ({code or status}): it is overloaded or broken."
                ) from None
            raise
        except boto.NoCredentialsError:
            raise StoreAccessError(
                f"No credentials for {self.uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile with AWS_PROFILE."
            ) from None
        except boto.ParamValidationError:
            raise ValueError(f"{self.bucket!r} is no bucket's name: 3 to 63 of a-z, 0-9, '.' and '-'.") from None
        except (boto.HTTPClientError, boto.ConnectionError, ResponseParserError) as error:
            raise ConnectionError(
                f"{self._server} does not answer for {self.uri} ({type(error).__name__}): "
                "check AWS_ENDPOINT_URL_S3, the network, and that the server runs."
            ) from None
        except boto.BotoCoreError as error:  # a profile or a role that gives no credentials
            raise StoreAccessError(f"{self.uri}: {error}") from None


def _status(error: Any) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.2 * 2**attempt))
