"""What an objective can say of a training beyond its losses, such as that it is failing.

A loss with a method `diagnose` is asked every `log_every` steps. The answer is a function of the
model and the data alone, so that a resumed training says what one that never stopped would.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from zoo_core.data.dataset import Split
    from zoo_core.model import GenerativeModel

__all__ = ["Diagnoses", "Diagnosis"]


@dataclass(frozen=True)
class Diagnosis:
    """Named numbers for the log, and a warning that names the likely failure, if there is one."""

    values: dict[str, float] = field(default_factory=dict)
    warning: str | None = None

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {**self.values, **({"warning": self.warning} if self.warning else {})}


@runtime_checkable
class Diagnoses(Protocol):
    """A loss that can tell how a training goes."""

    def diagnose(self, model: "GenerativeModel", split: "Split") -> Diagnosis:
        """From a model in evaluation mode, without gradients, and the validation split."""
        ...
