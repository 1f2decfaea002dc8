"""One prediction, as whoever asks for it sees it: inputs in, a running model asked, outputs out."""

from layerforge.prediction.client import predict, read_schema, wait_until_ready
from layerforge.prediction.inputs import parse_inputs, parse_json_inputs
from layerforge.prediction.output import Prediction, write_json, write_output
from layerforge.prediction.schema import PREDICTIONS, TRAININGS

__all__ = [
    "PREDICTIONS",
    "TRAININGS",
    "Prediction",
    "parse_inputs",
    "parse_json_inputs",
    "predict",
    "read_schema",
    "wait_until_ready",
    "write_json",
    "write_output",
]
