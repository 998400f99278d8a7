"""Places for files, in a folder and on S3."""

from pathlib import Path
from typing import Any

import pytest

from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.events.archive import Archive
from report_pipeline.events.storage import Storage
from report_pipeline.events.versions import version


def put(lab: Any, name: str, content: bytes) -> str:
    path: str = lab.storage.join(*name.split("/"))
    if lab.storage.remote:
        bucket, key = path.removeprefix("s3://").split("/", 1)
        lab.storage._client.put_object(Bucket=bucket, Key=key, Body=content)
    else:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
    return path


def test_files_are_read_from_anywhere_in_them(any_lab: Any) -> None:
    path = put(any_lab, "a/file", b"0123456789")
    with any_lab.storage.open(path) as file:
        file.seek(4)
        assert file.read(3) == b"456"
        assert file.size() == 10
    with pytest.raises(FileNotFoundError):
        any_lab.storage.open(any_lab.storage.join("a", "other"))


def test_folders_are_listed_and_deleted_with_all_that_is_in_them(any_lab: Any) -> None:
    storage = any_lab.storage
    assert storage.folders("epochs") == []
    for name in ("epochs/b/deep/file", "epochs/a/file", "epochs/file", "epochs2/c/file"):
        put(any_lab, name, b"x")
    assert storage.folders("epochs") == ["a", "b"]
    storage.delete_folder("epochs", "b")
    storage.delete_folder("epochs", "b")
    assert storage.folders("epochs") == ["a"]
    assert storage.folders("epochs2") == ["c"]


def test_a_folder_needs_no_options_and_s3_gets_those_of_the_client(lab: Any, embedded: Any) -> None:
    assert lab.storage.options == {}
    client = embedded.client("s3")
    options = Storage.of("s3://bucket/some/prefix/", client_of=lambda service: client).options
    assert options["aws_endpoint_url"] == client.meta.endpoint_url
    assert options["aws_access_key_id"] == "embedded"
    assert options["aws_region"] == "us-east-1"
    assert options["aws_allow_http"] == "true"
    assert "aws_session_token" not in options


def test_a_session_token_is_passed_on_and_plain_http_is_not_allowed_without_need(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_session_token": "token"}
    client = boto3.client("s3", region_name="eu-west-1", **keys)
    options = Storage.of("s3://bucket/prefix", client_of=lambda service: client).options
    assert options["aws_session_token"] == "token"
    assert options["aws_endpoint_url"].startswith("https://")
    assert options["aws_allow_http"] == "false"
    assert options["aws_region"] == "eu-west-1"


def test_missing_credentials_are_said(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    client = boto3.session.Session().client("s3", region_name="eu-west-1")
    with pytest.raises(PermanentFailure, match="No AWS credentials for the archive s3://bucket/prefix"):
        assert Storage.of("s3://bucket/prefix", client_of=lambda service: client).options


def test_versions_sort_by_era_then_by_the_number_of_any_length() -> None:
    ordered = [version(1, 0), version(1, "9"), version(1, "10"), version(1, "9" * 40), version(2, 0), version(10, 1)]
    assert sorted(ordered) == ordered
    assert len({len(text) for text in ordered}) == 1


@pytest.mark.parametrize(("era", "sequence"), [(1, "1" * 41), (-1, 1), (1, -1), (10**6, 1), (1, "x")])
def test_numbers_that_no_version_can_be_made_of_are_refused(era: int, sequence: int | str) -> None:
    with pytest.raises(ValueError, match=r"no version|invalid literal"):
        version(era, sequence)


class TestOnS3:
    """What is another on S3 than in a folder."""

    def test_a_uri_without_a_bucket_is_refused(self) -> None:
        with pytest.raises(CallerMistake, match="names no bucket"):
            Storage.of("s3:///archive", client_of=lambda service: None)

    def test_a_bucket_that_does_not_exist_is_named(self, lab: Any, embedded: Any) -> None:
        archive = Archive(Storage.of("s3://no-such-bucket/archive", client_of=embedded.client), lab.schema)
        with pytest.raises(PermanentFailure, match="s3://no-such-bucket/archive/index cannot be"):
            archive.index.claim(lab.now, archive.digest)

    def test_an_endpoint_that_does_not_answer_is_a_failure_that_may_pass(
        self, lab: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import boto3

        monkeypatch.setattr("report_pipeline.events.storage._PATIENCE", {"max_retries": "0"})
        client = boto3.client("s3", region_name="us-east-1")
        archive = Archive(Storage.of("s3://bucket/archive", client_of=lambda service: client), lab.schema)
        with pytest.raises(TransientFailure, match="s3://bucket/archive/index cannot be read now"):
            archive.state()

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_REGION"])
    def test_nothing_in_the_environment_leads_away_from_the_clients_endpoint(
        self, lab: Any, embedded: Any, bucket: str, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        storage = Storage.of(f"s3://{bucket}/{name}", client_of=embedded.client)
        on_s3 = type(lab)(storage)
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        on_s3.load([lab.event("a", lab.june(1))])
        assert on_s3.ids(lab.window(1)) == ["a"]

    def test_credentials_that_were_refreshed_are_used_from_then_on(self, lab: Any, embedded: Any, bucket: str) -> None:
        client = embedded.client("s3")
        storage = Storage.of(f"s3://{bucket}/refreshed", client_of=lambda service: client)
        on_s3 = type(lab)(storage)
        on_s3.load([lab.event("a", lab.june(1))])
        reader = on_s3.archive.snapshot()
        before = storage.options
        client._request_signer._credentials.access_key = "another"
        assert storage.options["aws_access_key_id"] == "another" != before["aws_access_key_id"]
        assert reader.read(lab.window(1))["request_id"].to_pylist() == ["a"]
