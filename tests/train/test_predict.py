"""Predictions: native geometry and size, test-time flips, the manifest, and images that cannot be used."""

import gzip
import hashlib
import json

import numpy as np
import pytest
import torch
from torch import nn

from calibeval.errors import InputError, UsageError
from calibeval.train.cases import find_images
from calibeval.train.checkpoint import Checkpoint, load_network, read_checkpoint, write_checkpoint
from calibeval.train.config import make_config
from calibeval.train.models import BACKBONES, Network, build_network
from calibeval.train.predict import Predictor, predict_cases
from tests.case_files import read_nifti
from tests.train.data_sets import AFFINE, NAMES, SHAPE, disc_case, write_nifti, write_nnunet, write_npz_slices


def predict_folder(checkpoint, images, out, **options):
    return predict_cases(checkpoint, list(find_images(images, network_channels=1).values()), out, **options)


CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(tmp_path):
    """A network with random weights, whose batch statistics are not the initial ones."""
    torch.manual_seed(5)
    network = Network("unet", 4, 1, 3)
    built = build_network(network).train()
    for _ in range(5):
        built(torch.randn(4, 1, 16, 16))
    path = tmp_path / "best.pt"
    config = make_config("", data="d", out="o", loss="sdc")
    classes = ("background", "ring", "disc")
    write_checkpoint(path, Checkpoint(network, built.state_dict(), classes, config, {}, (16, 16)))
    return path


def predictor(checkpoint, tta="none", batch_size=16):
    network = load_network(read_checkpoint(checkpoint), checkpoint)
    return Predictor(network, BACKBONES["unet"], (16, 16), CPU, batch_size=batch_size, tta=tta)


def standard(image):
    return ((image - image.mean()) / image.std())[:, None].astype(np.float32)


def test_nifti_in_native_geometry(checkpoint, tmp_path):
    """An odd size and an oblique affine survive; values are those of the network on each z-scored slice."""
    images, out = tmp_path / "images", tmp_path / "preds"
    affine = AFFINE.copy()
    affine[:3, 3] = (-12.5, 4, 30)
    affine[0, 1] = 0.2
    image = np.random.default_rng(0).normal(50, 9, (3, 13, 17))
    write_nifti(images / "a_0000.nii.gz", image.astype(np.float32), affine)
    assert predict_folder(checkpoint, images, out) == []
    written = read_nifti(out / "a.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    assert (written.shape, written.get_data_dtype(), written.header.get_xyzt_units()[0]) == (
        (17, 13, 3, 3), np.float32, "mm"
    )  # fmt: skip
    found = np.asarray(written.dataobj)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
    expected = predictor(checkpoint)(standard(image))
    np.testing.assert_allclose(found.transpose(2, 3, 1, 0), expected, atol=1e-5)


def test_padding_does_not_move_the_slice(checkpoint):
    """Away from the padded edge, a padded slice gives what a larger slice with the same content gives."""
    network = nn.Conv2d(1, 3, 3, padding=1)
    image = np.random.default_rng(0).normal(size=(2, 1, 13, 17)).astype(np.float32)
    found = Predictor(network, BACKBONES["unet"], (0, 0), CPU, batch_size=16)(image)
    expected = network(torch.from_numpy(image)).softmax(dim=1).detach().numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=1e-6)


