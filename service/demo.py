"""The story that `make run` tells: a real training over HTTP, its loss curve, a prediction."""

import shlex

import typer
from rich.console import Console

from service.client import Descent, Job
from service.data.examples import EXAMPLES
from service.terminal import dataset_lines, loss_chart, progress_bar, result_line

READY_SECONDS = 60
EPOCHS = 2000
FLOWER = {"sepal_length": "6.1", "sepal_width": "2.8", "petal_length": "4.7"}


def tell(client: Descent, console: Console, *, ends: bool) -> bool:
    """Train an example on a running service and predict with it, showing each step; tell whether it succeeded.

    Args:
        ends: the service ends after the story, so that what there is to try has to wait for the next one.
    """
    example = EXAMPLES["iris-petals"]
    with console.status("Starting the API and a worker …"):
        client.wait_until_ready(READY_SECONDS)
    typer.echo(f"Descent serves at {client.url}; {client.url}/docs describes it.\n")
    typer.echo(f"POST /datasets: {example.sentence}")
    dataset = client.upload(example.path, name=example.name)
    typer.echo("\n".join(f"  {line}" for line in dataset_lines(dataset)[1:]) + "\n")
    request = {
        "model": example.name,
        "task": example.task,
        "dataset": {"id": dataset["id"], "target": example.target},
        "hyperparameters": {"epochs": EPOCHS, "seed": 0},
    }
    typer.echo(f"POST /train: {example.task} of {example.target} ({EPOCHS} epochs)")
    job = client.submit(request)
    with progress_bar(console) as show:
        job.follow(show)
    if job["status"] == "succeeded":
        history = job.thinned_history(240)
        typer.echo(loss_chart(history["epoch"].tolist(), history["train_loss"].tolist()))
    typer.echo(result_line(job) + "\n")
    if job["status"] != "succeeded":
        return False
    prediction = client.predict_one(example.name, list(FLOWER.items()))
    sample = ", ".join(f"{name} {value}" for name, value in FLOWER.items())
    typer.echo(f"GET /predict: an iris with {sample} (cm)")
    typer.echo(f"  → {example.target} {prediction['predictions'][0]:.2f} cm\n")
    when = "when `descent serve` has started the service again" if ends else "yourself"
    typer.echo(f"Try it {when}:\n\n" + "\n\n".join(_curl_commands(client, job)) + "\n")
    return True


def _curl_commands(client: Descent, job: Job) -> list[str]:
    url = client.url
    query = "&".join(["model=iris-petals", *(f"{name}={value}" for name, value in FLOWER.items())])
    body = (
        '{"model": "line", "task": "linear_regression", '
        '"dataset": {"features": [1, 2, 3, 4], "targets": [2.1, 3.9, 6.2, 7.8]}}'
    )
    train = ["curl", f"{url}/train", "-H", "Content-Type: application/json", "-H", "Prefer: wait=10", "-d", body]
    commands = [
        ["curl", f"{url}/predict?{query}"],
        ["curl", f"{url}/jobs/{job['id']}/history?max_points=5"],
        train,
    ]
    key = ' -H "Authorization: Bearer $DESCENT_API_KEY"' if client.has_key else ""
    return [shlex.join(command) + key for command in commands]
