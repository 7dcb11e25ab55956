"""What boto3 raises, as what a person can do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tinymlops.errors import RefusedError, StorageError, TinyMLOpsError, UnreachableError
from tinymlops.store.protocol import NotFoundError

_NOT_FOUND = {"NoSuchKey", "404", "NotFound"}
_LOST = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_WRONG_KEY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure", "InvalidSecurity", "ExpiredToken"}
_FORBIDDEN = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}


def code_of(error: Any) -> str:
    """S3's name for what went wrong; for a HEAD, which has no body, the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_lost_race(error: Any) -> bool:
    """Whether a conditional put came too late. For If-Match, a value that is gone counts too."""
    return code_of(error) in _LOST | _NOT_FOUND


def is_not_found(error: Any) -> bool:
    """Whether the key does not exist."""
    return code_of(error) in _NOT_FOUND


@contextlib.contextmanager
def in_our_words(address: str, endpoint: str | None, missing: NotFoundError | None) -> Iterator[None]:
    """Raise ours for boto3's errors.

    Args:
        address: Of the store, for the sentence.
        endpoint: Likewise.
        missing: What to raise if a key is not there; None where only the bucket can be missing.
    """
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
    from botocore.exceptions import ConnectionError as ConnectionFailure
    from urllib3.exceptions import HTTPError

    where = endpoint or "AWS S3"
    try:
        yield
    except ClientError as error:
        raise _translated(error, address, where, missing) from error
    except NoCredentialsError as error:
        raise RefusedError(
            f"there are no keys for {where}", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except (HTTPClientError, ConnectionFailure, HTTPError) as error:
        raise UnreachableError(
            f"{where} does not answer ({type(error).__name__})",
            "check the endpoint and the network, then run the same command again",
        ) from error
    except BotoCoreError as error:
        raise StorageError(f"{address} can't be used ({error})", "check the bucket, the region and the keys") from error


def _translated(error: Any, address: str, where: str, missing: NotFoundError | None) -> TinyMLOpsError:
    code = code_of(error)
    if missing is not None and code in _NOT_FOUND:
        return missing
    if code == "NoSuchBucket" or code in _NOT_FOUND:
        return StorageError(f"there is no bucket for {address} at {where}", "make it, or correct its name")
    if code in _WRONG_KEY:
        return RefusedError(
            f"{where} does not accept the key ({code})", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if code in _FORBIDDEN:
        return RefusedError(
            f"{where} does not let this key use {address}",
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the permissions to list, get, put and delete",
        )
    message = error.response.get("Error", {}).get("Message", "no message")
    return StorageError(f"{address} failed ({code}: {message})", "check the server, then run the same command again")