def test_batches_change_nothing(checkpoint):
    image = np.random.default_rng(0).normal(size=(5, 1, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(predictor(checkpoint, batch_size=2)(image), predictor(checkpoint)(image), atol=1e-6)


def test_flips_are_averaged(checkpoint):
    image = np.random.default_rng(0).normal(size=(2, 1, 16, 16)).astype(np.float32)
    plain, flipped = predictor(checkpoint), predictor(checkpoint, "flip")
    parts = [np.flip(plain(np.ascontiguousarray(np.flip(image, axes))), axes) for axes in ((), (2,), (3,), (2, 3))]
    np.testing.assert_allclose(flipped(image), np.mean(parts, axis=0), atol=1e-6)
    mirrored = flipped(np.ascontiguousarray(np.flip(image, 3)))
    np.testing.assert_allclose(mirrored, np.flip(flipped(image), 3), atol=1e-6)


def mean_of_neighbours():
    """A network of one layer, whose output is known everywhere."""
    network = nn.Conv3d(1, 3, 3, padding=1)
    nn.init.normal_(network.weight, generator=torch.Generator().manual_seed(1))
    return network


def test_patches_are_put_together(checkpoint):
    """Away from the windows' edges, overlapping patches of a shallow network give what the whole volume gives."""
    network, random = mean_of_neighbours(), np.random.default_rng(0)
    one = np.random.default_rng(0).normal(size=(16, 1, 16, 16)).astype(np.float32)
    whole = Predictor(network, BACKBONES["unet"], (16, 16, 16), CPU, batch_size=2)(one)
    direct = network(torch.from_numpy(one).transpose(0, 1)[None]).softmax(1)[0].transpose(0, 1).detach().numpy()
    np.testing.assert_allclose(whole, direct, atol=1e-6)  # one patch
    large = random.normal(size=(5, 1, 40, 32)).astype(np.float32)
    found = Predictor(network, BACKBONES["unet"], (16, 16, 16), CPU, batch_size=2)(large)
    assert found.shape == (5, 3, 40, 32) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    direct = network(torch.from_numpy(large).transpose(0, 1)[None]).softmax(1)[0].transpose(0, 1).detach().numpy()
    np.testing.assert_allclose(found[1:-1, :, 1:8, 1:8], direct[1:-1, :, 1:8, 1:8], atol=0.03)
    flips = Predictor(network, BACKBONES["unet"], (16, 16, 16), CPU, batch_size=2, tta="flip")
    np.testing.assert_allclose(flips(large[..., ::-1].copy())[..., ::-1], flips(large), atol=1e-5)


def test_manifest(checkpoint, tmp_path):
    folder = write_nnunet(tmp_path / "data", NAMES[:2])
    predict_folder(checkpoint, folder / "imagesTr", tmp_path / "preds", tta="flip")
    manifest = json.loads((tmp_path / "preds" / "manifest.json").read_text())
    assert manifest["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (manifest["tta"], manifest["size"], manifest["cases"]) == ("flip", [16, 16], NAMES[:2])
    assert manifest["classes"] == ["background", "ring", "disc"] and "z-scored" in manifest["preprocessing"]
    assert sorted(path.name for path in (tmp_path / "preds").glob("*.nii.gz")) == [f"{n}.nii.gz" for n in NAMES[:2]]


def test_equal_inputs_give_equal_bytes(checkpoint, tmp_path):
    folder = write_nnunet(tmp_path / "data", NAMES[:1])
    for out in ("a", "b"):
        predict_folder(checkpoint, folder / "imagesTr", tmp_path / out)
    assert (tmp_path / "a/case_000.nii.gz").read_bytes() == (tmp_path / "b/case_000.nii.gz").read_bytes()


def test_npz_keeps_its_label(checkpoint, tmp_path):
    write_npz_slices(tmp_path / "npz", ["p1"])
    assert predict_folder(checkpoint, tmp_path / "npz", tmp_path / "preds") == []
    with np.load(tmp_path / "preds" / "p1.npz") as found:
        assert found["probs"].shape == (3, *SHAPE) and found["probs"].dtype == np.float32
        np.testing.assert_array_equal(found["label"], disc_case(0)[1])


def test_bad_images_cost_only_themselves(checkpoint, tmp_path):
    folder = write_nnunet(tmp_path / "data", NAMES[:3])
    images = folder / "imagesTr"
    (images / "case_000_0000.nii.gz").write_bytes(b"broken")
    (images / "case_002_0001.nii.gz").write_bytes((images / "case_002_0000.nii.gz").read_bytes())
    failures = predict_folder(checkpoint, images, tmp_path / "preds")
    assert [failure.path.name for failure in failures] == ["case_000_0000.nii.gz", "case_002_0000.nii.gz"]
    assert "'case_002' has 2 channels, but the network was trained with 1" in str(failures[1])
    assert json.loads((tmp_path / "preds" / "manifest.json").read_text())["cases"] == ["case_001"]


def test_a_name_too_long_or_an_image_too_large_costs_only_itself(checkpoint, tmp_path, monkeypatch):
    """Names of 255 bytes are as long as file systems take; `.gz` makes the first one longer."""
    images, out = tmp_path / "images", tmp_path / "preds"
    image, long, fits = disc_case(0)[0][0], "a" * 251, "b" * 248
    write_nifti(images / "c.nii.gz", image)
    for name in (long, fits):
        (images / f"{name}.nii").write_bytes(gzip.decompress((images / "c.nii.gz").read_bytes()))
    failures = predict_folder(checkpoint, images, out)
    assert [failure.path.name for failure in failures] == [f"{long}.nii.gz"]
    assert "the name is too long to be written. Give its image a shorter one." in str(failures[0])
    assert sorted(path.name for path in out.iterdir()) == [f"{fits}.nii.gz", "c.nii.gz", "manifest.json"]
    monkeypatch.setattr("calibeval.train.volumes.available_memory", lambda: 1000.0)
    write_nifti(images / "d.nii.gz", image[:1, :4, :4])
    failures = predict_folder(checkpoint, images, tmp_path / "less")
    assert len(failures) == 3 and "its images take 0.0 GiB in memory, where 0.0 GiB are free" in str(failures[0])
    assert json.loads((tmp_path / "less" / "manifest.json").read_text())["cases"] == ["d"]


def test_refusals(checkpoint, tmp_path):
    with pytest.raises(UsageError, match="no image found"):
        predict_folder(checkpoint, tmp_path / "none", tmp_path / "preds")
    write_nnunet(tmp_path / "data", NAMES[:1])
    images = tmp_path / "data" / "imagesTr"
    with pytest.raises(UsageError, match="Unknown tta 'rotate'"):
        predict_folder(checkpoint, images, tmp_path / "preds", tta="rotate")
    with pytest.raises(InputError, match="no such checkpoint"):
        predict_folder(tmp_path / "none.pt", images, tmp_path / "preds")


def test_a_calibrator_mends_probabilities_on_the_way(checkpoint, tmp_path):
    """The same as predicting first and calibrating then; another order of classes is refused before any work."""
    from calibeval.calibrate import Calibrator, apply, read_calibrator

    images = tmp_path / "images"
    write_nifti(
        images / "a_0000.nii.gz", np.random.default_rng(0).normal(50, 9, (3, 13, 17)).astype(np.float32), AFFINE
    )
    classes = ("background", "ring", "disc")
    calibrator = Calibrator("vector", classes, {"": {"weights": [2.0, 0.5, 1.0], "offsets": [0.1, 0.0, -0.1]}}, 1e-7)
    for name, used in (("plain", None), ("mended", calibrator)):
        assert not predict_folder(checkpoint, images, tmp_path / name, calibrator=used)
    plain, mended = (
        np.moveaxis(np.asarray(read_nifti(tmp_path / name / "a.nii.gz").dataobj), -1, 0) for name in ("plain", "mended")
    )
    assert mended == pytest.approx(apply(calibrator, plain), abs=1e-7)
    assert np.abs(mended - plain).max() > 0.05
    assert read_calibrator(tmp_path / "mended" / "calibrator.json") == calibrator
    manifest = json.loads((tmp_path / "mended" / "manifest.json").read_text())
    written = (tmp_path / "mended" / "calibrator.json").read_bytes()
    assert manifest["calibrator_sha256"] == hashlib.sha256(written).hexdigest()
    other = Calibrator("vector", ("background", "disc", "ring"), calibrator.parameters, 1e-7)
    with pytest.raises(
        UsageError, match="classes are background, ring, disc, and the calibrator is of background, disc"
    ):
        predict_folder(checkpoint, images, tmp_path / "no", calibrator=other)
    assert not (tmp_path / "no").exists()
