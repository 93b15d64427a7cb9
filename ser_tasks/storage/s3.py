"""A prefix of an S3 bucket as a store, through boto3.

boto3 retries single requests. What it does not retry, a download that breaks off and a create that conflicts with another writer, is
retried here. Errors of boto3 become Python's own, with what a person can do about them.
"""

import contextlib
import functools
import io
import os
import random
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from ser_tasks.storage.base import (
    DELETED,
    ObjectChangedError,
    ObjectGoneError,
    ObjectLockedError,
    StoreAccessError,
    StoredObject,
    check_etag,
)

ATTEMPTS = 5
"""Attempts for one S3 request (``AWS_MAX_ATTEMPTS`` overrides it) and for one download. With boto3's pauses, which double from 1 s,
an outage of about eight seconds goes unnoticed; the flow retries what fails after that."""

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 60

UPLOAD_BYTES = 64 << 20
"""Larger objects are uploaded in pieces of this size, each with its own attempts."""

_REMEDIES = {
    "InvalidAccessKeyId": "unknown access key: check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "the secret key does not match the access key: check AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
    "RequestTimeTooSkewed": "this machine's clock and the server's are too far apart: set the clock (NTP)",
    "RequestExpired": "this machine's clock and the server's are too far apart: set the clock (NTP)",
    "ExpiredToken": "the credentials have expired: renew them",
    "ExpiredTokenException": "the credentials have expired: renew them",
    "InvalidToken": "the session token is not valid: renew the credentials, or unset AWS_SESSION_TOKEN",
    "NoSuchBucket": "there is no such bucket: check the URI, and AWS_ENDPOINT_URL_S3 for servers other than Amazon's",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
}
"""What a person can do, by the error code of the response."""


