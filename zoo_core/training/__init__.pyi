"""What `zoo_core.training` offers: this file is the one table of these names."""

from .config import TrainConfig as TrainConfig
from .loop import TrainResult as TrainResult
from .loop import train as train
