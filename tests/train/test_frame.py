"""One frame: a slice comes to the network as the same array in training, validation and prediction."""

import numpy as np
import pytest
import torch
from torch import nn

from calibeval.train.cases import find_images
from calibeval.train.checkpoint import read_checkpoint
from calibeval.train.config import make_config
from calibeval.train.fit import Watcher, fit
from calibeval.train.frame import crop_centre, pad_image, pad_label, whole_frame
from calibeval.train.models import BACKBONES
from calibeval.train.plan import make_plan
from calibeval.train.predict import Predictor, predict_cases
from calibeval.train.slices import SliceSet, Ticket
from calibeval.train.volumes import Volume
from tests.train.data_sets import NAMES, write_nnunet

IGNORED = 255


class Recorder(nn.Module):
    """A network that keeps what it sees; its logits say class 1 where the image is above 0."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        return torch.cat([-image, image], dim=1)


def test_by_hand():
    """A slice of 1 x 2 in 4 x 5: one row above and two below, one column left and two right."""
    padded = pad_image(torch.tensor([[[3.0, 7.0]]]), (4, 5))
    assert padded.tolist() == [[[3] * 5, [3, 3, 7, 3, 3], [3] * 5, [3] * 5]]
    label = pad_label(torch.tensor([[1, 2]]), (4, 5), IGNORED)
    assert label.tolist() == [[IGNORED] * 5, [IGNORED, 1, 2, IGNORED, IGNORED], [IGNORED] * 5, [IGNORED] * 5]


def test_the_frame_is_the_larger_of_training_size_and_what_fits():
    backbone = BACKBONES["unet"]  # multiples of 8, 16 at least
    assert whole_frame((36, 36), (64, 64), backbone) == (64, 64)
    assert whole_frame((36, 100), (64, 64), backbone) == (64, 104)
    assert whole_frame((5, 36), (0, 0), backbone) == (16, 40)


@pytest.mark.parametrize("shape", [(36, 35), (5, 64), (64, 64), (63, 1)])
def test_training_and_prediction_see_the_same_array(shape):
    random = np.random.default_rng(0)
    image = random.normal(size=(3, 1, *shape)).astype(np.float32)
    volume = Volume("a", image, np.zeros((3, *shape), np.uint8), None)
    slices = SliceSet([volume], size=(64, 64), ignore_index=IGNORED, augment="none", seed=0)
    trained = torch.stack([slices[Ticket(z, 0, z)]["image"] for z in range(3)])
    network = Recorder()
    found = Predictor(network, BACKBONES["unet"], (64, 64), torch.device("cpu"), batch_size=16)(image)
    assert trained.shape == (3, 1, 64, 64)
    assert torch.equal(network.seen[0], trained)
    np.testing.assert_array_equal(found.argmax(axis=1), image[:, 0] > 0)  # cropped back exactly
    assert torch.equal(crop_centre(trained, shape), torch.from_numpy(image))


@pytest.fixture
def inputs():
    """What networks see, by whether they train."""
    seen = {True: [], False: []}

    def record(module, args):
        if type(module).__name__ == "UNet":
            seen[module.training].append(args[0].detach().clone())

    hook = nn.modules.module.register_module_forward_pre_hook(record)
    yield seen
    hook.remove()


@pytest.mark.parametrize("size", [(0, 0), (32, 24)])
def test_a_run_validates_and_predicts_in_its_training_size(tmp_path, inputs, size):
    """Slices of 16 x 16, one batch learned by heart: validation sees the very arrays of training."""
    data = write_nnunet(tmp_path / "data", NAMES)
    options = {"width": 4, "epochs": 1, "batch_size": 3, "fold": "1/6", "overfit_batch": True, "size": size}
    config = make_config("", data=str(data), out=str(tmp_path / "run"), **options)
    fit(config, make_plan(config), Watcher())
    frame = (16, 16) if size == (0, 0) else size
    assert inputs[True][0].shape == (3, 1, *frame)
    assert torch.equal(inputs[True][0], inputs[False][0])
    best = tmp_path / "run" / "best.pt"
    assert read_checkpoint(best).size == frame
    predict_cases(best, [find_images(data / "imagesTr")[NAMES[0]]], tmp_path / "preds")
    assert inputs[False][-1].shape == (3, 1, *frame)


def test_a_checkpoint_of_version_0_1_takes_the_size_of_its_config(tmp_path):
    data = write_nnunet(tmp_path / "data", NAMES)
    for name, size in (("fixed", (32, 32)), ("auto", (0, 0))):
        config = make_config("", data=str(data), out=str(tmp_path / name), width=4, epochs=1, fold="1/6", size=size)
        fit(config, make_plan(config), Watcher())
        path = tmp_path / name / "best.pt"
        content = torch.load(path, weights_only=True)
        del content["size"]
        torch.save(content, path)
        assert read_checkpoint(path).size == size
