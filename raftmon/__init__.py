"""raftmon: watches training runs and says whether the learning rate is right, and why."""

from typing import Final

__version__: Final = "0.1.0"
