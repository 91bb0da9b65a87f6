"""How many GPUs torch can use here: `python -m service.worker.gpus`, for a supervisor that does not import torch."""

import sys

import torch

if __name__ == "__main__":
    sys.stdout.write(str(torch.cuda.device_count() if torch.cuda.is_available() else 0))
