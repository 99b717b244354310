"""Without torch (extra `train`) nothing here can be imported but the test of what the commands then say."""

from importlib.util import find_spec

if find_spec("torch"):
    import torch

    torch.set_num_threads(1)  # networks are tiny here, and threads that wait for each other make them slow
else:
    collect_ignore_glob = ["test_*.py", "nnunet/test_*.py"]
