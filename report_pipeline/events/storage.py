"""Where the archive lies: a folder, or a prefix of an S3 bucket.

The Delta library and Parquet reading have clients of their own. Both get endpoint, region and credentials
from a boto3 client, so whatever keeps boto3 to one place, such as the embedded S3, keeps them there, too.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from report_pipeline.errors import CallerMistake, PermanentFailure

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs as fs

# The library decodes paths once too often, and aborts at some characters that URLs may not have.
UNUSABLE = re.compile(r"[\[\]^|\\\x00-\x1f]|%[0-9A-Fa-f]{2}")

# A dead endpoint is to be heard of within a minute; the library's own patience is three.
_PATIENCE = {"connect_timeout": "5s", "timeout": "60s", "max_retries": "4", "retry_timeout": "45s"}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CONNECT_SECONDS, _REQUEST_SECONDS = 5, 60


class Storage:
    """One place for files. Cheap to make; nothing is read before it is asked for, and threads may share it."""

    def __init__(self, uri: str, client: Any = None) -> None:
        """Use `of` or `local`. `client` is boto3's for S3, where the `uri` is of S3."""
        if match := UNUSABLE.search(uri):
            raise CallerMistake(
                f"The archive cannot lie in {uri!r}: the Delta library does not find files where the path has "
                f"{match[0]!r}. Name another folder in REPORT_PIPELINE_ARCHIVE, or move the project or its home."
            )
        self.uri = uri.rstrip("/")
        self._client = client
        self._filesystem: tuple[Any, fs.S3FileSystem] | None = None

    @classmethod
    def of(cls, uri: str, *, client_of: Callable[[str], Any]) -> "Storage":
        """The storage at a folder's path or at `s3://bucket/prefix`; neither need exist.

        Args:
            uri: where.
            client_of: gives boto3's client of a service; asked for `s3` where that is needed.

        Raises:
            CallerMistake: the path has characters that the Delta library cannot handle, or names no bucket.
        """
        if not uri.startswith("s3://"):
            return cls(uri)
        if not urlsplit(uri).netloc:
            raise CallerMistake(f"{uri!r} names no bucket. Expected s3://bucket/prefix in REPORT_PIPELINE_ARCHIVE.")
        return cls(uri, client_of("s3"))

    @classmethod
    def local(cls, path: str | Path) -> "Storage":
        """The storage in a folder, which need not exist.

        Raises:
            CallerMistake: as `of`.
        """
        return cls(str(path))

    @property
    def remote(self) -> bool:
        """Whether it is S3."""
        return self._client is not None

    def join(self, *names: str) -> str:
        """The path or URI of what lies under these names."""
        return "/".join([self.uri, *names])

    @property
    def options(self) -> dict[str, str]:
        """How the Delta library reaches it: with the credentials as they are now. Empty for a folder."""
        if not self.remote:
            return {}
        credentials = self._credentials()
        endpoint = self._client.meta.endpoint_url
        options = {
            "aws_endpoint_url": endpoint,
            "aws_endpoint_url_s3": endpoint,
            "aws_region": self._client.meta.region_name,
            "aws_access_key_id": credentials.access_key,
            "aws_secret_access_key": credentials.secret_key,
            "aws_virtual_hosted_style_request": "false",
            "aws_allow_http": str(endpoint.startswith("http://")).lower(),
            "aws_conditional_put": "etag",
        }
        if credentials.token:
            options["aws_session_token"] = credentials.token
        host = urlsplit(endpoint).hostname or ""
        if host in _LOOPBACK:
            # A proxy that the environment names is then not used, and this one is for other hosts.
            options |= {"proxy_url": endpoint, "proxy_excludes": host}
        return options | _PATIENCE

    def open(self, path: str) -> "pa.NativeFile":
        """Open one of its files for reading from anywhere in it.

        Raises:
            OSError: it cannot be read.
        """
        import pyarrow as pa

        if not self.remote:
            return pa.OSFile(path, "rb")
        return self._s3().open_input_file(_key(path))

    def folders(self, *names: str) -> list[str]:
        """The names of the folders that lie directly under these names, in order; none where nothing is there."""
        if not self.remote:
            folder = Path(self.join(*names))
            return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.exists() else []
        import pyarrow.fs as fs

        selector = fs.FileSelector(_key(self.join(*names)), allow_not_found=True)
        return sorted(
            info.base_name for info in self._s3().get_file_info(selector) if info.type == fs.FileType.Directory
        )

    def delete_folder(self, *names: str) -> None:
        """Delete everything under these names; nothing need be there.

        Raises:
            OSError: something cannot be deleted.
        """
        if not self.remote:
            folder = Path(self.join(*names))
            if folder.exists():
                shutil.rmtree(folder)
            return
        import pyarrow.fs as fs

        if self._s3().get_file_info(_key(self.join(*names))).type != fs.FileType.NotFound:
            self._s3().delete_dir(_key(self.join(*names)))

    def _credentials(self) -> Any:
        """The client's credentials as they are now; those that expire are refreshed by botocore."""
        signer = self._client._request_signer
        if signer._credentials is None:
            raise PermanentFailure(
                f"No AWS credentials for the archive {self.uri}. Set AWS_PROFILE, or the keys, as for DynamoDB."
            )
        return signer._credentials.get_frozen_credentials()

    def _s3(self) -> "fs.S3FileSystem":
        import pyarrow.fs as fs

        credentials = self._credentials()
        kept = self._filesystem
        if kept is None or kept[0] != credentials:
            endpoint = urlsplit(self._client.meta.endpoint_url)
            filesystem = fs.S3FileSystem(
                access_key=credentials.access_key,
                secret_key=credentials.secret_key,
                session_token=credentials.token,
                region=self._client.meta.region_name,
                scheme=endpoint.scheme,
                endpoint_override=endpoint.netloc,
                connect_timeout=_CONNECT_SECONDS,
                request_timeout=_REQUEST_SECONDS,
            )
            kept = self._filesystem = credentials, filesystem
        return kept[1]


def _key(uri: str) -> str:
    """`bucket/key` of an S3 URI."""
    return uri.removeprefix("s3://")
