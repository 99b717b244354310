"""Training with calibration losses (extra `train`): losses, targets, models, data, fitting and prediction.

Only the modules of this package import torch, and nothing outside imports them before they are needed.
The losses are plain `torch.nn.Module`s: `from calibeval.train.losses import SDCLoss`.
"""
