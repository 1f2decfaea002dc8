"""What happens to the inputs of a prediction before the worker gets them: files are fetched, secrets noted."""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Any

from layerforge_runtime.files import localize
from layerforge_runtime.frames import Ready
from layerforge_runtime.predictions import Prediction
from layerforge_runtime.settings import Settings
from layerforge_runtime.validation import Validator


class Preparation:
    """Prepares predictions. Each gets a folder of its own below ``folder``, made when something is put there.

    ``validator`` knows the inputs of predictions, ``trainer`` those of trainings.
    """

    def __init__(self, settings: Settings, folder: str, validator: Validator, trainer: Validator) -> None:
        self._settings = settings
        self._folder = folder
        self._numbers = itertools.count(1)
        self._files = dict.fromkeys(validator.urls, "path")
        self._secrets = validator.secrets
        self._training_files = dict.fromkeys(trainer.urls, "path")
        self._training_secrets = trainer.secrets

    def learn(self, ready: Ready) -> None:
        """Take what the worker has seen in the model's annotations."""
        self._files |= {name: kind for name, kind in ready.fields.items() if kind != "secret"}
        self._secrets |= {name for name, kind in ready.fields.items() if kind == "secret"}

    async def prepare(self, prediction: Prediction, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs for the worker. If the prediction is canceled meanwhile, they are of no use.

        Raises:
            FileError, OSError: a file cannot be had.
        """
        prediction.folder = str(next(self._numbers))
        files = self._training_files if prediction.training else self._files
        if secrets := self._training_secrets if prediction.training else self._secrets:
            prediction.hide(secrets, inputs)
        if not any(isinstance(inputs.get(name), (str, list)) for name in files):
            return inputs
        folder = os.path.join(self._folder, prediction.folder)
        os.mkdir(folder, 0o700)
        prediction.has_files = True
        prediction.fetching = asyncio.ensure_future(localize(inputs, files, folder, self._settings.terms))
        try:
            return await prediction.fetching
        except asyncio.CancelledError:
            if not prediction.cancel_requested:
                raise
            return inputs
