"""Files behind URLs: an archive, a web server, and an S3 server, each a process of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from calibeval.errors import UsageError
from calibeval.io.remote import CACHE, as_given, local_path, url_of
from tests import ROOT

pytest.importorskip("fsspec")
SAMPLE = ROOT / "sample_data"
slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path):
    """Two cases, their labels and class names, as a data set of nnU-Net lies."""
    home = tmp_path / "heart"
    for kind, folder in (("preds", "preds/calibrated"), ("labelsTr", "labelsTr")):
        (home / kind).mkdir(parents=True)
        for number in (1, 2):
            shutil.copy(SAMPLE / folder / f"phantom_00{number}.nii.gz", home / kind)
    shutil.copy(SAMPLE / "dataset.json", home)
    return home


@pytest.fixture
def archive(data, tmp_path):
    path = tmp_path / "heart.zip"
    with zipfile.ZipFile(path, "w") as file:
        for each in sorted(data.rglob("*.*")):
            file.write(each, each.relative_to(data))
    return path


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/preds", "s3://bucket/preds"),
        ("zip://preds::s3://bucket/a.zip", "zip://preds::s3://bucket/a.zip"),
        ("zip://::a.zip", "zip://::a.zip"),
        ("preds", None),
        ("/data/s3:/x", None),
        ("C:/data", None),
    ],
)
def test_a_url_is_known_after_pathlib_has_joined_its_slashes(text, url):
    assert url_of(Path(text)) == url


def test_a_folder_in_an_archive_is_copied_under_its_own_names(archive, cache):
    found = local_path(Path("zip://labelsTr::heart.zip"))
    assert found.name == "labelsTr"
    assert sorted(path.name for path in found.iterdir()) == ["phantom_001.nii.gz", "phantom_002.nii.gz"]
    assert (found.parent / "dataset.json").exists()
    assert as_given(found) == "zip://labelsTr::heart.zip"
    assert found.is_relative_to(cache)


def test_only_what_changed_is_copied_again(archive, data):
    found = local_path(Path("zip://labelsTr::heart.zip"))
    before = {path.name: path.stat().st_ino for path in found.iterdir()}
    shutil.copy(data / "labelsTr" / "phantom_002.nii.gz", data / "labelsTr" / "phantom_001.nii.gz")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((data / "labelsTr").iterdir()):
            file.write(path, path.relative_to(data))
    local_path(Path("zip://labelsTr::heart.zip"))
    after = {path.name: path.stat().st_ino for path in found.iterdir()}
    assert after["phantom_002.nii.gz"] == before["phantom_002.nii.gz"]
    assert (found / "phantom_001.nii.gz").read_bytes() == (found / "phantom_002.nii.gz").read_bytes()


def test_names_in_an_archive_lead_nowhere_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("preds/../../../../evil.csv", "x")
    with pytest.raises(UsageError):
        local_path(Path("zip://preds::evil.zip"))
    assert not list(tmp_path.rglob("evil.csv"))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nonsense://x/y", "nonsense://x/y: cannot be read (Protocol not known"),
        ("zip://preds::nothing.zip", "no such file"),
        ("zip://nothing::heart.zip", "zip://nothing::heart.zip: no such file"),
    ],
)
def test_what_is_not_there_is_one_sentence(url, text, archive):
    with pytest.raises(UsageError) as caught:
        local_path(Path(url))
    assert text in str(caught.value)


def test_results_are_not_written_to_urls(cli):
    outcome = cli("score", "preds", "labels", "--out", "s3://bucket/x.csv")
    assert outcome.code == 2
    assert "s3://bucket/x.csv: results are written to this machine" in outcome.err


def score(predictions, labels, out, **environment):
    command = [sys.executable, "-m", "calibeval", "score", predictions, labels, "-o", f"{out}/t.csv", "--quiet"]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment)
    table, bins = (Path(out, name).read_bytes() for name in ("t.csv", "t.bins.npz"))
    return table.replace(f"calibeval score {predictions} {labels}".encode(), b""), bins


@slow
def test_scores_of_an_archive_are_those_of_its_files(archive):
    assert score("zip://preds::heart.zip", "zip://labelsTr::heart.zip", "z") == score(
        "heart/preds", "heart/labelsTr", "l"
    )


@pytest.fixture
def serve():
    """Start a server as a process; gives its address."""
    running = []

    def start(*command):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        quiet = subprocess.DEVNULL
        line = [sys.executable, "-m", *(str(part).format(port=port) for part in command)]
        running.append(subprocess.Popen(line, stdout=quiet, stderr=quiet))
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return f"http://127.0.0.1:{port}"
            except OSError:
                assert time.monotonic() < end, "no server"
                time.sleep(0.05)

    yield start
    for process in running:
        process.kill()
        process.wait()


@slow
def test_scores_and_tables_from_an_s3_server(data, serve, monkeypatch, cli):
    pytest.importorskip("moto")
    s3fs = pytest.importorskip("s3fs")
    address = serve("moto.server", "-H", "127.0.0.1", "-p", "{port}")
    access = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    for name, value in access.items():
        monkeypatch.setenv(name, value)
    system = s3fs.S3FileSystem(endpoint_url=address, key="k", secret="s")
    system.mkdir("bucket")
    system.put(str(data), "bucket/heart", recursive=True)
    assert score("s3://bucket/heart/preds", "s3://bucket/heart/labelsTr", "s") == score(
        "heart/preds", "heart/labelsTr", "l"
    )
    for name in ("a", "b"):
        system.put("l/t.csv", f"bucket/tables/{name}.csv")
    outcome = cli("check", "s3://bucket/tables/a.csv", "--gate", "mean(DSC) > 0.5")
    assert outcome.code == 0, outcome.err
    gone = cli("score", "s3://bucket/nothing", "s3://bucket/heart/labelsTr")
    assert (gone.code, "s3://bucket/nothing: no such file or folder" in gone.err) == (2, True)


@slow
def test_scores_from_a_web_server(data, serve):
    pytest.importorskip("aiohttp")
    address = serve("http.server", "{port}", "--bind", "127.0.0.1", "--directory", data.parent)
    web = score(f"{address}/heart/preds", f"{address}/heart/labelsTr", "w")
    assert web == score("heart/preds", "heart/labelsTr", "l")
