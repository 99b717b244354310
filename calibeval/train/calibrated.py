"""A calibrator as a module: from a network's logits to calibrated probabilities, on its device and with gradients.

The numbers are those of `calibeval.calibrate.apply` on the softmax of the logits (sigmoid, of regions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibeval.calibrate.calibrator import Calibrator, check_planes
from calibeval.calibrate.methods import Parameters


class Calibrated(nn.Module):
    """Turns logits (B, C, *spatial) into calibrated probabilities of the same shape and type.

    Args:
        calibrator: of C classes, or of C regions.

    Raises:
        UsageError: the calibrator gives masks.
    """

    def __init__(self, calibrator: Calibrator) -> None:
        super().__init__()
        check_planes(calibrator, len(calibrator.classes), sigmoid=calibrator.of_regions)
        self.calibrator = calibrator
        form = _FORMS[calibrator.method]
        names = calibrator.classes if calibrator.of_regions else ("",)
        self.parts = nn.ModuleList(form(calibrator.parameters[name], calibrator.clip) for name in names)

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrate.

        Raises:
            ProbabilityError: not the number of classes that the calibrator was fitted on.
        """
        check_planes(self.calibrator, logits.shape[1], sigmoid=self.calibrator.of_regions)
        if not self.calibrator.of_regions:
            mended: Tensor = self.parts[0](functional.log_softmax(logits, dim=1))
            return mended
        regions = zip(self.parts, logits.unbind(dim=1), strict=True)
        return torch.stack([part(_two_classes(region))[:, 1] for part, region in regions], dim=1)


def _two_classes(logit: Tensor) -> Tensor:
    """Log-probabilities (B, 2, *spatial) of outside and inside."""
    return torch.stack([functional.logsigmoid(-logit), functional.logsigmoid(logit)], dim=1)


class _Form(nn.Module):
    """A formula, from log-probabilities (B, C, *spatial) to probabilities."""

    def __init__(self, parameters: Parameters, clip: float) -> None:
        super().__init__()
        self.clip = clip
        for name, value in self.constants(parameters).items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64))

    def constants(self, parameters: Parameters) -> dict[str, Any]:
        return dict(parameters)

    def logs(self, log_p: Tensor) -> Tensor:
        """Logarithms of probabilities that are held off 0."""
        return log_p.clamp(min=float(torch.log(torch.tensor(self.clip, dtype=torch.float64))))

    def get(self, name: str, like: Tensor) -> Tensor:
        return self.get_buffer(name).to(like)


class _Temperature(_Form):
    def forward(self, log_p: Tensor) -> Tensor:
        return (self.logs(log_p) / self.get("temperature", log_p)).softmax(dim=1)


class _Vector(_Form):
    def forward(self, log_p: Tensor) -> Tensor:
        z = self.logs(log_p).movedim(1, -1)
        return (z * self.get("weights", z) + self.get("offsets", z)).softmax(dim=-1).movedim(-1, 1)


class _Dirichlet(_Form):
    def forward(self, log_p: Tensor) -> Tensor:
        z = self.logs(log_p).movedim(1, -1)
        return (z @ self.get("weights", z).T + self.get("offsets", z)).softmax(dim=-1).movedim(-1, 1)


class _Curves(_Form):
    """One curve a class; of two classes the second alone has one."""

    def curve(self, log_p: Tensor, index: int) -> Tensor:
        raise NotImplementedError

    def forward(self, log_p: Tensor) -> Tensor:
        if log_p.shape[1] == 2:
            second = self.curve(log_p[:, 1], 0)
            return torch.stack([1 - second, second], dim=1)
        q = torch.stack([self.curve(plane, index) for index, plane in enumerate(log_p.unbind(dim=1))], dim=1)
        total = q.sum(dim=1, keepdim=True)
        return torch.where(total > 0, q / total.where(total > 0, 1), log_p.exp())


class _Beta(_Curves):
    def curve(self, log_p: Tensor, index: int) -> Tensor:
        a, b, c = self.get("curves", log_p)[index]
        p = log_p.exp().clamp(self.clip, 1 - self.clip)
        return torch.sigmoid(a * p.log() - b * torch.log1p(-p) + c)


class _Isotonic(_Curves):
    def constants(self, parameters: Parameters) -> dict[str, Any]:
        curves: Sequence[dict[str, Any]] = parameters["curves"]
        return {f"{axis}{index}": curve[axis] for index, curve in enumerate(curves) for axis in "xy"}

    def curve(self, log_p: Tensor, index: int) -> Tensor:
        x, y = (self.get(f"{axis}{index}", log_p) for axis in "xy")
        if len(x) == 1:
            return y.expand_as(log_p)
        p = log_p.exp().clamp(float(x[0]), float(x[-1]))
        left = (torch.searchsorted(x, p.contiguous(), right=True) - 1).clamp(max=len(x) - 2)
        share = (p - x[left]) / (x[left + 1] - x[left])
        return y[left] + share * (y[left + 1] - y[left])


_FORMS: dict[str, type[_Form]] = {
    "temperature": _Temperature,
    "vector": _Vector,
    "dirichlet": _Dirichlet,
    "beta": _Beta,
    "isotonic": _Isotonic,
}
