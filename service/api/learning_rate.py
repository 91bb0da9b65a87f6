"""What the data says of the learning rate, in the words of the wire: of a training to come, and of one that was."""

from typing import Annotated, Any, Literal

from pydantic import Field

from service.api.dependencies import Response

Rate = Annotated[float | None, Field(examples=[4.2e-5])]
ConditionNumber = Annotated[
    float | None,
    Field(
        description="Largest by smallest curvature of a quadratic objective, or of one that is curved no less: the "
        "larger, the slower the descent. Null when it is not known, or without bound."
    ),
]


class LearningRateCheck(Response):
    """What the data says of the learning rate."""

    requested: float | Literal["auto"] = Field(description="As given.")
    limit: Rate = Field(
        description="Up to which the descent is known to converge; null when nothing of the kind is known."
    )
    kind: Literal["exact", "guarantee", "estimate", "guidance"] = Field(
        description="What the limit is worth: `exact` for a quadratic objective (beyond it the descent diverges), "
        "`guarantee` for logistic and softmax, `estimate` for perceptrons, `guidance` for mini-batches, other "
        "optimizers than sgd, l1, clipping and schedules."
    )
    suggested: float = Field(
        description="What `auto` takes. For a perceptron with a random start a check measures it at another start, "
        "drawn alike, so that the job's may differ a little."
    )
    fastest: Rate = Field(description="With which a quadratic objective is brought down fastest; null for others.")
    scaled_limit: Rate = Field(description="The limit that `scale: standard` would give; null when it is not known.")
    epochs_to_tolerance: int | None = Field(
        description="Epochs at a constant learning rate, that of `hyperparameters`, until the objective has come down "
        "to its lowest point but for a share of the way, a millionth if no other `tolerance` is asked for; null when "
        "that is not known, or never."
    )
    detail: str = Field(description="Where the numbers come from, for a person.")


def learning_rate_of(advice: dict[str, Any], requested: float | Literal["auto"]) -> LearningRateCheck:
    """Put it into the words of the wire.

    Args:
        advice: as `Examination.advice_as_json` gives it.
        requested: the learning rate as asked for.
    """
    return LearningRateCheck.model_validate({**advice, "requested": requested})
