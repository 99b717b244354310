"""Without torch (extra `train`) nothing here can be imported, except the test of what the command then says."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]
