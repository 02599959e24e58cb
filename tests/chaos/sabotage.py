"""A plant that works until it is told to fail at each start. Apart from the other bodies, for its imports are heavy."""

import os
from pathlib import Path

from actors.base import Context
from actors.plants.history import HistoryPlantBody


class SabotagedHistoryPlant(HistoryPlantBody):
    """The real plant, until the file that an environment variable names exists."""

    def __init__(self, context: Context) -> None:
        if Path(os.environ["NIGHTDESK_TEST_SABOTAGE"]).exists():
            raise RuntimeError("sabotaged")
        super().__init__(context)
