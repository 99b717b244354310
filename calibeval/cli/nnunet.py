"""`calibeval nnunet`: where nnU-Net finds trainers with calibration losses."""

from __future__ import annotations

import sys


def nnunet() -> None:
    """Print the folder of nnU-Net trainers with calibration losses, for nnUNet_extTrainer.

    export nnUNet_extTrainer=$(calibeval nnunet), then nnUNetv2_train 27 2d 0 -tr nnUNetTrainerSDC; both nnUNetv2_train
    and nnUNetv2_predict need the variable. `calibeval explain nnunet` lists the classes.
    """
    from calibeval.train.nnunet import FOLDER, mismatch, require_nnunet

    require_nnunet()
    if warning := mismatch():
        print(f"calibeval: {warning}", file=sys.stderr)
    print(FOLDER)