class S3Store:
    """The store of a bucket's objects under a prefix. See ``Store`` for the methods.

    Each of them may also raise StoreAccessError, and ConnectionError where the server does not respond in time or only with errors.
    The messages of these two name the server, and never a key, which may name a person.
    """

    local_root: None = None

    def __init__(self, bucket: str, prefix: str):
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")

    @functools.cached_property
    def client(self) -> Any:
        """The boto3 client, made at first use."""
        return self._client()

    @functools.cached_property
    def _signer(self) -> Any:
        """A client whose links are signed with version 4 and name the region's server: some regions refuse boto3's older default."""
        return self._client(signature_version="s3v4", s3={"addressing_style": "virtual"})

    def _client(self, **options: Any) -> Any:
        import boto3
        from botocore.config import Config

        attempts = int(os.environ.get("AWS_MAX_ATTEMPTS") or ATTEMPTS)
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            **options,
        )
        session = boto3.Session()
        client = session.client("s3", config=config)
        if "amazonaws.com" not in client.meta.endpoint_url:  # other servers have no host name per bucket
            client = session.client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))
        return client

    def check(self) -> None:
        with self._translated_errors("list"):
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self._translated_errors("list"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self.prefix)
                    if key and not key.endswith("/") and not key.rpartition("/")[2].startswith("."):
                        yield StoredObject(key, item["ETag"].strip('"'), item["Size"], item["LastModified"])

    def folders(self, prefix: str) -> tuple[str, ...]:
        with self._translated_errors("list"):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix, Delimiter="/")
            found = [each["Prefix"].rstrip("/").rpartition("/")[2] for page in pages for each in page.get("CommonPrefixes", [])]
        return tuple(sorted(name for name in found if not name.startswith(".")))

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
        with self._translated_errors("read"):
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
        with self._translated_errors("write"):
            self.client.upload_fileobj(io.BytesIO(data), self.bucket, self.prefix + key, Config=config)

    def create_bytes(self, key: str, data: bytes) -> bool:
        with self._translated_errors("write"):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, IfNoneMatch="*")
                    return True
                except self.client.exceptions.ClientError as error:
                    if _status(error) == 412:
                        # A retry of our own request, whose first response was lost, also ends here: the content decides.
                        return self.read_bytes(key) == data
                    if _status(error) != 409 or attempt == ATTEMPTS:
                        raise
                    _pause(attempt)  # another request for this key is in progress: its result is not known yet
        raise AssertionError("unreachable")

    def delete(self, key: str) -> None:
        with self._translated_errors("delete"):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def content(self, key: str) -> None:
        return None

    def exists(self, key: str) -> bool:
        with self._translated_errors("read"):
            try:
                self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
                return True
            except self.client.exceptions.ClientError as error:
                if self._is_missing(error, key):
                    return False
                raise

    def fetch(self, key: str, etag: str, folder: Path) -> tuple[Path, dict[str, str]]:
        path = folder / f"{secrets.token_hex(16)}{Path(key).suffix[:8].lower()}"
        with self._translated_errors("read"), path.open("wb") as file:
            try:
                return path, self._download(key, file, IfMatch=f'"{etag}"')["Metadata"]
            except self.client.exceptions.ClientError as error:
                if _status(error) == 412:
                    raise ObjectChangedError(f"It changed after it was listed: it no longer has the etag {etag}.") from None
                if self._is_missing(error, key):
                    raise ObjectGoneError(DELETED) from None
                raise

    def link(self, key: str, etag: str, seconds: int) -> str:
        """A presigned GET. The signature does not cover the etag: it is compared now, and a later upload is not noticed."""
        location = {"Bucket": self.bucket, "Key": self.prefix + key}
        with self._translated_errors("read"):
            try:
                check_etag(etag, self.client.head_object(**location)["ETag"].strip('"'))
            except self.client.exceptions.ClientError as error:
                if self._is_missing(error, key):
                    raise ObjectGoneError(DELETED) from None
                raise
            return str(self._signer.generate_presigned_url("get_object", Params=location, ExpiresIn=seconds))

    @functools.cached_property
    def link_origin(self) -> str:
        with self._translated_errors("read"):
            link = self._signer.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": "any"})
        return "{0.scheme}://{0.netloc}".format(urlsplit(link))

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def _download(self, key: str, file: BinaryIO, **arguments: str) -> dict[str, Any]:
        """Writes the object into ``file`` and returns the response's fields.

        A download that breaks off is repeated: boto3 retries until the headers arrive, but not the body, be it an object or an error.
        """
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        for attempt in range(1, ATTEMPTS + 1):
            with contextlib.suppress(HTTPError):
                response: dict[str, Any] = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key, **arguments)
                file.seek(0)
                file.truncate()
                with contextlib.suppress(BotoCoreError, ConnectionError):
                    shutil.copyfileobj(response["Body"], file, 1 << 20)
                    if file.tell() == response["ContentLength"]:
                        return response
            if attempt < ATTEMPTS:
                _pause(attempt)
        raise ConnectionError(f"{self._server} cut the download off {ATTEMPTS} times.")

    def _is_missing(self, error: Any, key: str) -> bool:
        """Whether an error means that there is no such key.

        Where the credentials may list a prefix but not the bucket, Amazon's server returns 403 for a missing key as for a forbidden one;
        then the listing decides.
        """
        code = error.response.get("Error", {}).get("Code")
        if _locked(error):
            return False
        if code in ("NoSuchKey", "404"):
            return True
        return code in ("AccessDenied", "403") and all(item.key != key for item in self.list(key))

    @property
    def _server(self) -> str:
        """Scheme, host and port of the endpoint, without the password that its URL may hold."""
        url = urlsplit(self.client.meta.endpoint_url)
        return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")

    @contextlib.contextmanager
    def _translated_errors(self, verb: str) -> Iterator[None]:
        """Raises Python's own errors instead of boto3's, with what a person can do. Errors without a counterpart pass unchanged."""
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError

        try:
            yield
        except boto.ClientError as error:
            code, status = error.response.get("Error", {}).get("Code", ""), _status(error)
            if verb == "read" and (locked := _locked(error)):
                raise locked from None
            if code in _REMEDIES:
                raise StoreAccessError(f"{self.uri} at {self._server}: {_REMEDIES[code]} ({code}).") from None
            if _is_key_refusal(error):
                raise StoreAccessError(
                    f"{self.uri} at {self._server}: these credentials may not use the bucket's encryption key to {verb}: "
                    "allow them kms:Decrypt and kms:GenerateDataKey on it."
                ) from None
            if status in (401, 403):
                raise StoreAccessError(
                    f"{self.uri} at {self._server}: these credentials may not {verb} there ({code or status}); "
                    "deploy/storage-policy.json lists the rights that a night needs."
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
        except boto.BotoCoreError as error:  # such as a profile or a role without credentials
            raise StoreAccessError(f"{self.uri}: {error}") from None


def _locked(error: Any) -> ObjectLockedError | None:
    """The error for an object that is archived, or encrypted with a key that these credentials may not use; None for any other answer."""
    fields = error.response.get("Error", {})
    if fields.get("Code") == "InvalidObjectState":
        storage_class = fields.get("StorageClass") or "a storage class that must be restored first"
        return ObjectLockedError(
            f"It is archived ({storage_class}): restore it, or leave archived days out; then ser nightly --retry-given-up reads it.",
            "archived",
        )
    if _is_key_refusal(error):
        return ObjectLockedError(
            "It is encrypted with a key that these credentials may not use: allow them kms:Decrypt on that key; "
            "then ser nightly --retry-given-up reads it.",
            "key_denied",
        )
    return None


def _is_key_refusal(error: Any) -> bool:
    fields = error.response.get("Error", {})
    code = fields.get("Code", "")
    return code.startswith("KMS.") or code == "AccessDenied" and "kms:" in fields.get("Message", "").lower()


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.2 * 2**attempt))
