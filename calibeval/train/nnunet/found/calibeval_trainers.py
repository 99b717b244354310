"""What nnU-Net finds in the folder that `calibeval nnunet` prints.

nnU-Net imports this file as a module of its own and forgets it again; the classes live in `calibeval`, where pickle
finds them.
"""

from calibeval.train.nnunet.trainers import *  # noqa: F403  # the names are made from LOSSES
