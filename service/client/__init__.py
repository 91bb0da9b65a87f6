"""Talking to a running service from Python: `Descent`, and `AsyncDescent` for `async` programs.

What is said is written once, as conversations (`steps`), and the two clients only carry it. Frames and arrays are
recognised when they are given, so that this needs neither polars nor pandas; `service.client.estimators` has estimators
of scikit-learn's kind, and needs that.
"""

from service.client.descent import AsyncDescent, Descent
from service.client.jobs import AsyncJob, Job
from service.client.predictions import Prediction
from service.errors import JobFailed, ServiceRefused, ServiceUnreachable, UnreadableFile, UnsendableData

__all__ = [
    "AsyncDescent",
    "AsyncJob",
    "Descent",
    "Job",
    "JobFailed",
    "Prediction",
    "ServiceRefused",
    "ServiceUnreachable",
    "UnreadableFile",
    "UnsendableData",
]
