"""Bare FastAPI endpoints, as the peers of predictions: the least that answering over HTTP takes."""

from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.get("/multiply")
async def multiply(quiz1: float, quiz2: float, quiz3: float) -> dict[str, float]:
    """Multiply three numbers."""
    return {"product": quiz1 * quiz2 * quiz3}


@app.post("/parse")
async def parse(request: Request) -> Any:
    """Parse a body of JSON, and write as many numbers as it has rows."""
    body = await request.json()
    return {"predictions": [row[0] for row in body["features"]]}


@app.post("/transfer")
async def transfer(request: Request) -> Response:
    """Take a body, and send a number back for each 24 bytes."""
    content = await request.body()
    return Response(content[: len(content) // 3])


if __name__ == "__main__":
    uvicorn.run(app, port=0, log_level="info", access_log=False)
