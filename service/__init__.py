"""Descent: gradient descent over HTTP. Data in, model out, prediction back."""

__version__ = "0.1.0"
