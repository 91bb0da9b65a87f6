"""Real datasets that come along, to try the service with.

Both are from R. A. Fisher (1936), The use of multiple measurements in taxonomic problems: flowers of the iris measured
in centimetres by E. Anderson.
"""

from dataclasses import dataclass
from pathlib import Path

from service.tasks import Task

_FOLDER = Path(__file__).parent / "examples"


@dataclass(frozen=True)
class Example:
    """A bundled dataset, and the training that it is made for."""

    name: str
    sentence: str
    target: str
    task: Task

    @property
    def path(self) -> Path:
        """The CSV file."""
        return _FOLDER / f"{self.name}.csv"


EXAMPLES = {
    example.name: example
    for example in (
        Example(
            "iris-petals",
            "150 iris flowers: the width of a petal from its length and the sepal's",
            target="petal_width",
            task="linear_regression",
        ),
        Example(
            "iris-species",
            "100 iris flowers: versicolor or virginica, from four measurements",
            target="species",
            task="logistic_regression",
        ),
    )
}
